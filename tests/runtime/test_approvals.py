"""A person is asked where a rule says so, and only a clear yes lets anything through: real servers and sandboxes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
from tests.egress.servers import Names, Server, serving

import mulligan
from mulligan import Answer, Question, Session
from mulligan.policies.asking import judge_request
from mulligan.policies.loading import load_policy, parse_policy
from mulligan.policies.policy import Approvals
from mulligan.runtime.approvals import Approvals as Waits
from mulligan.runtime.approvals import Asking
from mulligan.runtime.ledger import Ledger
from mulligan.runtime.matter import Matter, matter_of
from mulligan.runtime.standing import Standing
from mulligan.sandbox.egress.judgement import Asked, Judgement, Preview

SEND = """
import concurrent.futures, json, urllib.error, urllib.request
def send(url, body=b"x", method="POST"):
    try:
        return urllib.request.urlopen(urllib.request.Request(url, body, method=method)).status
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())["reason"]
def at_once(*asked):
    with concurrent.futures.ThreadPoolExecutor(len(asked)) as pool:
        return list(pool.map(lambda each: send(*each), asked))
"""


@dataclass
class Person:
    """Answers with what `says` has; remembers what it was asked. While `thinks` is clear, it does not answer."""

    says: Callable[[Question], Answer | object] = lambda question: Answer("once")
    asked: list[Question] = field(default_factory=list)
    thinks: threading.Event = field(default_factory=threading.Event)
    was_asked: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)
    until: Callable[[], bool] = lambda: True

    async def approve(self, question: Question) -> Answer:
        self.asked.append(question)
        self.was_asked.set()
        try:
            while not (self.thinks.is_set() and self.until()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return self.says(question)  # type: ignore[return-value]  # whatever it is: that is tested

    def begin(self, says: Callable[[Question], object]) -> None:
        self.says, self.asked, self.until = says, [], lambda: True
        self.thinks.set()
        self.was_asked.clear()
        self.cancelled.clear()


@dataclass
class Opened:
    session: Session
    person: Person
    server: Server
    file: Path

    @property
    def base(self) -> str:
        return f"http://site.test:{self.server.port}"

    def said(self, code: str, timeout: float | None = None) -> str:
        outcome = self.session.run(SEND + code.replace("BASE", self.base), timeout=timeout).outcome
        assert outcome.ok, outcome.text
        return outcome.stdout.strip()


POLICY = """# kept as it is
extends: [outer.yaml]
network:
  - allow: GET http://site.test:PORT/**
  - ask: "POST,PUT,HEAD http://site.test:PORT/**"
    because: it changes something there
    instead: write it to report.md
  - deny: POST http://site.test:PORT/shut/**
  - hold: PATCH http://site.test:PORT/**
approvals:
  timeout: 30   # seconds
  questions: 5
