"""An exception of the host's as it is shown inside: its name, its text and its arguments, and which built-in exceptions
it is. No traceback, no cause, no path of the host."""

from __future__ import annotations

import builtins
import os
import re
from collections.abc import Callable
from typing import Any, TypeGuard

from mulligan.sandbox.isolation import GUEST, RUN, WRITABLE

#: characters of a text, and of a name
_LONGEST, _NAME = 4000, 100
_MARK = "(a path of the host)"
#: an absolute path, up to a quote, a bracket, a colon or a space; not what follows another scheme, as in https://
_END = r"\s'\"`<>|;,(){}\[\]"
_PATH = re.compile(
    rf"file:/[^{_END}]*|(?<![\w/.~<])(?<!:(?=//))/(?:[^{_END}:/]+/?)+|(?<![\w/])~[\w.-]*/[^{_END}:]*"
)
_QUOTED = re.compile(r"(['\"`])(/[^'\"`\n]*)\1")
_INSIDE = (*WRITABLE.values(), RUN, GUEST)

Failure = dict[str, Any]


def presented(error: BaseException, without: Callable[[str], str] = str) -> Failure:
    """`without` takes secrets out of a text."""
    kind = type(error)
    args = (error.errno, error.strerror, error.filename) if _names_file(error) else error.args
    bases = [each.__name__ for each in kind.__mro__ if _is_builtin(each)]
    return {
        "name": _identifier(kind.__name__),
        "text": without(cleaned(_text(error))),
        "args": [_argument(each, without) for each in args[:10]] if _are_plain(args) else None,
        "bases": bases or ["Exception"],
    }


def of_ours(name: str, text: str, base: str) -> Failure:
    return {"name": name, "text": text, "args": [text], "bases": [base]}


def cleaned(text: str) -> str:
    """Without paths of the host: what is an absolute path whose first folder is one here."""
    text = _QUOTED.sub(lambda found: found[1] + _path(found[2]) + found[1], text[: 4 * _LONGEST])
    text = _PATH.sub(lambda found: _path(found[0]), text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _path(path: str) -> str:
    if path.startswith(("~", "file:")):
        return _MARK
    if any(path == each or path.startswith(f"{each}/") for each in _INSIDE):
        return path if ".." not in path else _MARK
    first = path.lstrip("/").partition("/")[0]
    return _MARK if first and os.path.lexists(f"/{first}") else path


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return ""


def _names_file(error: BaseException) -> TypeGuard[OSError]:
    return isinstance(error, OSError) and isinstance(error.filename, str) and error.filename2 is None


def _are_plain(args: tuple[Any, ...]) -> bool:
    return all(type(each) in (str, int, float, bool, type(None)) for each in args)


def _argument(value: Any, without: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return without(cleaned(value))
    if isinstance(value, float):
        return value if value - value == 0 else repr(value)
    return value if not isinstance(value, int) or value.bit_length() < 64 else None


def _is_builtin(kind: type) -> bool:
    found = getattr(builtins, kind.__name__, None)
    return found is kind and issubclass(kind, Exception)


def _identifier(name: str) -> str:
    return name[:_NAME] if name.isidentifier() else "ToolError"
