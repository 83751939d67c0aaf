"""A run as people see it: the action's own output as it comes, then one quiet line for each step.

Everything that comes out of the sandbox passes `printable`, a whole line at a time: an escape sequence that arrives
in two pieces is still seen as one, and a progress bar leaves its last state.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from rich.text import Text

from mulligan.runtime.diffs.lines import Bounds, summary
from mulligan.runtime.diffs.lines import spell as spell_diff
from mulligan.runtime.log import spell_entry
from mulligan.runtime.outcome import Lost, Outcome, Refused, Reverted, TimedOut, shorten
from mulligan.runtime.timeline import headline
from mulligan.sandbox.messages import Clear, Display, Error, Event, Result, Stream
from mulligan.sandbox.printable import one_line, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from mulligan.runtime.changes import FileChange
    from mulligan.runtime.checkpoint import Restoration
    from mulligan.runtime.commit import Commit
    from mulligan.runtime.diffs.diff import Diff
    from mulligan.runtime.ledger import Chain, Entry
    from mulligan.runtime.notebook import Cell
    from mulligan.runtime.outbox import Held
    from mulligan.runtime.past import Found, Verified
    from mulligan.runtime.session import Session
    from mulligan.runtime.step import Step

#: characters of an unfinished line that are held back
HELD = 1 << 16
NAMES = 3

_MARKS = {"added": "+", "changed": "~", "removed": "-"}
_DIFF_STYLES = {"+": "green", "-": "red", "~": "yellow", "→": "cyan", "@": "cyan", "!": "dim"}
_STYLES = {"added": "green", "changed": "yellow", "removed": "red"}


class Lines:
    """Puts pieces of text together to lines, and gives each to `show` when it is whole."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._held = ""

    def add(self, piece: str) -> None:
        whole, newline, self._held = (self._held + piece).rpartition("\n")
        if newline:
            self._show(whole)
        if len(self._held) > HELD:
            self.flush()

    @property
    def held(self) -> str:
        """The line that is not whole yet."""
        return self._held

    def flush(self) -> None:
        if self._held:
            self._show(self._held)
            self._held = ""