"""


@pytest.fixture(scope="module")
def shared(isolation: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    folder, names = tmp_path_factory.mktemp("policy"), Names(site_test=["127.0.0.1"])
    with serving() as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr("mulligan.sandbox.egress.dialing.resolve", names)
        (folder / "outer.yaml").write_text("widenable: [network, approvals]\n")
        file = folder / "rules.yaml"
        file.write_text(POLICY.replace("PORT", str(server.port)))
        person = Person()
        with mulligan.open(
            policy=file, isolation=isolation, state=folder / "state", approve=person.approve
        ) as session:
            yield Opened(session, person, server, file)


@pytest.fixture
def opened(shared: Opened) -> Opened:
    shared.session.reset()
    shared.session._approvals._allowed.clear()
    shared.server.seen.clear()
    shared.person.begin(lambda question: Answer("once"))
    return shared


def test_a_request_waits_until_a_person_has_answered_and_leaves_if_that_is_yes(opened: Opened) -> None:
    assert opened.said("print(send('BASE/a?key=1', b'hello'), send('BASE/', None, 'GET'))") == "200 200"
    (question,) = opened.person.asked
    assert (question.what, question.query) == (f"POST {opened.base}/a", "key=1")
    assert (question.body, question.length, question.about) == (b"hello", 5, "request")
    assert question.rule.startswith("ask POST,PUT,HEAD http://site.test") and "rules.yaml:5" in question.rule
    assert question.reason == "it changes something there"
    assert opened.server.seen == ["POST /a?key=1", "GET /"]
    with Ledger.attach(opened.session.folders.ledger) as ledger:
        told = [
            (each.kind, each.body.get("says"))
            for each in ledger.entries()
            if each.kind in ("asked", "answered")
        ]
    assert told[-2:] == [("asked", None), ("answered", "once")]


def test_no_is_told_with_why_and_holds_for_the_step(opened: Opened) -> None:
    opened.person.begin(lambda question: Answer("no", "not on a\x1b[31m Friday"))
    said = opened.said(
        "print(send('BASE/a')); print(send('BASE/b')); print(send('BASE/c', b'x', 'PUT'))"
    ).split("\n")
    assert "it changes something there (a person said no: not on a\\\\x1b[31m Friday)" in said[0]
    assert "not asked again in this step" in said[1]  # of the same kind; the third is of another
    assert [each.what.split()[0] for each in opened.person.asked] == ["POST", "PUT"]
    step = opened.session.run(SEND + f"send('{opened.base}/a')")
    assert len(opened.person.asked) == 3 and opened.server.seen == []
    assert (
        "by rule ask POST,PUT" in step.outcome.text and "instead: write it to report.md" in step.outcome.text
    )


def test_for_the_session_covers_what_the_rule_asks_of_this_method_and_host_and_nothing_else(
    opened: Opened,
) -> None:
    opened.person.begin(lambda question: Answer("session"))
    print(opened.said("print(send('BASE/a'), send('BASE/b/c'))"))
    assert [each.scope for each in opened.person.asked] == [f"POST {opened.base}/**"]
    opened.person.begin(lambda question: Answer("no"))
    assert opened.said("print(send('BASE/d'), send('BASE/shut/x')[0])") == "200 403"
    assert opened.person.asked == []  # allowed by the answer, and denied whatever was answered
    opened.said("send('BASE/e', b'x', 'PUT')")
    assert [each.scope for each in opened.person.asked] == [f"PUT {opened.base}/**"]
    assert opened.server.seen == ["POST /a", "POST /b/c", "POST /d"]


def test_what_was_answered_for_the_session_survives_kernel_sandbox_and_process(
    opened: Opened, tmp_path: Path
) -> None:
    opened.person.begin(lambda question: Answer("session"))
    opened.said("send('BASE/a')")
    opened.session.restart()
    opened.said("send('BASE/b')")
    opened.session._confined.sandbox.stop()
    opened.said("send('BASE/c')")
    assert len(opened.person.asked) == 1
    approvals = opened.session._approvals
    again = type(approvals)(
        "other", mulligan.runtime.approvals.Asking(approvals.terms), opened.session._ledger
    )
    assert (f"POST {opened.base}/**", opened.person.asked[0].rule) in again._allowed


def test_many_requests_of_one_kind_are_asked_about_once(opened: Opened) -> None:
    line = opened.session._approvals._line
    opened.person.until = lambda: bool(line) and line[0].askers == 8
    assert opened.said("print(set(at_once(*[('BASE/same', None, 'HEAD')] * 8)))") == "{200}"
    assert len(opened.person.asked) == 1  # they could not be told apart
    opened.person.begin(lambda question: Answer("once"))
    line_of_two = lambda: len(line) == 2 or len(opened.person.asked) == 2  # noqa: E731
    opened.person.until = line_of_two
    assert opened.said("print(set(at_once(*[('BASE/same', b'x')] * 2)))") == "{200}"
    assert len(opened.person.asked) == 2  # each of them may change something
    opened.person.begin(lambda question: Answer("session"))
    assert opened.said("print(set(at_once(*[(f'BASE/{n}', b'x') for n in range(5)])))") == "{200}"
    assert len(opened.person.asked) == 1  # the first answer covers them


def test_a_yes_covers_nothing_that_the_person_was_not_shown(opened: Opened) -> None:
    opened.said("urllib.request.urlopen(urllib.request.Request('BASE/h', b'x', {'X-Leak': 'secret'}))")
    assert ("x-leak", "secret") in opened.person.asked[0].headers
    opened.person.asked.clear()
    opened.said(
        "at_once(('BASE/a', b'x'), ('BASE/a', b'secret'), ('BASE/a?x', b'x'), ('BASE/a', b'y' * 5000))"
    )
    assert sorted((each.query, each.body[:6], each.length) for each in opened.person.asked) == [
        ("", b"secret", 6),
        ("", b"x", 1),
        ("", b"yyyyyy", 5000),
        ("x", b"x", 1),
    ]


def test_one_action_cannot_wear_a_person_down(opened: Opened) -> None:
    opened.said("print([send(f'BASE/{n}', b'%d' % n) for n in range(5)])")
    opened.person.asked.clear()
    said = opened.said("print([send(f'BASE/{n}', b'%d' % n) for n in range(7)])")
    assert len(opened.person.asked) == 5 and said.count("approvals.questions") == 2


def test_the_actions_clock_stands_still_while_a_person_thinks(opened: Opened) -> None:
    opened.person.thinks.clear()
    late = threading.Timer(1.5, opened.person.thinks.set)
    late.start()
    assert opened.said("print(send('BASE/a'))", timeout=1.2) == "200"
    late.join()


def test_whoever_waits_no_more_is_not_answered_and_sends_nothing(opened: Opened) -> None:
    opened.person.thinks.clear()
    said = opened.said(
        "try: urllib.request.urlopen('BASE/a', b'x', timeout=0.5)\nexcept OSError as error: print(type(error).__name__)"
    )
    assert said == "TimeoutError" and opened.person.cancelled.wait(10)
    opened.person.thinks.set()
    assert opened.said("print(send('BASE/b'))") == "200" and opened.server.seen == ["POST /b"]


def test_what_is_withdrawn_is_not_asked_again_in_other_words(opened: Opened) -> None:
    opened.person.thinks.clear()
    said = opened.said(
        "try: urllib.request.urlopen('BASE/a', b'x', timeout=0.5)\nexcept OSError: print(send('BASE/b', b'worse'))"
    )
    assert "waits no more, and not asked again in this step" in said
    assert len(opened.person.asked) == 1 and opened.server.seen == []


def test_an_undo_withdraws_what_is_asked(opened: Opened) -> None:
    step = opened.session.run("x = 1")
    opened.person.thinks.clear()
    opened.session.run(
        SEND + f"import threading; threading.Thread(target=send, args=('{opened.base}/late',)).start()"
    )
    assert opened.person.was_asked.wait(10)
    opened.session.undo(to=step.id)
    assert opened.person.cancelled.wait(10)
    opened.person.thinks.set()
    opened.said("send('BASE/b')")
    assert opened.server.seen == ["POST /b"]


def test_an_interrupt_ends_the_action_that_waits(opened: Opened) -> None:
    opened.person.thinks.clear()

    def interrupt() -> None:
        assert opened.person.was_asked.wait(10)
        opened.session.interrupt(grace=None)

    threading.Thread(target=interrupt).start()
    assert opened.session.run(SEND + f"send('{opened.base}/a')").outcome.kind == "raised"
    assert opened.person.cancelled.wait(10) and opened.server.seen == []


@pytest.mark.parametrize(
    "says",
    [
        lambda question: True,
        lambda question: Answer(cast(Any, "yes")),
        lambda question: None,
        lambda question: 1 / 0,
    ],
    ids=["no answer", "another word", "nothing", "an error"],
)
def test_what_is_no_answer_denies_and_says_so(opened: Opened, says: Callable[[Question], object]) -> None:
    opened.person.begin(says)
    said = opened.said("print(send('BASE/a'))")
    assert "so it is denied" in said and opened.server.seen == []


def test_always_writes_the_line_that_was_shown_and_leaves_the_rest_as_it_is(opened: Opened) -> None:
    before = opened.file.read_text()
    opened.person.begin(lambda question: Answer("always"))
    opened.said("send('BASE/a')")
    assert opened.person.asked[0].file == str(opened.file)
    assert opened.file.read_text() == before.replace(
        "approvals:\n", f'approvals:\n  always:\n    - "POST {opened.base}/**"\n'
    )
    assert opened.said("print(send('BASE/b'))") == "200" and len(opened.person.asked) == 1
    policy = load_policy(opened.file)
    with_it = judge_request(policy, "POST", "http", "site.test", opened.server.port, "/z")
    assert str(with_it.decision) == "allow" and "rules.yaml:12" in with_it.deciding[0].place
    opened.file.write_text(before)


def test_what_is_held_leaves_nothing_until_commit_and_nobody_is_asked(opened: Opened) -> None:
    assert opened.said("print(send('BASE/a', b'x', 'PATCH'))") == "202"
    assert opened.person.asked == [] and opened.server.seen == []


def test_closing_a_session_does_not_wait_for_a_person(isolation: str, tmp_path: Path) -> None:
    person = Person()
    policy = parse_policy("files: {read_only: [a]}\non_violation: ask")
    session = mulligan.open(policy=policy, isolation=isolation, state=tmp_path, approve=person.approve)
    running = threading.Thread(target=session.run, args=("open('a', 'w')",))
    running.start()
    assert person.was_asked.wait(20)
    session.close()
    running.join()
    assert person.cancelled.wait(10)


def test_silence_is_no_and_a_callback_that_blocks_holds_nothing_up(tmp_path: Path) -> None:
    release = threading.Event()

    async def approve(question: Question) -> Answer:
        release.wait(60)  # as a program might that asks with input()
        return Answer("always")

    asking = Asking(Approvals(timeout=0.2), approve, Standing(tmp_path / "policy.yaml"))
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        approvals = Waits("s", asking, ledger)
        for scope in ("POST a.org/**", "POST b.org/**"):
            question = Question(
                session="s", step=1, about="request", what="", rule=scope, reason="", scope=scope
            )
            decided = approvals.ask(
                replace(question, timeout=0.2), Matter(alike=None, kind=(scope,)), lambda: False
            )
            assert not decided.allowed and decided.why == "nobody answered within 0.2 s, so it is denied"
        release.set()
        approvals.close()
        assert [each.body["says"] for each in ledger.entries(kind="answered")] == ["nothing", "nothing"]
    assert not (tmp_path / "policy.yaml").exists()


def test_what_a_no_holds_for_and_what_shares_an_answer() -> None:
    judgement = Judgement(allowed=False, rule="ask", reason="", asks=True)

    def matter(method: str, scheme: str = "https", path: str = "/", *headers: tuple[str, str]) -> Matter:
        return matter_of(Asked(method, scheme, "a.org", 443, path), judgement, Preview(headers=headers))

    assert matter("FOO").kind == matter("ANY", "http", "/x").kind != matter("POST").kind
    assert matter("GET").alike == matter("GET").alike != matter("GET", "https", "/", ("a", "b")).alike
    assert [matter(*each).alike for each in (("POST",), ("FOO",), ("GET", "wss"))] == [None] * 3


def test_a_question_that_cannot_be_asked_stands_in_nobodys_way(tmp_path: Path) -> None:
    async def approve(question: Question) -> Answer:
        return Answer("once")

    class Broken(Standing):
        def would_take(self, line: str) -> bool:
            raise IndexError

    def gone() -> bool:
        raise RuntimeError("gone")

    stays = threading.Event()

    async def stay(question: Question) -> Answer:
        while not stays.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return Answer("once")

    question = Question(
        session="s", step=1, about="request", what="", rule="r", reason="", scope="POST a.org/**"
    )
    matter = Matter(alike=None, kind=("k",))
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        asking = Asking(Approvals(timeout=30), approve, Broken(tmp_path / "policy.yaml"))
        assert Waits("s", asking, ledger).ask(question, matter, lambda: False).allowed
        approvals = Waits("s", Asking(Approvals(timeout=30), stay, None), ledger)
        with pytest.raises(RuntimeError, match="gone"):
            approvals.ask(question, matter, gone)
        assert approvals._line == [] and approvals.waited() == approvals.waited()
        stays.set()
        assert approvals.ask(question, matter, lambda: False).allowed


async def _on_the_loop(isolation: str, state: Path) -> None:
    ran_on: list[object] = []

    async def approve(question: Question) -> Answer:
        ran_on.append(asyncio.get_running_loop())
        return Answer("once")

    policy = parse_policy("files: {read_only: [a]}\non_violation: ask")
    async with await mulligan.aopen(
        policy=policy, isolation=isolation, state=state, approve=approve
    ) as session:
        assert (await session.run("open('a', 'w')")).outcome.ok
    assert ran_on == [asyncio.get_running_loop()]


def test_an_event_loop_is_asked_on_itself(tmp_path: Path) -> None:
    asyncio.run(_on_the_loop("bubblewrap", tmp_path))
