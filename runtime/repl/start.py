"""`mulligan repl`: its arguments, and the pieces put together."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from mulligan.runtime.placing import add_place
from mulligan.runtime.repl.opening import Opening
from mulligan.runtime.state import make_state

if TYPE_CHECKING:
    from mulligan.runtime.agent.model import Model
    from mulligan.runtime.importing import Importing
    from mulligan.runtime.prompt import Curtain
    from mulligan.runtime.question import Approve
    from mulligan.runtime.repl.desk import Desk
    from mulligan.runtime.repl.dumb import DumbEditor
    from mulligan.runtime.repl.editor import Editor
    from mulligan.runtime.repl.screen import Screen
    from mulligan.runtime.session import Session


ABOUT = (
    "Runs what you type as steps, on a copy of the folder: each can be taken back, and nothing is written to "
    "the folder before :commit. Without a terminal, what standard input has is run and shown plainly."
)
MORE = "The other commands: `mulligan --help`."


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", nargs="?", metavar="FOLDER", help="what to work on (default: the current folder)")
    add("--empty", action="store_true", help="begin with an empty folder")
    add_place(parser)
    add(
        "--kernel",
        metavar="NAME",
        help="a kernelspec, for another language: bash, ir; files are taken back, memory is not",
    )
    add("--policy", metavar="POLICY", help="a policy file in YAML, or a preset")
    add("--protect", action="append", default=[], metavar="GLOB", help="a path that no action may change")
    add("--exclude", action="append", default=[], metavar="GLOB", help="a path that is not brought in")
    add("--staging", choices=("auto", "copy", "overlay"), default="auto", help="how the folder is brought in")
    add("--model", metavar="MODEL", help="what :ask hands tasks to: gpt-4o, openai/NAME with --api-base, ...")
    add("--api-base", metavar="URL", help="a server of your own that speaks OpenAI's protocol")
    add("--library", metavar="DIR", help="a folder of routines, for `from actions import NAME`")
    add("--state", type=Path, metavar="DIR", help="the folder that sessions are kept in")


def main(chosen: argparse.Namespace) -> int:
    """The exit code. Raises MulliganError and PolicyError where there is no session to be had."""
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    with ExitStack() as resources:
        return (_in_terminal if terminal else _plainly)(chosen, make_state(chosen.state), resources)


def _in_terminal(
    chosen: argparse.Namespace,
    state: Path | None,
    resources: ExitStack,
) -> int:
    from mulligan.runtime.prompt import Curtain, Terminal
    from mulligan.runtime.repl.asking import Asking
    from mulligan.runtime.repl.keyboard import Keyboard

    curtain = Curtain(sys.stdout)
    keyboard = Keyboard(sys.stdin.fileno())
    tty = Terminal.open(curtain)
    asking = None
    if tty is not None:
        resources.enter_context(tty)
        asking = Asking(tty, keyboard)
    opening = Opening(partial(_open, chosen, state, None if asking is None else asking.approve))
    resources.callback(opening.close)
    from mulligan.runtime.repl.loop import Repl, play
    from mulligan.runtime.repl.typed import reader

    reads = reader(keyboard, curtain)
    editor = _editor(chosen, opening, state, reads, resources)

    def desk_of(session: Session, screen: Screen) -> Desk:
        desk = _desk(chosen, session, screen)
        desk.run = lambda text: play(desk, text, reads)
        desk.reads = lambda words: reads(words, False)
        return desk

    return Repl(opening, editor, partial(_screen, curtain, state), keyboard, asking, desk_of).live()


def _editor(
    chosen: argparse.Namespace,
    opening: Opening,
    state: Path | None,
    reads: Callable[[str, bool], str | None],
    resources: ExitStack,
) -> Editor | DumbEditor:
    if os.environ.get("TERM", "dumb") in ("dumb", "unknown", ""):
        from mulligan.runtime.repl.dumb import DumbEditor

        return DumbEditor(opening, lambda words: reads(words, False))
    from mulligan.runtime.repl.editor import Editor

    editor = Editor(opening, _state_folder(state) / "repl-history", chosen.kernel or "")
    resources.callback(editor.close)
    return editor


def _plainly(
    chosen: argparse.Namespace,
    state: Path | None,
    resources: ExitStack,
) -> int:
    from mulligan.runtime.prompt import Curtain, Terminal
    from mulligan.runtime.repl import plain
    from mulligan.runtime.repl.loop import play
    from mulligan.runtime.waiting import Waiting

    curtain = Curtain(sys.stdout)
    tty = Terminal.open(curtain)
    if tty is not None:
        resources.enter_context(tty)
    with Waiting() as waiting:
        session = _open(chosen, state, None if tty is None else tty.approve, waiting.progress)
    resources.enter_context(session)
    screen = _screen(curtain, state)
    desk = _desk(chosen, session, screen)
    desk.run = lambda text: play(desk, text, None)
    return plain.live(desk, sys.stdin)


def _open(
    chosen: argparse.Namespace,
    state: Path | None,
    approve: Approve | None,
    progress: Callable[[Importing], None],
) -> Session:
    from mulligan.runtime.session import open_session

    return open_session(
        _folder(chosen),
        isolation=chosen.isolation,
        image=chosen.image,
        python=chosen.python,
        policy=chosen.policy,
        protect=chosen.protect,
        exclude=chosen.exclude,
        staging=chosen.staging,
        kernel=chosen.kernel,
        library=chosen.library,
        state=state,
        progress=progress,
        approve=approve,
        tools=_controls(chosen),
    )


def _folder(chosen: argparse.Namespace) -> Path | None:
    return None if chosen.empty else Path(chosen.folder or ".").absolute()


def _desk(chosen: argparse.Namespace, session: Session, screen: Screen) -> Desk:
    from mulligan.runtime.repl.desk import Desk, unplayed

    return Desk(session, screen, _folder(chosen), chosen.policy, unplayed, model=_model(chosen))


def _controls(chosen: argparse.Namespace) -> tuple[Callable[..., Any], ...]:
    if not chosen.model:
        return ()
    from mulligan.runtime.agent.controls import agent_tools

    return agent_tools()


def _model(chosen: argparse.Namespace) -> Model | None:
    if not chosen.model:
        return None
    from mulligan.runtime.agent.served import Served

    return Served(chosen.model, api_base=chosen.api_base)


def _screen(curtain: Curtain, state: Path | None) -> Screen:
    from mulligan.runtime.console import console_on
    from mulligan.runtime.repl.images import Album, way_to_show
    from mulligan.runtime.repl.screen import Screen

    album = Album(_state_folder(state) / "pictures", str(os.getpid()))
    return Screen(console_on(cast(IO[str], curtain)), curtain, album, way_to_show(os.environ))


def _state_folder(state: Path | None) -> Path:
    import platformdirs

    return state or platformdirs.user_state_path("mulligan")
