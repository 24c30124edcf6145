"""Before a call: the journal's word on each of its jobs. Only what is claimed may be called for.

What cannot be claimed is settled without a call: it has ended already, another delivery of it may be under way, or its
id belongs to another job.
"""

from __future__ import annotations

import itertools
import statistics
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from worker.core.delivery import Delivery
from worker.core.job import Job, Rejected
from worker.core.journal import RELEASED, Claim, Told, Verdict, claim_of
from worker.core.retold import outcome_on_record, resolution_again, same_id_reason, told_again
from worker.core.settlement import CLAIMED_WAIT_S, Moment, RequeueReason, duplicate, put_back, reject
from worker.flow.lane import ReadyJob
from worker.flow.observations import DuplicateSource, DuplicateSuppressed, Observer
from worker.flow.ports import Claimed, Journal, JournalAway, Monotonic
from worker.flow.settling import Settling

#: Jobs are claimed so long before their slot that the answer is there in time: twice what it takes usually, and this.
LEAD_S_MIN, LEAD_S_MAX = 0.002, 0.05
TIMES_KEPT = 15
#: Before anything was measured.
TIME_S_FIRST = 0.004


@dataclass(frozen=True, slots=True)
class Claims:
    """``going``: may be called for now. ``others``: are to be settled."""

    going: tuple[ReadyJob, ...]
    others: tuple[Settling, ...]


class Claimant:
    """Claims jobs for one process. ``process`` is its name among all that ever were."""

    def __init__(
        self,
        *,
        journal: Journal,
        process: str,
        attempts_max: int,
        now: Callable[[], Moment],
        observe: Observer,
        monotonic: Monotonic,
    ) -> None:
        self._journal = journal
        self._process = process
        self._attempts_max = attempts_max
        self._now = now
        self._observe = observe
        self._monotonic = monotonic
        self._numbers = itertools.count(1)
        self._times_s: deque[float] = deque([TIME_S_FIRST], maxlen=TIMES_KEPT)

    @property
    def lead_s(self) -> float:
        """How long before a slot to claim the jobs that are to leave in it."""
        return min(LEAD_S_MIN + 2 * statistics.median(self._times_s), LEAD_S_MAX)

    def claim_of(self, delivery: Delivery, job: Job) -> Claim:
        """What the delivery will ask for; once for each delivery."""
        return claim_of(
            job,
            token=f"{self._process}-{next(self._numbers)}",
            redelivered=delivery.was_in_hand,
            published_at=delivery.published_at,
        )

    async def claim(self, jobs: Sequence[ReadyJob]) -> Claims | JournalAway:
        """Claim jobs of one account."""
        asked_at_s = self._monotonic()
        answer = await self._journal.claim(jobs[0].delivery.account, [ready.claim for ready in jobs])
        if isinstance(answer, JournalAway):
            return answer
        self._times_s.append(self._monotonic() - asked_at_s)
        going, others = [], []
        for ready, claimed in zip(jobs, answer, strict=True):
            if claimed.verdict is Verdict.CLAIMED:
                going.append(ready)
            else:
                others.append(self.without_call(ready.delivery, ready.job, ready.claim, claimed))
        return Claims(tuple(going), tuple(others))

    async def claim_one(self, delivery: Delivery, job: Job, claim: Claim) -> Settling | JournalAway | None:
        """Claim one that will end without a call; None when it may, else how it is to be settled instead."""
        answer = await self._journal.claim(delivery.account, [claim])
        if isinstance(answer, JournalAway):
            return answer
        (claimed,) = answer
        if claimed.verdict is Verdict.CLAIMED:
            return None
        return self.without_call(delivery, job, claim, claimed)

    def release(self, jobs: Sequence[ReadyJob]) -> None:
        """Let go of claims that their deliveries will not use any more; also when the journal is away now."""
        claims = [ready.claim for ready in jobs]
        self._journal.tell(
            jobs[0].delivery.account,
            [Told(claim.job_id, claim.token, claim.fingerprint, RELEASED) for claim in claims],
        )

    def without_call(self, delivery: Delivery, job: Job, claim: Claim, claimed: Claimed) -> Settling:
        """How a job is settled that may not be called for."""
        match claimed.verdict:
            case Verdict.ENDED:
                settlement = told_again(claimed.record, delivery, job, attempts_max=self._attempts_max, now=self._now())
                on_record = outcome_on_record(claimed.record)
                return Settling(delivery, job, settlement, claim=claim, is_recorded=True, on_record=on_record)
            case Verdict.TOLD:
                source = DuplicateSource.REDELIVERY if delivery.redelivered else DuplicateSource.PUBLISH
                self._observe(DuplicateSuppressed(delivery.account, source))
                # Of a job that nobody had in hand before there was nothing to tell.
                is_again = delivery.was_in_hand
                untold = resolution_again(claimed.record, delivery, job, now=self._now()) if is_again else ()
                return Settling(delivery, job, duplicate(job.id, untold))
            case Verdict.DIFFERS:
                rejected = Rejected((same_id_reason(job, claimed.record),), job.id, job.reference)
                return Settling(delivery, None, reject(delivery, rejected, now=self._now()))
            case _:
                return Settling(delivery, job, put_back(delivery, job, RequeueReason.CLAIMED, CLAIMED_WAIT_S))
