"""What kind of line was typed, by its text alone."""

from __future__ import annotations


def is_command(text: str) -> bool:
    return text.lstrip().startswith(":")


def is_question(text: str) -> bool:
    """`name?`, `name??`, `?name`."""
    text = text.strip()
    return "\n" not in text and bool(text.strip("?")) and (text.endswith("?") or text.startswith("?"))
