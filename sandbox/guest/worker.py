"""The kernel process: ipykernel's own kernel without its threads and its ZMQ sockets, so that it can be forked.

A fork copies one thread and shares every socket. So the ipykernel object here talks through duck-typed
channels to the supervisor (`channel.py`), which owns the five Jupyter sockets. At a checkpoint this process
forks: the parent goes on, the child is the *twin*, and waits in a read until it is woken (`twin.py`).

The fork happens inside the running event loop. asyncio forgets that loop in a forked process, so the twin that wakes
tells it again. The loop polls with poll(2), which has no kernel object that parent and child would share.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import asyncio
import contextlib
import gc
import json
import logging
import os
import select
import selectors
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from . import channel, execution, later, twin
from .plain import Plain
from .streams import Pipes, Stream

#: where the package `tools` is, in sessions that have some
OFFERED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "offered")
#: seconds that a checkpoint may take until other code goes on
PATIENCE = 1.0
#: seconds without a request after which the next one's page faults are taken beforehand
WARM_AFTER = 0.010


class Frames:
    """Looks to ipykernel like a ZMQ socket or stream of one channel; what is sent goes to the supervisor."""

    def __init__(self, worker: Worker, kind: int) -> None:
        self._worker, self._kind = worker, kind

    def send_multipart(self, frames: list[bytes], *_: Any, **__: Any) -> None:
        self._worker.send(self._kind, frames)

    def flush(self, *_: Any) -> None: ...

    def on_recv(self, *_: Any, **__: Any) -> None: ...


class MainThread:
    """Stands for ipykernel 7's shell channel thread where it is only asked which thread runs cells."""

    def __init__(self) -> None:
        import threading

        self.parent_thread = threading.main_thread()

    def __bool__(self) -> bool:
        return False


