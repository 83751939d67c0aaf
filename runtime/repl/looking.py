"""Commands that show something and change nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from mulligan.policies.decision import Finding
from mulligan.runtime.diffs.lines import Bounds
from mulligan.runtime.errors import CommandMisused, NoLibrary
from mulligan.runtime.outcome import Refused, Reverted
from mulligan.runtime.repl.commands import Command, step_of, words_of
from mulligan.sandbox.printable import one_line

if TYPE_CHECKING:
    from mulligan.runtime.effects import Effect
    from mulligan.runtime.repl.desk import Desk

#: lines of a timeline and of a list of files that are shown unasked
LINES = 60


def _timeline(desk: Desk, rest: str) -> None:
    words = words_of(rest, ":timeline [all]", 1)
    timeline = desk.session.timeline
    lines = str(timeline).split("\n")
    here = next((at for at, line in enumerate(lines) if line.startswith("→")), 0)
    first = 0 if words or len(lines) <= LINES else max(0, min(here - LINES // 2, len(lines) - LINES))
    last = len(lines) if words else first + LINES
    if first:
        desk.screen.print(Text(f"  … {first:,} more above; :timeline all", "dim"))
    for line in lines[first:last]:
        style = "bold" if line.startswith("→") else "dim" if "├" in line or "│" in line else ""
        desk.screen.line(Text(line, style))
    if last < len(lines):
        desk.screen.print(Text(f"  … {len(lines) - last:,} more below; :timeline all", "dim"))


def _diff(desk: Desk, rest: str) -> None:
    steps = [step_of(word, ":diff [A [B]]") for word in words_of(rest, ":diff [A [B]]", 2)]
    desk.screen.diff(desk.session.id, desk.session.diff(*steps), Bounds())


def _files(desk: Desk, rest: str) -> None:
    words_of(rest, ":files", 0)
    changes = desk.uncommitted()
    if not changes:
        return desk.screen.say("your folder has all of it: nothing changed", "dim")
    marks = {"added": "green", "removed": "red", "changed": "yellow"}
    for change in changes[:LINES]:
        desk.screen.line(Text(f"  {change}", marks.get(change.action, "")))
    if len(changes) > LINES:
        desk.screen.say(f"  … and {len(changes) - LINES:,} more", "dim")
    desk.screen.say(
        f"{len(changes):,} not in your folder; :diff shows what is in them, :commit writes them", "dim"
    )


def _vars(desk: Desk, rest: str) -> None:
    words_of(rest, ":vars", 0)
    found = desk.session.variables()
    if found is None:
        return desk.screen.say("the kernel did not tell in time, or is not Python's", "yellow")
    if not found:
        return desk.screen.say("no variables yet", "dim")
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("name", "type"):
        table.add_column(name, overflow="ellipsis", no_wrap=True)
    for name in ("size", "bytes"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in found:
        table.add_row(Text(each.name, "bold"), Text(each.type), Text(each.size), Text(f"{each.bytes:,}"))
    desk.screen.print(table)


# -- rules ---------------------------------------------------------------------------------------------------------


def _effects(desk: Desk, rest: str) -> None:
    words = words_of(rest, ":effects [STEP]", 1)
    steps = [step_of(words[0], ":effects 3")] if words else sorted(desk.session.timeline.nodes)
    some = False
    for step in steps:
        for effect in desk.session.effects(step):
            some = True
            style = "red" if effect.denied else "yellow" if effect.stands else "dim"
            desk.screen.line(Text.assemble((f"{step:>4}  ", "bold"), (one_line(_spelt(effect)), style)))
    if not some:
        desk.screen.say("none: no action asked for anything outside of the sandbox", "dim")


def _spelt(effect: Effect) -> str:
    stays = (
        "denied"
        if effect.denied
        else "undo does not take it back"
        if effect.stands
        else "nothing to take back"
    )
    status = "" if effect.status is None else f" → {effect.status}"
    return f"{effect.what}{status}  {effect.reversibility}, {stays}"


def _policy(desk: Desk, rest: str) -> None:
    from mulligan.policies.explaining import explain
    from mulligan.policies.loading import find_policy, find_text
    from mulligan.runtime.policy_cli import say
    from mulligan.sandbox.printable import escaped

    if rest:
        policy = find_policy(desk.policy) if desk.policy else desk.session.policy
        for answer in explain(policy, rest):
            say(policy, answer)
        return
    for line in limits_of(desk):
        desk.screen.say(line, "dim")
    if desk.policy is None:
        desk.screen.say(
            "the default policy: all files of the workspace may be written, there is no network.\n"
            "`mulligan repl --policy analysis` opens under another; `mulligan policy show` lists them"
        )
        return
    desk.screen.print(Text(escaped(find_text(desk.policy)[0]).rstrip("\n")))
    desk.screen.say(":policy delete out/a.csv  asks what it says of one thing", "dim")


def limits_of(desk: Desk) -> list[str]:
    """Who holds each bound, in words."""
    report = desk.session.report
    held = Counter(str(bound.enforcement) for bound in report.bounds.values())
    by_kernel = ", ".join(name for name, bound in report.bounds.items() if bound.enforcement == "kernel")
    watched = ", ".join(name for name, bound in report.bounds.items() if bound.enforcement == "supervised")
    absent = ", ".join(name for name, bound in report.bounds.items() if bound.enforcement == "absent")
    lines = [f"held by the kernel ({held['kernel']}): {by_kernel}"] if by_kernel else []
    lines += [f"watched: {watched}"] if watched else []
    return lines + ([f"not held here: {absent}"] if absent else [])


def _why(desk: Desk, rest: str) -> None:
    words_of(rest, ":why", 0)
    step = desk.last
    if step is None:
        return desk.screen.say("no action was run yet", "dim")
    outcome = step.outcome
    findings: Iterable[Finding] = ()
    if isinstance(outcome, Refused | Reverted):
        findings = outcome.verdict.findings
    denied = [effect for effect in step.effects if effect.denied]
    desk.screen.line(Text.assemble((f"step {step.id}  ", "bold"), outcome.kind))
    for finding in findings:
        _explain(desk, finding, "")
    for effect in denied[:20]:
        _explain(desk, effect.finding, f"{effect.what}: ")
    if not findings and not denied:
        desk.screen.say("  no rule held anything of it back")
    for note in outcome.notes:
        desk.screen.say(f"  {note}", "yellow")
    if advice := step.action.advice:
        desk.screen.say("  what its text seems about to do:")
        for each in advice[:20]:
            desk.screen.say(f"    {one_line(str(each))}", "dim")


def _explain(desk: Desk, finding: Finding, what: str) -> None:
    style = {"allow": "green", "deny": "red"}.get(str(finding.decision), "yellow")
    place = f"  ({finding.place})" if finding.place else ""
    desk.screen.say(f"  {finding.decision!s}  {one_line(what)}{one_line(finding.rule)}{place}", style)
    desk.screen.say(f"        {one_line(finding.reason)}")
    if finding.instead:
        desk.screen.say(f"        instead: {one_line(finding.instead)}")


def _library(desk: Desk, rest: str) -> None:
    try:
        library = desk.session.library
    except NoLibrary as error:
        raise CommandMisused(error.message, hint="begin with `mulligan repl --library FOLDER`") from error
    word, _, names = rest.partition(" ")
    if word == "keep":
        kept = library.keep(None, *names.split())
        for routine in kept.routines:
            desk.screen.say(f"  kept as a candidate: {one_line(routine.name)}", "green")
        for name, why in kept.refused.items():
            desk.screen.say(f"  not kept: {one_line(name)}: {one_line(why)}", "yellow")
        return
    if not rest:
        raise CommandMisused("say what to look for", hint=":library read csv, or :library keep after a def")
    found = library.search(rest, 20)
    for each in found:
        desk.screen.line(Text(f"  {one_line(str(each))}"))
    if not found:
        desk.screen.say("nothing in the library fits", "dim")


COMMANDS = (
    Command(":timeline [all]", "the tree of steps, and where you are; nothing is ever erased", _timeline),
    Command(
        ":diff [A [B]]",
        "what differs in the files: from the beginning, or step A, to here, or B",
        _diff,
        "step",
    ),
    Command(":files", "the files that your folder does not have as they are here", _files),
    Command(":vars", "the variables: names, types, sizes", _vars),
    Command(":effects [STEP]", "what actions did outside of the sandbox, or were denied", _effects, "step"),
    Command(":policy [WHAT]", "what holds here; or what the policy says of `delete a.csv`, say", _policy),
    Command(":why", "which rules held the last action back, why, and what to do instead", _why),
    Command(
        ":library TEXT",
        "searches the routines that were kept; `:library keep` keeps the last step's",
        _library,
    ),
)
