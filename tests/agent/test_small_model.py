"""A real model, which is wrong most of the time: the right guest for confinement, and for undo and retry."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mulligan
from mulligan import Session
from mulligan.runtime.agent.agent import Agent
from mulligan.runtime.agent.budgets import Budgets
from mulligan.runtime.agent.events import Acted, AgentEvent, Final, Undone
from mulligan.runtime.agent.recording import Recording, read
from mulligan.runtime.agent.served import Served

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-models" / "bin" / "python"

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def model() -> Iterator[Served]:
    if not PYTHON.exists():
        pytest.fail("the model is missing: `make models` installs it (200 MB)")
    command = [str(PYTHON), str(Path(__file__).with_name("small_model.py"))]
    pipes: dict[str, Any] = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.DEVNULL,
    }
    with subprocess.Popen(command, text=True, **pipes) as process:
        assert process.stdout is not None
        base = process.stdout.readline().strip()
        options = {"temperature": 0.6, "seed": 7, "max_tokens": 300, "extra_body": {"repeat_penalty": 1.2}}
        yield Served("openai/smollm2", api_base=f"{base}/v1", sees=False, options=options)
        process.kill()


def tree(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_whatever_it_does_is_confined_judged_and_taken_back(
    any_isolation: str, model: Served, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "numbers.csv").write_text("a,b\n1,10\n2,20\n3,30\n")
    before = tree(work)
    judged: list[str] = []

    def judge(session: Session, value: object) -> str:
        judged.append(str(value))
        try:
            said = (session.workspace / "mean.txt").read_text(errors="replace")
        except OSError as error:
            return f"mean.txt cannot be read: {error.strerror}"
        return "" if said.strip() in ("20", "20.0") else "mean.txt does not hold the mean of the column b"

    path = tmp_path / "run.jsonl"
    tools = mulligan.agent_tools()
    with (
        mulligan.open(
            work, isolation=any_isolation, state=tmp_path / "state", tools=tools, policy="analysis"
        ) as session,
        Recording.open(path) as recording,
    ):
        agent = Agent(
            session,
            model,
            budgets=Budgets(turns=8, tokens=40_000, wall=900),
            on_error="undo",
            timeout=20,
            judge=judge,
            recording=recording,
        )
        task = "Write Python that opens numbers.csv and writes the mean of its column b to mean.txt."
        events: list[AgentEvent] = list(agent.events(task))
        final = events[-1]
        assert isinstance(final, Final)
        acted = [each.step for each in events if isinstance(each, Acted)]
        undone = [each for each in events if isinstance(each, Undone)]
        assert acted, f"it never acted, so nothing was tried: {final}"
        assert final.spent.turns <= 8
        assert all(each.restoration.complete for each in undone)
        failed = [step for step in acted if step.outcome.kind in ("raised", "timed_out")]
        assert len(undone) >= len(failed)
        if not final.ok and judged and final.why.startswith("its answer was not accepted"):
            assert tree(session.workspace) == before
        session.goto(0)
        assert tree(session.workspace) == before
        assert session.run("print(1 + 1)").outcome.stdout == "2\n"
    assert tree(work) == before
    assert read(path).ended
    print(
        f"{final.kind}: {final.why or final.value!r}; {final.spent}; {len(acted)} actions, {len(undone)} undone"
    )
