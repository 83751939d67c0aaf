"""What is asked about each call: whether it may be made, and a record of it before it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import BoundArguments
from typing import Any, Literal, Protocol

from mulligan.sandbox.tools.tool import Tool
from mulligan.sandbox.tools.values import Unpacking


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call, its arguments checked. `plain` is what they are as plain data, with the texts and bytes beside it;
    `gone` says whether whoever made it waits no more."""

    tool: Tool
    bound: BoundArguments
    #: the arguments by name, those that were given, as they were before the tool had them
    given: tuple[tuple[str, Any], ...]
    plain: Any
    parts: tuple[bytes, ...]
    gone: Callable[[], bool]

    def take_back(self, result: Any) -> Any:
        """By the tool's own inverse, with arguments that nobody has changed since. Its result, or a coroutine."""
        return self.tool.take_back(Unpacking(self.parts).again(self.plain), result)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What a call of before came to: it is answered with that, and not made."""

    answer: Any
    parts: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What came of a call. `how`: it "returned" or "raised"; "left": nobody waited for it any more, or it took too
    long, and it may go on; "cancelled" likewise, and it was told to end. `answer` with `parts` is what is said inside.
    `late` comes after one that was left, when its function does end."""

    how: Literal["returned", "raised", "left", "cancelled"]
    seconds: float
    answer: Any = None
    parts: tuple[bytes, ...] = ()
    #: whether the function returned, and its own result
    returned: bool = False
    result: Any = None
    why: str = ""
    late: bool = False


class Overseer(Protocol):
    """Called from many threads at once."""

    def admit(self, call: Call) -> int | Recorded:
        """The number under which it is on record, before it is made. Raises Denied, Refused; whatever else it raises
        denies too."""
        ...

    def ended(self, number: int, call: Call, ended: Ended) -> None: ...

    def without_secrets(self, text: str) -> str: ...
