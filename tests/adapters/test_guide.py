"""What docs/embedding.md shows is run as it stands there; and who does not ask for an adapter gets none."""

from __future__ import annotations

import linecache
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "embedding.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=["smolagents", "langchain", "e2b"])
def test_the_guide_runs(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    name = "<embedding.md>"  # smolagents reads a tool's source again
    monkeypatch.setitem(linecache.cache, name, (len(block), None, block.splitlines(keepends=True), name))
    exec(compile(block, name, "exec"), {"__name__": "guide"})


def test_none_of_these_libraries_is_imported_unasked() -> None:
    look = (
        "import sys, mulligan; mulligan.open, mulligan.Pool; import mulligan.runtime.cli\n"
        "print([name for name in ('smolagents', 'langchain_core', 'langgraph') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
