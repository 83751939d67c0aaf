"""What a routine may be called: a plain Python name that says something, hides nothing and leads nowhere.

The name becomes the name of a file and of an attribute of `actions`, so it is matched whole and in ASCII.
"""

from __future__ import annotations

import builtins
import keyword
import re

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{2,63}", re.ASCII)
_SAYS_NOTHING = re.compile(
    r"(foo|bar|baz|qux|tmp|temp|test|func|function|fn|helper|main|run|do|doit|it|thing|stuff|process|my_?\w{0,4}|"
    r"test_\w*|cell|step|action|untitled)_?\d*",
    re.IGNORECASE,
)
#: attributes that `actions` has of its own
RESERVED = frozenset({"actions", "routine", "search", "source"})


def fault_of(name: str) -> str:
    """Why nothing may be shelved under this name, in words that go on after it; "" where it may."""
    if not _NAME.fullmatch(name) or name.endswith("__"):
        return "is no plain name of 3 to 64 letters, digits and underscores that begins with a letter"
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        return "is a word of Python's own"
    if hasattr(builtins, name):
        return "is what a builtin is called, and would hide it where it is imported"
    return "is what the library itself has" if name in RESERVED else ""


def says_nothing(name: str) -> bool:
    """Whether nobody could tell from it what it does. A person may shelve it all the same."""
    return _SAYS_NOTHING.fullmatch(name) is not None
