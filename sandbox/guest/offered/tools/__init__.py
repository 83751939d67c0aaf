"""Functions of the host that may be called from here: each has the name, the signature and the docstring that it has
there, and runs there. `dir(tools)` lists them, `help(tools.NAME)` shows one.

Made from the data that the host has put down beside its socket.
"""

from __future__ import annotations

import inspect
import json
from typing import Any

from . import _calls, _classes, _values

DESCRIBED = "/run/mulligan/tools.json"


def _offer() -> dict[str, Any]:
    with open(DESCRIBED, encoding="utf-8") as file:
        told = json.load(file)
    _classes.make(told["classes"])
    return {**{each["name"]: _function(each) for each in told["tools"]}, **_values.classes}


def _function(told: dict[str, Any]) -> Any:
    name, signature = told["name"], _signature(told)
    variable = {each.name for each in signature.parameters.values() if each.kind in _VARIABLE}

    def arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        __tracebackhide__ = True
        try:
            bound = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{name}(): {error}") from None
        return {key: value for key, value in bound.items() if key not in variable or value}

    if told["async"]:

        async def tool(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True  # IPython shows what called it, and leaves this out
            return await _calls.call_async(name, arguments(args, kwargs))
    else:

        def tool(*args: Any, **kwargs: Any) -> Any:  # type: ignore[misc]
            __tracebackhide__ = True  # IPython shows what called it, and leaves this out
            return _calls.call(name, arguments(args, kwargs))

    tool.__name__ = tool.__qualname__ = name
    tool.__module__, tool.__doc__ = "tools", told["doc"]
    tool.__signature__ = signature  # type: ignore[attr-defined]
    tool.__annotations__ = {
        each.name: each.annotation
        for each in signature.parameters.values()
        if each.annotation is not each.empty
    }
    if signature.return_annotation is not signature.empty:
        tool.__annotations__["return"] = signature.return_annotation
    return tool


_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _signature(told: dict[str, Any]) -> inspect.Signature:
    returns = _classes.annotation(told["returns"]) if "returns" in told else inspect.Signature.empty
    return inspect.Signature([_parameter(each) for each in told["parameters"]], return_annotation=returns)


def _parameter(told: dict[str, Any]) -> inspect.Parameter:
    default = _values.unpack(told["default"], []) if "default" in told else inspect.Parameter.empty
    if "optional" in told:
        default = _values.LEFT
    kind = list(_KINDS)[told["kind"]]
    annotation = _classes.annotation(told["type"])
    return inspect.Parameter(told["name"], kind, default=default, annotation=annotation)


_KINDS = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
    inspect.Parameter.KEYWORD_ONLY,
    inspect.Parameter.VAR_KEYWORD,
)

_offered = _offer()
globals().update(_offered)
__all__ = sorted(_offered)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    """Exceptions that calls have raised, to be caught by their names."""
    if name in _calls.raised:
        return _calls.raised[name]
    raise AttributeError(f"there is no tool {name!r}; there are: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return list(__all__)
