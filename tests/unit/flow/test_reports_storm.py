"""Reports in any order, repeated, early, through receivers that die and a broker and a store that go away."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from tests.unit.flow.reporting import CALL_S_MAX, DECIDED_S, Receiver, Vendor, a_report
from tests.virtual_time import run_virtual
from worker.core.journal import SENT, State
from worker.core.reports import Report
from worker.flow.ports import NotTaken

MESSAGES, RECEIVERS = 60, 3
JOBS, NUMBERS = 60, 12
WORDS = ("queued", "dispatched", "delivered")
REPEAT_S_MAX = 20.0


class Storm:
    """A vendor that repeats each callback until it is taken, and once more now and then."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)  # noqa: S311 - dice, not a secret
        self.vendor = Vendor()
        self.receivers = [self.vendor.receiver() for _ in range(RECEIVERS)]
        for receiver in self.receivers:
            receiver.looks()

    async def run(self) -> None:
        """Everything, until all is told that will be."""
        dice = self.dice
        reports = [a_report(f"m{n}", word, to=f"+61400{n % 7:06}") for n in range(MESSAGES) for word in WORDS]
        batches: list[list[Report]] = []
        again = [report for report in reports if dice.random() < 0.5]
        pool = reports + again
        dice.shuffle(pool)
        while pool:
            batches.append([pool.pop() for _ in range(min(len(pool), dice.randint(1, 6)))])
        async with asyncio.TaskGroup() as group:
            for batch in batches:
                group.create_task(self._deliver(batch))
            for n in range(MESSAGES):
                group.create_task(self._answer(n))
            group.create_task(self._trouble())
        await asyncio.sleep(DECIDED_S)
        for receiver in self.receivers:
            await receiver.dies()

    async def _deliver(self, batch: list[Report]) -> None:
        await asyncio.sleep(self.dice.uniform(0, 30))
        while True:
            receiver = self.dice.choice(self.receivers)
            taking = asyncio.ensure_future(receiver.take(*batch))
            # The connection may end while the receiver goes on, or dies with what it was doing.
            is_cut = self.dice.random() < 0.1
            done, _ = await asyncio.wait([taking], timeout=self.dice.uniform(0, 0.01) if is_cut else None)
            if done and not isinstance(taking.result(), NotTaken):
                return
            taking.cancel()
            await asyncio.sleep(self.dice.uniform(1, REPEAT_S_MAX))

    async def _answer(self, n: int) -> None:
        """The send's own answer; a tenth of them comes after all of its reports."""
        await asyncio.sleep(self.dice.uniform(30, 60) if n % 10 == 0 else self.dice.uniform(0, 15))
        while self.vendor.sendings.away_because:  # noqa: ASYNC110 - a worker waits for the store too
            await asyncio.sleep(0.1)
        await self.vendor.sent(f"job-{n}", f"m{n}", to=f"+61400{n % 7:06}")

    async def _trouble(self) -> None:
        for _ in range(12):
            await asyncio.sleep(self.dice.uniform(0, 5))
            match self.dice.randrange(4):
                case 0:
                    self._replace(self.dice.choice(self.receivers))
                case 1:
                    self.vendor.sendings.away_because = "gone"
                    await asyncio.sleep(self.dice.uniform(0, 3))
                    self.vendor.sendings.away_because = None
                case 2:
                    for receiver in self.receivers:
                        receiver.broker.publish_failures.extend(["connection lost"] * self.dice.randint(0, 3))
                        receiver.broker.confirms_to_lose = self.dice.randint(0, 3)
                case _:
                    blocked = list(self.receivers)
                    for receiver in blocked:
                        receiver.broker.block(is_blocked=True)
                    await asyncio.sleep(self.dice.uniform(0, 3))
                    for receiver in blocked:
                        receiver.broker.block(is_blocked=False)

    def _replace(self, receiver: Receiver) -> None:
        """One dies with what it had in hand from the broker, and another one takes its place."""
        self.receivers.remove(receiver)
        new = self.vendor.receiver()
        self.receivers.append(new)
        new.looks()
        self._dying = asyncio.ensure_future(receiver.dies())


