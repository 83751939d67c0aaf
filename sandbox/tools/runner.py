"""Where coroutine functions run: on the embedder's event loop, or on one of ours, on a thread that begins when it is
needed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any

#: seconds that coroutines may take to end when a session is closed
_ENDING = 5.0


class Runner:
    """From any thread; `close` may be repeated."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop | None = None, name: str = "mulligan-tools-async"
    ) -> None:
        """`name` is that of the thread, where there has to be one."""
        self._name = name
        self._loop = loop
        self._own: threading.Thread | None = None
        self._lock = threading.Lock()

    def begin(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Raises RuntimeError where there is no loop any more."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._own = threading.Thread(target=_run, args=(self._loop,), name=self._name, daemon=True)
                self._own.start()
            loop = self._loop
        if loop.is_closed():
            coroutine.close()
            raise RuntimeError("the event loop of whoever opened the session has ended")
        return asyncio.run_coroutine_threadsafe(coroutine, loop)

    def close(self) -> None:
        with self._lock:
            own, loop, self._own = self._own, self._loop, None
        if own is not None and loop is not None:
            asyncio.run_coroutine_threadsafe(_end_all(), loop)
            own.join(_ENDING)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


async def _end_all() -> None:
    loop = asyncio.get_running_loop()
    tasks = asyncio.all_tasks(loop) - {asyncio.current_task(loop)}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    loop.call_soon(loop.stop)
