"""What a rule holds waits for the commit: it is sent once, in order, and not at all where its step was undone."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.egress.servers import Handler, Names, Server, serving

import mulligan
from mulligan import Session
from mulligan.runtime.ledger import Ledger

SECRET = "tr0ub4dor-and-3-more-words"
SEND = """
import json, os, socket, urllib.error, urllib.request
def send(path, body=b"x", method="POST", **headers):
    request = urllib.request.Request(BASE + path, body, headers, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
def raw(text):
    with socket.create_connection(("127.0.0.1", 3128)) as sock:
        sock.sendall(text.replace("\\n", "\\r\\n").encode())
        sock.shutdown(socket.SHUT_WR)
        return sock.recv(4096).split(b" ")[1].decode()
"""


@dataclass
class Sender:
    session: Session
    server: Server
    names: Names
    folder: Path
    ledger: Path

    def run(self, code: str) -> mulligan.Step:
        return self.session.run(code, timeout=60)

    def said(self, code: str) -> str:
        outcome = self.run(code).outcome
        assert outcome.kind == "completed", outcome.text
        return outcome.stdout.strip()

    def entries(self, kind: str) -> list[dict[str, object]]:
        with Ledger.attach(self.ledger) as ledger:
            return [dict(entry.body) for entry in ledger.entries(kind=kind)]


class _Noting(Handler):
    """Notes what each request brought, and hangs up on /rude."""

    def do_POST(self) -> None:
        if self.path == "/rude":
            self.server.seen.append("POST /rude")
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.seen.append(f"POST {self.path} {body.decode()} {self.headers.get('X-Token', '')}".strip())
        self._answer(b"{}")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(handler=_Noting) as found:
        yield found


@pytest.fixture(scope="module")
def opened(any_isolation: str, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sender]:
    names, folder = Names(site_test=["127.0.0.1"]), tmp_path_factory.mktemp("work")
    (folder / "kept.txt").write_text("as it was")
    rules = tmp_path_factory.mktemp("rules") / "rules.yaml"
    rules.write_text(f"""
secrets: {{TOKEN: environment:MULLIGAN_TEST_TOKEN}}
network:
  - allow: GET http://site.test:{server.port}/**
  - hold: POST http://site.test:{server.port}/**
    because: mail goes out with the work
    uses: [TOKEN]
  - deny: POST http://site.test:{server.port}/never
budgets: {{messages: 12, bytes_out: 3 MB}}
""")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mulligan.sandbox.egress.dialing.resolve", names)
        patch.setenv("MULLIGAN_TEST_TOKEN", SECRET)
        state = tmp_path_factory.mktemp("state")
        with mulligan.open(folder, policy=rules, isolation=any_isolation, state=state) as session:
            session.run(f"BASE = 'http://site.test:{server.port}'" + SEND)
            yield Sender(session, server, names, folder, session.folders.ledger)


@pytest.fixture
def sender(opened: Sender) -> Sender:
    opened.session.goto(1)
    opened.server.seen.clear()
    return opened


def test_what_a_thread_asks_for_after_an_action_that_was_refused_belongs_to_the_step_before(
    sender: Sender,
) -> None:
    step = sender.run(
        "import os, threading, time\n"
        "def later():\n"
        "    while not os.path.exists('go'): time.sleep(0.01)\n"
        "    send('/later')\n"
        "threading.Thread(target=later, daemon=True).start()"
    )
    assert sender.run("#" * (2 << 20)).outcome.kind == "refused"
    before = len(sender.entries("effect_held"))
    (sender.session.workspace / "go").touch()
    while len(sender.entries("effect_held")) == before:
        threading.Event().wait(0.01)
    assert [each.step for each in sender.session.held] == [step.id]


def test_what_is_held_is_sent_in_order_when_it_is_committed_and_only_once(sender: Sender) -> None:
    step = sender.run("print(send('/a', b'one'), send('/b', b'two')); open('new.txt', 'w').write('x')")
    assert "202" in step.outcome.stdout and "mail goes out with the work" in step.outcome.stdout
    assert "is held: it is sent at the next commit" in step.outcome.text
    assert [(each.held, each.denied, each.stands) for each in step.effects] == [(True, False, False)] * 2
    assert sender.server.seen == []
    assert [each.step for each in sender.session.held] == [step.id] * 2
    recorded = sender.entries("effect_held")[-1]
    assert base64.b64decode(str(recorded["body"])) == b"two"
    done = sender.session.commit()
    assert (sender.folder / "new.txt").read_text() == "x"
    assert sender.server.seen == ["POST /a one", "POST /b two"]
    assert [(each.state, each.status) for each in done.sent] == [("sent", 200)] * 2 and done.held == ()
    assert not sender.session.held
    back = sender.session.uncommit()
    assert not (sender.folder / "new.txt").exists() and back.sent == done.sent  # which stand
    assert sender.session.commit().sent == ()
    # it stands, whatever is taken back now
    assert "POST /a was sent" in "\n".join(sender.session.undo().stands).replace(
        f"http://site.test:{sender.server.port}", ""
    )
    sender.session.redo()
    assert sender.session.commit().sent == () and len(sender.server.seen) == 2
    effect = sender.entries("effect")[-1]
    assert effect["held"] == recorded["number"]


def test_undo_drops_what_a_step_holds_and_redo_brings_it_back(sender: Sender) -> None:
    sender.run("send('/a')")
    sender.session.undo()
    assert not sender.session.held
    assert sender.session.commit().sent == ()
    sender.session.redo()
    assert len(sender.session.held) == 1
    sender.session.undo()
    assert sender.server.seen == []


def test_a_step_that_is_taken_back_holds_nothing(sender: Sender) -> None:
    step = sender.run("send('/a'); os.kill(os.getpid(), 9)")
    assert step.outcome.kind == "lost"
    assert not sender.session.held
    assert sender.session.commit().sent == () and sender.server.seen == []


def test_the_name_is_looked_up_and_checked_anew_when_it_is_sent(sender: Sender) -> None:
    sender.run("send('/a')")
    sender.names.table["site.test"] = ["169.254.169.254"]
    try:
        done = sender.session.commit()
    finally:
        sender.names.table["site.test"] = ["127.0.0.1"]
    assert done.sent == () and "no name may lead to" in done.held[0].error
    assert "could not be sent" in str(done.held[0]) and sender.entries("held_failed")
    assert [each.state for each in sender.session.commit().sent] == ["sent"]


def test_where_no_answer_came_it_may_have_been_sent_and_is_not_sent_again(sender: Sender) -> None:
    sender.run("send('/rude'); send('/after')")
    rude, after = sender.session.commit().sent
    assert rude.state == "unknown" and "may have been sent" in str(rude)
    assert after.state == "sent"
    assert sender.session.commit().sent == ()
    assert sender.server.seen == ["POST /rude", "POST /after x"]


def test_nothing_is_sent_where_files_conflict_unless_it_is_said(sender: Sender) -> None:
    sender.run("send('/a'); open('kept.txt', 'w').write('mine')")
    before = (sender.folder / "kept.txt").read_text()
    (sender.folder / "kept.txt").write_text("theirs")
    done = sender.session.commit()
    assert done.conflicts and done.sent == () and [each.error for each in done.held] == [""]
    assert sender.session.commit(send=False).sent == ()
    assert len(sender.session.commit(send=True).sent) == 1
    (sender.folder / "kept.txt").write_text(before)


def test_what_is_held_has_a_placeholder_and_what_is_sent_has_the_secret(sender: Sender) -> None:
    assert sender.said("print(send('/a', **{'X-Token': os.environ['TOKEN']})[0])") == "202"
    assert SECRET not in str(sender.entries("effect_held"))
    assert "mulligan-" in str(sender.entries("effect_held")[-1]["headers"])
    sender.session.commit()
    assert sender.server.seen == [f"POST /a x {SECRET}"]


def test_no_length_that_lies_and_no_body_that_is_too_large_is_held(sender: Sender) -> None:
    head = "POST {BASE}/a HTTP/1.1\\nHost: site.test:{PORT}\\n"
    sender.run(f"PORT = {sender.server.port}")
    short = f"print(raw(f'{head}Content-Length: 10\\n\\nabc'))"
    two = f"print(raw(f'{head}Content-Length: 3\\nContent-Length: 4\\n\\nabcd'))"
    both = f"print(raw(f'{head}Content-Length: 3\\nTransfer-Encoding: chunked\\n\\n0\\n\\n'))"
    assert [sender.said(code) for code in (short, two, both)] == ["408", "400", "400"]
    assert sender.said("print(send('/a', bytes((1 << 20) + 1))[0])") == "413"
    # what follows a body is another request, and judged as one
    after = f"print(raw(f'{head}Content-Length: 1\\n\\nx{head.replace('/a', '/never')}\\n'))"
    assert sender.said(after) == "202"
    assert [each.size for each in sender.session.held] == [1]
    sender.session.undo()


def test_a_rule_that_denies_is_stricter_and_a_websocket_cannot_be_held(sender: Sender) -> None:
    assert sender.said("print(send('/never')[0])") == "403"
    assert not sender.session.held


def test_a_flood_is_bounded(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mulligan.runtime.outbox.LARGEST", sender.session._outside.outbox._bytes + 2)  # type: ignore[union-attr]
    said = sender.said("print([send('/a')[0] for _ in range(3)], send('/a')[1]['rule'])")
    assert said == "[202, 202, 403] network.held"
    sender.session.undo()


def test_no_more_is_sent_or_held_than_the_budget_has_and_undo_gives_back_what_was_held(
    sender: Sender,
) -> None:
    told = sender.said("print(*[send('/a')[0] for _ in range(12)], send('/a')[1].get('rule'))").split()
    assert set(told[:-1]) == {"202", "403"} and told[-1] == "budgets.messages"
    sender.session.undo()
    assert sender.said("print(send('/a')[0])") == "202"
    sender.session.undo()


def test_no_more_bytes_leave_than_the_budget_has(sender: Sender) -> None:
    """The last: nothing leaves after it."""
    told = sender.said("print(*[send('/g', bytes(900_000), 'GET')[0] for _ in range(4)])").split()
    assert told == ["200", "200", "200", "403"]
    assert "budgets.bytes_out" in str(sender.entries("effect_denied")[-1])
    assert sender.said("print(send('/g', b'', 'GET')[0])") == "200"
