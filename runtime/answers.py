"""What calls came to, as the ledger has it, for actions that are run again: no tool is called twice for one call."""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from typing import Any

from mulligan.runtime.ledger import Ledger
from mulligan.sandbox.tools.overseer import Call, Ended, Recorded
from mulligan.sandbox.tools.values import embed, extract

#: characters, as JSON, of one call's arguments or answer that are recorded, and of all that belongs to one step
LARGEST, MOST = 64 * 1024, 4 << 20


class Answers:
    """Of one session; from any thread."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._room: Counter[int] = Counter()
        #: of the step that is run again: by tool and arguments, what its calls came to, in their order
        self._again: dict[tuple[str, str], deque[Any]] = {}
        self._lock = threading.Lock()

    def arguments(self, step: int, call: Call) -> Mapping[str, Any]:
        return {"tool": call.tool.name, "arguments": self._fitting(step, call.plain, call.parts)}

    def answer(self, step: int, ended: Ended) -> Mapping[str, Any]:
        return {"answer": self._fitting(step, ended.answer, ended.parts)}

    def _fitting(self, step: int, value: Any, parts: tuple[bytes, ...]) -> Any:
        """As the ledger can have it; None where it is too large, or holds a secret."""
        if value is None or sum(map(len, parts)) > LARGEST:
            return None
        plain = embed(value, parts)
        size = len(json.dumps(plain))
        if size > LARGEST or self._room[step] + size > MOST:
            return None
        redactor = self._ledger.redactor
        if redactor is not None and redactor.plain(plain) != plain:
            return None
        self._room[step] += size
        return plain

    # -- running actions again -----------------------------------------------------------------------------------

    def begin_again(self, step: int | None) -> None:
        """From now on calls are answered as those of this step were."""
        found: dict[tuple[str, str], deque[Any]] = defaultdict(deque)
        if step is not None:
            answers = {
                each.body.get("number"): each.body.get("answer")
                for each in self._ledger.entries(kind="tool_ended", step=step)
                if not each.body.get("late")
            }
            for entry in self._ledger.entries(kind="tool_called", step=step):
                arguments, answer = entry.body.get("arguments"), answers.get(entry.body.get("number"))
                if arguments is not None and answer is not None:
                    found[str(entry.body.get("tool")), _key(arguments)].append(answer)
        with self._lock:
            self._again = dict(found)

    def recorded(self, call: Call) -> Recorded | None:
        """What the next call of this kind came to, the first time."""
        if sum(map(len, call.parts)) > LARGEST:
            return None
        key = call.tool.name, _key(embed(call.plain, call.parts))
        with self._lock:
            left = self._again.get(key)
            answer = left.popleft() if left else None
        if answer is None:
            return None
        parts: list[bytes] = []
        return Recorded(answer=extract(answer, parts), parts=tuple(parts))


def _key(arguments: Any) -> str:
    return json.dumps(arguments, sort_keys=True)
