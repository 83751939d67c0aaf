"""Requests are effects: recorded before they leave, told with the step, and never passed over by undo."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler
from importlib.metadata import distribution
from pathlib import Path

import pytest
from tests.egress.online import Online, online
from tests.egress.servers import Names, Rules, Server, TestAuthority, serving

from mulligan.runtime.ledger import Ledger

#: what the clients need that no image need have, copied into the workspace
CLIENTS = (
    *(
        "requests",
        "urllib3",
        "idna",
        "certifi",
        "charset-normalizer",
        "httpx",
        "httpcore",
        "h11",
        "anyio",
        "aiohttp",
    ),
    *(
        "multidict",
        "yarl",
        "frozenlist",
        "propcache",
        "aiosignal",
        "attrs",
        "aiohappyeyeballs",
        "typing_extensions",
    ),
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TestAuthority:
    return TestAuthority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("work")
    for name in CLIENTS:
        for file in distribution(name).files or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                target = work / "site" / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(Path(str(file.locate())), target)
    return work


@pytest.fixture(scope="module")
def opened(
    isolation: str, workspace: Path, authority: TestAuthority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Online]:
    names, state = Names(site_test=["127.0.0.1"]), tmp_path_factory.mktemp("state")
    with online(isolation, state, Rules(), names, workspace, authority.pem) as found:
        yield found


@pytest.fixture
def session(opened: Online, server: Server) -> Online:
    opened.session.reset()
    opened.rules.allow, opened.rules.inside = ["*"], ["*"]
    server.seen.clear()
    opened.said(f"""
import urllib.request
base = "http://site.test:{server.port}"
def send(path, method="POST"):
    body = b"x" if method == "POST" else None
    return urllib.request.urlopen(urllib.request.Request(base + path, body, method=method)).status
""")
    return opened


def test_requests_belong_to_their_step_and_are_in_the_ledger_before_and_after(
    session: Online, server: Server
) -> None:
    session.rules.allow = ["* *://site.test:*/ok"]
    step = session.run("print(send('/ok?key=secret'), send('/ok', 'GET'))\nsend('/no')")
    assert step.outcome.stdout == "200 200\n"
    base = f"http://site.test:{server.port}"
    assert [(each.what, each.reversibility, each.status, each.denied) for each in step.effects] == [
        (f"POST {base}/ok", "irreversible", 200, False),
        (f"GET {base}/ok", "read", 200, False),
        (f"POST {base}/no", "irreversible", None, True),
    ]
    assert f"[network: denied POST {base}/no by rule none: no rule allows it; instead: ask for a rule]" in (
        step.outcome.text
    )
    assert step.reach.sent == (f"POST {base}/ok was sent and answered with 200",) and not step.reach.exact
    assert session.session.reach(step.id).sent == step.reach.sent
    with Ledger.attach(session.session.folders.ledger) as ledger:
        kinds = [entry.kind for entry in ledger.entries(step=step.id) if entry.kind.startswith("effect")]
        bodies = [str(entry.body) for entry in ledger.entries(step=step.id, kind="effect")]
    assert kinds == ["effect", "effect_answered", "effect", "effect_answered", "effect_denied"]
    assert "'query': 'key'" in bodies[0] and "secret" not in "".join(bodies)


def test_undo_lists_what_was_sent_since_and_redo_does_not(session: Online, server: Server) -> None:
    base = f"http://site.test:{server.port}"
    sent = {path: f"POST {base}{path} was sent and answered with 200" for path in ("/1", "/2", "/3")}
    first = session.run("send('/1')")
    second = session.run("send('/2'); send('/read', 'GET')")
    assert session.session.undo().stands == (sent["/2"],)
    assert session.session.redo().stands == ()
    third = session.run("x = 1")
    assert session.session.undo(to=first.id).stands == (sent["/2"],)
    branch = session.run("send('/3')")
    assert session.session.goto(branch.id).stands == ()
    assert session.session.goto(second.id).stands == (sent["/3"],)
    assert session.session.undo(2).stands == (sent["/1"], sent["/2"], sent["/3"])
    assert third.effects == ()
    assert server.seen == ["POST /1", "POST /2", "GET /read", "POST /3"]


def test_what_an_action_sent_stands_though_its_kernel_died(session: Online, server: Server) -> None:
    step = session.run("send('/dead'); import os; os._exit(1)")
    assert step.outcome.kind == "lost"
    line = f"POST http://site.test:{server.port}/dead was sent and answered with 200"
    assert line in step.reach.stands and step.reach.sent == (line,)


def test_what_a_thread_sends_after_its_action_is_not_passed_over(session: Online, server: Server) -> None:
    session.run(
        "import threading; go = threading.Event()\nthreading.Thread(target=lambda: (go.wait(), send('/late'))).start()"
    )
    step = session.run("go.set()")
    session.run("import time\nwhile threading.active_count() > 1: time.sleep(0.01)")
    line = f"POST http://site.test:{server.port}/late was sent and answered with 200"
    assert line in session.session.undo(to=step.id - 1).stands


def test_memory_that_is_rebuilt_by_running_actions_again_sends_nothing_twice(
    session: Online, server: Server
) -> None:
    session.run("status = send('/once')")
    step = session.run("read = send('/read', 'GET')")
    session.run("import os, signal\n" + _KILL_TWINS)
    back = session.session.undo(to=step.id)
    assert back.memory == "replayed"
    assert server.seen.count("POST /once") == 1
    assert any("not sent again" in line for line in back.stands), back.stands
    assert session.run("send('/again')").outcome.ok  # the network is as it was


_KILL_TWINS = """
for name in os.listdir("/proc"):
    if name.isdigit() and open(f"/proc/{name}/comm").read().strip() == "mulligan-twin":
        os.kill(int(name), signal.SIGKILL)
