"""A secret of the host's goes where its rule says, and is nowhere in the sandbox, in what it prints, or on the disk."""

from __future__ import annotations

import base64
import gzip
import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import keyring
import pytest
from keyrings.alt.file import PlaintextKeyring
from tests.egress.servers import Handler, Names, Server, serving

import mulligan
from mulligan import Session
from mulligan.policies.errors import PolicyError
from mulligan.policies.loading import parse_policy
from mulligan.runtime.unlocking import unlock
from mulligan.sandbox.egress.errors import Denied
from mulligan.sandbox.egress.judgement import Asked
from mulligan.sandbox.egress.secrets import Secret, Secrets
from mulligan.sandbox.egress.wire import Wire
from mulligan.sandbox.messages import Event, Stream
from mulligan.sandbox.redaction import Redactor, forms
from mulligan.sandbox.redaction import Stream as Passing

VALUE = "sk-7Qe/9+xZ%4aB~tT0"

SEND = """
import base64, json, os, urllib.error, urllib.request
TOKEN = os.environ["API_TOKEN"]
def send(url, **headers):
    asked = urllib.request.Request(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    try:
        return urllib.request.urlopen(asked).read().decode()
    except urllib.error.HTTPError as error:
        return json.loads(error.read())["reason"]
"""


class Echo(Handler):
    """/as/FORM gives what came in X-Token back in that form, in small pieces; /zip gives it compressed."""

    tokens: list[str]

    def do_GET(self) -> None:
        given = self.headers.get("X-Token", "") + self.headers.get("Authorization", "")
        Echo.tokens.append(given)
        self.server.seen.append(self.path)
        told = {
            "/as/plain": given, "/as/hex": given.encode().hex(),
            "/as/base64": base64.b64encode(given.encode()).decode(),
            "/as/shifted": base64.b64encode(b"ab" + given.encode() + b"c").decode(), "/as/url": quote(given, safe=""),
        }.get(self.path, f"range {self.headers.get('Range')} coding {self.headers.get('Accept-Encoding')}")  # fmt: skip
        body = gzip.compress(given.encode()) if self.path == "/zip" else told.encode()
        self.send_response(200)
        self.send_header("X-Echo", given)
        if self.path == "/zip":
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at in range(0, len(body), 3):
            piece = body[at : at + 3]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    Echo.tokens = []
    with serving(handler=Echo) as found:
        yield found


