"""Forking the worker, sleeping as its twin, and waking.

A twin must wake up exactly as it was, though hostile code runs beside it under the same uid for as long as it
sleeps. So before the fork returns in the parent it is undumpable (no ptrace, no /proc/PID/mem), it blocks every
signal (a handler that user code installed must not run in it), and on waking it throws away the signals that
were sent to it meanwhile. That it is alive is learned from the kernel (a pidfd), not from its word.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import contextlib
import ctypes
import errno
import functools
import gc
import json
import os
import posix
import random
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import channel, connections, descriptors

if TYPE_CHECKING:
    from .worker import Worker

_libc = ctypes.CDLL(None, use_errno=True)
_exit = os._exit  # under a name that user code has no reason to change
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
OMP_PAUSE_HARD = 2
#: The out-of-memory killer takes what is active before its twins, and those before the supervisor, which has the score
#: of the sandbox (500). The kernel lets nobody go below that.
ACTIVE_SCORE, TWIN_SCORE = 850, 650


class NoFork(Exception):
    """The process limit or the memory limit is reached. This process is as it was."""


class Asleep:
    """What a twin notes before it falls asleep, because a fork does not carry it or shares it."""

    def __init__(self) -> None:
        self.files = descriptors.capture()
        self.timers = [(which, signal.getitimer(which)) for which in _TIMERS]
        self.folder = _folder()

    def restore(self, still: bool) -> list[str]:
        """Have it back; what could not be, in words. `still`: no mapped file can have become another."""
        connections.empty()
        self.files = [file for file in self.files if file.is_there()]
        lost = descriptors.reopen(self.files) + ([] if still else descriptors.stale_maps())
        self.files = [file.now() for file in self.files]  # for the heir
        for which, (delay, interval) in self.timers:
            signal.setitimer(which, delay, interval)
        try:
            os.chdir(self.folder)
        except OSError as error:
            lost.append(f"the working folder {self.folder} cannot be entered again ({error.strerror})")
        return lost


_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


def timers_run() -> bool:
    return any(signal.getitimer(which)[0] for which in _TIMERS)


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        return "/workspace"  # it was deleted under us


def fork(worker: Worker, name: bytes, descriptor: int) -> bool:
    """Leave a twin behind, which speaks on the socket `descriptor`. False in the parent at once; True in the child,
    when it has been woken. The parent closes `descriptor`, after it has said what became of this.

    Raises NoFork, and what comes of builtins or modules that user code has changed. Not in a child: that ends.
    """
    _collect()
    pause_openmp()
    collecting = gc.isenabled()
    gc.disable()  # what a collection closes now would be noted as open
    try:
        return _fork_unseen(worker, name, descriptor, Asleep())
    finally:
        if collecting:
            gc.enable()


def _fork_unseen(worker: Worker, name: bytes, descriptor: int, asleep: Asleep) -> bool:
    """Undumpable, and out of reach of signals."""
    alone, parent, done = is_alone(), os.getpid(), False
    wakeup = signal.set_wakeup_fd(-1)
    mask = _signal.pthread_sigmask(signal.SIG_BLOCK, ALL_SIGNALS)
    score(TWIN_SCORE)  # the twin has it from birth: it may not write its own
    _libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    try:
        pid = _fork(worker.sock.fileno(), name, descriptor, asleep, alone)
        if pid == 0:
            _wake(worker, name, socket.socket(fileno=descriptor), asleep, unnoticed=alone)
            _discard_signals()
        done = True
    except OSError as error:
        raise NoFork(error.strerror) from error
    finally:
        if not done and os.getpid() != parent:
            _exit(1)  # a twin that cannot be what it was must not serve
        _libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
        score(ACTIVE_SCORE)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        _signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return pid == 0


#: plain numbers, as `_signal` has them: `signal` makes a name of each, and that writes pages
ALL_SIGNALS = frozenset(map(int, signal.valid_signals()))


def _fork(left: int, name: bytes, descriptor: int, asleep: Asleep, alone: bool) -> int:
    """The child's pid in the parent; 0 in the child, once there is something to read on its socket `descriptor`. `left`
    is the parent's, which the child lets go. Where there is one thread `alone`, Python does not notice. Raises OSError.
    """
    (first_word,) = channel.packets(channel.FROZEN, [name])
    if alone:
        pid = int(_of_python.fork())
        if pid < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    else:  # what another thread was about to do to Python's own locks has to be undone at once
        dice = random.getstate()
        pid = _fork_at_once()
    if pid:
        _children.add(pid)
        return pid
    _sleep(left, first_word, descriptor, asleep)
    if not alone:
        random.setstate(dice)  # the random module reseeds itself in a forked child
    _children.clear()
    return 0


#: whether code that is not Python's own has been registered for forks
_of_others = False
_LIBRARY = os.path.dirname(os.__file__) + os.sep
_LOCKS = type(threading.Lock()), type(threading.RLock())


def note_hooks() -> None:
    """From now on, that others register code for forks. To be called before any user code runs; one that goes around
    this spoils its own present."""
    register = os.register_at_fork

    @functools.wraps(register)
    def register_at_fork(**hooks: Any) -> None:
        global _of_others
        register(**hooks)
        _of_others |= not all(map(_is_of_python, hooks.values()))

    posix.register_at_fork = os.register_at_fork = register_at_fork


def _is_of_python(hook: Any) -> bool:
    """Whether it is a function of the standard library, or takes or frees a lock: what that registers itself."""
    code = getattr(hook, "__code__", None)
    if code is None:
        return isinstance(getattr(hook, "__self__", None), _LOCKS)
    return code.co_filename.startswith(_LIBRARY) and "-packages" not in code.co_filename


def _notice() -> None:
    dice = random.getstate()
    _python.PyOS_BeforeFork()
    _python.PyOS_AfterFork_Child()
    random.setstate(dice)


#: What Python does before and after a fork, what others have registered for it included, is done by ourselves where
#: there is one thread: only in a child, and only when that wakes and goes on. A checkpoint is no fork that anybody's
#: code should notice, and a child that sleeps would write two hundred pages for what it may never need.
_python = ctypes.pythonapi
_of_python = ctypes.PyDLL(None, use_errno=True)
for _call in (_python.PyOS_BeforeFork, _python.PyOS_AfterFork_Child):
    _call.restype = None
_peeked = ctypes.create_string_buffer(1)


def _sleep(left: int, first_word: bytes, descriptor: int, asleep: Asleep) -> None:
    """In a new twin: until there is something to read. Whatever goes wrong here must not become a second worker."""
    size = 0
    try:
        os.close(left)
        for file in asleep.files:
            if file.locks:
                file.let_go()  # or what is undone would hold its locks for as long as it can be done again
        _libc.prctl(PR_SET_NAME, b"mulligan-twin", 0, 0, 0)
        os.write(descriptor, first_word)
        while (size := _libc.recv(descriptor, _peeked, 1, socket.MSG_PEEK)) < 0:
            if ctypes.get_errno() != errno.EINTR:
                break
    finally:
        if size != 1:
            _exit(0)


def is_alone() -> bool:
    """Whether this process is known to have one thread."""
    try:
        return os.stat("/proc/self/task").st_nlink == 3
    except OSError:
        return False


def _fork_at_once() -> int:
    if sys.version_info >= (3, 12):
        with _no_deprecations():
            pid = os.fork()
    else:
        pid = os.fork()
    return pid


@contextlib.contextmanager
def _no_deprecations() -> Iterator[None]:
    """Python warns of forking with threads from 3.12 on. Ours are listed in the reach."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _collect() -> None:
    """Collect twins of ours that were discarded: they are our children, and would stay zombies. Those of user code are
    left to it; where one of them stands before ours, each of ours is asked for."""
    while (pid := _some_dead_child()) in _children:
        _collect_one(pid)
    if pid:
        for each in tuple(_children):
            _collect_one(each)


