"""A person is asked while the REPL has the terminal."""

from __future__ import annotations

from pathlib import Path

from tests.repl.terminal import Terminal

POLICY = 'files:\n  writable: ["out/**"]\non_violation: ask\n'


def test_a_question_is_asked_between_output_and_prompt_and_answered_there(
    any_isolation: str, tmp_path: Path
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (tmp_path / "policy.yaml").write_text(POLICY)
    with Terminal(
        folder, tmp_path / "state", "--isolation", any_isolation, "--policy", "../policy.yaml"
    ) as repl:
        repl.until("Ctrl-D leaves")
        repl.prompt()
        repl.enter("_ = open('a.txt', 'w').write('x')")
        repl.until("or it is no: ")
        repl.send("n\r")
        repl.until("why, for the agent")
        repl.send("not there\r")
        assert "reverted" in repl.prompt()
        said = repl.run(":why")
        assert "a.txt" in said and "out/**" in said
        repl.enter("_ = open('a.txt', 'w').write('x')")
        repl.until("or it is no: ")
        repl.send("o\r")
        assert "+1  a.txt" in repl.prompt()
        assert "'x'" in repl.run("open('a.txt').read()")
