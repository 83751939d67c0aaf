"""What a client is told, and what becomes of what it does not wait for."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from mulligan.runtime.commit import Applied, Commit
from mulligan.runtime.mcp.serving import Server, _Running
from mulligan.runtime.mcp.told import Committed
from mulligan.runtime.outbox import Held


def test_a_commit_tells_what_it_sent_and_what_waits_on() -> None:
    sent = Held(number=1, step=1, what="POST https://a.org/", rule="r", size=1, state="sent", status=200)
    held = Held(number=2, step=1, what="POST https://b.org/", rule="r", size=1)
    done = Commit(
        applied=(Applied(b"a", "added"),),
        conflicts=(),
        patch=None,
        baseline=cast(Any, None),
        databases=("shop",),
        sent=(sent,),
        held=(held,),
    )
    told = Committed.of(done)
    assert (told.databases, told.sent, told.held) == (["shop"], [str(sent)], [str(held)])
    for line in ("the database shop was committed", str(sent), str(held)):
        assert line in told.text()


def test_a_call_that_its_client_gives_up_takes_no_question_of_the_next() -> None:
    async def story() -> None:
        server = Server(cast(Any, None))
        step: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        call = asyncio.ensure_future(server._accompany(_Running(cast(Any, step)), cast(Any, None)))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        question: Any = object()
        server._questions.put_nowait(question)
        await asyncio.sleep(0)
        assert server._questions.get_nowait() is question

    asyncio.run(story())
