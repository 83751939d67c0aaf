"""A person is asked about calls of tools, where a rule says so."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import mulligan
from mulligan.policies.loading import parse_policy

CALLED: list[str] = []


def send(to: str, text: str = "") -> None:
    CALLED.append(to)


RULES = """
tools:
  - ask: send
    because: a message cannot be taken back
  - deny: send(to=*@bad.org)
"""


def test_a_call_waits_for_a_person_and_their_answer_covers_what_it_says(
    any_isolation: str, tmp_path: Path
) -> None:
    CALLED.clear()
    asked: list[mulligan.Question] = []
    answers = iter(["no", "once", "session"])

    async def approve(question: mulligan.Question) -> mulligan.Answer:
        asked.append(question)
        return mulligan.Answer(next(answers), why="because")  # type: ignore[arg-type]

    policy = parse_policy(RULES, origin="rules.yaml")
    how = {"isolation": any_isolation, "state": tmp_path}
    with mulligan.open(**how, policy=policy, tools=[send], approve=approve) as session:  # type: ignore[arg-type]
        refused = session.run("from tools import send; send('a@a.org', '\\x1b[2J')").outcome
        again = session.run("send('b@a.org'); send('c@a.org'); send('d@a.org')").outcome
        bad = session.run("send('e@bad.org')").outcome
        assert session.ungranted == ()
    assert refused.error is not None and refused.error.name == "PermissionError"
    assert "a person said no: because" in refused.error.value
    assert again.kind == "completed" and CALLED == ["b@a.org", "c@a.org", "d@a.org"]
    assert bad.error is not None and "deny send(to=*@bad.org)" in bad.error.value
    assert [each.about for each in asked] == ["call"] * 3 and asked[0].choices == ("once", "session", "no")
    text = asked[0].text()
    assert (
        "step 1 would call:" in text and "send(to='a@a.org', text='\\x1b[2J')" in text and "\x1b" not in text
    )
    assert "a message cannot be taken back" in text and asked[0].scope == "tool send"


def test_a_yes_that_comes_when_nobody_waits_any_more_calls_nothing(
    any_isolation: str, tmp_path: Path
) -> None:
    CALLED.clear()
    hung_up = threading.Event()

    async def approve(question: mulligan.Question) -> mulligan.Answer:
        await asyncio.to_thread(hung_up.wait, 60)
        return mulligan.Answer("once")

    def heard(event: object) -> None:
        hung_up.set()

    source = """
import json, socket, struct
text = json.dumps({"tool": "send", "arguments": {"to": "a@a.org"}}).encode()
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect("/run/mulligan/tools.sock")
    sock.sendall(struct.pack("!II", len(text), 0) + text)
print("hung up", flush=True)
"""
    policy = parse_policy(RULES, origin="rules.yaml")
    how = {"isolation": any_isolation, "state": tmp_path}
    with mulligan.open(**how, policy=policy, tools=[send], approve=approve) as session:  # type: ignore[arg-type]
        assert session.run(source, on_event=heard).outcome.kind == "completed"
        session.undo()
    assert hung_up.is_set() and CALLED == []


def test_where_nobody_can_be_asked_it_is_denied_and_the_session_says_so(
    any_isolation: str, tmp_path: Path
) -> None:
    CALLED.clear()
    policy = parse_policy(RULES, origin="rules.yaml")
    with mulligan.open(isolation=any_isolation, state=tmp_path, policy=policy, tools=[send]) as session:
        outcome = session.run("from tools import send; send('a@a.org')").outcome
        assert session.ungranted == ("tools on approval (1 rule): nobody is there to be asked",)
    assert CALLED == [] and outcome.error is not None and "nobody is there to be asked" in outcome.error.value


def test_a_call_that_is_held_is_denied(any_isolation: str, tmp_path: Path) -> None:
    policy = parse_policy("tools: [{hold: send}]", origin="rules.yaml")
    with mulligan.open(isolation=any_isolation, state=tmp_path, policy=policy, tools=[send]) as session:
        outcome = session.run("from tools import send; send('a@a.org')").outcome
        assert session.ungranted == ("tools held until commit (1 rule)",)
    assert outcome.error is not None and "nothing is kept back until commit yet" in outcome.error.value
