"""Advice from the text of an action: what its code seems about to do, for people who read a proposal or the log.

It is never a boundary, and nothing is decided by it: code that means to hide what it does is not found out by reading
it (a name that is put together while it runs is enough), and much that is named here is harmless. What an action does
is bounded by its sandbox and judged afterwards. Pure, bounded, and without an error for any text; nothing is run.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from mulligan.policies.commands import in_line, in_text

#: in the order in which they are told
KINDS = ("deletes", "writes", "sensitive", "network", "runs", "installs", "unseen")
#: said wherever advice is shown
CAVEAT = "read from its text, which can hide anything: nothing is decided by it"
#: characters of a source that are looked into, pieces of advice, and characters of one
LOOKED_INTO, MOST, LONGEST = 20_000, 30, 120

_MAGIC = re.compile(r"^([ \t]*)(?:!{1,2}|%(?:sx|system)\s+|%(?=(?:pip|conda|mamba|uv)\b))(.*)$", re.MULTILINE)
_SHELL_CELL = re.compile(r"\s*%%(?:bash|sh|script|!|sx|system)\b[^\n]*\n")
_BEGINS = re.compile(r"\n(?=[^\s)\]}#])")
_OTHER_MAGIC = re.compile(r"^[ \t]*%.*$", re.MULTILINE)

_CALLS = {
    "deletes": "os.remove os.unlink os.rmdir os.removedirs os.truncate shutil.rmtree",
    "writes": "os.rename os.renames os.replace os.mkdir os.makedirs os.link os.symlink os.chmod os.chown os.mknod"
    " os.utime os.setxattr shutil.copy shutil.copy2 shutil.copyfile shutil.copytree shutil.move shutil.chown"
    " shutil.make_archive shutil.unpack_archive sqlite3.connect",
    "runs": "os.system os.popen os.posix_spawn os.fork os.kill os.killpg pty.spawn ctypes.CDLL multiprocessing.Process"
    " asyncio.create_subprocess_exec asyncio.create_subprocess_shell signal.pthread_kill",
    "unseen": "eval exec compile __import__ importlib.import_module pickle.loads pickle.load marshal.loads"
    " codecs.decode base64.b64decode getattr runpy.run_path",
}
_KIND = {name: kind for kind, names in _CALLS.items() for name in names.split()}
#: modules all of whose calls are of one kind
_MODULES = {
    **dict.fromkeys(
        ("requests", "httpx", "aiohttp", "urllib3", "http.client", "ftplib", "smtplib", "telnetlib"),
        "network",
    ),
    **dict.fromkeys(
        ("urllib.request", "socket", "socketserver", "paramiko", "websockets", "boto3", "scapy"), "network"
    ),
    **dict.fromkeys(("subprocess", "pexpect", "sh"), "runs"),
    **dict.fromkeys(("pip", "ensurepip"), "installs"),
    **dict.fromkeys(("pynput", "pyautogui", "mss", "keyboard", "PIL.ImageGrab"), "sensitive"),
}
#: methods, whatever they are called on
_METHODS = {
    **dict.fromkeys(("unlink", "rmdir", "rmtree"), "deletes"),
    **dict.fromkeys(("connect", "connect_ex", "sendto", "bind"), "network"),
    **dict.fromkeys(
        ("write_text", "write_bytes", "touch", "mkdir", "symlink_to", "hardlink_to", "chmod"), "writes"
    ),
    **dict.fromkeys(
        ("to_csv", "to_parquet", "to_excel", "to_json", "to_pickle", "to_sql", "savefig", "savetxt"), "writes"
    ),
}
_WRITING = re.compile(r"(?=.*[wax+])[rwaxbtU+]{1,4}")
#: whose mode stands second; for `open` of a path it stands first
_OPENING = ("open", "io.open", "os.open", "os.fdopen", "codecs.open", "gzip.open", "bz2.open", "lzma.open")
_RUN_BY = ("subprocess", "os.system", "os.popen", "pty.spawn", "asyncio.create_subprocess")


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing that the code seems about to do. `kind` is one of KINDS, `what` words of its text, safe to print."""

    kind: str
    what: str

    def __str__(self) -> str:
        return f"{_SAID[self.kind]} {self.what}"


