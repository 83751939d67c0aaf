"""The command line: `mulligan` alone (the REPL), `run`, `agent` (agent/command.py), `diff`, `log`, `verify`, `forget`,
`policy` (policy_cli.py), `library` (library_cli.py), `doctor`, `image`, `kernelspec`.

Arguments and environment are read here only, but for those of a kernel, which are runtime/jupyter/__main__.py's.

Exit codes
    0    every action completed, or the command did what it should
    1    an action failed, something could not be committed, or what is stored is damaged
    2    wrong usage or bad input: a file, a workspace, a policy
    3    there is no sandbox to be had
    130  a Ctrl-C ended the run
    141  whoever read the output closed it
"""

from __future__ import annotations

import argparse
import io
import math
import os
import signal
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from rich.console import Console

from mulligan.policies.errors import PolicyError
from mulligan.runtime import library_cli, policy_cli
from mulligan.runtime.agent import arguments
from mulligan.runtime.agent.errors import AgentMisused, ModelUnusable, RecordingInvalid
from mulligan.runtime.bringing import STAGINGS
from mulligan.runtime.console import console_on
from mulligan.runtime.diffs.detail import LINES
from mulligan.runtime.diffs.lines import Bounds
from mulligan.runtime.errors import (
    McpConfigInvalid,
    SessionBroken,
    SessionUnknown,
    StepLetGo,
    StepUnknown,
    WorkspaceInvalid,
)
from mulligan.runtime.jsonlines import JsonLines
from mulligan.runtime.jupyter import kernelspec
from mulligan.runtime.ledger import read_head
from mulligan.runtime.library.errors import RoutineBroken, RoutineUnknown
from mulligan.runtime.mcp import command as mcp_command
from mulligan.runtime.notebook import Cell, NotebookInvalid, parse_cells, read_cells
from mulligan.runtime.past import forget, ledgers, list_sessions, open_ledger, open_past, verify
from mulligan.runtime.placing import add_place
from mulligan.runtime.prompt import Curtain, Terminal
from mulligan.runtime.question import Approve
from mulligan.runtime.render import Page
from mulligan.runtime.state import make_state
from mulligan.runtime.waiting import Waiting
from mulligan.sandbox.errors import MulliganError, SandboxError, SnapshotUnknown, StoreDamaged
from mulligan.sandbox.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    from mulligan.runtime.databases.database import Database
    from mulligan.runtime.session import Session

DONE, FAILED, BAD_INPUT, NO_SANDBOX, INTERRUPTED, OUTPUT_CLOSED = 0, 1, 2, 3, 130, 141

EPILOG = """exit codes: 0 all completed; 1 an action failed or a path was not committed; 2 bad usage or
input; 3 no sandbox to be had; 130 interrupted"""


_LIBRARY = "a shelf whose routines may be imported, `from actions import NAME`; may be given again"
_EXCLUDE = 'a path that is not brought in, such as "node_modules/"; may be given again'
_DATABASE = (
    "a PostgreSQL database for `from databases import NAME`; the environment's VARIABLE holds its address"
)
_STAGING = "how the workspace is brought in; auto: a large one lies beneath the session where that can be"
_PROTECT = 'a path that no action may change, such as "data/raw/**"; may be given again'


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Wrong usage raises SystemExit(2), as argparse does."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    chosen = _parser().parse_args(words or ["repl"])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a tick gets `\u2713`
    try:
        code = int(chosen.command(chosen))
        sys.stdout.flush()
        return code
    except (Exception, KeyboardInterrupt) as error:
        return failed(error, chosen)


def failed(error: BaseException, chosen: argparse.Namespace) -> int:
    """Say why a command ended; the exit code. What is no fault of the user's or the machine's is raised again."""
    match error:
        case MulliganError() | PolicyError():
            _complain(error, chosen)
            return _exit_code(error)
        case KeyboardInterrupt():
            print("mulligan: interrupted", file=sys.stderr)
            return INTERRUPTED
        case BrokenPipeError():
            os.dup2(
                os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
            )  # or the last flush would fail again
            return OUTPUT_CLOSED
    raise error