@pytest.fixture(scope="module")
def shared(isolation: str, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    policy = f"""
network:
  - allow: ["GET http://site.test:{server.port}/**", "GET http://*:{server.port}/none"]
    uses: API_TOKEN
  - allow: GET http://other.test:{server.port}/**
secrets: {{API_TOKEN: environment:TEST_SECRET}}
"""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_SECRET", VALUE)
        names = Names(site_test=["127.0.0.1"], other_test=["127.0.0.1"])
        patch.setattr("mulligan.sandbox.egress.dialing.resolve", names)
        state = tmp_path_factory.mktemp("state")
        with mulligan.open(policy=parse_policy(policy), isolation=isolation, state=state) as session:
            yield session


@pytest.fixture
def session(shared: Session) -> Session:
    shared.reset()
    Echo.tokens.clear()
    return shared


def said(session: Session, code: str, server: Server) -> str:
    code = code.replace("SITE", f"http://site.test:{server.port}").replace(
        "OTHER", f"http://other.test:{server.port}"
    )
    outcome = session.run(SEND + code).outcome
    assert outcome.ok, outcome.text
    return outcome.stdout.strip()


def everything(session: Session) -> bytes:
    """All that the session has on the host's disk."""
    return b"\0".join(path.read_bytes() for path in session.folders.root.rglob("*") if path.is_file())


def test_the_server_has_the_value_and_the_sandbox_a_placeholder(session: Session, server: Server) -> None:
    echoed = said(session, "print(TOKEN, send('SITE/as/plain', X_Token='Bearer ' + TOKEN))", server)
    assert Echo.tokens == [f"Bearer {VALUE}"]
    assert echoed.startswith("mulligan-") and echoed.endswith(f"Bearer {'*' * len(VALUE)}")
    code = "print(send('SITE/x', Authorization='Basic ' + base64.b64encode(f'me:{TOKEN}'.encode()).decode()))"
    said(session, code, server)
    assert base64.b64decode(Echo.tokens[-1].split()[1]) == f"me:{VALUE}".encode()
    said(session, "send('SITE/q?key=' + TOKEN)", server)
    assert server.seen[-1] == f"/q?key={quote(VALUE, safe='')}"


@pytest.mark.parametrize("form", ["plain", "base64", "shifted", "hex", "url"])
def test_what_a_server_echoes_is_taken_out_however_it_is_cut(
    session: Session, server: Server, form: str
) -> None:
    got = said(session, f"print(send('SITE/as/{form}', X_Token=TOKEN))", server)
    assert Echo.tokens == [VALUE] and "****" in got
    assert not [each for each in forms(VALUE.encode()) if each.decode() in got]


def test_a_head_that_echoes_it_and_later_answers_are_looked_through_too(
    session: Session, server: Server
) -> None:
    code = """
with urllib.request.urlopen(urllib.request.Request('SITE/as/plain', headers={'X-Token': TOKEN})) as answer:
    print(answer.headers['X-Echo'])
print(send('SITE/x', Range='bytes=0-3', Accept_Encoding='gzip'))
"""
    assert said(session, code, server).split("\n") == ["*" * len(VALUE), "range None coding identity"]


def test_what_could_hide_it_does_not_come_in(session: Session, server: Server) -> None:
    assert "a secret could hide in it" in said(session, "print(send('SITE/zip', X_Token=TOKEN))", server)


@pytest.mark.parametrize("where", ["OTHER/x", "SITE/as/TOKEN"])
def test_a_placeholder_elsewhere_is_denied_and_said(session: Session, server: Server, where: str) -> None:
    url = f"'{where}'.replace('TOKEN', TOKEN)"
    got = said(session, f"print(send({url}, **({{}} if 'as' in {url} else {{'X_Token': TOKEN}})))", server)
    assert got in (
        "the secret API_TOKEN is used by no rule that allows this request",
        "a secret is put into no path",
    )
    assert Echo.tokens == []
    coded = "'Basic ' + base64.b64encode(b':' + TOKEN.encode()).decode()"
    assert "used by no rule" in said(session, f"print(send('OTHER/x', Authorization={coded}))", server)
    assert Echo.tokens == []


def test_what_is_printed_raised_and_written_down_is_without_it(session: Session, server: Server) -> None:
    """As if it had come in by another way: in pieces, so that no source of an action holds it."""
    halves = f"a, b = {VALUE[:7]!r}, {VALUE[7:]!r}\n"
    events: list[Event] = []
    step = session.run(
        f"import sys, base64\n{halves}sys.stdout.write('x' + a); sys.stdout.flush()\n"
        "import time; sys.stdout.write(b + 'y\\n'); sys.stdout.flush()\n"
        "print('z' * 100_000); print((a + b).encode().hex(), base64.b64encode((' ' + a + b).encode()))\n"
        "display({'text/plain': a + b}, raw=True)\nraise ValueError(a + b)",
        on_event=events.append,
    )
    session.run(f"{halves}print(a, end='', flush=True); display(1); print(b)\na + b")
    hidden = [form.decode() for form in forms(VALUE.encode())]
    shown = "".join(each.text for each in events if isinstance(each, Stream)) + str(events)
    for text in (shown, step.outcome.text, str(step.outcome), str(session.timeline.nodes[step.id])):
        assert not [form for form in hidden if form in text]
    assert f"x{'*' * len(VALUE)}y\n" in step.outcome.stdout and "ValueError: ****" in step.outcome.text
    assert not [form for form in hidden if form.encode() in everything(session)]


def test_in_pieces_of_any_size_nothing_of_it_passes() -> None:
    chance = random.Random(1)
    for _ in range(300):
        value = chance.randbytes(chance.randrange(8, 40))
        around = chance.randbytes(chance.randrange(5)), chance.randbytes(chance.randrange(5))
        redactor = Redactor([value])
        whole = around[0] + value + around[1]
        for data in (whole, whole.hex().encode(), base64.b64encode(whole), base64.urlsafe_b64encode(whole)):
            passing, got = Passing(redactor), b""
            at = 0
            while at < len(data):
                size = chance.randrange(1, 12)
                got += passing.add(data[at : at + size])
                at += size
            got += passing.end()
            assert len(got) == len(data) and b"****" in got
            assert not [form for form in forms(value) if form in got]


def test_nobody_between_can_read_along() -> None:
    near, far = socket.socketpair()
    with near, far, pytest.raises(Denied, match="over TLS alone"):
        secrets = Secrets([Secret("A", "p", VALUE)])
        secrets.check_way(Wire(near, 1, 1), Asked("GET", "http", "site.test", 80, "/"))


@pytest.mark.parametrize(
    "value", ["short1!", "password", "aaaaaaaaaaaaaaaaaaaa", "with a space 123", "é" * 12, "line\nline-9Xq"]
)
def test_a_value_that_cannot_be_kept_is_refused_and_not_told(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_SECRET", value)
    text = "network: [{allow: GET a.org/**, uses: TOKEN}]\nsecrets: {TOKEN: environment:TEST_SECRET}"
    with pytest.raises(PolicyError) as raised:
        unlock(parse_policy(text))
    assert value not in f"{raised.value}{raised.value.hint}" and "'TOKEN'" in str(raised.value)


def test_a_secret_that_is_not_there_opens_no_session(tmp_path: Path) -> None:
    for place in ("environment:NOT_SET_HERE", f"file:{tmp_path}/none"):
        policy = parse_policy(
            f"network: [{{allow: GET a.org/**, uses: TOKEN}}]\nsecrets: {{TOKEN: '{place}'}}"
        )
        with pytest.raises(PolicyError, match="the secret 'TOKEN' is not at"):
            mulligan.open(policy=policy, state=tmp_path)
    (tmp_path / "token").write_text(VALUE + os.linesep)
    found = unlock(
        parse_policy(f"network: [{{allow: GET a.org/**, uses: T}}]\nsecrets: {{T: 'file:{tmp_path}/token'}}")
    )
    assert found is not None and VALUE not in repr(found.__dict__["_secrets"])
    assert found.redactor.text(VALUE) == "*" * len(VALUE)


def test_a_keyring_keeps_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PlaintextKeyring, "file_path", str(tmp_path / "keys.cfg"))  # where it keeps them
    before = keyring.get_keyring()
    keyring.set_keyring(PlaintextKeyring())
    try:
        policy = parse_policy("network: [{allow: GET a.org/**, uses: T}]\nsecrets: {T: 'keyring:site/me'}")
        with pytest.raises(PolicyError, match="no 'site/me', for the secret 'T'"):
            unlock(policy)
        keyring.set_password("site", "me", VALUE)
        found = unlock(policy)
    finally:
        keyring.set_keyring(before)
    assert found is not None and found.redactor.text(f"({VALUE})") == f"({'*' * len(VALUE)})"
