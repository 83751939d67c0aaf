"""What docs/repl.md shows is what happens, but for the times."""

from __future__ import annotations

import re
from pathlib import Path

from tests.repl.terminal import Terminal

PAGE = Path(__file__).parents[2] / "docs" / "repl.md"
BLOCKS = re.findall(r"^```\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
_TIME = re.compile(r"\d+ ms|\d+\.\d s")
_PROMPT = re.compile(r"^\[(\d+)\]> (.*)$")


def words(line: str) -> str:
    return _TIME.sub("TIME", line).strip()


def test_the_guide_is_what_happens(any_isolation: str, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "sales.csv").write_text("product,sold\ntea,3\nrope,9\noars,2\n")
    lines = [line for block in BLOCKS for line in block.splitlines()]
    assert len(lines) > 20
    with Terminal(folder, tmp_path / "state", "--isolation", any_isolation, size=(50, 100)) as repl:
        repl.until("Ctrl-D leaves")
        repl.prompt()
        said: list[str] = []
        for line in lines:
            if typed := _PROMPT.match(line):
                assert [shown for shown in repl.display if shown][-1] == f"[{typed[1]}]>"
                said = [words(each) for each in repl.run(typed[2]).splitlines()]
            else:
                assert words(line) in said, (line, said)