_SAID = {
    "deletes": "delete:",
    "writes": "write:",
    "sensitive": "look at what is sensitive:",
    "network": "ask over the network:",
    "runs": "start or end programs:",
    "installs": "install:",
    "unseen": "do what its text does not show:",
}


def advise(source: str) -> tuple[Advice, ...]:
    """At most MOST pieces of advice, the gravest first."""
    found: dict[Advice, None] = {}
    for kind, what in _found(_beginning(source)):
        found.setdefault(Advice(kind, _shown(what)))
        if len(found) >= 10 * MOST:
            break
    if len(source) > LOOKED_INTO:
        found.setdefault(Advice("unseen", f"it goes on for {len(source) - LOOKED_INTO:,} more characters"))
    return tuple(sorted(found, key=lambda each: KINDS.index(each.kind))[:MOST])


def _beginning(source: str) -> str:
    """As much of it as is looked into, up to a line that begins something."""
    begun = source[:LOOKED_INTO]
    ends = [match.start() for match in _BEGINS.finditer(begun)] if len(source) > LOOKED_INTO else []
    return begun[: ends[-1] + 1] if ends else begun


def _found(source: str) -> Iterator[tuple[str, str]]:
    if (cell := _SHELL_CELL.match(source)) is not None:
        for line in source[cell.end() :].splitlines():
            yield from in_line(line)
        return
    for match in _MAGIC.finditer(source):
        yield from in_line(match[2])
    plain = _OTHER_MAGIC.sub("", _MAGIC.sub(r"\1pass", source))
    tree = _parsed(plain)
    if tree is None:
        yield "unseen", "it is no Python that can be read here"
        yield from in_text(plain)
        return
    yield from _in_tree(tree)


def _parsed(source: str) -> ast.AST | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return None


def _in_tree(tree: ast.AST) -> Iterator[tuple[str, str]]:
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {each.asname: each.name for each in node.names if each.asname}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            aliases |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _in_call(node, _name(node.func, aliases))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from in_text(node.value)


def _name(function: ast.expr, aliases: dict[str, str]) -> str:
    """Its dotted name as it was imported; it begins with a dot for a method of something else."""
    parts: list[str] = []
    while isinstance(function, ast.Attribute):
        parts.append(function.attr)
        function = function.value
    first = aliases.get(function.id, function.id) if isinstance(function, ast.Name) else ""
    return ".".join([first, *reversed(parts)])


def _in_call(call: ast.Call, name: str) -> Iterator[tuple[str, str]]:
    literals = [_literal(each) for each in call.args[:5]]
    told = f"{name.lstrip('.')}({', '.join(repr(each) if each else '…' for each in literals[:2])})"
    if name.rpartition(".")[2] in ("open", "fdopen"):
        if _opens_to_write(call, literals[1:] if name in _OPENING else literals):
            yield "writes", told
        return
    kind = _KIND.get(name) or _of_module(name) or _METHODS.get(name.rpartition(".")[2] if "." in name else "")
    if kind is None or (name == "getattr" and len(literals) > 1 and literals[1]):
        return
    yield kind, told
    if name.startswith(_RUN_BY):
        yield from in_line(literals[0] if literals else "")


def _of_module(name: str) -> str | None:
    for at in range(name.count(".") + 1):
        if (kind := _MODULES.get(name.rsplit(".", at)[0])) is not None:
            return kind
    return None


def _opens_to_write(call: ast.Call, literals: list[str]) -> bool:
    """`literals` begin where a mode may stand; that of an archive's `open` stands second."""
    modes = [_literal(each.value) for each in call.keywords if each.arg == "mode"] or literals[:2]
    return any(_WRITING.fullmatch(mode) for mode in modes)


def _literal(node: ast.expr) -> str:
    """A text as it stands in the source, or the words of a list of them; "" for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value[: LONGEST * 10]
    if isinstance(node, ast.List | ast.Tuple):
        words = (each.value if isinstance(each, ast.Constant) else "…" for each in node.elts[:20])
        return " ".join(str(word)[:LONGEST] for word in words)
    return ""


def _shown(text: str) -> str:
    """One line that acts on no terminal."""
    text = text[: 2 * LONGEST]
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