def _complain(error: MulliganError | PolicyError, chosen: argparse.Namespace) -> None:
    if getattr(chosen, "json", False):
        JsonLines(sys.stdout).failed(error, error.message, error.hint)
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    console.print(f"mulligan: {printable(error.message)}", style="bold red")
    if error.hint:
        console.print(f"  {printable(error.hint)}")


_BAD_INPUT = (
    McpConfigInvalid,
    WorkspaceInvalid,
    NotebookInvalid,
    PolicyError,
    SessionUnknown,
    StepUnknown,
    StepLetGo,
    AgentMisused,
    ModelUnusable,
    RecordingInvalid,
    RoutineBroken,
    RoutineUnknown,
)


def _exit_code(error: Exception) -> int:
    if isinstance(error, _BAD_INPUT):
        return BAD_INPUT
    if isinstance(error, (SandboxError, SessionBroken)) and not isinstance(
        error, (SnapshotUnknown, StoreDamaged)
    ):
        return NO_SANDBOX
    return FAILED


# -- run -------------------------------------------------------------------------------------------------------


def _run(chosen: argparse.Namespace) -> int:
    cells = [cell for name in chosen.files for cell in _cells(name, chosen.kernel)]
    curtain = Curtain(sys.stdout)
    view: Page | JsonLines = JsonLines(sys.stdout) if chosen.json else Page(_console(curtain))
    started = time.monotonic()
    with _asking(chosen, curtain) as approve, _opened(chosen, approve) as session:
        view.opened(session, chosen.workspace, time.monotonic() - started)
        code = _play(cells, session, chosen, view)
        if chosen.workspace is not None:
            code = _finish(session, chosen, view, code)
        if chosen.keep:
            view.kept(session.id)
        if isinstance(view, JsonLines):
            with suppress(SandboxError, SessionBroken):  # of a sandbox that is gone there is nothing to tell
                view.used(session.usage())
        view.ended(code)
    return code


@contextmanager
def _asking(chosen: argparse.Namespace, curtain: Curtain) -> Iterator[Approve | None]:
    """How the person at the terminal is asked; not of programs, which read --json."""
    terminal = None if chosen.json else Terminal.open(curtain)
    if terminal is None:
        yield None
        return
    with terminal:
        yield terminal.approve


def _opened(
    chosen: argparse.Namespace, approve: Approve | None, tools: Sequence[Callable[..., Any]] = ()
) -> Session:
    from mulligan.runtime.session import open_session

    with Waiting() as waiting:
        return open_session(
            chosen.workspace,
            isolation=chosen.isolation,
            image=chosen.image,
            python=chosen.python,
            policy=chosen.policy,
            protect=chosen.protect,
            exclude=chosen.exclude,
            staging=chosen.staging,
            state=make_state(chosen.state),
            progress=waiting.progress,
            keep=chosen.keep,
            approve=approve,
            databases=chosen.database,
            library=chosen.library,
            kernel=chosen.kernel,
            tools=tools,
        )


def _cells(name: str, kernel: str | None) -> tuple[Cell, ...]:
    if name == "-":
        return parse_cells(sys.stdin.buffer.read(), "stdin")
    return read_cells(Path(name), any_language=kernel is not None)


def _play(cells: Sequence[Cell], session: Session, chosen: argparse.Namespace, view: Page | JsonLines) -> int:
    """The cells in turn, until one fails or a Ctrl-C comes."""
    with _interrupting(session) as interrupts:
        for number, cell in enumerate(cells, 1):
            view.begins(number, len(cells), cell)
            before = session.timeline.cursor
            step = session.run(cell.action(), timeout=chosen.timeout, on_event=view.event)
            view.step(number, step)
            if chosen.diff and session.timeline.cursor != before:
                view.diff(session.id, session.diff(before), Bounds())
            if not step.outcome.ok and chosen.undo_on_error and session.timeline.cursor == step.id:
                view.restored(session.undo())
            if interrupts.came:
                return INTERRUPTED
            if not step.outcome.ok:
                return FAILED
    return DONE


