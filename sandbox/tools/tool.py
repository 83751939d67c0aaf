"""One function of the host: its signature as data, its arguments and its result checked by that."""

from __future__ import annotations

import inspect
import keyword
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from mulligan.sandbox.errors import ToolInvalid
from mulligan.sandbox.printable import one_line
from mulligan.sandbox.tools.declared import Declared, declared
from mulligan.sandbox.tools.errors import BadArguments, Unpackable
from mulligan.sandbox.tools.spelling import Spelling, default

_EMPTY = inspect.Parameter.empty
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}\Z")
#: errors in arguments that are told at once
_TOLD = 5
#: tools that one session may have
MOST = 1000


class Tool:
    """Of any thread. `signature` has real types, as far as they can be had."""

    def __init__(
        self, name: str, function: Callable[..., Any], signature: inspect.Signature, said: Declared
    ) -> None:
        self.name, self.function, self.signature, self.said = name, function, signature, said
        self.is_async = inspect.iscoroutinefunction(inspect.unwrap(function)) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004
        )
        self.doc = inspect.getdoc(function) or ""

    @classmethod
    def of(cls, function: Callable[..., Any], name: str = "") -> Tool:
        """Raises ToolInvalid."""
        if isinstance(function, type) or not callable(function):
            raise ToolInvalid(
                f"{function!r} is no function", hint="hand over functions: tools=[send_invoice]"
            )
        said = declared(function)
        name = name or said.name or str(getattr(function, "__name__", ""))
        if not _PLAIN.match(name) or keyword.iskeyword(name):
            raise ToolInvalid(
                f"{one_line(name)!r} is no name for a tool",
                hint="it begins with a letter; @mulligan.tool(name=...) gives it another",
            )
        try:
            made = cls(name, function, _signature(function), said)
            made._check_undo()
            _ = made._checks, made._result
        except (PydanticUserError, Unpackable, NameError, TypeError, ValueError) as error:
            raise ToolInvalid(
                f"the signature of {name} cannot be read: {_first_line(error)}",
                hint="annotate it with types that pydantic can check, or with none",
            ) from error
        return made

    @cached_property
    def _checks(self) -> Mapping[str, TypeAdapter[Any]]:
        return {name: _adapter(each.annotation) for name, each in self.signature.parameters.items()}

    @cached_property
    def _result(self) -> TypeAdapter[Any] | None:
        promised = self.signature.return_annotation
        return None if promised in (_EMPTY, Any) else _adapter(promised)

    # -- for the guest -------------------------------------------------------------------------------------------

    def described(self, spelling: Spelling) -> dict[str, Any]:
        """As data. Raises Unpackable."""
        parameters = [
            {
                "name": each.name,
                "kind": int(each.kind),
                "type": spelling.spell(each.annotation),
                **({} if each.default is _EMPTY else default(each.default)),
            }
            for each in self.signature.parameters.values()
        ]
        promised = self.signature.return_annotation
        returns = {} if promised is _EMPTY else {"returns": spelling.spell(promised)}
        return {
            "name": self.name,
            "doc": self.doc[:20_000],
            "async": self.is_async,
            "parameters": parameters,
        } | returns

    # -- for a call ----------------------------------------------------------------------------------------------

    def check(self, given: Mapping[str, Any]) -> inspect.BoundArguments:
        """The arguments as the signature wants them. Raises BadArguments."""
        bound = self._bind(given)
        wrong: list[str] = []
        for name, value in bound.arguments.items():
            try:
                bound.arguments[name] = self._check_one(name, value)
            except ValidationError as error:
                wrong += [
                    f"{name}{_place(each['loc'])}: {each['msg']}" for each in error.errors(include_url=False)
                ]
        if wrong:
            more = f"; and {len(wrong) - _TOLD} more" if len(wrong) > _TOLD else ""
            raise BadArguments(f"{self.name}(): {'; '.join(wrong[:_TOLD])}{more}")
        return bound

    def _bind(self, given: Mapping[str, Any]) -> inspect.BoundArguments:
        """By name: what is beyond the names is in a list under that of *args, in a mapping under that of **kwargs."""
        parameters = self.signature.parameters
        if unknown := [name for name in given if name not in parameters]:
            raise BadArguments(f"{self.name}(): there is no argument {unknown[0][:100]!r}")
        for name, each in parameters.items():
            variable = each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
            if name not in given and not variable and each.default is _EMPTY:
                raise BadArguments(f"{self.name}() lacks the argument {name!r}")
            wanted = dict if each.kind is each.VAR_KEYWORD else list | tuple
            if name in given and variable and not isinstance(given[name], wanted):
                raise BadArguments(f"{self.name}(): {name} is no collection of arguments")
        ordered = {name: given[name] for name in parameters if name in given}
        return inspect.BoundArguments(self.signature, ordered)

    def _check_one(self, name: str, value: Any) -> Any:
        check = self._checks[name].validate_python
        match self.signature.parameters[name].kind:
            case inspect.Parameter.VAR_POSITIONAL:
                return tuple(map(check, value))
            case inspect.Parameter.VAR_KEYWORD:
                return {str(key): check(each) for key, each in dict(value).items()}
        return check(value)

    def check_result(self, value: Any) -> Any:
        """Raises TypeError for what the signature does not promise."""
        if self._result is None:
            return value
        try:
            return self._result.validate_python(value)
        except ValidationError as error:
            said = error.errors(include_url=False)[0]
            wrong = f"result{_place(said['loc'])}: {said['msg']}"
            raise TypeError(
                f"{self.name}() gave back what its signature does not promise: {wrong}"
            ) from error

    # -- taking a call back --------------------------------------------------------------------------------------

    def take_back(self, given: Mapping[str, Any], result: Any) -> Any:
        """Call what was declared as `undo`, with the arguments that a call was given and its result; its own result, or
        a coroutine."""
        assert self.said.undo is not None
        bound = self.check(given)
        bound.apply_defaults()
        known = {**bound.arguments, "result": result}
        wanted = inspect.signature(self.said.undo).parameters.values()
        if not any(each.kind is each.VAR_KEYWORD for each in wanted):
            known = {each.name: known[each.name] for each in wanted if each.name in known}
        return self.said.undo(**known)

    def _check_undo(self) -> None:
        if (undo := self.said.undo) is None:
            return
        known = {*self.signature.parameters, "result"}
        if "result" in self.signature.parameters:
            raise TypeError("an argument is called `result`, as what undo is given of the call's own")
        for each in inspect.signature(undo).parameters.values():
            if each.kind in (each.POSITIONAL_ONLY, each.VAR_POSITIONAL):
                raise TypeError(f"its undo takes {each.name!r} by position: it is given all by name")
            if each.kind is not each.VAR_KEYWORD and each.name not in known and each.default is _EMPTY:
                raise TypeError(f"its undo asks for {each.name!r}, which is neither an argument nor `result`")


