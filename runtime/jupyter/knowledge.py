"""What the kernel tells of itself, and what clients are told of our magics, of which the sandbox knows nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from mulligan.runtime.jupyter.magics import HELP, help_text
from mulligan.runtime.jupyter.wire import VERSION, Asked
from mulligan.sandbox.isolation import Report
from mulligan.sandbox.messages import Envelope
from mulligan.sandbox.messages import unreadable as spell_unreadable
from mulligan.sandbox.printable import one_line

_MAGIC = re.compile(r"\s*%(\w*)")


def kernel_info(told: Mapping[str, Any], report: Report, other: str = "") -> dict[str, Any]:
    """The content of a kernel_info_reply. Of what the sandbox tells, only words are taken over. `other` names a kernel
    that is not ours."""
    language = told.get("language_info")
    said = language if isinstance(language, dict) else {}
    if other:
        return _of_another(other, told, said, report)
    python = _word(said.get("version"))
    return {
        "status": "ok",
        "protocol_version": VERSION,
        "implementation": "ipython",
        "implementation_version": _word(told.get("implementation_version")),
        "language_info": {
            "name": "python",
            "version": python,
            "mimetype": "text/x-python",
            "codemirror_mode": {"name": "ipython", "version": 3},
            "pygments_lexer": _word(said.get("pygments_lexer")) or "ipython3",
            "nbconvert_exporter": "python",
            "file_extension": ".py",
        },
        "banner": f"Python {python} in a sandbox of Mulligan {version('mulligan')} ({report.engine})\n"
        "%undo takes the last cell back; %mulligan lists what else there is",
        "help_links": [{"text": "Python Reference", "url": f"https://docs.python.org/{_short(python)}"}],
        **_LACKS,
    }


_LACKS: dict[str, Any] = {"debugger": False, "supported_features": []}


def _of_another(
    name: str, told: Mapping[str, Any], said: Mapping[str, Any], report: Report
) -> dict[str, Any]:
    words = ("name", "version", "mimetype", "file_extension", "pygments_lexer", "nbconvert_exporter")
    language = {each: word for each in words if (word := _word(said.get(each)))}
    mode = said.get("codemirror_mode")
    return {
        "status": "ok",
        "protocol_version": VERSION,
        "implementation": _word(told.get("implementation")),
        "implementation_version": _word(told.get("implementation_version")),
        "language_info": {"name": name, "version": "", "mimetype": "text/plain", "file_extension": ".txt"}
        | language
        | ({"codemirror_mode": _word(mode)} if _word(mode) else {}),
        "banner": f"{name} in a sandbox of Mulligan {version('mulligan')} ({report.engine})\n"
        "%undo takes the files of the last cell back and starts the kernel anew; %mulligan lists what else there is",
        "help_links": [],
        **_LACKS,
    }


def _word(value: Any) -> str:
    return one_line(value[:100]) if isinstance(value, str) else ""


def _short(python: str) -> str:
    found = re.match(r"\d+\.\d+", python)
    return found[0] if found else "3"


def unreadable(size: int) -> bytes:
    """The content of the stream message that takes the place of one that clients would not read alike."""
    event = spell_unreadable(size)
    return json.dumps({"name": event.name, "text": event.text}).encode()


def own_answer(asked: Asked) -> dict[str, Any] | None:
    """The reply to a request to inspect one of our magics."""
    if asked.kind != "inspect_request":
        return None
    line, _ = _line_at_cursor(asked)
    found = _MAGIC.match(line)
    if found is None or found[1] not in HELP:
        return None
    data = {"text/plain": help_text(found[1])}
    return {"status": "ok", "found": True, "data": data, "metadata": {}}


def with_magics(asked: Asked, reply: Envelope) -> dict[str, Any] | Envelope:
    """The reply to a completion, with our magics where a line begins with `%`."""
    line, begins = _line_at_cursor(asked)
    before = line[: _cursor(asked) - begins]
    found = _MAGIC.fullmatch(before)
    names = [f"%{name}" for name in HELP if name.startswith(found[1])] if found else []
    if not names or reply.content.get("status") != "ok":
        return reply
    start = begins + before.index("%")
    others = reply.content.get("matches")
    same = isinstance(others, list) and reply.content.get("cursor_start") == start
    matches = names + [each for each in others or () if same and isinstance(each, str)]
    return {
        "status": "ok",
        "matches": list(dict.fromkeys(matches)),
        "cursor_start": start,
        "cursor_end": _cursor(asked),
        "metadata": {},
    }


def _cursor(asked: Asked) -> int:
    place, code = asked.content.get("cursor_pos"), asked.text("code")
    return place if isinstance(place, int) and 0 <= place <= len(code) else len(code)


def _line_at_cursor(asked: Asked) -> tuple[str, int]:
    """And where in the code it begins."""
    code, cursor = asked.text("code"), _cursor(asked)
    begins = code.rfind("\n", 0, cursor) + 1
    ends = code.find("\n", cursor)
    return code[begins : ends if ends >= 0 else len(code)], begins