"""


def test_a_sandbox_that_is_started_again_has_its_network_again(session: Online, server: Server) -> None:
    session.session._confined.sandbox.stop()
    assert (
        session.said(
            f"import urllib.request as u; print(u.urlopen('http://site.test:{server.port}/').status)"
        )
        == "200"
    )


ASK = {
    "urllib": "import urllib.request as u\nprint(u.urlopen(URL).status, u.urlopen(URL, data=b'x').status)",
    "requests": """
import requests
with requests.Session() as client: print(client.get(URL).status_code, client.post(URL, data="x").status_code)
""",
    "httpx": """
import httpx
with httpx.Client() as client: print(client.get(URL).status_code, client.post(URL, content="x").status_code)
""",
    "aiohttp": """
import aiohttp
async with aiohttp.ClientSession(trust_env=True) as session:
    async with session.get(URL) as one, session.post(URL, data=b"x") as two:
        print(one.status, two.status)
""",
}


@pytest.mark.parametrize("inside", [["*"], []], ids=["looked into", "by host"])
@pytest.mark.parametrize("client", ASK)
def test_clients_work_unchanged(
    session: Online, server: Server, authority: TestAuthority, client: str, inside: list[str]
) -> None:
    session.rules.inside = inside
    with serving(authority.context("site.test")) as secure:
        for url in (f"http://site.test:{server.port}/x", f"https://site.test:{secure.port}/x"):
            found = session.run(
                f"import sys; sys.path.insert(0, '/workspace/site')\nURL = {url!r}\n{ASK[client]}"
            )
            assert found.outcome.stdout == "200 200\n", found.outcome.text
        assert secure.seen == ["GET /x", "POST /x"]


class Files(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None: ...


def _folder(folder: Path) -> type[BaseHTTPRequestHandler]:
    return partial(Files, directory=str(folder))  # type: ignore[return-value]


def test_pip_installs_from_an_index_that_is_allowed(
    session: Online, authority: TestAuthority, tmp_path: Path
) -> None:
    wheel = _wheel()
    place = tmp_path / "simple" / "tiny"
    place.mkdir(parents=True)
    (place / "tiny-1.0-py3-none-any.whl").write_bytes(wheel)
    anchor = f'<a href="tiny-1.0-py3-none-any.whl#sha256={hashlib.sha256(wheel).hexdigest()}">tiny</a>'
    (place / "index.html").write_text(f"<!DOCTYPE html><html><body>{anchor}</body></html>")
    with serving(authority.context("site.test"), _folder(tmp_path)) as index:
        session.rules.allow = [f"GET https://site.test:{index.port}/simple/*"]
        step = session.run(f"""
import subprocess, sys
done = subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", "lib",
                       "--index-url", "https://site.test:{index.port}/simple/", "tiny"], capture_output=True, text=True)
print(done.stderr)
sys.path.insert(0, "lib")
import tiny; print(tiny.said)
""")
    assert step.outcome.ok and step.outcome.stdout.endswith("hello from tiny\n"), step.outcome.text
    assert {each.reversibility for each in step.effects} == {"read"} and step.reach.sent == ()


def _wheel() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("tiny.py", "said = 'hello from tiny'\n")
        info = "tiny-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"tiny.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return out.getvalue()


def test_curl_and_git_work_unchanged_where_there_are_any(authority: TestAuthority, tmp_path: Path) -> None:
    """In bubblewrap, which has the host's: the default image has neither."""
    source, served = tmp_path / "source", tmp_path / "served" / "repo.git"
    _git("init", "-q", str(source))
    (source / "a.txt").write_text("in the repository\n")
    _git("-C", str(source), "add", ".")
    _git("-C", str(source), "-c", "user.name=t", "-c", "user.email=t@t.test", "commit", "-qm", "one")
    _git("clone", "-q", "--bare", str(source), str(served))
    _git("-C", str(served), "update-server-info")
    names = Names(site_test=["127.0.0.1"])
    with (
        serving(authority.context("site.test"), _folder(tmp_path / "served")) as files,
        online("bubblewrap", tmp_path / "state", Rules(), names, trust=authority.pem) as session,
    ):
        base = f"https://site.test:{files.port}"
        session.rules.allow = [f"GET https://site.test:{files.port}/repo.git/*"]
        step = session.run(f"""
import subprocess
def run(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    print(done.stdout, done.stderr)
run("git", "clone", "-q", "{base}/repo.git", "here"); print(open("here/a.txt").read())
run("curl", "-sS", "{base}/repo.git/HEAD")
run("curl", "-sS", "{base}/other")
""")
    assert "in the repository" in step.outcome.stdout and "ref: refs/heads/" in step.outcome.stdout, (
        step.outcome.text
    )
    assert '"error": "denied"' in step.outcome.stdout
    assert [each.what for each in step.effects if each.denied] == [f"GET {base}/other"]


def _git(*words: str) -> None:
    subprocess.run(["git", *words], check=True, capture_output=True)
