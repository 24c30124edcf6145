"""The end of every background task is seen."""

from __future__ import annotations

import asyncio

from tests.virtual_time import run_virtual
from worker.flow.tasks import Tasks


def test_a_failure_and_a_cancellation_that_nobody_asked_for_are_told() -> None:
    async def fails() -> None:
        raise KeyError("bug")

    async def vanishes() -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_exception(asyncio.CancelledError())
        await future

    async def story() -> None:
        told: list[BaseException] = []
        tasks = Tasks(told.append)
        tasks.start(fails())
        tasks.start(vanishes())
        assert await tasks.finish(1)
        assert {type(error) for error in told} == {KeyError, RuntimeError}

    run_virtual(story())


def test_a_cancellation_that_was_asked_for_is_not_told_and_waiting_has_a_limit() -> None:
    async def waits() -> None:
        await asyncio.Event().wait()

    async def story() -> None:
        told: list[BaseException] = []
        tasks = Tasks(told.append)
        tasks.start(waits())
        asyncio.get_running_loop().call_later(100, int)  # something to wait for: else it is a deadlock
        assert not await tasks.finish(5)
        assert len(tasks) == 1
        await tasks.cancel()
        assert (len(tasks), told) == (0, [])

    run_virtual(story())
