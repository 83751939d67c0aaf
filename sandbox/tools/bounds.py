"""How much of everything one session's tools may be asked for."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Bytes and seconds. Calls beyond `calls` at once wait to be taken. `quiet` is what a message may take to come, and
    an answer to be read; `wall` what a call may, unless its tool has a time of its own."""

    calls: int = 32
    json: int = MIB
    beside: int = 32 * MIB
    result: int = 64 * MIB
    quiet: float = 30.0
    wall: float = 60.0