@pytest.mark.parametrize("seed", range(12))
def test_each_report_becomes_one_event_of_its_job_and_none_is_lost(seed: int) -> None:
    async def story() -> None:
        storm = Storm(seed)
        await storm.run()
        events = storm.vendor.events()
        # What is repeated after trouble carries the same id: to whoever drops those it is one.
        told = {event["id"]: event["data"] for event in events}
        assert Counter((data["message_id"], data["status"], data["job_id"]) for data in told.values()) == Counter(
            (f"m{n}", word, f"job-{n}") for n in range(MESSAGES) for word in WORDS
        )
        assert storm.vendor.failures == []
        assert storm.vendor.server.bodies("mms.dead") == []
        assert storm.vendor.server.bodies("mms.reports") == []
        final: set[str] = set()
        for event in events:
            data = event["data"]
            if data["is_final"]:
                final.add(data["message_id"])
            elif data["superseded_by"] is None:
                assert data["message_id"] not in final, "it would overwrite a final status"

    run_virtual(story())


class Calls(Storm):
    """Jobs to a few numbers; some calls are not answered, and some of those did not arrive."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.numbers = {f"job-{n}": f"+61400{self.dice.randrange(NUMBERS):06}" for n in range(JOBS)}
        self.arrived: set[str] = set()
        self.answered: set[str] = set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for job_id in self.numbers:
                group.create_task(self._call(job_id))
            group.create_task(self._away())
        await asyncio.sleep(2 * DECIDED_S)
        for receiver in self.receivers:
            await receiver.dies()

    def resolved(self) -> set[str]:
        """The jobs that were told as sent because of a report."""
        records = {job_id: self.vendor.journal.record("acme", job_id) for job_id in self.numbers}
        return {
            job_id
            for job_id, one in records.items()
            if one is not None and (one.state, one.end) == (State.RESOLVED, SENT)
        }

    async def _call(self, job_id: str) -> None:
        dice, to = self.dice, self.numbers[job_id]
        await asyncio.sleep(dice.uniform(0, 900))
        fate = dice.random()
        answer_s = dice.uniform(0, CALL_S_MAX)
        async with asyncio.TaskGroup() as group:
            if fate < 0.7:
                self.arrived.add(job_id)
                arrives_s = dice.uniform(0, answer_s)
                for word in WORDS[1:]:
                    reports_s = arrives_s + dice.choice([0.0, dice.uniform(0, 30), dice.uniform(0, 600)])
                    group.create_task(self._report(reports_s, a_report(f"m-{job_id}", word, to=to)))
            await asyncio.sleep(answer_s)
            while self.vendor.sendings.away_because:  # noqa: ASYNC110 - a worker waits for the store too
                await asyncio.sleep(dice.uniform(0, 1))
            if fate < 0.4:
                self.answered.add(job_id)
                await self.vendor.sent(job_id, f"m-{job_id}", to=to)
            else:
                await self.vendor.in_doubt(job_id, to=(to,))

    async def _report(self, wait_s: float, report: Report) -> None:
        await asyncio.sleep(wait_s)
        await self._deliver([report])

    async def _away(self) -> None:
        for _ in range(3):
            await asyncio.sleep(self.dice.uniform(50, 250))
            self.vendor.sendings.away_because = self.vendor.journal.away_because = "gone"
            await asyncio.sleep(self.dice.uniform(0, 200))
            self.vendor.sendings.away_because = self.vendor.journal.away_because = None


@pytest.mark.parametrize("seed", [*range(11), 31])
def test_no_report_tells_a_job_as_sent_that_was_not_or_goes_to_another_job_than_its_own(seed: int) -> None:
    async def story() -> None:
        calls = Calls(seed)
        await calls.run()
        assert calls.resolved() <= calls.arrived - calls.answered
        assert calls.resolved(), "nothing was at stake"
        for event in calls.vendor.events():
            own = event["data"]["message_id"].removeprefix("m-")
            if own in calls.answered:
                assert event["data"]["job_id"] == own
            else:
                assert event["data"]["job_id"] in calls.resolved() | {None}
        of = {event["id"]: event["data"] for event in calls.vendor.events()}
        assert Counter((data["message_id"], data["status"]) for data in of.values()) == Counter(
            (f"m-{job_id}", word) for job_id in calls.arrived for word in WORDS[1:]
        )
        assert calls.vendor.failures == []

    run_virtual(story())