def _finish(session: Session, chosen: argparse.Namespace, view: Page | JsonLines, code: int) -> int:
    """Carry the changes to the user's folder if that was asked for and all went well; else say that they stay."""
    if chosen.commit and code == DONE:
        commit = session.commit()
        view.committed(commit, chosen.workspace)
        whole = not commit.conflicts and not commit.held and all(each.state == "sent" for each in commit.sent)
        return DONE if whole else FAILED
    view.held_back(session.held)
    changes = [change for change in session.diff() if change.in_workspace]
    if changes:
        why = "not every action completed" if chosen.commit else "--commit would"
        view.kept_back(changes, chosen.workspace, why)
    return code


@dataclass(slots=True)
class _Interrupts:
    came: bool = False


@contextmanager
def _interrupting(session: Session) -> Iterator[_Interrupts]:
    """A Ctrl-C interrupts the running action, whose step then tells what became of it. A second one ends this
    program at once; the sandbox ends with it, and the next session clears up."""
    interrupts = _Interrupts()
    before = signal.getsignal(signal.SIGINT)

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupts.came = True
        session.interrupt()
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)


def _agent(chosen: argparse.Namespace) -> int:
    from mulligan.runtime.agent import command

    return command.main(chosen, command.Means(_opened, _asking, _console, _finish))


def _repl(chosen: argparse.Namespace) -> int:
    from mulligan.runtime.repl import start

    return start.main(chosen)


# -- diff --------------------------------------------------------------------------------------------------------


def _diff(chosen: argparse.Namespace) -> int:
    view: Page | JsonLines = JsonLines(sys.stdout) if chosen.json else Page(_console())
    if chosen.session is None:
        view.sessions(list_sessions(chosen.state))
        return DONE
    n = chosen.lines
    bounds = Bounds() if n is None else Bounds(file=n, outside=n, lines=20 * n)
    with open_past(chosen.session, chosen.state) as past:
        diff = past.diff(chosen.a, chosen.b)
        if isinstance(view, Page):
            view.diff(past.id, diff, bounds, stat=chosen.stat)
        else:
            view.diff(past.id, diff, replace(bounds, lines=0) if chosen.stat else bounds)
    return DONE


def _verify(chosen: argparse.Namespace) -> int:
    """Of all sessions that have files, or of those that are named."""
    view: Page | JsonLines = JsonLines(sys.stdout) if chosen.json else Page(_console())
    names = chosen.sessions or [each.id for each in list_sessions(chosen.state)]
    if not names:
        view.sessions([])
    code = DONE
    for name in names:
        verified = verify(name, chosen.state)
        view.verified(verified)
        code = FAILED if verified.faults else code
    return code


def _log(chosen: argparse.Namespace) -> int:
    view: Page | JsonLines = JsonLines(sys.stdout) if chosen.json else Page(_console())
    if chosen.session is None:
        view.ledgers([folder.name for folder in ledgers(chosen.state)])
        return DONE
    with open_ledger(chosen.session, chosen.state) as (id, ledger):
        if chosen.verify is not None:
            view.chained(id, ledger.verify(chosen.verify))
            return DONE
        if chosen.otel:
            from mulligan.runtime.tracing import write

            write(ledger.entries(), id)
            return DONE
        for entry in ledger.entries(step=chosen.step):
            view.entry(entry)
    return DONE


def _forget(chosen: argparse.Namespace) -> int:
    view: Page | JsonLines = JsonLines(sys.stdout) if chosen.json else Page(_console())
    for name in chosen.sessions:
        view.forgotten(forget(name, chosen.state))
    return DONE


# -- the other commands -------------------------------------------------------------------------------------------


def _doctor(chosen: argparse.Namespace) -> int:
    from mulligan.runtime import doctor

    return doctor.main(_console(), make_state(chosen.state), json=chosen.json)


def _image(chosen: argparse.Namespace) -> int:
    from mulligan.sandbox.image import build

    console = _console()
    tag = build.ensure(
        chosen.base, lambda line: console.print(f"  {printable(line)}", style="dim", crop=False)
    )
    console.print(tag, style="bold")
    return DONE


