"""The end of every background task is seen."""

from __future__ import annotations

import asyncio

import pytest

from tests.virtual_time import run_virtual
from worker.flow.tasks import Tasks, to_its_end


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


def test_work_is_done_to_its_end_however_often_who_waits_is_cancelled() -> None:
    async def story() -> None:
        done: list[int] = []

        async def work() -> str:
            await asyncio.sleep(5)
            done.append(1)
            return "done"

        assert await to_its_end(work()) == "done"
        waiting = asyncio.ensure_future(to_its_end(work()))
        for _ in range(3):
            await asyncio.sleep(1)
            waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert done == [1, 1]

    run_virtual(story())


def test_what_the_work_raises_is_heard_also_by_who_was_cancelled() -> None:
    async def fails() -> None:
        await asyncio.sleep(5)
        raise KeyError("bug")

    async def story() -> None:
        waiting = asyncio.ensure_future(to_its_end(fails()))
        await asyncio.sleep(1)
        waiting.cancel()
        with pytest.raises(KeyError):
            await waiting

    run_virtual(story())
