"""What stands there first: where the actions run, under which rules, on what, and how to be helped."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from mulligan.sandbox.printable import one_line

if TYPE_CHECKING:
    from mulligan.runtime.repl.desk import Desk
    from mulligan.runtime.session import Session


def lines(desk: Desk) -> list[Text]:
    """Of a session that is open."""
    session, report = desk.session, desk.session.report
    kernel = sum(bound.enforcement == "kernel" for bound in report.bounds.values())
    watched = [name for name, bound in report.bounds.items() if bound.enforcement == "supervised"]
    held = f"{kernel} bounds by the kernel" + (f"; watched: {', '.join(watched)}" if watched else "")
    found = [
        Text.assemble(("Mulligan ", "bold"), (version("mulligan"), "bold"), ("  Python with undo", "dim")),
        _row("isolation", f"{report.engine} {report.version}, {held}"),
        _row("policy", f"{one_line(desk.policy) if desk.policy else 'the default'}: {_rules(session)}"),
        _row("limits", _limits(session)),
        _row("folder", _folder(desk)),
        *_model(desk),
        _row("help", ":help lists commands, :undo takes back, name? explains, Ctrl-D leaves"),
    ]
    if session.ungranted:
        said = f"allowed by the policy, and not there yet: {', '.join(session.ungranted)}"
        found.append(Text(f"           {said}", "yellow"))
    return found


def _model(desk: Desk) -> list[Text]:
    name = getattr(desk.model, "name", "")
    return [_row("model", f"{one_line(name)}; :ask hands it a task")] if name else []


def _row(name: str, text: str) -> Text:
    return Text.assemble((f"{name:<11}", "dim"), text)


def _folder(desk: Desk) -> str:
    if desk.folder is None:
        return "an empty one"
    way = "over" if desk.session.report.workspace.startswith("an overlay") else "a copy of"
    return f"{way} {one_line(_short(desk.folder))}; only :commit writes there"


def _short(path: Path) -> str:
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) and path != home else str(path)


def _rules(session: Session) -> str:
    policy = session.policy
    network = f"{len(policy.network)} network rules" if policy.network else "no network"
    protected = f", {len(policy.files.protect)} globs protected" if policy.files.protect else ""
    return network + protected


def _limits(session: Session) -> str:
    resources = session.policy.resources
    return (
        f"{_size(resources.memory)} memory, {resources.cpus:g} CPUs, {resources.pids} processes, "
        f"{_size(resources.disk)} disk, {resources.wall:g} s an action"
    )


def _size(count: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB")):
        if count >= unit:
            return f"{count / unit:g} {name}" if count % unit == 0 else f"{count / unit:.1f} {name}"
    return f"{count:,} bytes"
