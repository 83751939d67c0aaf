"""The guest runs in images that know nothing of Mulligan: it may import only what a kernel brings."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

GUEST = Path(__file__).parents[2] / "sandbox" / "guest"
BROUGHT_BY_A_KERNEL = {"zmq", "jupyter_client", "IPython", "ipykernel", "traitlets", "tornado"}


def imported(file: Path) -> Iterator[str]:
    """The absolute names that a module imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


def test_the_guest_imports_only_what_a_kernel_brings() -> None:
    offered = {
        folder.name for folder in (GUEST / "offered").iterdir()
    }  # what it puts on the path of Python itself
    allowed = BROUGHT_BY_A_KERNEL | sys.stdlib_module_names | offered
    files = sorted(GUEST.rglob("*.py"))
    assert files
    names = {(file.name, name) for file in files for name in imported(file)}
    assert {(file, name) for file, name in names if name.split(".")[0] not in allowed} == set()


def test_of_the_jupyter_client_the_guest_imports_no_more_than_the_kernel_needs() -> None:
    names = {name for file in GUEST.rglob("*.py") for name in imported(file)}
    assert {name for name in names if name.startswith("jupyter_client")} <= {
        "jupyter_client.session",
        "jupyter_client.connect",
        "jupyter_client.kernelspec",  # by what stands before another kernel
    }
