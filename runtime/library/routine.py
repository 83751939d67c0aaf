"""A routine as it lies on a shelf: contract and text, and what can be read off the text without running it."""

from __future__ import annotations

import ast
import hmac
import os
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path

from mulligan.runtime.library.contract import Contract, split_file, write_header
from mulligan.runtime.library.errors import RoutineBroken, ShelfUnusable
from mulligan.runtime.library.harvest import LARGEST, likeness_of, parameters_of, signature_of
from mulligan.runtime.library.naming import fault_of
from mulligan.runtime.library.scopes import UNPARSABLE, parse

#: bytes of a routine's file
FILE = 4 * LARGEST
EDITED = "its file was changed by hand, or trusted by somebody else: it needs a trial, or a review"


@dataclass(frozen=True, slots=True)
class Routine:
    """`state` is what counts: that of the contract, unless the file was changed by hand."""

    contract: Contract
    text: str
    signature: str
    doc: str
    parameters: tuple[str, ...]
    likeness: str
    key: bytes = field(default=b"", repr=False, compare=False)

    @property
    def name(self) -> str:
        return self.contract.name

    @property
    def version(self) -> int:
        return self.contract.version

    @property
    def edited(self) -> bool:
        return not hmac.compare_digest(self.contract.digest, self.contract.seal(self.text, self.key))

    @property
    def state(self) -> str:
        return "candidate" if self.edited and self.contract.state == "trusted" else self.contract.state

    @property
    def why(self) -> str:
        return EDITED if self.state != self.contract.state else self.contract.why

    @property
    def line(self) -> str:
        """The first line of its docstring."""
        return " ".join(self.doc.split("\n", 1)[0].split())[:200]

    @property
    def content(self) -> str:
        """Its file."""
        return write_header(self.contract) + "\n" + self.text

    def changed(self, **changes: object) -> Routine:
        """The same text under another contract, sealed. What an edited file says of its state is not sealed with it."""
        made = replace(self.contract, **{"state": self.state, **changes})  # type: ignore[arg-type]
        return replace(self, contract=made.sealed(self.text, self.key))


def make_routine(contract: Contract, text: str, key: bytes = b"") -> Routine:
    """Raises RoutineBroken for a text that defines no such function or class, or that cannot be read."""
    if fault := fault_of(contract.name):
        raise RoutineBroken(f"its name {contract.name[:80]!r} {fault}", hint="give it another name")
    if len(text) > LARGEST:
        raise RoutineBroken(f"its text has more than {LARGEST:,} characters", hint="shorten it")
    try:
        tree = parse(text)
        node = _defined(tree, contract.name)
        return Routine(
            contract=contract,
            text=text if text.endswith("\n") else text + "\n",
            signature=signature_of(node),
            doc=(ast.get_docstring(node) or "")[:8000],
            parameters=tuple(parameters_of(node))[:100],
            likeness=likeness_of(text, contract.name),
            key=key,
        )
    except UNPARSABLE as error:
        if isinstance(error, RoutineBroken):
            raise
        where = f", line {error.lineno} of its text" if isinstance(error, SyntaxError) else ""
        raise RoutineBroken(
            f"it is no Python that can be read{where}", hint="correct the file, or retire it"
        ) from error


def _defined(tree: ast.Module, name: str) -> ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef:
    for node in reversed(tree.body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == name:
            return node
    raise RoutineBroken(f"it defines no function or class {name!r} at its top level", hint="name both alike")


def read_routine(path: Path, key: bytes) -> Routine:
    """Raises RoutineBroken for what is no routine's file, also a link or a pipe; ShelfUnusable where it cannot be
    read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise RoutineBroken("it is no regular file", hint="remove it from the shelf")
            data = file.read(FILE + 1)
    except OSError as error:
        if path.is_symlink():
            raise RoutineBroken("it is a link", hint="put a file in its place") from error
        raise ShelfUnusable(f"{path}: {error.strerror}", hint="see who may read it") from error
    if len(data) > FILE:
        raise RoutineBroken(f"it has more than {FILE:,} bytes", hint="shorten it")
    try:
        contract, text = split_file(data.decode())
    except UnicodeDecodeError as error:
        raise RoutineBroken("it is not UTF-8", hint="save it as UTF-8") from error
    if contract.name != path.stem:
        raise RoutineBroken(f"it calls itself {contract.name!r}", hint=f"name the file {contract.name}.py")
    return make_routine(contract, text, key)
