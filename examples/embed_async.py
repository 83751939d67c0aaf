"""The same verbs in an event loop; output is streamed while the action runs, and two sessions run side by side."""

from __future__ import annotations

import asyncio

import mulligan
from mulligan.sandbox.printable import printable

COUNT = """
import time
for number in range(3):
    print("counted to", number, flush=True)
    time.sleep(0.1)
"""


async def count(name: str) -> None:
    async with await mulligan.aopen() as session:
        async for event in session.stream(COUNT):
            if isinstance(event, mulligan.Step):
                print(f"{name}: step {event.id} {event.outcome.kind}")
            elif text := getattr(event, "text", ""):
                print(f"{name}: {printable(text).rstrip()}")
        back = await session.undo()
        print(f"{name}: back at step {back.step}, memory {back.memory}")


async def main() -> None:
    await asyncio.gather(count("one"), count("two"))


if __name__ == "__main__":
    asyncio.run(main())
