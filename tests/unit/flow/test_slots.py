"""A worker's row of reserved slots: in order, topped up in time, and given back when not wanted."""

from __future__ import annotations

import asyncio

import pytest

from tests.virtual_time import VirtualTimeLoop, run_virtual
from worker.adapters.memory import MemoryLimiter
from worker.flow.ports import LimiterAway, Slots
from worker.flow.slots import SlotRow


class SlowLimiter(MemoryLimiter):
    """Answers after 10 ms, and counts the questions."""

    asked = 0

    async def reserve(self, account: str, count: int) -> Slots | LimiterAway:
        self.asked += 1
        await asyncio.sleep(0.01)
        return await super().reserve(account, count)


def row_on(limiter: MemoryLimiter) -> SlotRow:
    loop = asyncio.get_running_loop()
    return SlotRow(account="acme", limiter=limiter, monotonic=loop.time, observe=lambda _: None)


def slow_limiter(pace_per_s: float) -> SlowLimiter:
    loop = asyncio.get_running_loop()
    return SlowLimiter(pace_per_s={"acme": pace_per_s}, span_us=25_000, monotonic=loop.time)


def test_the_time_a_question_takes_costs_no_capacity() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        limiter = slow_limiter(1000)
        row = row_on(limiter)
        first_s = at_s = await row.take(500)
        for _ in range(1000):
            at_s = await row.take(500)
            await asyncio.sleep(max(0.0, at_s - loop.time()))
        assert at_s - first_s == pytest.approx(1.0, abs=0.002)
        assert limiter.asked < 50

    run_virtual(story())


def test_a_slot_put_back_is_the_next_one() -> None:
    async def story() -> None:
        row = row_on(slow_limiter(10))
        at_s = await row.take(1)
        row.put_back()
        assert await row.take(1) == at_s

    run_virtual(story())


def test_slots_that_passed_while_nobody_took_them_are_skipped() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        row = row_on(slow_limiter(1000))
        at_s = await row.take(26)
        loop.stall(at_s + 0.02 - loop.time())
        assert await row.take(26) >= loop.time() - 0.015

    run_virtual(story())


def test_what_is_given_back_is_there_for_others_at_once() -> None:
    async def story() -> None:
        limiter = slow_limiter(1000)
        mine, others = row_on(limiter), row_on(limiter)
        at_s = await mine.take(20)
        await mine.give_back()
        assert await others.take(1) == pytest.approx(at_s + 0.001, abs=1e-6)

    run_virtual(story())
