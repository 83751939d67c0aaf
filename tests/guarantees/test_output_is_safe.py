"""Nothing that a person or an agent is shown can act on a terminal, hide, or pose as another line of ours."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.guarantees.conftest import Attacker

#: colours, a clipboard write, a title, a device query, C1 codes, direction marks, tag characters, line separators
EVIL = (
    "\\x1b[31mred\\x1b[2J \\x1b]52;c;aGk=\\x07 \\x1b]0;title\\x1b\\\\ \\x1bP+q\\x1b\\\\ \\x9b31m \\x07\\x08\\x0e\\x7f"
    "\\u202e\\u2066\\u061c\\u200f\\u2028\\u2029 \\x1b\\x1b[0m[31m \\U000e0041 \\x1b"
)
BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def acting(text: str) -> list[str]:
    """The characters that may not be there: controls but newline and tab, direction marks, separators, tags."""
    return [
        ascii(char)
        for char in text
        if (char not in "\n\t" and unicodedata.category(char) in ("Cc", "Zl", "Zp", "Cs"))
        or char in BIDI
        or 0xE0000 <= ord(char) <= 0xE007F
    ]


def test_the_text_of_an_outcome(attacker: Attacker) -> None:
    for code in (
        f"print('{EVIL}')",
        f"import sys; sys.stderr.write('{EVIL}')",
        f"import os; os.write(1, '{EVIL}'.encode())",
        f"'{EVIL}'",
        f"class Shown:\n    def __repr__(self): return '{EVIL}'\nShown()",
        f"from IPython.display import display; display({{'text/plain': '{EVIL}'}}, raw=True)",
        f"from IPython.display import display; display({{'{EVIL}': 1}}, raw=True)",
        f"raise ValueError('{EVIL}')",
        f"raise type('{EVIL}', (Exception,), {{}})('x')",
        f"exec(compile('1/0', '{EVIL}', 'exec'))",
        f"# {EVIL.encode().decode('unicode_escape')}\n1/0".replace("\u2028", "").replace("\u2029", ""),
    ):
        step = attacker.session.run(code)
        assert not acting(step.outcome.text), (code, acting(step.outcome.text))


def test_the_timeline(attacker: Attacker) -> None:
    source = "'''" + EVIL.encode().decode("unicode_escape").replace("\\", "") + "'''"
    attacker.session.run(source)
    assert not acting(str(attacker.session.timeline))


def test_names_of_files_in_changes_and_in_what_stands(attacker: Attacker) -> None:
    step = attacker.run(f"""
os.mkdir("plain")
for folder in ("/workspace", "/workspace/plain"):
    os.chdir(folder)
    open("{EVIL}".encode().replace(b"/", b"_")[:200], "w").close()
    open(b"two\\nlines \\xff", "w").close()
    socket.socket(socket.AF_UNIX).bind(b"s\\x1b[31m\\nx")
os.chdir("/workspace")
deleted = open("gone\\x1b[31m", "w"); os.unlink("gone\\x1b[31m")
""")
    assert step.outcome.kind == "completed", step.outcome.text
    assert step.changes
    for change in step.changes:
        assert not acting(str(change)), ascii(str(change))
        assert "\n" not in str(change), "a name must not make a line of its own"
    for line in step.reach.stands:
        assert not acting(line) and "\n" not in line, ascii(line)
    attacker.run("import glob, shutil\nfor each in os.listdir(b'.'): os.path.isdir(each) or os.unlink(each)")
    back = attacker.session.undo()
    assert any("socket" in line for line in back.stands), back
    for line in back.stands:
        assert not acting(line) and "\n" not in line, ascii(line)


def test_names_of_threads_and_processes(attacker: Attacker) -> None:
    step = attacker.run(f"""
import subprocess
threading.Thread(target=time.sleep, args=(1000,), name="{EVIL}", daemon=True).start()
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)", "{EVIL}"])
""")
    assert step.outcome.kind == "completed", step.outcome.text
    assert len(step.reach.stands) >= 2, step.reach
    later = attacker.run("x = 1")
    assert any("process" in line for line in later.reach.stands), later.reach
    attacker.run("x = 2")
    back = attacker.session.undo()
    for line in (*step.reach.stands, *later.reach.stands, *back.stands):
        assert not acting(line) and "\n" not in line, ascii(line)


def test_the_cause_of_a_loss(attacker: Attacker) -> None:
    step = attacker.run(f"os.write(1, '{EVIL}'.encode()); os.kill(os.getpid(), 11)")
    assert step.outcome.kind == "lost"
    assert not acting(step.outcome.text)


def test_conflicts_of_a_commit(opened: Callable[..., Attacker], tmp_path: Path) -> None:
    workspace = tmp_path / "work"
    workspace.mkdir()
    attacker = opened(workspace)
    attacker.run("os.symlink('/etc/passwd', 'out\\x1b[31m'); os.mkfifo('pipe\\x1b[31m\\n')")
    done = attacker.session.commit()
    assert len(done.conflicts) == 2
    assert not any(workspace.iterdir())
    assert not acting(str(done)), str(done)