class Worker:
    """Serves requests one after the other until the supervisor hangs up."""

    def __init__(self, sock: socket.socket) -> None:
        self._adopt(sock)
        self._loop = asyncio.SelectorEventLoop(selectors.PollSelector())
        #: what is written here has the loop look for what a signal's handler has it do
        self.waking: int = self._loop._csock.fileno()  # type: ignore[attr-defined]
        self._inbox: list[channel.Message] = []
        self._arrived = asyncio.Event()
        self._muted = self._cold = False
        self.pipes = Pipes()
        self._nothing: list[bytes] = []
        self.kernel: Any = None
        self._serving: asyncio.Task[None]
        self.plain: Plain

    def _adopt(self, sock: socket.socket) -> None:
        self.sock, self._pid = sock, os.getpid()
        sock.set_inheritable(False)
        self._reader, self.writer = channel.Reader(sock), channel.Writer(sock)

    def send(self, kind: int, parts: list[bytes]) -> None:
        if os.getpid() == self._pid and not self._muted:  # a child that user code forked has no voice here
            if kind in (channel.IOPUB, channel.BEGIN):
                self.pipes.await_empty()
            elif kind == channel.END and self._is_restless():
                self.writer.send(channel.RESTLESS, [])
            self.writer.send(kind, parts)

    # -- life ---------------------------------------------------------------------------------------------

    def run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self.stdout, self.stderr = (
            Stream(*each, self.writer, self.pipes) for each in (("stdout", 1), ("stderr", 2))
        )
        self.kernel = make_kernel(self)
        self.plain = Plain(self.kernel.shell)
        self._nothing = a_request_for_nothing(self.kernel.session)
        for name, stream in (("stdout", self.stdout), ("stderr", self.stderr)):
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        self._loop.add_reader(self.sock, self._receive)
        self._loop.run_until_complete(self._get_warm())
        twin.note_hooks()
        # Only now: the kernel's own imports are not looked for in the workspace. What the host offers comes before it.
        sys.path.insert(1 if sys.path[:1] == [OFFERED] else 0, "")
        library = os.path.join(os.path.dirname(os.path.dirname(__file__)), "library")
        if os.path.isdir(library):  # or a file of the workspace could pass for the library
            sys.path.insert(0, library)
        self._begin_to_serve()
        while True:
            try:
                self._loop.run_forever()
            except KeyboardInterrupt:
                pass
            if self._serving.done():
                self._begin_to_serve()
            self.kernel.shell.exit_now = False

    def _begin_to_serve(self) -> None:
        """Once more after whatever has ended it: an interrupt, user code that cancels every task, an error of ours."""
        self._serving = self._loop.create_task(self._serve())
        self._serving.add_done_callback(lambda _: self._loop.stop())

    async def _get_warm(self) -> None:
        """Run nothing once: what that writes, every twin then shares. And what is loaded now stays: a collection that
        walked it would copy its pages after each fork."""
        from tornado.ioloop import IOLoop

        self.kernel.io_loop = IOLoop.current()
        try:
            await self.warm()
        finally:
            gc.collect()
            gc.freeze()
            self.send(channel.READY, [json.dumps(self.kernel.kernel_info).encode()])

    def _receive(self) -> None:
        try:
            while (message := self._reader.receive()) is not None:
                self._inbox.append(message)
        except EOFError:
            os._exit(0)
        if self._inbox:
            self._arrived.set()

    async def _serve(self) -> None:
        while True:
            while self._inbox:
                await self._handle(self._inbox.pop(0))
                if os.getpid() != self._pid:
                    os._exit(0)  # user code forked, and its child came back to here
                if self._serving._must_cancel:  # type: ignore[attr-defined]
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.sleep(0)  # it has cancelled every task: not the next action
            if not self._wait_alone():
                self._arrived.clear()
                warming = self._loop.call_later(WARM_AFTER, self._arrived.set) if self._cold else None
                await self._arrived.wait()
                if warming is not None:
                    warming.cancel()
            if self._cold and not self._inbox:
                await self.warm()

    def _wait_alone(self) -> bool:
        """Wait for a message, or until it is time to get warm, without a turn of the event loop, which writes a hundred
        pages. False where something else is to happen in the loop."""
        loop: Any = self._loop
        if loop._ready or loop._scheduled or len(loop._selector.get_map()) > 2:
            return False
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        poll.register(loop._ssock, select.POLLIN)  # threads and signals ask for a turn there
        ready = [fd for fd, _ in poll.poll(WARM_AFTER * 1000 if self._cold else None)]
        if loop._ssock.fileno() in ready or loop._ready or loop._scheduled:
            return False
        if ready:
            self._receive()
        return True

    def _is_restless(self) -> bool:
        """Whether user code may run, and write files, without a request: in the event loop, or by a timer's signal."""
        loop: Any = self._loop
        due = loop._ready or (loop._scheduled and any(not each.cancelled() for each in loop._scheduled))
        return bool(due) or len(loop._selector.get_map()) > 2 or twin.timers_run()

    async def _handle(self, message: channel.Message) -> None:
        if message.kind == channel.SHELL:
            self._cold = False
            await self.dispatch(message.parts)
        elif message.kind == channel.CHECKPOINT:
            self._checkpoint(message.parts[0], message.fds[0])
            self._cold = True
        elif message.kind == channel.PROBE:
            self.send(channel.PROBE, [twin.memory_probe(int(message.parts[0])).encode()])

    async def dispatch(self, frames: list[bytes]) -> None:
        import zmq

        idents, request = execution.parse(frames)
        if request["msg_type"] == "execute_request" and not self.kernel._aborting:
            return await execution.execute(self.kernel, self.plain, self.send, idents, request)
        await self.kernel.dispatch_shell([zmq.Frame(frame) for frame in frames])

    async def warm(self) -> None:
        """Run nothing, unseen and unheard: the first execution after a fork pays the page faults of
        copy-on-write, and here they are paid while nobody waits. What user code has added is left out."""
        shell = self.kernel.shell
        aside: tuple[tuple[Any, str, Any], ...] = (
            (shell.events, "callbacks", {name: [] for name in shell.events.callbacks}),
            (shell, "ast_transformers", []),
            (shell, "input_transformers_post", []),
            (shell, "last_execution_succeeded", True),
            (shell, "last_execution_result", None),
        )
        before = [(where, name, getattr(where, name)) for where, name, _ in aside]
        for where, name, value in aside:
            setattr(where, name, value)
        self._muted, self._cold = True, False
        try:
            await self.dispatch(self._nothing)
        finally:
            self._muted = False
            for where, name, value in before:
                setattr(where, name, value)

    # -- checkpoint -----------------------------------------------------------------------------------------

    def _checkpoint(self, name: bytes, fd: int) -> None:
        with self._standing_still() if self._is_restless() else contextlib.nullcontext() as wait:
            try:
                if twin.fork(self, name, fd):
                    return
                said = [name, twin.confession()]
            except twin.NoFork as error:
                said = [name, b"", str(error).encode()]
            except BaseException as error:  # user code may have changed any builtin or module
                said = [name, b"", f"{type(error).__name__}: {error}".encode(errors="replace")]
            try:
                self.send(channel.CHECKPOINT, said)
            except (TypeError, channel.TooLarge):  # what it says of itself is no text, or endless
                self.send(channel.CHECKPOINT, [name, b"{}"])
            finally:
                os.close(fd)  # a hang-up without a word before says the same
            if wait is not None and len(said) == 2:
                wait()

    @contextlib.contextmanager
    def _standing_still(self) -> Iterator[Callable[[], object]]:
        """No timer's handler runs meanwhile. What it is given waits, with no turn of the event loop, until the
        supervisor has stopped this process for the host's look at the files: the twin would not know what is
        written."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        mask = _signal.pthread_sigmask(signal.SIG_BLOCK, twin.ALL_SIGNALS)
        try:
            yield lambda: poll.poll(PATIENCE * 1000)
        finally:
            _signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def join(self, sock: socket.socket) -> None:
        """In a twin that wakes: serve on its own socket from now on."""
        self._loop.remove_reader(self.sock)
        self.sock.detach()
        self._inbox.clear()
        self._adopt(sock)
        self.stdout.adopt(self.writer)
        self.stderr.adopt(self.writer)
        self._loop.add_reader(sock, self._receive)

    def enter_loop(self) -> None:
        """After what is registered for forks, of which asyncio's has forgotten the loop."""
        asyncio.set_event_loop(self._loop)
        asyncio._set_running_loop(self._loop)

    # -- stdin ----------------------------------------------------------------------------------------------

    def ask(self, frames: list[bytes]) -> list[bytes]:
        """Send an input request and wait for its reply; what else arrives meanwhile is kept for later."""
        self._inbox = [message for message in self._inbox if message.kind != channel.STDIN]
        self.send(channel.STDIN, frames)
        while True:
            try:
                message = self._reader.receive(wait=True)
            except EOFError:
                os._exit(0)
            if message is not None and message.kind == channel.STDIN:
                return message.parts
            if message is not None:
                self._inbox.append(message)


