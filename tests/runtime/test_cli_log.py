"""`mulligan log`: the ledger told and verified, as a real process on the ledger of a real session."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import mulligan
from mulligan.policies.policy import Actions

Log = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a session was that raised, was refused, wrote, undid, and printed escape codes."""
    state = tmp_path_factory.mktemp("state")
    policy = mulligan.Policy(actions=Actions(max_source_bytes=200))
    with mulligan.open(isolation="bubblewrap", state=state, policy=policy) as session:
        session.run("open('a\\x1b[2J.txt', 'w').write('x')")
        session.run("1 / 0  # \x1b[2J")
        session.run("x" * 300)
        session.undo()
        session.run("import os; os._exit(3)")
    return state


@pytest.fixture
def log(state: Path) -> Log:
    def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mulligan.runtime.cli", "log", *arguments, "--state", str(state)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def id(log: Log) -> str:
    return log().stdout.strip()


def test_each_proposal_verdict_outcome_change_and_move_is_told(log: Log, id: str) -> None:
    told = log(id).stdout
    for part in (
        "proposed",
        "raised after",
        "ZeroDivisionError: division by zero",
        "refused after",
        "deny by actions.max_source_bytes:",
        "undo to step 1",
        "lost after",
        "cause: exited with code 3",
    ):
        assert part in told, (part, told)


def test_a_session_is_a_trace_and_each_step_a_span_with_its_outcome(log: Log, id: str) -> None:
    spans = [json.loads(line) for line in log(id, "--otel").stdout.splitlines()]
    (root,) = [span for span in spans if span["parent_id"] is None]
    steps = {
        span["attributes"]["mulligan.step"]: span for span in spans if "mulligan.step" in span["attributes"]
    }
    assert {span["context"]["trace_id"] for span in spans} == {root["context"]["trace_id"]}
    assert {span["parent_id"] for span in steps.values()} == {root["context"]["span_id"]}
    outcomes = [steps[n]["attributes"]["mulligan.outcome"] for n in sorted(steps)]
    assert outcomes == ["completed", "raised", "refused", "lost"]
    assert steps[1]["attributes"]["mulligan.changes"] == 1
    assert steps[3]["attributes"]["mulligan.rules"] == ["actions.max_source_bytes"]
    assert [steps[n]["status"]["status_code"] for n in sorted(steps)] == ["OK", "ERROR", "ERROR", "ERROR"]
    assert "moved" in [event["name"] for event in root["events"]]
    assert "1 / 0" not in json.dumps(spans)  # no text of an action


def test_nothing_of_the_sandbox_acts_on_the_terminal(log: Log, id: str) -> None:
    told = log(id).stdout
    assert "\x1b" not in told
    assert "a\\x1b[2J.txt" in told


def test_a_proposal_is_told_with_what_its_text_seems_about_to_do(log: Log, id: str) -> None:
    told = log(id, "--step", "1").stdout
    assert "seems to write: open(" in told and "\x1b" not in told
    assert "nothing is decided by it" in told
    entry = json.loads(log(id, "--step", "1", "--json").stdout.splitlines()[0])["entry"]
    assert [each["kind"] for each in entry["advice"]] == ["writes"]


def test_one_step_can_be_asked_for(log: Log, id: str) -> None:
    entries = [json.loads(line)["entry"] for line in log(id, "--step", "2", "--json").stdout.splitlines()]
    assert [entry["kind"] for entry in entries] == ["proposed", "settled", "checkpointed"]
    assert {entry["step"] for entry in entries} == {2}


def test_the_chain_verifies_and_its_head_stays_a_witness(log: Log, id: str) -> None:
    found = json.loads(log(id, "--verify", "--json").stdout)
    assert found["entries"] == len(log(id, "--json").stdout.splitlines())
    assert found["head"] in log(id, "--verify", found["head"]).stdout


def test_a_changed_ledger_does_not_verify(log: Log, id: str, state: Path) -> None:
    head = json.loads(log(id, "--verify", "--json").stdout)["head"]
    path = state / "sessions" / id / "ledger.db"
    with closing(sqlite3.connect(path)) as other:
        other.executescript("DROP TRIGGER entries_no_update; DROP TRIGGER entries_no_delete; BEGIN")
        other.execute("UPDATE entries SET body = replace(body, '1 / 0', '1 / 1') WHERE step = 2")
        other.commit()
        told = log(id, "--verify", code=1)
        assert "is not what was recorded" in told.stderr
        other.execute("UPDATE entries SET body = replace(body, '1 / 1', '1 / 0') WHERE step = 2")
        other.commit()
        log(id, "--verify", head)
        other.execute("DELETE FROM entries WHERE id = (SELECT max(id) FROM entries)")
        other.commit()
    log(id, "--verify")  # a cut end is seen only by who has noted the head
    assert "noted earlier" in log(id, "--verify", head, code=1).stderr


@pytest.mark.parametrize("head", ["xyz", "0123", "g" * 64, "a" * 65])
def test_what_is_no_head_is_refused(log: Log, id: str, head: str) -> None:
    assert "hexadecimal" in log(id, "--verify", head, code=2).stderr


def test_an_unknown_session_is_named(log: Log) -> None:
    told = log("nobody", code=2).stderr
    assert "'nobody'" in told and "mulligan log" in told
