"""An account's jobs that are ready and wait for a slot: what leaves next, and what leaves with it.

The oldest job of the lane whose turn it is leads; jobs of equal content ride along from both lanes, since a rider
costs nothing. Urgent goes first, and bulk is never starved.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from worker.core.batch import CallContent, leaving_together
from worker.core.delivery import Delivery, Lane
from worker.core.job import Job
from worker.core.journal import Claim

#: So many calls in a row are led by urgent jobs while bulk jobs wait; then a bulk job leads one. A fifth of the calls
#: is what an endless stream of urgent jobs leaves to a campaign, and an urgent job waits for one call at most because
#: of it.
URGENT_IN_A_ROW_MAX = 4


@dataclass(frozen=True, slots=True, eq=False)
class ReadyJob:
    """A decoded job with everything at hand that its call needs; ``claim``: what it asks the journal for before."""

    delivery: Delivery
    job: Job
    content: CallContent
    claim: Claim

    @property
    def to(self) -> tuple[str, ...]:
        """The job's recipients."""
        return self.job.to


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one call carries: at least one job, all of equal content, no number twice; the first one led."""

    jobs: tuple[ReadyJob, ...]

    @property
    def account(self) -> str:
        """Whose jobs they are."""
        return self.jobs[0].delivery.account

    @property
    def deliveries(self) -> list[Delivery]:
        """Where they came from."""
        return [ready.delivery for ready in self.jobs]

    @property
    def content(self) -> CallContent:
        """What all of them send."""
        return self.jobs[0].content

    @property
    def numbers(self) -> tuple[str, ...]:
        """All recipients, job after job."""
        return tuple(chain.from_iterable(ready.job.to for ready in self.jobs))


@dataclass(frozen=True, slots=True, eq=False)
class _Alike:
    """The waiting jobs of one content, by lane, oldest first."""

    content: CallContent
    by_lane: dict[Lane, OrderedDict[ReadyJob, None]]


class Lanes:
    """Both lanes of one account. Bounded by the broker's prefetch: no more is ever handed over.

    Every step takes the same time however many jobs wait: they are kept in order of arrival, and by content as well.
    """

    def __init__(self, *, recipients_max: int) -> None:
        """``recipients_max``: how many numbers one call may carry."""
        self._recipients_max = recipients_max
        self._arrived: dict[Lane, OrderedDict[ReadyJob, _Alike]] = {lane: OrderedDict() for lane in Lane}
        self._alike: dict[CallContent, _Alike] = {}
        self._recipients = 0
        self._urgent_in_a_row = 0
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return sum(map(len, self._arrived.values()))

    def __bool__(self) -> bool:
        return any(self._arrived.values())

    def waiting(self, lane: Lane) -> int:
        """How many jobs of one lane wait."""
        return len(self._arrived[lane])

    @property
    def calls_waiting(self) -> int:
        """How many calls the waiting jobs need at least."""
        return max(len(self._alike), -(-self._recipients // self._recipients_max))

    def put(self, ready: ReadyJob) -> None:
        """Add a job behind the others of its lane."""
        lane = ready.delivery.lane
        alike = self._alike.get(ready.content)
        if alike is None:
            alike = _Alike(ready.content, {lane: OrderedDict() for lane in Lane})
            self._alike[ready.content] = alike
        alike.by_lane[lane][ready] = None
        self._arrived[lane][ready] = alike
        self._recipients += len(ready.job.to)
        self._filled.set()

    def put_first(self, jobs: Sequence[ReadyJob]) -> None:
        """Add jobs that were taken out and did not leave in front of the others, in their order."""
        for ready in reversed(jobs):
            self.put(ready)
            self._arrived[ready.delivery.lane].move_to_end(ready, last=False)
            self._alike[ready.content].by_lane[ready.delivery.lane].move_to_end(ready, last=False)

    def take(self) -> Batch | None:
        """Take out the jobs that leave in the next call, or None when none waits."""
        lane = self._lane_of_next()
        if lane is None:
            return None
        leader, alike = next(iter(self._arrived[lane].items()))
        others = chain(alike.by_lane[Lane.URGENT], alike.by_lane[Lane.BULK])
        in_turn = chain([leader], (ready for ready in others if ready is not leader))
        batch = leaving_together(in_turn, recipients_max=self._recipients_max)
        for ready in batch:
            self._take_out(ready)
        return Batch(tuple(batch))

    def take_older_than(self, received_before_s: float) -> Iterator[ReadyJob]:
        """Take out, oldest first, the jobs that were received before that moment of the monotonic clock."""
        for arrived in self._arrived.values():
            while arrived and (oldest := next(iter(arrived))).delivery.received_at_s < received_before_s:
                self._take_out(oldest)
                yield oldest

    async def filled(self) -> None:
        """Wait until a job waits."""
        await self._filled.wait()

    def _lane_of_next(self) -> Lane | None:
        """Whose turn it is to lead; notes that it had it."""
        urgent, bulk = self._arrived[Lane.URGENT], self._arrived[Lane.BULK]
        if urgent and (not bulk or self._urgent_in_a_row < URGENT_IN_A_ROW_MAX):
            self._urgent_in_a_row = self._urgent_in_a_row + 1 if bulk else 0
            return Lane.URGENT
        self._urgent_in_a_row = 0
        return Lane.BULK if bulk else None

    def _take_out(self, ready: ReadyJob) -> None:
        lane = ready.delivery.lane
        alike = self._arrived[lane].pop(ready)
        del alike.by_lane[lane][ready]
        if not any(alike.by_lane.values()):
            del self._alike[alike.content]
        self._recipients -= len(ready.job.to)
        if not self:
            self._filled.clear()
