"""What an embedder says of a function that it hands over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, overload

from mulligan.sandbox.errors import ToolInvalid

Effect = Literal["read", "write", "irreversible", "unknown"]
F = TypeVar("F", bound=Callable[..., Any])

_ATTRIBUTE = "__mulligan_tool__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """`effect` is what a call does: "read" (nothing to take back), "write", "irreversible", or "unknown". `undo` makes
    up for a call, and is given those of its arguments and its `result` that it has parameters for. `timeout` is in
    seconds; None means the session's. `name` is what it is called inside, where that is not the function's name.
    `control`: it reaches nothing but the agent's own run (runtime/agent/controls.py), and no rule is asked about it."""

    effect: Effect = "unknown"
    undo: Callable[..., Any] | None = None
    timeout: float | None = None
    name: str = ""
    control: bool = False


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(
    *,
    effect: Effect = "unknown",
    undo: Callable[..., Any] | None = None,
    timeout: float | None = None,
    name: str = "",
) -> Callable[[F], F]: ...
def tool(
    function: Any = None,
    /,
    *,
    effect: Effect = "unknown",
    undo: Callable[..., Any] | None = None,
    timeout: float | None = None,
    name: str = "",
) -> Any:
    """Say of a function, for `tools=[...]`, what its calls do and what takes them back; it stays as it is.

        @mulligan.tool(effect="write", undo=cancel_invoice)
        def send_invoice(customer: str, amount: Decimal) -> str: ...

    Raises ToolInvalid.
    """
    if effect not in get_args(Effect):
        raise ToolInvalid(f"there is no effect {effect!r}", hint=f"say one of {', '.join(get_args(Effect))}")
    if undo is not None and effect in ("read", "irreversible"):
        raise ToolInvalid(
            f"what is {effect!r} has no undo", hint='say effect="write" of what can be made up for'
        )
    if timeout is not None and not timeout > 0:
        raise ToolInvalid(f"a timeout is a number of seconds above 0, not {timeout!r}")
    said = Declared(
        effect="write" if undo is not None and effect == "unknown" else effect,
        undo=undo,
        timeout=timeout,
        name=name,
    )

    def declare(function: F) -> F:
        try:
            setattr(function, _ATTRIBUTE, said)
        except AttributeError as error:
            raise ToolInvalid(
                f"nothing can be said of {function!r}", hint="wrap it in a function of your own"
            ) from error
        return function

    return declare if function is None else declare(function)


def control(*, timeout: float | None = None) -> Callable[[F], F]:
    """Of a function of ours that only steers the agent's own run."""

    def declare(function: F) -> F:
        setattr(function, _ATTRIBUTE, Declared(effect="read", timeout=timeout, control=True))
        return function

    return declare


def declared(function: Callable[..., Any]) -> Declared:
    found = getattr(function, _ATTRIBUTE, None)
    return found if isinstance(found, Declared) else Declared()
