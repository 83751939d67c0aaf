"""The same verbs on an event loop, which is never held up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import mulligan
from mulligan import AsyncSession, Step
from mulligan.runtime.errors import SessionClosed, StepUnknown
from mulligan.sandbox.messages import Event, Stream


@asynccontextmanager
async def opened(isolation: str, folder: Path, workspace: Path | None = None) -> AsyncIterator[AsyncSession]:
    async with await mulligan.aopen(workspace, isolation=isolation, state=folder / "state") as session:
        yield session


Story = Callable[[AsyncSession], Awaitable[None]]


def play(isolation: str, folder: Path, story: Story) -> None:
    async def main() -> None:
        async with opened(isolation, folder) as session:
            await story(session)

    asyncio.run(main())


async def printed(session: AsyncSession, source: str) -> str:
    step = await session.run(source, timeout=30)
    assert step.outcome.kind == "completed", step.outcome.text
    return step.outcome.stdout


def test_every_verb_can_be_awaited(isolation: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()

    async def main() -> None:
        async with opened(isolation, tmp_path, data) as session:
            first = await session.run("x = 1")
            await session.run("x = 2; _ = open('f', 'w').write('2')")
            assert (await session.undo()).memory == "woken"
            assert await session.diff(0) == ()
            await session.redo()
            assert [str(change) for change in await session.diff(0)] == ["+ f"]
            await session.goto(first.id)
            assert session.timeline.cursor == first.id
            assert await printed(session, "print(x)") == "1\n"
            await session.run("_ = open('g', 'w').write('g')")
            await session.commit()
            assert [path.name for path in data.iterdir()] == ["g"]
            await session.uncommit()
            assert list(data.iterdir()) == []
            await session.reset()
            assert session.timeline.cursor == 0
            assert session.report.engine == isolation
            with pytest.raises(StepUnknown):
                await session.goto(99)
        with pytest.raises(SessionClosed):
            await session.run("1")

    asyncio.run(main())


def test_a_stream_yields_output_while_the_action_runs_and_its_step_at_last(
    isolation: str, tmp_path: Path
) -> None:
    async def story(session: AsyncSession) -> None:
        seen: list[Event | Step] = []
        source = "import os, time\nprint('first')\nwhile not os.path.exists('go'): time.sleep(0.01)\n6 * 7"
        async for item in session.stream(source, timeout=30):
            seen.append(item)
            if isinstance(item, Stream):
                (session.workspace / "go").write_text("seen")
        assert isinstance(seen[-1], Step) and seen[-1].outcome.kind == "completed"
        assert not any(isinstance(item, Step) for item in seen[:-1])

    play(isolation, tmp_path, story)


def test_leaving_a_stream_early_interrupts_its_action(isolation: str, tmp_path: Path) -> None:
    async def story(session: AsyncSession) -> None:
        stream = session.stream("print('begun')\nwhile True: pass", timeout=100)
        async for _ in stream:
            break
        await stream.aclose()  # type: ignore[attr-defined]
        assert await printed(session, "print('goes on')") == "goes on\n"
        assert session.timeline.node(1).kind == "raised"

    play(isolation, tmp_path, story)


def test_cancelling_a_run_interrupts_the_action(isolation: str, tmp_path: Path) -> None:
    async def story(session: AsyncSession) -> None:
        begun = asyncio.Event()
        running = asyncio.create_task(
            session.run(
                "x = 1; print('begun')\nwhile True: pass", timeout=100, on_event=lambda _: begun.set()
            )
        )
        await begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await printed(session, "print(x)") == "1\n"
        assert session.timeline.node(1).kind == "raised"

    play(isolation, tmp_path, story)


def test_cancelling_an_action_that_waits_its_turn_leaves_the_running_one_alone(
    isolation: str, tmp_path: Path
) -> None:
    async def story(session: AsyncSession) -> None:
        begun = asyncio.Event()
        source = (
            "import os, time\nprint('begun')\nwhile not os.path.exists('go'): time.sleep(0.01)\nx = 'whole'"
        )
        first = asyncio.create_task(session.run(source, timeout=30, on_event=lambda _: begun.set()))
        await begun.wait()
        second = asyncio.create_task(session.run("x = 'never'", timeout=30))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        (session.workspace / "go").write_text("go")
        assert (await first).outcome.kind == "completed"
        assert await printed(session, "print(x)") == "whole\n"

    play(isolation, tmp_path, story)


def test_two_sessions_run_at_the_same_time_in_one_loop(isolation: str, tmp_path: Path) -> None:
    """Each waits for what the other writes, which we carry over: neither could end if one had to wait its turn."""

    async def main() -> None:
        async with opened(isolation, tmp_path / "a") as a, opened(isolation, tmp_path / "b") as b:
            source = "import os, time\nprint('here')\nwhile not os.path.exists('other'): time.sleep(0.01)\nprint({!r})"

            def tell(other: AsyncSession) -> Callable[[Event], None]:
                return lambda _: (other.workspace / "other").touch()

            steps = await asyncio.gather(
                a.run(source.format("a"), timeout=60, on_event=tell(b)),
                b.run(source.format("b"), timeout=60, on_event=tell(a)),
            )
            assert [step.outcome.stdout for step in steps] == ["here\na\n", "here\nb\n"]

    asyncio.run(main())


def test_the_loop_goes_on_while_an_action_runs(isolation: str, tmp_path: Path) -> None:
    async def story(session: AsyncSession) -> None:
        async def release() -> None:
            (session.workspace / "go").touch()

        source = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)"
        step, _ = await asyncio.gather(session.run(source, timeout=30), release())
        assert step.outcome.kind == "completed"

    play(isolation, tmp_path, story)


def test_calls_that_are_made_at_once_take_their_turns_in_order(isolation: str, tmp_path: Path) -> None:
    async def story(session: AsyncSession) -> None:
        await session.run("seen = []")
        steps = await asyncio.gather(*(session.run(f"seen.append({i})") for i in range(10)))
        assert [step.id for step in steps] == sorted(step.id for step in steps)
        assert await printed(session, "print(seen)") == f"{list(range(10))}\n"

    play(isolation, tmp_path, story)
