"""A worker's row of reserved slots: in order, topped up in time, and given back when not wanted."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from tests.virtual_time import VirtualTimeLoop, run_virtual
from worker.adapters.memory import MemoryLimiter
from worker.core.pace import GUARD_NS_FIRST
from worker.flow.ports import Late, LimiterAway, Slots
from worker.flow.slots import TOLERANCE_S_MIN, Slot, SlotRow

#: A thousand slots take a second and the guard that every account begins with.
GUARDED_S = 1 + GUARD_NS_FIRST / 1e9
FAST_S = GUARDED_S / 1000


class SlowLimiter(MemoryLimiter):
    """Answers after 10 ms, counts the questions, and those with which it is told that something stood still."""

    asked = 0
    told_of_stalls = 0

    async def reserve(
        self,
        account: str,
        count: int,
        *,
        lead_s: float = 0.0,
        jobs: int = 0,
        late: Late | None = None,
        has_stalled: bool = False,
        is_probe: bool = False,
    ) -> Slots | LimiterAway:
        self.asked += 1
        self.told_of_stalls += has_stalled
        await asyncio.sleep(0.01)
        return await super().reserve(
            account, count, lead_s=lead_s, jobs=jobs, late=late, has_stalled=has_stalled, is_probe=is_probe
        )


def row_on(limiter: MemoryLimiter, suspended: list[str] | None = None) -> SlotRow:
    loop = asyncio.get_running_loop()
    told = [] if suspended is None else suspended
    return SlotRow(
        account="acme",
        limiter=limiter,
        monotonic=loop.time,
        observe=lambda _: None,
        on_suspended=told.append,
    )


def quick_limiter(limit_per_s: float) -> MemoryLimiter:
    loop = asyncio.get_running_loop()
    return MemoryLimiter(limit_per_s={"acme": limit_per_s}, span_us=25_000, monotonic=loop.time)


def slow_limiter(limit_per_s: float) -> SlowLimiter:
    loop = asyncio.get_running_loop()
    return SlowLimiter(limit_per_s={"acme": limit_per_s}, span_us=25_000, monotonic=loop.time)


async def taken(row: SlotRow, wanted: int = 1) -> Slot:
    slot = await row.take(wanted)
    assert slot is not None
    return slot


def test_the_time_a_question_takes_costs_no_capacity() -> None:
    async def story() -> None:
        limiter = slow_limiter(1000)
        row = row_on(limiter)
        first = last = await taken(row, 500)
        for _ in range(1000):
            last = await taken(row, 500)
        assert last.at_s - first.at_s == pytest.approx(GUARDED_S, abs=0.002)
        assert limiter.asked < 50

    run_virtual(story())


def test_a_slot_is_handed_over_at_its_moment() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        row = row_on(slow_limiter(10))
        for _ in range(5):
            slot = await taken(row, 5)
            assert slot.at_s == pytest.approx(loop.time(), abs=0.001)

    run_virtual(story())


def test_a_slot_knows_for_how_long_it_was_waited_for() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        row = row_on(slow_limiter(10))
        for _ in range(5):
            wanted_at_s = loop.time()
            slot = await taken(row, 5)
            assert slot.wait_s == pytest.approx(loop.time() - wanted_at_s, abs=0.001)
        assert slot.wait_s > 0.05
        assert Slot(slot.slots, 0).wait_s == 0

    run_virtual(story())


def test_a_slot_put_back_is_the_next_one() -> None:
    async def story() -> None:
        row = row_on(slow_limiter(10))
        slot = await taken(row)
        row.put_back()
        assert (await taken(row)).at_s == slot.at_s

    run_virtual(story())


@pytest.mark.parametrize(
    ("limit_per_s", "late_s_max"), [(1000, GUARD_NS_FIRST / 1e9), (100, GUARDED_S / 100), (15, 0.067)]
)
def test_slots_that_passed_by_too_much_are_skipped(limit_per_s: float, late_s_max: float) -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        row = row_on(slow_limiter(limit_per_s))
        await taken(row, 26)
        loop.stall(0.1)
        slot = await row.take(26)
        while slot is None:
            slot = await row.take(26)
        assert loop.time() - late_s_max <= slot.at_s <= loop.time() + 0.001

    run_virtual(story())


def test_what_is_given_back_is_there_for_others_at_once() -> None:
    async def story() -> None:
        limiter = slow_limiter(1000)
        mine, others = row_on(limiter), row_on(limiter)
        slot = await taken(mine, 20)
        await mine.give_back()
        assert (await taken(others)).at_s - slot.at_s < 0.015  # where given back, plus the question's time

    run_virtual(story())


def test_news_make_what_was_promised_worthless() -> None:
    async def story() -> None:
        limiter = slow_limiter(1)
        row = row_on(limiter)
        limiter.on_news("acme", row.drop)
        first = await taken(row)
        waiting = asyncio.create_task(row.take(1))
        await asyncio.sleep(0.5)
        await limiter.refused("acme", first.slots, first.n, spread_s=0.0, retry_after_s=30)
        assert await waiting is None
        following = await taken(row)
        assert following.at_s - first.at_s >= 30

    run_virtual(story())


def test_a_late_departure_moves_the_slots_that_follow() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        row = row_on(slow_limiter(10))
        slots = [await taken(row, 2)]
        loop.stall(0.05)
        assert row.left(slots[0], 1) == pytest.approx(0.05, abs=0.001)
        slots += [await taken(row, 2) for _ in range(3)]
        gaps_s = [late.at_s - early.at_s for early, late in pairwise(slots)]
        # All but what the guard makes good; one slot may have been reserved before.
        assert sum(gaps_s) == pytest.approx(3 * GUARDED_S / 10 + 0.05 - TOLERANCE_S_MIN, abs=0.001)

    run_virtual(story())


def test_what_stood_still_is_told_with_the_next_question_and_once() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        limiter = slow_limiter(10)
        row = row_on(limiter)
        row.left(await taken(row), 1)
        for _ in range(3):
            await taken(row)
        assert limiter.told_of_stalls == 0
        slot = await taken(row)
        loop.stall(0.05)
        row.left(slot, 1)  # a departure that was late
        for _ in range(3):
            await taken(row)
        assert limiter.told_of_stalls == 1
        row.stalled()  # an answer that was
        for _ in range(3):
            await taken(row)
        assert limiter.told_of_stalls == 2

    run_virtual(story())


def test_many_calls_within_the_guard_move_nothing_when_one_of_them_is_late() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        row = row_on(slow_limiter(1000))
        first = await taken(row, 100)
        loop.stall(0.004)
        row.left(first, 1)
        slots = [await taken(row, 100) for _ in range(60)]
        assert slots[-1].at_s - first.at_s == pytest.approx(60 * FAST_S, abs=0.0001)

    run_virtual(story())


def test_a_suspended_account_has_no_slots_but_for_probes() -> None:
    async def story() -> None:
        limiter, told = slow_limiter(10), list[str]()
        row = row_on(limiter, told)
        await limiter.suspend("acme", "credit")
        assert await row.take(1) is None
        assert told == ["credit"]
        assert await row.probe_slot() is not None
        assert await row.is_suspended()
        await limiter.suspend("acme", "")
        assert not await row.is_suspended()

    run_virtual(story())


def test_with_others_behind_it_the_first_slot_leaves_time_to_claim() -> None:
    async def story() -> None:
        row = row_on(quick_limiter(1000))
        await taken(row)
        await asyncio.sleep(2)
        slot = await row.take(10, lead_s=0.02)
        assert slot is not None
        assert slot.at_s - asyncio.get_running_loop().time() == pytest.approx(0.02, abs=0.001)
        await asyncio.sleep(0.019)
        assert await row.moment(slot)

    run_virtual(story())


def test_alone_it_goes_at_once() -> None:
    async def story() -> None:
        row = row_on(quick_limiter(1000))
        await taken(row)
        await asyncio.sleep(2)
        slot = await row.take(1, lead_s=0.02)
        assert slot is not None
        assert slot.at_s - asyncio.get_running_loop().time() < 0.001

    run_virtual(story())


@pytest.mark.parametrize(("limit_per_s", "is_good"), [(100_000, True), (20_000, False)])
def test_a_slot_is_never_missed_where_there_is_no_limit_to_keep(
    limit_per_s: float,
    is_good: bool,  # noqa: FBT001 - a column of the table
) -> None:
    async def story() -> None:
        row = row_on(quick_limiter(limit_per_s))
        await taken(row)
        await asyncio.sleep(2)
        slot = await row.take(10)
        assert slot is not None
        await asyncio.sleep(0.3)
        assert await row.moment(slot) is is_good

    run_virtual(story())