class Page:
    """Writes a run to a console. Its methods are called in the order of a run's story."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._streams = {
            "stdout": Lines(lambda text: self._text(text, "")),
            "stderr": Lines(lambda text: self._text(text, "red")),
        }

    def opened(self, session: Session, workspace: str | None, seconds: float) -> None:
        report = session.report
        way = "over" if report.workspace.startswith("an overlay") else "a copy of"
        kept = f"{way} {printable(workspace)}" if workspace else "an empty workspace"
        said = f"{report.engine} {report.version}, {kept}, open in {spell(seconds)}"
        self._line(Text.assemble(("mulligan  ", "bold"), (said, "dim")))
        if session.ungranted:
            said = f"  allowed by the policy, and not there yet: {', '.join(session.ungranted)}"
            self._line(Text(said, "yellow"))

    def begins(self, number: int, count: int, cell: Cell) -> None:
        head = f"{number}/{count} " if count > 1 else ""
        self._line(Text.assemble(), Text(f"{head}{headline(cell.source, 70)}", "cyan"))

    def event(self, event: Event) -> None:
        match event:
            case Stream(name=name, text=text):
                other = "stdout" if name == "stderr" else "stderr"
                self._streams[other].flush()
                self._streams[name].add(text)
            case Clear():
                return
            case Display(data=data) | Result(data=data):
                self._flush()
                self._text(_words(data), "")
            case Error():
                self._flush()
                self._text("\n".join(event.traceback) or f"{event.name}: {event.value}", "red")

    def step(self, number: int, step: Step) -> None:
        self._flush()
        outcome = step.outcome
        mark, style = ("✓", "green") if outcome.ok else ("✗", "red")
        line = Text.assemble((f"{mark} {step.id}  ", style), f"{outcome.kind}  {spell(step.duration)}")
        self._line(line.append_text(tally(step.changes)))
        if said := _said(outcome):
            self._text(said, "red")
        for note in outcome.notes:
            self._text(f"  {note}", "red")
        if not step.reach.exact:
            reach = step.reach
            if reach.memory != "exact":
                self._line(
                    Text(f"  an undo to here finds memory {reach.memory}, files {reach.files}", "yellow")
                )
            for sent in reach.sent:
                self._text(f"  undo does not take back: {sent}", "yellow")
            for stands in reach.stands:
                self._text(f"  an undo to here: {stands}", "yellow")

    def restored(self, restoration: Restoration) -> None:
        where = f"step {restoration.step}" if restoration.step else "the beginning"
        text = f"↶ back to {where}  {spell(restoration.duration)}  memory {restoration.memory}"
        self._line(Text(text, "green").append_text(tally(restoration.restored)))
        for line in restoration.stands:
            self._text(f"  stands: {line}", "yellow")

    def committed(self, commit: Commit, folder: str) -> None:
        paths = [f"{each.did} {_path(each.path)}" for each in commit.applied]
        self._line(Text.assemble(), Text(f"{len(paths)} written to {printable(folder)}", "bold"))
        self._line(*(Text(f"  {path}") for path in paths))
        for conflict in commit.conflicts:
            said = f"  conflict: {_path(conflict.path)}: here {conflict.ours}, there {conflict.theirs}"
            self._text(said, "yellow")
        for name in commit.databases:
            self._text(f"  database {name}: committed", "green")
        for sent in commit.sent:
            self._text(f"  {sent}", "green" if sent.state == "sent" else "yellow")
        for held in commit.held:
            self._text(f"  not sent: {held}", "yellow")

    def held_back(self, held: Sequence[Held]) -> None:
        for each in held:
            self._text(f"not sent: {each}", "yellow")

    def kept_back(self, changes: Sequence[FileChange], folder: str, why: str) -> None:
        text = f"nothing was written to {printable(folder)} ({why}):"
        self._line(Text.assemble(), Text(text, "dim").append_text(tally(changes)))

    def sessions(self, found: Sequence[Found]) -> None:
        for each in found:
            steps = "?" if each.timeline is None else len(each.timeline.nodes) - 1
            opened = time.strftime("%Y-%m-%d %H:%M", time.localtime(each.opened))
            last = (
                ""
                if each.timeline is None
                else headline(each.timeline.nodes[each.timeline.cursor].source, 40)
            )
            self._line(
                Text.assemble(
                    (each.id, "bold"), f"  {each.state:<5} {opened}  {steps} steps  ", (last, "dim")
                )
            )
        if not found:
            self._line(
                Text("no session has files to look at: one that is open has, and one that was kept (--keep)")
            )

    def diff(self, session: str, diff: Diff, bounds: Bounds, *, stat: bool = False) -> None:
        for line in summary(diff, bounds) if stat else spell_diff(diff, bounds):
            self._console.print(Text(line.text, _DIFF_STYLES.get(line.sign, "")), soft_wrap=True)

    def entry(self, entry: Entry) -> None:
        for line in spell_entry(entry):
            self._console.print(Text(line), soft_wrap=True)

    def ledgers(self, ids: Sequence[str]) -> None:
        self._line(*(Text(id) for id in ids or ["no session has left a ledger"]))

    def chained(self, session: str, found: Chain) -> None:
        self._line(Text(f"✓ {session}: {found.entries} entries, each chained to the one before", "green"))
        self._text(f"  head {found.head}", "")
        self._text("  note it: `--verify HEAD` then shows that nothing before it was changed since", "dim")

    def kept(self, session: str) -> None:
        self._line(Text(f"kept: `mulligan diff {session}` shows what changed", "dim"))

    def verified(self, verified: Verified) -> None:
        if verified.faults:
            self._line(Text.assemble((verified.session, "bold"), ("  damaged:", "red")))
            for fault in verified.faults:
                self._text(f"  {one_line(fault)}", "red")
        elif has := verified.holdings:
            said = f"{has.snapshots:,} snapshots, {has.contents:,} contents, {has.bytes:,} bytes"
            self._line(Text.assemble((verified.session, "bold"), ("  whole: ", "green"), said))

    def forgotten(self, session: str) -> None:
        self._line(Text(f"{session}: its files and snapshots are removed, its ledger stays"))

    def ended(self, code: int) -> None:
        self._flush()

    def _flush(self) -> None:
        for lines in self._streams.values():
            lines.flush()

    def _line(self, *lines: Text) -> None:
        """Lines of our own, cut at the width."""
        for line in lines:
            self._console.print(line, no_wrap=True, overflow="ellipsis", crop=True)

    def _text(self, text: str, style: str) -> None:
        """Text of the sandbox: every character that does not act on a terminal, wrapped by the terminal."""
        shown = printable(text).rstrip("\n")
        self._console.print(Text(shown, style), soft_wrap=True)


def spell(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def tally(changes: Sequence[FileChange]) -> Text:
    """How many files of each kind of change, and the first names."""
    counts = Counter(change.action for change in changes)
    text = Text()
    for action, count in sorted(counts.items(), key=lambda item: list(_MARKS).index(item[0])):
        text.append(f"  {_MARKS[action]}{count}", _STYLES[action])
    names = [one_line(change.path) for change in changes[:NAMES]]
    if len(changes) > NAMES:
        names.append("…")
    return text.append(f"  {', '.join(names)}" if names else "", "dim")


def _said(outcome: Outcome) -> str:
    """Why we or the policy ended an action, or who did."""
    match outcome:
        case Refused(verdict=verdict) | Reverted(verdict=verdict):
            said = [finding.reason for finding in verdict.findings]
            said += [f"instead: {finding.instead}" for finding in verdict.findings if finding.instead]
            return "  " + "; ".join(said)
        case TimedOut(after=after, restored=True, left=left):
            return f"  it did not obey within {after:g} s and was killed. {left}"
        case TimedOut(after=after):
            return f"  interrupted after {after:g} s; what it had done until then stands"
        case Lost(cause=cause, left=left):
            return f"  the kernel died: {cause}. {left}"
    return ""


def _words(data: object) -> str:
    bundle = data if isinstance(data, dict) else {}
    text = bundle.get("text/plain")
    pictures = "".join(f"[{kind}] " for kind in sorted(bundle) if kind.startswith("image/"))
    return shorten(pictures + text if isinstance(text, str) else f"[{', '.join(sorted(bundle))}]")


def _path(path: bytes) -> str:
    return one_line(path.decode("utf-8", "backslashreplace"))
