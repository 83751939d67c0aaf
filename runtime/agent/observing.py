"""What a model is shown of a step: head and tail of what it gave out, errors cut down to what helps, images for those
that see, and where all of it lies. What the step says stands in a fence; what is outside of it are words of ours."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mulligan.runtime.agent.fence import fence
from mulligan.runtime.outcome import Outcome, Refused, Reverted, shorten
from mulligan.sandbox.printable import one_line

if TYPE_CHECKING:
    from mulligan.runtime.step import Step
    from mulligan.sandbox.messages import Error

#: characters of one observation, unless told otherwise
SHOWN = 8000
#: images of one observation that are put before a model, and characters of one in base64
IMAGES, IMAGE = 4, 3 << 20
#: names of changed files that are told
NAMES = 10

_SUFFIXES = {"image/png": "png", "image/jpeg": "jpg"}
_BEGINS = {"image/png": b"\x89PNG", "image/jpeg": b"\xff\xd8"}


@dataclass(frozen=True, slots=True)
class Observation:
    """`images` are data URLs."""

    text: str
    images: tuple[str, ...] = ()


def observe(step: Step, folder: Path, *, shown: int = SHOWN, sees: bool = False) -> Observation:
    """`folder` is where what is not shown is written to: outside of what the sandbox sees."""
    outcome = step.outcome
    images = list(_images(outcome))[:IMAGES]
    body = "\n".join(part for part in _parts(step) if part)
    lines = [f"Observation of step {step.id}: {_headline(step)}"]
    lines += [f"Instead: {one_line(each)}" for each in _instead(outcome)]
    if outcome.transcript is not None:
        lines.append(f"(all of its output: {outcome.transcript.folder})")
    elif len(body) > shown:
        lines.append(f"(all of it: {_write(folder, 'shown.txt', body.encode('utf-8', 'backslashreplace'))})")
    if images and not sees:
        paths = [_write(folder, f"image-{n}.{suffix}", data) for n, (suffix, data, _) in enumerate(images, 1)]
        lines.append(f"(you cannot see its {len(images)} image(s): {', '.join(paths)})")
    if body:
        lines.append(fence(shorten(body, shown), f"what step {step.id} gave out"))
    return Observation("\n".join(lines), tuple(url for _, _, url in images) if sees else ())


def _headline(step: Step) -> str:
    took = f"{step.outcome.duration:.1f} s" if step.outcome.duration >= 1 else "under a second"
    said = f"{step.outcome.kind}, {took}"
    return said if step.outcome.ok else f"{said}. {_STANDS.get(step.outcome.kind, '')}".rstrip(". ")


_STANDS = {
    "raised": "What it had done until then stands",
    "refused": "Nothing was run",
    "reverted": "It broke a rule and was taken back: files and variables are as before it",
    "lost": "The kernel died; files and variables are as before it",
}


def _parts(step: Step) -> Iterator[str]:
    outcome = step.outcome
    yield outcome.stdout.rstrip("\n")
    yield outcome.stderr.rstrip("\n")
    for data in _bundles(outcome):
        yield _words(data)
    if outcome.error is not None:
        yield trimmed(outcome.error)
    if outcome.output.left_out:
        yield f"[{outcome.output.left_out:,} characters or displays were left out]"
    yield from outcome.notes
    yield outcome.notice
    yield _changed(step)


def _changed(step: Step) -> str:
    changes = step.changes
    if not changes:
        return ""
    names = ", ".join(f"{each.action} {one_line(each.path)}" for each in changes[:NAMES])
    return f"[files: {names}{f' and {len(changes) - NAMES} more' if len(changes) > NAMES else ''}]"


def _instead(outcome: Outcome) -> list[str]:
    """What the policy's author would have allowed."""
    if not isinstance(outcome, Refused | Reverted):
        return []
    return list(dict.fromkeys(each.instead for each in outcome.verdict.findings if each.instead))


def trimmed(error: Error) -> str:
    """The action's own lines and the exception; of the libraries that it went through only how many frames."""
    kept: list[str] = []
    passed = 0
    for part in error.traceback:
        if part.startswith("File "):
            passed += 1
            continue
        if part.startswith("-----") or "skipping hidden" in part:
            continue
        if passed:
            kept.append(f"[{passed} frames of libraries]")
            passed = 0
        kept.append(part.strip("\n"))
    if not kept:
        return f"{error.name}: {error.value}"
    return "\n".join([*kept, *([f"[{passed} frames of libraries]"] if passed else [])])


def _words(data: Mapping[str, Any]) -> str:
    text = data.get("text/plain")
    return text if isinstance(text, str) else f"[{', '.join(sorted(data))}]" if data else ""


def _images(outcome: Outcome) -> Iterator[tuple[str, bytes, str]]:
    """Suffix, content and data URL of each that begins as one does; nothing more of them is read."""
    for bundle in _bundles(outcome):
        for media, suffix in _SUFFIXES.items():
            text = bundle.get(media)
            if not isinstance(text, str) or len(text) > IMAGE:
                continue
            try:
                data = base64.b64decode("".join(text.split()), validate=True)
            except (binascii.Error, ValueError):
                continue
            if data.startswith(_BEGINS[media]):
                yield suffix, data, f"data:{media};base64,{base64.b64encode(data).decode()}"


def _bundles(outcome: Outcome) -> list[Mapping[str, Any]]:
    shown = [display.data for display in outcome.displays]
    return shown if outcome.result is None else [*shown, outcome.result.data]


def _write(folder: Path, name: str, data: bytes) -> str:
    """Where it was written to, or why it was not."""
    try:
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        (folder / name).write_bytes(data)
    except OSError as error:
        return f"not kept: {error.strerror}"
    return str(folder / name)
