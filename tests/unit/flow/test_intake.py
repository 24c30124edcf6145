"""What is taken from the broker: bounded by bytes, fairly among accounts, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.virtual_time import run_virtual
from worker.adapters.memory import MemoryBroker, MemoryServer
from worker.core.delivery import Delivery
from worker.core.job import JOB_BYTES_MAX
from worker.flow.held import HeldBytes
from worker.flow.intake import Intake
from worker.flow.tasks import Tasks

MB = 1_000_000


class Watched(MemoryBroker):
    """Notes for how many deliveries of each queue the broker was asked, 0 for none."""

    asked: list[tuple[str, int]]
    answer_s = 0.0

    async def consume(
        self, account: str, take: Callable[[Delivery], None], *, per_queue_max: int | None = None
    ) -> None:
        self.asked.append((account, per_queue_max or 0))
        await asyncio.sleep(self.answer_s)
        await super().consume(account, take, per_queue_max=per_queue_max)

    async def pause(self, account: str) -> None:
        self.asked.append((account, 0))
        await asyncio.sleep(self.answer_s)
        await super().pause(account)


class Bench:
    """Accounts that take from one broker, and hold what they took until they are told to let it go."""

    def __init__(
        self, *accounts: str, bytes_max: int, prefetch: int = 2000, server: MemoryServer | None = None
    ) -> None:
        self.server = server or MemoryServer(accounts)
        loop = asyncio.get_running_loop()
        self.broker = Watched(self.server, prefetch=prefetch, monotonic=loop.time)
        self.broker.asked = []
        self.held = HeldBytes(bytes_max)
        self.failures: list[BaseException] = []
        self.leaving_per_s = 1_000.0
        self.tasks = Tasks(self.failures.append)
        self.taken: dict[str, list[Delivery]] = {account: [] for account in accounts}
        self.intakes = {account: self._intake(account, prefetch) for account in accounts}

    def _intake(self, account: str, prefetch: int) -> Intake:
        return Intake(
            account=account,
            prefetch=prefetch,
            broker=self.broker,
            held=self.held,
            take=self.taken[account].append,
            leaving_per_s=lambda: self.leaving_per_s,
            start=self.tasks.start,
        )

    def publish(self, account: str, count: int, size_bytes: int) -> None:
        for _ in range(count):
            self.server.publish_job(account, bytes(size_bytes))

    async def let_go(self, account: str, count: int) -> None:
        gone, self.taken[account][:count] = self.taken[account][:count], []
        for delivery in gone:
            self.broker.ack(delivery)
        self.intakes[account].done_with(gone)
        await asyncio.sleep(0.1)

    def held_bytes(self, account: str) -> int:
        return sum(len(delivery.body) for delivery in self.taken[account])


def test_large_jobs_are_taken_few_at_a_time() -> None:
    async def story() -> None:
        bench = Bench("a", bytes_max=100 * MB)
        bench.publish("a", 1000, JOB_BYTES_MAX)
        await bench.intakes["a"].open()
        await asyncio.sleep(1)
        assert 0.4 * 100 * MB < bench.held.total_bytes <= 100 * MB
        assert len(bench.broker.asked) == 1

    run_virtual(story())


def test_small_jobs_are_taken_by_the_thousand_once_their_size_is_known() -> None:
    async def story() -> None:
        bench = Bench("a", bytes_max=100 * MB)
        bench.publish("a", 5000, 500)
        await bench.intakes["a"].open()
        await asyncio.sleep(1)
        assert [per_queue for _, per_queue in bench.broker.asked if per_queue] == [31, 125, 500, 2000]
        # The broker does not count what the steps before have brought: a third more, until that has left.
        assert len(bench.taken["a"]) == 31 + 125 + 500 + 2000
        await bench.let_go("a", 31 + 125 + 500)
        await bench.let_go("a", 1000)
        assert len(bench.taken["a"]) == 2000

    run_virtual(story())


def test_a_short_backlog_is_taken_by_all_workers_and_not_by_the_one_that_knew_its_sizes_first() -> None:
    async def story() -> None:
        first = Bench("a", bytes_max=32 * MB)
        second = Bench("a", bytes_max=32 * MB, server=first.server)
        workers = [first, second]
        first.broker.answer_s, second.broker.answer_s = 0.002, 0.003
        for worker in workers:
            worker.leaving_per_s = 50
            await worker.intakes["a"].open()
        first.publish("a", 250, 500)
        await asyncio.sleep(1)
        sent = [0, 0]
        while sum(sent) < 250:
            for n, worker in enumerate(workers):
                sent[n] += min(1, len(worker.taken["a"]))
                await worker.let_go("a", 1)
        assert all(count >= 30 for count in sent)

    run_virtual(story())


def test_no_more_is_held_than_leaves_soon_so_that_other_workers_have_it() -> None:
    async def story() -> None:
        bench = Bench("a", bytes_max=100 * MB)
        bench.leaving_per_s = 15
        bench.publish("a", 6000, 500)
        await bench.intakes["a"].open()
        await asyncio.sleep(0.1)
        assert [per_queue for _, per_queue in bench.broker.asked if per_queue] == [31, 128]
        assert len(bench.taken["a"]) == 31 + 128
        bench.leaving_per_s = 1_000  # many share a call from here on
        for left in (31 + 128, 128):
            await bench.let_go("a", left)
        assert bench.broker.asked[-1] == ("a", 2000)
        bench.leaving_per_s = 15  # and then none does
        await bench.let_go("a", 2000)
        await bench.let_go("a", 2000)
        assert bench.broker.asked[-1] == ("a", 128)

    run_virtual(story())


def test_who_holds_more_than_its_share_waits_while_the_whole_is_above_the_bound() -> None:
    async def story() -> None:
        bench = Bench("greedy", "modest", bytes_max=10 * MB, prefetch=20)
        for intake in bench.intakes.values():
            await intake.open()
        bench.publish("greedy", 30, 1_000)  # small ones first: from then on it takes many at a time
        for _ in range(30):
            await bench.let_go("greedy", 1)
        bench.publish("greedy", 100, MB)
        await asyncio.sleep(1)
        assert bench.held.total_bytes > 10 * MB
        assert bench.broker.asked[-1] == ("greedy", 0)
        held = len(bench.taken["greedy"])

        bench.publish("modest", 26, 100_000)
        await asyncio.sleep(0.1)
        for _ in range(6):
            await bench.let_go("modest", 1)
        assert len(bench.taken["modest"]) == 20, "the other account must not suffer"
        asked = [per_queue for account, per_queue in bench.broker.asked if account == "modest"]
        assert asked == [1, 0, 5, 0, 20], "it was stopped for more than to take more at a time"

        await bench.let_go("greedy", held - 3)
        assert len(bench.taken["greedy"]) == 3, "above half of its share, nothing more comes"
        await bench.let_go("greedy", 1)
        assert len(bench.taken["greedy"]) > 2, "below half of its share, it goes on"
        assert 0 < bench.broker.asked[-1][1] < 20, "and takes fewer at a time"
        while bench.server.bodies("mms.jobs.greedy"):
            assert bench.held.total_bytes <= bench.held.bytes_max
            await bench.let_go("greedy", 1)
        assert bench.failures == []

    run_virtual(story())


def test_a_paused_account_stays_paused_when_it_has_room_again() -> None:
    async def story() -> None:
        bench = Bench("a", bytes_max=10 * MB, prefetch=20)
        bench.publish("a", 30, 1000)
        await bench.intakes["a"].open()
        await asyncio.sleep(0.1)
        for _ in range(30):
            await bench.let_go("a", 1)
        bench.publish("a", 100, MB)
        await asyncio.sleep(1)
        assert bench.held.total_bytes > 10 * MB
        await bench.intakes["a"].pause()  # the account is suspended, say
        await bench.let_go("a", 1000)
        await asyncio.sleep(1)
        assert bench.taken["a"] == []
        await bench.intakes["a"].open()
        await asyncio.sleep(1)
        assert bench.taken["a"]

    run_virtual(story())


def test_an_account_that_ends_leaves_its_share_to_the_others() -> None:
    async def story() -> None:
        bench = Bench("a", "b", bytes_max=10 * MB)
        assert bench.held.share_bytes == 5 * MB
        bench.intakes["a"].close()
        assert bench.held.share_bytes == 10 * MB

    run_virtual(story())


@pytest.mark.parametrize("sizes", [[500] * 3000, [MB] * 300, [500, MB] * 300, [MB] * 30 + [500] * 3000])
def test_whatever_their_sizes_all_jobs_come_in_the_end(sizes: list[int]) -> None:
    async def story() -> None:
        bench = Bench("a", bytes_max=20 * MB)
        for size in sizes:
            bench.publish("a", 1, size)
        await bench.intakes["a"].open()
        left = len(sizes)
        while left:
            await asyncio.sleep(0.1)
            count = min(20, len(bench.taken["a"]))
            assert count, "nothing comes any more"
            left -= count
            await bench.let_go("a", count)
        assert bench.held.total_bytes == 0
        assert bench.failures == []

    run_virtual(story())