def make_kernel(worker: Worker) -> Any:
    """ipykernel's IPythonKernel on our channels. Imported here: this takes most of the start-up time."""
    # The debugger is not supported here (it needs threads and TCP); left out, the kernel is a third smaller.
    sys.modules["debugpy"] = None  # type: ignore[assignment]
    _put_off_client()
    from ipykernel import ipkernel
    from jupyter_client.session import Session
    from traitlets import Any as AnyTrait
    from traitlets.config import Config

    # It inspects the signature of one and the same method at each execution: a tenth of a small action's time.
    accepts: Any = getattr(ipkernel, "_accepts_parameters", None)
    if accepts is not None:
        setattr(ipkernel, "_accepts_parameters", remembered(accepts))  # noqa: B010

    base: Any = ipkernel.IPythonKernel

    class Kernel(base):  # type: ignore[misc]
        shell_stream = AnyTrait()
        shell_channel_thread = AnyTrait()
        _supports_kernel_subshells = False

        def pre_handler_hook(self) -> None:
            self.saved_sigint_handler = _signal.signal(_signal.SIGINT, _signal.default_int_handler)
            signal.set_wakeup_fd(worker.waking, warn_on_full_buffer=False)

        def post_handler_hook(self) -> None:
            _signal.signal(_signal.SIGINT, _signal.SIG_IGN)

        def _input_request(self, prompt: str, ident: Any, parent: Any, password: bool = False) -> str:
            capture = Capture()
            content = {"prompt": str(prompt), "password": password}
            self.session.send(capture, "input_request", content, parent, ident=ident)
            _, frames = self.session.feed_identities(worker.ask(capture.frames))
            value = str(self.session.deserialize(frames)["content"].get("value", ""))
            if value == "\x04":
                raise EOFError
            return value

    # Unsigned: the key stays with the supervisor, which signs what leaves (docs/decisions/0004).
    # orjson, where there is one, ends the process when it finds no memory
    session = Session(key=b"", packer="json", unpacker="json")
    session.check_pid = False
    config = Config()
    config.HistoryManager.enabled = False  # its writer is a thread
    config.Kernel._execute_sleep = 0.0  # for an output thread, which we do not have
    config.InteractiveShell.colors = "NoColor"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tempfile.gettempdir()  # asked at the first cell, it would write a file to find out, while files are captured
    kernel = Kernel.instance(  # comms look for the one instance
        session=session,
        iopub_socket=Frames(worker, channel.IOPUB),
        shell_stream=Frames(worker, channel.SHELL),
        shell_channel_thread=MainThread(),
        stdin_socket=Frames(worker, channel.STDIN),
        user_ns={},
        log=logging.getLogger("mulligan.worker"),
        config=config,
    )
    del sys.modules["debugpy"]
    kernel.shell.enable_gui = refuse_windows
    # For good: each change of the built-in names makes Python look up anew all that it had found among them.
    kernel.shell.builtin_trap.__enter__()
    return kernel