def _some_dead_child() -> int:
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return 0
    return found.si_pid if found is not None else 0


def _collect_one(pid: int) -> None:
    try:
        gone = os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        gone = True  # user code has waited for any child
    if gone:
        _children.discard(pid)


#: the twins that this process has forked
_children: set[int] = set()


def _wake(worker: Worker, name: bytes, sock: socket.socket, asleep: Asleep, *, unnoticed: bool) -> None:
    """Be the worker. Before any other code runs it leaves an heir that sleeps as it did, so that the checkpoint can be
    returned to again. Then what is registered for forks runs, where it was `unnoticed`: once, with files, timers and
    folder as they were. The host has its answer before all that, unless that is code of others: it may end this
    process."""
    while True:
        successor, still = _await_wake(channel.Reader(sock))
        woken = [name, json.dumps(_restored(asleep, still)[:200]).encode()]
        late = unnoticed and _of_others
        if not late:
            _answer(sock, woken)
        try:
            heir = _fork(sock.fileno(), name, successor.fileno(), asleep, is_alone())
        except OSError:
            heir = -1  # the supervisor sees that nobody speaks on the successor's socket
        if heir != 0:
            successor.close()
            break
        sock.detach()
        sock = successor
    worker.join(sock)
    if unnoticed:
        _notice()
    worker.enter_loop()
    if late:
        _answer(sock, woken)
    _libc.prctl(PR_SET_NAME, b"mulligan-worker", 0, 0, 0)


