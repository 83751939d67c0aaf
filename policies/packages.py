"""Which packages a request to an index is about, by its path. Pure.

An index has a page for each project, and files with the project's name and version in theirs. `pypi` is pypi.org, with
its files at files.pythonhosted.org; any other source is a host that has both. A file whose name can be read in two ways
is about each. One whose name cannot be read is about a package without a name: any rule that restricts is about that.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from packaging.version import InvalidVersion, Version

from mulligan.policies.address import Request
from mulligan.policies.patterns import PYPI, Package, plain_name

_INDEX, _FILES = "pypi.org", "files.pythonhosted.org"
_PAGES = ("simple", "+simple")
_WHEEL = ".whl"
#: all that installers unpack (pip: utils/filetypes.py), longer endings first
_ARCHIVES = (
    *(".tar.gz", ".tar.bz2", ".tar.xz", ".tar.lzma", ".tar.lz", ".tar.z", ".tar"),
    *(".tgz", ".tbz", ".txz", ".tlz", ".zip", ".egg", ".exe"),
)
_READS = ("GET", "HEAD")
_DASH = re.compile(r"-(?=v?[0-9])")


def source_of(host: str) -> str:
    return PYPI if host in (_INDEX, _FILES) else host


def packages_in(asked: Request, sources: Collection[str]) -> tuple[Package, ...]:
    """Empty where it is about none. `sources` are those that a rule names: all files there are packages."""
    if asked.method not in _READS:
        return ()
    # what follows a semicolon is no part of the name to some servers
    source, segments = source_of(asked.host), [each.partition(";")[0] for each in asked.path.split("/")[1:]]
    if segments and not segments[-1]:
        segments.pop()
    name = segments[-1].lower().removesuffix(".metadata") if segments else ""
    if name.endswith(_WHEEL) or (source in sources and name.endswith(_ARCHIVES)) or asked.host == _FILES:
        return tuple(_named(name, source)) or (Package("", source, ""),)
    if len(segments) > 1 and segments[-2] in _PAGES:
        return (Package(plain_name(name), source),)
    if asked.host == _INDEX and len(segments) > 2 and segments[0] == "pypi":
        return (Package(plain_name(segments[1]), source),)
    return ()


def _named(file: str, source: str) -> list[Package]:
    if file.endswith(_WHEEL):
        parts = file.removesuffix(_WHEEL).split("-")
        found = [(parts[0], parts[1])] if len(parts) in (5, 6) else []
    else:
        stem = next((file.removesuffix(end) for end in _ARCHIVES if file.endswith(end)), "")
        found = [(stem[: dash.start()], stem[dash.end() :]) for dash in _DASH.finditer(stem)]
    return [
        Package(plain_name(name), source, version) for name, version in found if name and _is_one(version)
    ]


def _is_one(version: str) -> bool:
    try:
        Version(version)
    except InvalidVersion:
        return False
    return True