def _put_off_client() -> None:
    """The client's side of Jupyter comes along with the kernel's, which needs a tenth of it: two megabytes."""
    client = later.package("jupyter_client")
    import jupyter_client.connect as connect  # `from` would ask the package

    client.__dict__["write_connection_file"] = connect.write_connection_file  # ipykernel asks for this one


def refuse_windows(gui: str | None = None) -> None:
    """In place of ipykernel's, which looks for an application of its own: `%matplotlib inline` and others that need no
    event loop have nothing to do here, and of those that open windows there is none to run. Raises UsageError."""
    from ipykernel.eventloops import loop_map
    from IPython.core.error import UsageError

    if gui not in loop_map or loop_map[gui] is not None:
        raise UsageError(f"the sandbox has no screen for {gui!r}: %matplotlib inline shows figures")


def remembered(ask: Any) -> Any:
    """`ask(method, names)`, asked once for the same names."""
    answers: dict[tuple[str, ...], Any] = {}

    def answer(method: Any, names: list[str]) -> Any:
        if tuple(names) not in answers:
            answers[tuple(names)] = ask(method, names)
        return answers[tuple(names)]

    return answer


def a_request_for_nothing(session: Any) -> list[bytes]:
    """The frames of a silent execute_request."""
    content = {
        "code": "None",
        "silent": True,
        "store_history": False,
        "user_expressions": {},
        "allow_stdin": False,
        "stop_on_error": False,
    }
    frames: list[bytes] = session.serialize(session.msg("execute_request", content))
    return frames


class Capture:
    """Takes the frames that a Session would send."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def send_multipart(self, frames: list[bytes], *_: Any, **__: Any) -> None:
        self.frames = [bytes(frame) for frame in frames]


def main(fd: int) -> None:
    sys.argv = [""]
    twin.score(twin.ACTIVE_SCORE)
    Worker(socket.socket(fileno=fd)).run()
