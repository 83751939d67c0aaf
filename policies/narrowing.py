"""What a policy becomes inside of those that it extends.

Rules are not compared to be made narrower: they are laid in layers, and what is allowed is allowed in every layer. So
nothing that a file says can widen what it extends. That a rule is *useless*, because an outer layer does not allow what
it allows, is told from the rules alone, and is an error: its author meant something. Numbers are compared; lists of
what is protected grow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from mulligan.policies.decision import Decision
from mulligan.policies.policy import RULES, Approvals, Files, Policy
from mulligan.policies.rules import Rule, covering

_MILD = ("revert", "ask", "report")
_GROWING = ("read_only", "protect", "hidden")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong at a place of a policy, and what to write instead."""

    at: tuple[str | int, ...]
    what: str
    hint: str = ""


def within(outer: Policy, inner: Policy) -> tuple[Policy, list[Problem]]:
    """The policy `inner` as one that extends `outer`, and what in it would be wider than `outer` lets it be."""
    join = _Join(outer, inner)
    return join.policy(), join.problems


def both(one: Policy, other: Policy) -> Policy:
    """What both allow: for a file that extends several."""
    common = tuple(name for name in one.widenable if name in other.widenable)
    join = _Join(one.model_copy(update={"widenable": common}), other)
    return join.policy(narrowest=True)