def _console(curtain: Curtain | None = None) -> Console:
    return console_on(None if curtain is None else cast(IO[str], curtain))


# -- arguments ----------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mulligan",
        description="Runs the Python that an AI agent writes, in a sandbox, and can take it back.",
        epilog="`mulligan COMMAND --help` tells more. Start with `mulligan doctor`.",
    )
    parser.add_argument("--version", action="version", version=f"mulligan {version('mulligan')}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_repl(commands.add_parser("repl", help="Python with undo on a folder; what `mulligan` alone begins"))
    _add_run(commands.add_parser("run", help="run Python files or notebooks in a sandbox", epilog=EPILOG))
    agent = commands.add_parser("agent", help="have a model do a task, in Python that is run in a sandbox")
    arguments.add(agent)
    _add_session(agent)
    agent.set_defaults(command=lambda chosen: _agent(_checked(agent, chosen)), kernel=None)
    mcp_command.add_commands(
        commands.add_parser("mcp", help="be an MCP server, for a client such as an editor"), _add_session
    )
    _add_diff(commands.add_parser("diff", help="what differs between two steps of a session"))
    _add_verify(commands.add_parser("verify", help="whether all that a session stored is undamaged"))
    _add_log(
        commands.add_parser("log", help="what a session's ledger says, and whether it was tampered with")
    )
    forgetting = commands.add_parser("forget", help="remove the files of a session that was kept")
    forgetting.add_argument("sessions", nargs="+", metavar="SESSION", help="its id, or the beginning of it")
    forgetting.add_argument("--state", type=Path, metavar="DIR", help="the folder that sessions are kept in")
    forgetting.add_argument("--json", action="store_true", help="one JSON object a line, for programs")
    forgetting.set_defaults(command=_forget)
    policy_cli.add_commands(
        commands.add_parser("policy", help="policy files: check, explain, test, compare, write")
    )
    library_cli.add_commands(
        commands.add_parser("library", help="routines that agents wrote: list, search, test, review")
    )
    doctor = commands.add_parser("doctor", help="what this machine can do, what is missing, what adds it")
    doctor.add_argument("--json", action="store_true", help="one JSON object, for programs")
    doctor.add_argument("--state", type=Path, metavar="DIR", help="the folder that sessions are kept in")
    doctor.set_defaults(command=_doctor)
    image = commands.add_parser("image", help="build Docker's image for the sandbox, where it is missing")
    image.add_argument("--base", metavar="IMAGE", help="any image with Python 3.10 or newer")
    image.set_defaults(command=_image)
    kernelspec.add_commands(
        commands.add_parser("kernelspec", help="install a kernel for Jupyter, with undo in notebooks")
    )
    return parser


def _add_repl(repl: argparse.ArgumentParser) -> None:
    from mulligan.runtime.repl.start import ABOUT, add_options

    repl.description = ABOUT
    add_options(repl)
    repl.set_defaults(command=_repl)


def _add_run(run: argparse.ArgumentParser) -> None:
    run.description = (
        "Runs files in one session. A .py file is one action, or several where `# %%` lines divide it; "
        "each code cell of a notebook is one. The run stops at the first action that does not complete."
    )
    add = run.add_argument
    add("files", nargs="+", metavar="FILE", help=".py or .ipynb; - is standard input; with --kernel any file")
    add("--kernel", metavar="NAME", help="a kernel of the image's or the python's, for another language")
    add("--diff", action="store_true", help="after each action, show what it changed in the files")
    add("--undo-on-error", action="store_true", help="take back the action that failed before stopping")
    _add_session(run)
    run.set_defaults(command=lambda chosen: _run(_checked(run, chosen)))


def _add_session(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(kernel=None)
    add = parser.add_argument
    add("--workspace", metavar="DIR", help="work on a copy of this folder (default: an empty one)")
    add("--commit", action="store_true", help="at the end, if all completed, write the changes to the folder")
    add("--keep", action="store_true", help="keep the session's files and snapshots, for `mulligan diff`")
    add_place(parser)
    add("--policy", metavar="POLICY", help="a policy file in YAML")
    add("--library", action="append", type=Path, metavar="DIR", help=_LIBRARY)
    add("--protect", action="append", default=[], metavar="GLOB", help=_PROTECT)
    add("--exclude", action="append", default=[], metavar="GLOB", help=_EXCLUDE)
    add("--staging", choices=STAGINGS, default="auto", help=_STAGING)
    add("--database", action="append", default=[], type=_database, metavar="NAME=VARIABLE", help=_DATABASE)
    add("--timeout", type=_seconds, metavar="SECONDS", help="for each action (default: the policy's)")
    add("--state", type=Path, metavar="DIR", help="the folder that sessions are kept in")
    add("--json", action="store_true", help="one JSON object a line, for programs")


def _add_diff(diff: argparse.ArgumentParser) -> None:
    diff.description = (
        "Shows what turns the files after step A into those after step B, of a session that is open in another "
        "process or was kept. Without SESSION, lists those that can be named."
    )
    add = diff.add_argument
    add("session", nargs="?", metavar="SESSION", help="its id, or the beginning of it")
    add("a", nargs="?", type=int, default=0, metavar="A", help="a step (default: 0, the beginning)")
    add("b", nargs="?", type=int, metavar="B", help="another (default: where the session is)")
    add("--stat", action="store_true", help="only one line for each path")
    add("--lines", type=_lines, metavar="N", help=f"for each path (default: {LINES} in the workspace)")
    add("--state", type=Path, metavar="DIR", help="the folder that sessions are kept in")
    add("--json", action="store_true", help="one JSON object, for programs")
    diff.set_defaults(command=_diff)


def _add_verify(verifying: argparse.ArgumentParser) -> None:
    verifying.description = (
        "Reads all that a session stored again, and names what is damaged. The session may be open in another "
        "process, or kept. Without SESSION, all of them."
    )
    add = verifying.add_argument
    add("sessions", nargs="*", metavar="SESSION", help="its id, or the beginning of it")
    add("--state", type=Path, metavar="DIR", help="the folder that sessions are kept in")
    add("--json", action="store_true", help="one JSON object a line, for programs")
    verifying.set_defaults(command=_verify)


def _add_log(log: argparse.ArgumentParser) -> None:
    log.description = (
        "Shows every proposal, verdict, outcome, change and move of a session, in order, from its ledger. "
        "Without SESSION, lists those whose ledger is there."
    )
    add = log.add_argument
    add("session", nargs="?", metavar="SESSION", help="its id, or the beginning of it")
    add("--step", type=int, metavar="N", help="only what concerns this step")
    add(
        "--verify",
        nargs="?",
        const="",
        type=_head,
        metavar="HEAD",
        help="follow the chain of entries instead, and print its head; with a HEAD that was printed earlier, "
        "what was recorded until then must be unchanged",
    )
    add("--state", type=Path, metavar="DIR", help="the folder that sessions are kept in")
    add("--json", action="store_true", help="one JSON object a line, for programs")
    add(
        "--otel",
        action="store_true",
        help="as OpenTelemetry spans instead, one JSON object a line (pip install 'mulligan[tracing]')",
    )
    log.set_defaults(command=_log)


def _head(text: str) -> str:
    try:
        return read_head(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _lines(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines from 1 to 100,000")
    return int(text)


def _checked(run: argparse.ArgumentParser, chosen: argparse.Namespace) -> argparse.Namespace:
    if chosen.commit and chosen.workspace is None:
        run.error("--commit needs --workspace: there is no folder to write to")
    return chosen


def _database(text: str) -> Database:
    """The address is in the environment: what stands in a command line can be read by others."""
    from mulligan.runtime.databases.database import Database

    name, _, variable = text.partition("=")
    if not variable or variable not in os.environ:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VARIABLE, with a variable that is set")
    try:
        return Database(name, os.environ[variable])
    except MulliganError as error:
        raise argparse.ArgumentTypeError(error.message) from error


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (0 < seconds < math.inf):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
