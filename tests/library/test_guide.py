"""docs/library.md does what it says."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from mulligan.policies.loading import parse_policy
from mulligan.runtime.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "library.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)


def test_the_guide_is_carried_out_from_its_top_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    said = io.StringIO()
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(said):
        for kind, text in BLOCKS:
            if kind == "python":
                exec(compile(text, str(PAGE), "exec"), names)
            elif kind == "yaml":
                parse_policy(text, origin="guide")
            else:
                for line in text.splitlines():
                    assert main(shlex.split(line)[1:]) == 0, line
    lines = said.getvalue().splitlines()
    assert "['slugify'] {}" in lines
    assert any(line.startswith("passed   slugify: 1 example, twice") for line in lines)
    assert "trusted     slugify 1  Make a slug of a title." in lines
    assert "a-second-session" in lines
    assert any("def slugify(text: str) -> str" in line for line in lines)
