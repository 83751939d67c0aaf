"""What a question is about, so that an answer to it is found again, and how it was decided."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mulligan.policies.address import request
from mulligan.policies.requests import METHODS, RequestPattern
from mulligan.runtime.effects import READS

if TYPE_CHECKING:
    from mulligan.sandbox.egress.judgement import Asked, Judgement, Preview


@dataclass(frozen=True, slots=True)
class Decided:
    """`why` is for whoever asked: printable."""

    allowed: bool
    why: str
    instead: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matter:
    """What a question is about, for finding answers again. `alike`: whoever asks exactly this shares one answer; None
    where it cannot be told that two are the same, or each of them may change something. `kind`: a "no" holds for all of
    it until the step ends. `covered`: whether a line that a person allowed is about this. `lasts`: whether one may be
    written for good."""

    alike: object
    kind: tuple[str, ...]
    covered: Callable[[str], bool] = lambda line: False
    counts: bool = True
    lasts: bool = False


def matter_of(asked: Asked, judgement: Judgement, preview: Preview) -> Matter:
    return Matter(
        alike=_alike(asked, judgement, preview),
        kind=_kind(asked, judgement),
        covered=partial(_covers, asked),
        lasts=judgement.lasts,
    )


def _alike(asked: Asked, judgement: Judgement, preview: Preview) -> object:
    """All that leaves of a read; None where that is not known. What may change something is asked about each time."""
    reads = asked.method in READS and not asked.both_ways
    whole = reads and preview.length == len(preview.beginning)
    return (asked, judgement.rule, preview) if whole else None


def _kind(asked: Asked, judgement: Judgement) -> tuple[str, ...]:
    """Methods that no rule can name are one, at one host: there is no end of them."""
    if asked.method not in METHODS:
        return ("", asked.host)
    return (asked.method, asked.scheme, asked.authority, judgement.rule)


def _covers(asked: Asked, line: str) -> bool:
    with suppress(ValueError):
        spelt = request(asked.method, asked.scheme, asked.host, asked.port, asked.path)
        return RequestPattern.parse(line).matches(spelt, generous=False)
    return False
