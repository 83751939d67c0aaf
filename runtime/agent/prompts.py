"""The words that a model is given; they stand in prompts.txt, a section each."""

from __future__ import annotations

import functools
from importlib.resources import files


@functools.cache
def _sections() -> dict[str, str]:
    text = (files("mulligan.runtime.agent") / "prompts.txt").read_text(encoding="utf-8")
    parts = [part.partition("\n") for part in text.removeprefix("## ").split("\n## ")]
    return {name: body.strip() for name, _, body in parts}


def say(section: str) -> str:
    return _sections()[section]
