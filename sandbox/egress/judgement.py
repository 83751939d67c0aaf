"""What the proxy asks for: a judgement of each request, and a record of it before it leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as it will be sent. `host` has one spelling (hosts.py), `path` no query. A tunnel whose inside is
    not looked at has method "CONNECT", scheme "https" and no path; a WebSocket has scheme "ws" or "wss"."""

    method: str
    scheme: str
    host: str
    port: int
    path: str
    query: str = ""

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def both_ways(self) -> bool:
        """Whether it opens a way on which anything may follow, unseen."""
        return self.method == "CONNECT" or self.scheme in ("ws", "wss")

    @property
    def url(self) -> str:
        """Without the query, which may hold secrets."""
        return f"{self.scheme}://{self.authority}{self.path}"

    def read_as(self, path: str) -> Asked:
        return replace(self, path=path)

    def __str__(self) -> str:
        return f"{self.method} {self.url}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a rule decided. `instead` is what would be allowed. `private`: the rule names this very address or name as
    one that may lie in a private network, or on this host. `asks`: it is not allowed unless a person says so; `scope`
    is what their answer may cover beyond this request, as a line of the policy, and `lasts` whether that line may be
    written for good. `holds`: it is not let leave now, and kept back."""

    allowed: bool
    rule: str
    reason: str
    instead: str = ""
    private: bool = False
    asks: bool = False
    holds: bool = False
    scope: str = ""
    lasts: bool = False
    #: names of the secrets that may be put into it
    uses: frozenset[str] = frozenset()


class Judge(Protocol):
    """Asked from many threads at once. Whatever it raises denies."""

    def judge(self, asked: Asked) -> Judgement: ...

    def needs_inside(self, host: str, port: int) -> bool:
        """Whether more than the host decides what may be asked of it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What of a request can be shown before it leaves: its headers as they are passed on, with placeholders where
    secrets will be; the beginning of its body, and how long that is altogether, None where that is not known yet."""

    headers: tuple[tuple[str, str], ...] = ()
    beginning: bytes = b""
    length: int | None = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A whole request that is kept back: what would be passed on, with placeholders where secrets will be."""

    asked: Asked
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = field(default=b"", repr=False)


class Full(Exception):
    """No more is kept back: why, and what to do instead."""

    def __init__(self, rule: str, why: str, instead: str) -> None:
        super().__init__(why)
        self.judgement = Judgement(allowed=False, rule=rule, reason=why, instead=instead)


class Keeper(Protocol):
    """Called from many threads at once."""

    def keep(self, parcel: Parcel, judgement: Judgement) -> int:
        """Record a request that is kept back; its number. Raises Full. Whatever else it raises, nothing is kept."""
        ...


class Approver(Protocol):
    """Asks a person. Called from many threads at once; whatever it raises denies."""

    def approve(
        self, asked: Asked, judgement: Judgement, preview: Preview, gone: Callable[[], bool]
    ) -> Judgement:
        """The judgement once a person has answered, allowed or not. It returns soon after `gone()` is true: whoever
        sent the request waits no more."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What came of a request that was let go. `status` is None where no answer came, and `error` says why. Bytes are
    those of the bodies; `seconds` until the last one."""

    status: int | None
    sent: int
    received: int
    seconds: float
    error: str = ""


class Journal(Protocol):
    """Called from many threads at once."""

    def leaving(self, asked: Asked, judgement: Judgement) -> int:
        """Record a request before anything of it is sent; its number. Where this raises, nothing is sent."""
        ...

    def looking_up(self, asked: Asked, judgement: Judgement) -> None:
        """Record that a name is asked for which no rule spells out, before it is. Where this raises, it is not."""
        ...

    def answered(self, number: int, answered: Answered) -> None: ...

    def denied(self, asked: Asked, judgement: Judgement) -> None: ...
