"""What is told of backlogs, and which jobs ended as planned, on ports in memory, in virtual time."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta

import pytest

from tests.jobs import an_account, job_body
from tests.virtual_time import run_virtual
from worker.adapters.memory import MemoryBroker, MemoryServer
from worker.adapters.memory_backlog import MemoryBacklogStore
from worker.core.bucket import Bucket
from worker.core.delivery import Lane
from worker.core.settlement import End
from worker.core.status import AccountState, DrainResult, Held, Look
from worker.flow.backlog_watch import BacklogWatch
from worker.flow.observations import (
    BacklogSeen,
    DrainsCounted,
    HeldJobsCounted,
    JobFinished,
    JobTimed,
    Observation,
    Surprise,
)
from worker.flow.ports import StoreLook

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
ACCOUNT = an_account("acme", limit_per_s=10.0)
IDLE = Bucket(next_us=1, seen_us=1, slots=1_000, jobs=1_000)


def virtually(test: Callable[[], Coroutine[None, None, None]]) -> Callable[[], None]:
    @functools.wraps(test)
    def run() -> None:
        run_virtual(test())

    return run


class Looking:
    """A watch, what it looks at, and what it told."""

    def __init__(self, store: MemoryBacklogStore | None = None) -> None:
        self.server = MemoryServer(["acme"])
        self.broker = MemoryBroker(self.server, monotonic=asyncio.get_running_loop().time)
        self.store = store or MemoryBacklogStore()
        self.now = NOON
        self.waiting: dict[str, tuple[int, int]] = {}
        self.accounts = [ACCOUNT]
        self.seen: list[Observation] = []
        self.watch = BacklogWatch(
            queues=self.broker,
            store=self.store,
            accounts=lambda: self.accounts,
            waiting=lambda: self.waiting,
            observe=self.seen.append,
            wall_clock=lambda: self.now,
        )

    def publish(self, jobs: int, lane: Lane = Lane.BULK) -> None:
        for n in range(jobs):
            self.server.publish_job("acme", job_body(f"j{n}"), lane=lane)

    async def look(self) -> list[Observation]:
        self.seen.clear()
        await self.watch.look(self.accounts)
        return list(self.seen)

    def end(self, end_to_end_s: float | None, *, end: End = End.SENT, lane: Lane = Lane.BULK) -> list[float]:
        self.seen.clear()
        self.watch.note(JobFinished("acme", end, 1, end_to_end_s, 1, 0, "j", None, lane))
        return [timed.overdue_s for timed in self.seen if isinstance(timed, JobTimed) and timed.lane is lane]


def backlogs(told: list[Observation]) -> list[BacklogSeen]:
    return [each for each in told if isinstance(each, BacklogSeen)]


@virtually
async def test_jobs_in_the_queues_and_in_all_workers_hands_are_told() -> None:
    stand = Looking()
    stand.publish(30)
    stand.publish(4, Lane.URGENT)
    stand.store.found = StoreLook(
        {"acme": Look(IDLE, 10**15)}, {"acme": Held(6, 160, 3)}, {DrainResult.WHOLE: 7, DrainResult.TIMED_OUT: 1}
    )
    stand.waiting = {"acme": (1, 2)}  # are among the others: not counted twice
    told = await stand.look()
    (seen,) = backlogs(told)
    assert seen.jobs == {Lane.URGENT: 10, Lane.BULK: 190}
    assert seen.drain_s == pytest.approx(20, rel=0.02)
    assert (seen.state, seen.worst_second) == (AccountState.OPEN, 0)
    assert DrainsCounted({DrainResult.WHOLE: 7, DrainResult.TIMED_OUT: 1}) in told
    assert HeldJobsCounted(0, 0) in told


@virtually
async def test_without_the_store_the_own_jobs_count_and_none_leaves() -> None:
    stand = Looking()
    stand.publish(30)
    stand.waiting = {"acme": (1, 2)}
    stand.store.found = None
    told = await stand.look()
    assert backlogs(told) == [
        BacklogSeen("acme", {Lane.URGENT: 1, Lane.BULK: 32}, math.inf, AccountState.UNKNOWN, None, None)
    ]
    assert not [each for each in told if isinstance(each, DrainsCounted)]
    assert stand.end(5.0) == []


@virtually
async def test_dead_letters_and_jobs_of_nobody_are_counted() -> None:
    stand = Looking()
    stand.server.publish_job("nobody", b"{}")
    assert HeldJobsCounted(0, 1) in await stand.look()


@virtually
async def test_a_job_is_overdue_by_what_the_backlog_at_its_publishing_does_not_explain() -> None:
    stand = Looking()
    stand.publish(600)  # a minute
    stand.publish(80, Lane.URGENT)  # ten seconds, of four calls in five
    await stand.look()
    stand.now += timedelta(seconds=400)
    assert stand.end(400) == [pytest.approx(332)]
    assert stand.end(400, lane=Lane.URGENT) == [pytest.approx(390)]
    assert stand.end(30) == []  # nobody has looked since it was published
    await stand.look()
    assert stand.end(30) == [0]
    assert stand.end(40, end=End.REFUSED) == [0]
    assert stand.end(400, end=End.EXPIRED) == [pytest.approx(332)]
    for other in (End.DEAD, End.IN_DOUBT, End.DUPLICATE):
        assert stand.end(400, end=other) == []
    assert stand.end(None) == []


@virtually
async def test_a_worker_that_comes_later_knows_what_was_planned() -> None:
    first = Looking()
    first.publish(6_000)
    await first.look()
    second = Looking(first.store)
    second.now = NOON + timedelta(seconds=605)
    await second.look()
    assert second.end(604) == [pytest.approx(4)]


@virtually
async def test_an_account_that_left_is_not_judged_any_more() -> None:
    stand = Looking()
    await stand.look()
    assert stand.end(5.0) == [5.0]
    stand.accounts = []
    await stand.look()
    assert stand.end(5.0) == []


@virtually
async def test_it_looks_as_soon_as_there_is_an_account_and_every_15_s_from_then() -> None:
    stand = Looking()
    stand.accounts = []
    looking = asyncio.create_task(stand.watch.keep_looking())
    await asyncio.sleep(60)
    assert stand.seen == []
    stand.accounts = [ACCOUNT]
    await asyncio.sleep(1)
    assert len(backlogs(stand.seen)) == 1
    await asyncio.sleep(30)
    assert len(backlogs(stand.seen)) == 3
    looking.cancel()


@virtually
async def test_a_bug_in_a_look_is_told_and_the_next_look_comes() -> None:
    stand = Looking()
    stand.now = None  # type: ignore[assignment]  # no clock that anybody could ask
    looking = asyncio.create_task(stand.watch.keep_looking())
    await asyncio.sleep(1)
    assert [seen.where for seen in stand.seen if isinstance(seen, Surprise)] == ["backlog"]
    stand.now = NOON
    await asyncio.sleep(15)
    assert len(backlogs(stand.seen)) == 1
    looking.cancel()