class Held(Protocol):
    """What tools need: it is acquired by each session that has them, and released when it is closed."""

    def acquire(self) -> None: ...

    def release(self) -> None: ...


class Offer:
    """The tools of one session, by name; `holds` must be there while they are called."""

    def __init__(
        self, tools: Sequence[Tool], databases: Sequence[str] = (), holds: Sequence[Held] = ()
    ) -> None:
        """`databases` are those of them that run statements. Raises ToolInvalid."""
        self.holds = holds
        self.tools: Mapping[str, Tool] = {each.name: each for each in tools}
        if len(self.tools) < len(tools):
            twice = next(each.name for each in tools if self.tools[each.name] is not each)
            raise ToolInvalid(
                f"two tools are called {twice}", hint="give one another name: @mulligan.tool(name=...)"
            )
        if len(tools) > MOST:
            raise ToolInvalid(f"{len(tools):,} tools are too many: {MOST:,} at the most")
        spelling = Spelling()
        try:
            described = [each.described(spelling) for each in tools]
        except Unpackable as error:
            raise ToolInvalid(str(error), hint="give one of them another name") from error
        if shared := sorted(set(spelling.made) & set(self.tools)):
            raise ToolInvalid(
                f"a tool and a class are both called {shared[0]}", hint="give the tool another name"
            )
        #: what the guest makes its package from
        self.described: Mapping[str, Any] = {
            "tools": described,
            "classes": spelling.made,
            "databases": list(databases),
        }


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    signature = inspect.signature(function)
    target = function if inspect.isroutine(function) else type(function).__call__
    hints = typing.get_type_hints(inspect.unwrap(target), include_extras=True)
    parameters = [
        each.replace(annotation=hints.get(each.name, each.annotation))
        for each in signature.parameters.values()
    ]
    return signature.replace(
        parameters=parameters, return_annotation=hints.get("return", signature.return_annotation)
    )


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    annotation = Any if annotation is _EMPTY else annotation
    try:
        return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=False))
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
        return TypeAdapter(annotation)  # a class with a configuration of its own


def _place(location: Sequence[object]) -> str:
    return "".join(f"[{each!r}]"[:100] for each in location)


def _first_line(error: Exception) -> str:
    return one_line((str(error) or type(error).__name__).partition("\n")[0])[:300]
