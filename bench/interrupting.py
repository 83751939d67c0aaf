"""How long an interrupt takes, from the call to the step that it has ended."""

from __future__ import annotations

import time

from mulligan import Session
from mulligan.sandbox.messages import Event, Stream

#: what an action may be at when it is interrupted; each says that it has begun
WORKS = {
    "pure Python": "print('begun')\nwhile True: pass",
    "time.sleep": "import time; print('begun'); time.sleep(1000)",
    "a subprocess": "import subprocess; _ = subprocess.run(['sh', '-c', 'echo begun; exec sleep 1000'])",
    "a coroutine": "import asyncio; print('begun'); await asyncio.sleep(1000)",
}


def interrupted(session: Session, source: str) -> float:
    """Seconds. The traceback is made within them: IPython's costs some tens of milliseconds, the first one more."""
    called: list[float] = []

    def hear(event: Event) -> None:
        if isinstance(event, Stream) and "begun" in event.text and not called:
            called.append(time.perf_counter())
            session.interrupt()

    step = session.run(source, timeout=60, on_event=hear)
    ended = time.perf_counter()
    assert step.outcome.kind == "raised", step.outcome.text
    return ended - called[0]