def _answer(sock: socket.socket, woken: list[bytes]) -> None:
    for packet in channel.packets(channel.WAKE, woken):
        sock.send(packet)
    os.sched_yield()  # whoever passes it on comes first


def _restored(asleep: Asleep, still: bool) -> list[str]:
    try:
        return asleep.restore(still)
    except Exception as error:
        return [f"open files, timers and the working folder may not be as they were ({error})"]


def _await_wake(reader: channel.Reader) -> tuple[socket.socket, bool]:
    """The successor's socket, and whether all that is mapped is known to be as it was."""
    while True:
        try:
            message = reader.receive(wait=True)
        except (EOFError, channel.Garbled):
            _exit(0)
        if message is not None and message.kind == channel.WAKE and message.fds:
            return socket.socket(fileno=message.fds[0]), message.parts[1:] == [b"still"]


def _discard_signals() -> None:
    """Drop what was sent to the sleeping twin, while all signals are blocked still."""
    while signal.sigtimedwait(signal.valid_signals(), 0) is not None:
        pass


def score(score: int) -> None:
    """Best effort: raising one's own score is always allowed, an odd kernel may still refuse to lower it again."""
    try:
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, b"%d" % score)
        finally:
            os.close(descriptor)
    except OSError:
        pass


_openmp: tuple[int, list[Any]] = (-1, [])


def pause_openmp() -> None:
    """End the thread pools of every loaded OpenMP runtime.

    Their threads do not cross the fork, and the next parallel region of a woken twin would wait for them for
    ever. `omp_pause_resource_all(omp_pause_hard)` (OpenMP 5.0, 3.2.44) makes the runtime start them afresh.
    Libraries are looked for again only when modules were imported since.
    """
    global _openmp
    if _openmp[0] != len(sys.modules):
        _openmp = (len(sys.modules), [ctypes.CDLL(path) for path in _openmp_libraries()])
    for library in _openmp[1]:
        library.omp_pause_resource_all(OMP_PAUSE_HARD)


def _openmp_libraries() -> list[str]:
    found = set()
    with open("/proc/self/maps", errors="surrogateescape") as maps:
        for line in maps:
            path = line.rstrip("\n").split(" ", 5)[-1].strip()
            if any(name in path.rpartition("/")[2] for name in ("libgomp", "libomp", "libiomp")):
                found.add(path)
    return sorted(found)


def confession() -> bytes:
    """What the worker says of itself that the kernel does not know, as JSON: names of threads. Hints for people; what
    is counted as out of reach, the supervisor counts itself."""
    if is_alone():
        return b"{}"
    main = threading.main_thread()
    names = [thread.name for thread in threading.enumerate() if thread is not main]
    return json.dumps({"threads": [str(name)[:100] for name in names[:50]]}).encode()


def memory_probe(pid: int) -> str:
    """Self-test: try to read a twin's memory. "held" when it is refused."""
    try:
        with open(f"/proc/{pid}/mem", "rb"):
            return "failed: opened a twin's memory"
    except PermissionError:
        pass
    except OSError as error:
        return f"failed: {error}"
    if _libc.ptrace(16, pid, 0, 0) == 0:  # PTRACE_ATTACH
        return "failed: attached to a twin"
    return "held"
