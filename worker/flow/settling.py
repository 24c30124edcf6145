"""Settling deliveries: write the end down, tell it, acknowledge.

The end is written into the journal, and with it traces of the messages, for their reports (``traces.py``). Then what
the settlement says is published, every message confirmed, and only then the delivery is acknowledged. In this order: a
crash in between repeats a message, and neither loses the job nor calls for it again. Many are settled at once after a
call that carried many. Their first messages are written together; from there each goes its own way, so that the trouble
of one holds up none of the others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice
from typing import assert_never

from worker.core.delivery import Delivery
from worker.core.job import Job
from worker.core.journal import Claim, Told
from worker.core.outcome import JobOutcome, RefusedJob, Sent
from worker.core.retold import record_of
from worker.core.sendings import Trace, traces_of
from worker.core.settlement import Finished, Requeued, Settlement, duplicate
from worker.core.steps import Passed, Step, unwatched
from worker.flow.late_answers import LateAnswer, LateAnswers
from worker.flow.observations import DuplicateSendDetected, JobFinished, JobRequeued, Observer
from worker.flow.ports import Broker, Journal, JournalAway, PublishFailed, Sendings
from worker.flow.traces import Traces

#: Between two tries to publish while the broker is away.
PUBLISH_AGAIN_S = 0.2
#: So many are settled in one turn of the event loop: about 4 ms.
TOGETHER_MAX = 64


@dataclass(slots=True, eq=False)
class Settling:
    """One delivery on its way to be settled.

    ``job`` is None when it could not be read, ``outcome`` (of this job) when there was no call, ``claim`` when it has
    none: then the journal is not told. ``is_recorded``: the journal knows the settlement; ``on_record``: then, what it
    knows of an earlier delivery's call. ``confirmed``: how many of the settlement's publications the broker has
    confirmed.
    """

    delivery: Delivery
    job: Job | None
    settlement: Settlement
    outcome: JobOutcome | None = None
    claim: Claim | None = None
    is_recorded: bool = False
    on_record: JobOutcome | None = None
    confirmed: int = 0

    @property
    def is_told(self) -> bool:
        """Whether the delivery may be acknowledged."""
        return self.confirmed == len(self.settlement.publications)


@dataclass(slots=True, eq=False)
class _Crowd:
    """The settlings of one call of ``settle``: how many are ``open``, with one for those that have not begun.

    ``apart``: what goes a way of its own. ``over`` ends with the last of the others, or with a surprise.
    """

    over: asyncio.Future[None]
    open: int = 1
    apart: list[asyncio.Task[None]] = field(default_factory=list)

    def end_one(self) -> None:
        """One less is open."""
        self.open -= 1
        if not self.open and not self.over.done():
            self.over.set_result(None)

    def fail(self, surprise: Exception) -> None:
        """Have it raised where all are waited for."""
        if not self.over.done():
            self.over.set_exception(surprise)

    async def all_ended(self) -> None:
        """Wait for all, however they went."""
        await self.over
        if self.apart:
            await asyncio.gather(*self.apart)


class Settler:
    """Publishes, acknowledges and tells whoever watches, for one process and all accounts."""

    def __init__(
        self,
        *,
        broker: Broker,
        journal: Journal,
        sendings: Sendings,
        observe: Observer,
        wall_clock: Callable[[], datetime],
        passed: Passed = unwatched,
    ) -> None:
        self._passed = passed
        self._broker = broker
        self._journal = journal
        self._observe = observe
        self._wall_clock = wall_clock
        #: What the broker has said something of, and nobody has looked at yet.
        self._heard: deque[tuple[Settling, _Crowd, asyncio.Future[None]]] = deque()
        self._traces = Traces(sendings=sendings)
        self._late = LateAnswers(
            broker=broker, journal=journal, traces=self._traces, observe=observe, wall_clock=wall_clock
        )

    async def settle(self, settlings: Iterable[Settling]) -> None:
        """Settle each. Goes on until the broker has confirmed, or the delivery is not ours any more.

        ``settlings`` are made on the way, a few at a time, and everything else gets its turn in between: a slot that
        comes while a thousand jobs are settled is kept.
        """
        coming = iter(settlings)
        crowd = _Crowd(asyncio.get_running_loop().create_future())
        next_ones = list(islice(coming, TOGETHER_MAX))
        while next_ones:
            late = await self._record(next_ones)
            crowd.apart += [asyncio.create_task(self._late.take(one)) for one in late]
            self._tell(self._untold(next_ones), crowd)
            if next_ones := list(islice(coming, TOGETHER_MAX)):
                await asyncio.sleep(0)
        crowd.end_one()
        await crowd.all_ended()

    def _untold(self, settlings: Sequence[Settling]) -> list[Settling]:
        """Those that are to be told; where there is nothing to say, they are settled."""
        for settling in settlings:
            if settling.is_told:
                self._acknowledge(settling)
        return [settling for settling in settlings if not settling.is_told]

    def _tell(self, settlings: Sequence[Settling], crowd: _Crowd) -> None:
        """Publish of each what comes next, together; ``_hear`` goes on when the broker has said something of it."""
        due = [settling for settling in settlings if self._is_worth_telling(settling)]
        if not due:
            return
        crowd.open += len(due)
        confirms = self._broker.publish_many([one.settlement.publications[one.confirmed] for one in due])
        for settling, confirm in zip(due, confirms, strict=True):
            confirm.add_done_callback(partial(self._hear, settling, crowd))

    def _hear(self, settling: Settling, crowd: _Crowd, confirm: asyncio.Future[None]) -> None:
        """One confirm may be for a thousand messages: what they lead to is worked off a few at a time."""
        self._heard.append((settling, crowd, confirm))
        if len(self._heard) == 1:
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        """With each that the broker has said something of: acknowledge it, or publish what comes next."""
        for _ in range(min(len(self._heard), TOGETHER_MAX)):
            settling, crowd, confirm = self._heard.popleft()
            try:
                if _is_confirmed(confirm):
                    settling.confirmed += 1
                    self._tell(self._untold([settling]), crowd)
                else:
                    crowd.apart.append(asyncio.create_task(self._persist(settling)))
            except Exception as surprise:  # noqa: BLE001 - nobody else would hear of it
                crowd.fail(surprise)
            crowd.end_one()
        if self._heard:
            asyncio.get_running_loop().call_soon(self._go_on)

    async def _record(self, settlings: Sequence[Settling]) -> list[LateAnswer]:
        """Write the ends into the journal, those of one account, with their traces; while it is away, wait for that.

        Nothing is told before: should this worker die, the journal would know of a call and not of its end, and the
        job would be in doubt after it was told as sent. Returns the answers that came after somebody else had decided.
        """
        unrecorded = [
            (settling, settling.claim) for settling in settlings if settling.claim and not settling.is_recorded
        ]
        traces = [trace for settling in settlings for trace in _traces_of(settling)]
        if not unrecorded and not traces:
            return []
        account = settlings[0].delivery.account
        outcomes = [
            (claim, record_of(settling.settlement, settling.outcome, claim.fingerprint))
            for settling, claim in unrecorded
        ]
        times_asked = 0

        def conclude() -> Awaitable[list[bool] | JournalAway]:
            nonlocal times_asked
            times_asked += 1
            return self._journal.conclude(account, outcomes)

        answer, twice_sent = await self._traces.left_with(account, traces, conclude if outcomes else _nothing_to_ask)
        if unrecorded:
            self._passed(Step.AFTER_OUTCOME)
        late = [
            LateAnswer(
                settling.delivery,
                settling.job,
                claim,
                settling.outcome,
                was_asked_once=times_asked == 1,
                is_second=claim.job_id in twice_sent,
            )
            for (settling, claim), is_ours in zip(unrecorded, answer, strict=True)
            if not is_ours and settling.job is not None and settling.outcome is not None
        ]
        for (settling, _), is_ours in zip(unrecorded, answer, strict=True):
            settling.is_recorded = True
            if not is_ours:
                settling.claim = None
                if isinstance(settling.settlement, Finished):
                    # Whoever decided meanwhile tells it.
                    settling.settlement = duplicate(settling.settlement.job_id)
        for job_id in twice_sent.difference(one.job.id for one in late):
            self._observe(DuplicateSendDetected(account, job_id))
        return late

    async def _persist(self, settling: Settling) -> None:
        """Settle one whose publication failed: again and again."""
        while not settling.is_told:
            await asyncio.sleep(PUBLISH_AGAIN_S)
            await self._broker.publisher_ready()
            if not self._is_worth_telling(settling):
                return
            try:
                for publication in settling.settlement.publications[settling.confirmed :]:
                    await self._broker.publish(publication)
                    settling.confirmed += 1
            except PublishFailed:
                continue
        self._acknowledge(settling)

    def _is_worth_telling(self, settling: Settling) -> bool:
        # The journal knows what came of a call: whoever is handed the job next tells it.
        return self._broker.is_ours(settling.delivery)

    def _acknowledge(self, settling: Settling) -> None:
        settlement, claim = settling.settlement, settling.claim
        self._passed(Step.BETWEEN_COPY_AND_ACK if isinstance(settlement, Requeued) else Step.BEFORE_ACK)
        self._broker.ack(settling.delivery)
        if claim is not None and isinstance(settlement, Finished):
            end = Told(claim.job_id, claim.token, claim.fingerprint, settlement.end.value)
            self._journal.tell(settling.delivery.account, [end])
        match settlement:
            case Finished():
                self._observe(self._finished(settling, settlement))
            case Requeued(reason, delay_s, _, job_id, why):
                self._observe(JobRequeued(settling.delivery.account, reason, delay_s, job_id, why))
            case _:
                assert_never(settlement)

    def _finished(self, settling: Settling, settlement: Finished) -> JobFinished:
        delivery, job, outcome = settling.delivery, settling.job, settling.outcome
        since = (job.created_at if job else None) or delivery.published_at
        sent = len(outcome.recipients) if isinstance(outcome, Sent) else 0
        refused = len(outcome.refused) if isinstance(outcome, Sent | RefusedJob) else 0
        return JobFinished(
            account=delivery.account,
            end=settlement.end,
            attempts=delivery.attempts + (outcome is not None),
            end_to_end_s=max(0.0, (self._wall_clock() - since).total_seconds()) if since else None,
            recipients_sent=sent,
            recipients_refused=refused,
            job_id=settlement.job_id,
            why=settlement.why,
            lane=delivery.lane,
        )


async def _nothing_to_ask() -> list[bool] | JournalAway:
    return []


def _traces_of(settling: Settling) -> list[Trace]:
    """What is left of a job that was called for, by whomever."""
    if settling.job is None or settling.claim is None:
        return []
    return traces_of(settling.job, settling.on_record if settling.is_recorded else settling.outcome)


def _is_confirmed(confirm: asyncio.Future[None]) -> bool:
    if confirm.cancelled():
        return False  # whoever gave it up: it is told again
    try:
        confirm.result()
    except PublishFailed:
        return False
    return True