class _Join:
    def __init__(self, outer: Policy, inner: Policy) -> None:
        self._outer, self._inner = outer, inner
        self.problems: list[Problem] = []

    def policy(self, *, narrowest: bool = False) -> Policy:
        """With `narrowest`, the smaller of two numbers; else those of the inner, which are checked."""
        self._narrowest = narrowest
        update: dict[str, Any] = {}
        bounds = dict(self._outer._bounds)
        for name in RULES:
            if self._says(name) or narrowest:
                update[name], *more = self._rules(name)
                bounds[name] = tuple(more)
        update["files"], writable = self._files()
        for name in ("resources", "actions", "budgets"):
            update[name] = self._numbers((name,), getattr(self._outer, name), getattr(self._inner, name))
        update["secrets"] = self._secrets()
        update["on_violation"] = self._on_violation()
        update["approvals"] = self._approvals()
        update["widenable"] = self._widenable()
        joined = self._outer.model_copy(update=update)
        joined._bounds = {name: layers for name, layers in bounds.items() if layers}
        joined._bounds_of_writable = tuple(writable)
        joined._places = {**self._outer._places, **self._inner._places}
        return joined

    def _says(self, name: str) -> bool:
        return name in self._inner.model_fields_set

    def _may_widen(self, name: str) -> bool:
        return name in self._outer.widenable and not self._narrowest

    def _say(self, at: tuple[str | int, ...], what: str, hint: str = "") -> None:
        self.problems.append(
            Problem(at, what, hint or f"remove it, or have the outer file say widenable: [{at[0]}]")
        )

    def _rules(self, name: str) -> list[tuple[Rule, ...]]:
        outer, inner = self._outer.layers(name), self._inner.layers(name)
        if self._may_widen(name):
            return [(*layer, *inner[0]) for layer in outer]
        for number, rule in enumerate(inner[0]):
            for at, missing in _useless(rule, outer):
                self._say((name, number, *at), missing, self._nearest(name, outer))
        return [*inner, *outer]

    def _nearest(self, name: str, outer: Sequence[Sequence[Rule]]) -> str:
        allowed = [rule.text for layer in outer for rule in layer if rule.decision is not Decision.DENY][:3]
        said = f"it says: {'; '.join(allowed)}" if allowed else "it allows nothing there"
        return f"{said}; narrow the rule to that, or have the outer file say widenable: [{name}]"

    def _numbers(self, at: tuple[str, ...], outer: Any, inner: BaseModel, without: str = "") -> Any:
        update = {}
        for key in type(inner).model_fields if self._narrowest else inner.model_fields_set:
            if key == without:
                continue
            bound, value = getattr(outer, key), getattr(inner, key)
            wider = value is None or (bound is not None and value > bound)
            if self._narrowest:
                value = bound if wider else value
            elif wider and bound is not None and not self._may_widen(at[0]):
                self._say((*at, key), f"{'.'.join((*at, key))} is {value:,}: the outer file has {bound:,}")
            update[key] = value
        return outer.model_copy(update=update)

    def _approvals(self) -> Approvals:
        """What was allowed for good inside holds only where the outer file lets it be added."""
        outer, inner = self._outer.approvals, self._inner.approvals
        numbers = self._numbers(("approvals",), outer, inner, without="always")
        assert isinstance(numbers, Approvals)
        lines = outer.always
        if self._narrowest:
            lines = tuple(line for line in outer.always if line in inner.always)
        elif "always" in inner.model_fields_set:
            for number, line in enumerate(inner.always):
                if line not in outer.always and not self._may_widen("approvals"):
                    self._say(
                        ("approvals", "always", number), f"the outer file does not allow {line!r} for good"
                    )
            lines = tuple(dict.fromkeys((*(lines if self._may_widen("approvals") else ()), *inner.always)))
        return numbers.model_copy(update={"always": lines})

    def _files(self) -> tuple[Files, Sequence[tuple[str, ...]]]:
        outer, inner = self._outer.files, self._inner.files
        update: dict[str, Any] = {
            key: tuple(dict.fromkeys((*getattr(outer, key), *getattr(inner, key)))) for key in _GROWING
        }
        update["per_action"] = self._numbers(("files", "per_action"), outer.per_action, inner.per_action)
        layers = list(self._outer.writable)
        if "writable" in inner.model_fields_set or self._narrowest:
            if self._may_widen("files"):
                layers = [inner.writable]
            else:
                if inner.writable and not all(layers):
                    self._say(("files", "writable"), "the outer file lets no path be written")
                layers = [*self._inner.writable, *layers]
        layers = list(dict.fromkeys(layer for layer in layers if layer != ("**",))) or [("**",)]
        return outer.model_copy(update={**update, "writable": layers[0]}), layers[1:]

    def _secrets(self) -> dict[str, str]:
        outer, inner = self._outer.secrets, self._inner.secrets
        if self._narrowest:
            return {name: place for name, place in outer.items() if inner.get(name) == place}
        if self._may_widen("secrets") or not self._says("secrets"):
            return {**outer, **inner}
        for name, place in inner.items():
            if outer.get(name) != place:
                self._say(("secrets", name), f"the outer file has no secret {name!r} from there")
        return inner

    def _on_violation(self) -> str:
        outer, inner = self._outer.on_violation, self._inner.on_violation
        if self._narrowest:
            return min(outer, inner, key=_MILD.index)
        if not self._says("on_violation"):
            return outer
        if _MILD.index(inner) > _MILD.index(outer) and not self._may_widen("on_violation"):
            self._say(("on_violation",), f"{inner!r} is milder than the outer file's {outer!r}")
        return inner

    def _widenable(self) -> tuple[str, ...]:
        outer = self._outer.widenable
        if self._narrowest or not self._says("widenable"):
            return outer
        for number, name in enumerate(self._inner.widenable):
            if name not in outer:
                self._say(
                    ("widenable", number), f"the outer file does not let {name!r} be widened", "remove it"
                )
        return self._inner.widenable


def _useless(rule: Rule, layers: Sequence[Sequence[Rule]]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The lines of a rule that some layer does not let be done, or only more strictly, with where they stand."""
    if rule.decision is Decision.DENY:
        return
    using = f" with {', '.join(sorted(rule.secrets))}" if rule.secrets else ""
    for number, (line, pattern) in enumerate(zip(rule.lines, rule.patterns, strict=True)):
        if not all(covering(layer, pattern, rule) for layer in layers):
            said = f"'{rule.decision} {line}'{using} is more than one rule of the outer file allows"
            yield (str(rule.decision), number), said
