"""The API's answer to a call that somebody else has declared in doubt meanwhile.

A worker that was frozen (its machine was paused, or it) hears what came of its call when its claim is long void. What
the API says then is the best evidence there is:

* It was **sent**, or it is **refused**: the doubt is resolved so, and told. What is held of it is cleared away by the
  keeper of jobs in doubt, who also tells it, should this worker end before it has.
* It was sent, and the job was **called for again** since: it was sent twice, which is counted and alarms.
* It was **surely not sent** (a 429, no connection): nothing is done. The doubt may be that of a later call by now, of
  which this answer says nothing; to have the job sent again could send it twice.

Where the answer ends the doubt, the traces of the job say so too: a message to its recipients that nobody knows is not
of this call. Whoever has resolved it otherwise meanwhile has the last word.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from worker.core.delivery import Delivery, Publication
from worker.core.events import ResolvedAs, ResolvedBy
from worker.core.job import Job
from worker.core.journal import GIVEN_UP, SENT, Claim, Record, Resolution, State, Told
from worker.core.outcome import JobOutcome, RefusedJob, Sent
from worker.core.resolution import SETTLED_AS, Grounds, resolved_event, written
from worker.core.sendings import traces_of
from worker.flow.observations import DoubtResolved, DuplicateSendDetected, Observer
from worker.flow.ports import Broker, Journal, JournalAway, PublishFailed
from worker.flow.resolving import resolved
from worker.flow.traces import Traces

#: For so long a late answer is tried to be told; the keeper of jobs in doubt tells it otherwise.
TELL_S_MAX = 60.0
TELL_AGAIN_S = 0.2


@dataclass(frozen=True, slots=True)
class LateAnswer:
    """``outcome`` of a call for ``job`` whose claim is somebody else's by now.

    ``was_asked_once``: the journal said so at the first question. If it did not answer that one, it may have written
    the outcome down all the same, and what it says now may be that. ``is_second``: a recipient is known to have got
    another message of the job.
    """

    delivery: Delivery
    job: Job
    claim: Claim
    outcome: JobOutcome
    was_asked_once: bool
    is_second: bool = False


class LateAnswers:
    """Takes in late answers, for one process and all accounts."""

    def __init__(
        self,
        *,
        broker: Broker,
        journal: Journal,
        traces: Traces,
        observe: Observer,
        wall_clock: Callable[[], datetime],
    ) -> None:
        self._broker = broker
        self._journal = journal
        self._traces = traces
        self._observe = observe
        self._wall_clock = wall_clock

    async def take(self, late: LateAnswer) -> None:
        """Resolve the doubt, if there is one that the answer resolves."""
        account, claim = late.delivery.account, late.claim
        if late.is_second:
            self._observe(DuplicateSendDetected(account, claim.job_id))
        verdict = _verdict(late.outcome)
        if verdict is None:
            return
        end, grounds = verdict
        found = await resolved(
            self._journal, account, Resolution(claim.job_id, claim.fingerprint, end, written(grounds))
        )
        if isinstance(found, JournalAway):
            return
        if found.is_done:
            await self._traces.leave(account, traces_of(late.job, late.outcome, ends_doubt=True))
            await self._tell(late, end, self._event(late, SETTLED_AS[end], grounds))
        elif end == SENT and not late.is_second and _is_another_call(found.record, late):
            self._observe(DuplicateSendDetected(account, claim.job_id))

    async def _tell(self, late: LateAnswer, end: str, event: Publication) -> None:
        account, claim = late.delivery.account, late.claim
        if await self._is_published(event):
            self._journal.tell(account, [Told(claim.job_id, "", claim.fingerprint, end)])
        self._observe(DoubtResolved(account, SETTLED_AS[end], claim.job_id))

    async def _is_published(self, event: Publication) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TELL_S_MAX):
                while True:
                    await self._broker.publisher_ready()
                    with contextlib.suppress(PublishFailed):
                        await self._broker.publish(event)
                        return True
                    await asyncio.sleep(TELL_AGAIN_S)
        return False

    def _event(self, late: LateAnswer, resolution: ResolvedAs, grounds: Grounds) -> Publication:
        delivery = late.delivery
        return resolved_event(
            grounds,
            resolution,
            account=delivery.account,
            job_id=late.job.id,
            reference=late.job.reference,
            attempt=delivery.attempts + 1,
            at=self._wall_clock(),
            number=delivery.resolutions + 1,
        )


def _verdict(outcome: JobOutcome) -> tuple[str, Grounds] | None:
    """What the answer proves, if anything."""
    match outcome:
        case Sent(accepted, refused):
            return SENT, Grounds(ResolvedBy.RULE, "the API's answer, which came late", accepted, refused)
        case RefusedJob(code, description, refused):
            words = f"the API's answer, which came late: {code}, {description}"
            return GIVEN_UP, Grounds(ResolvedBy.RULE, words, refused=refused)
        case _:
            return None


def _is_another_call(record: Record, late: LateAnswer) -> bool:
    """Whether the record is of a call that was made although ours had been."""
    if record.fingerprint != late.claim.fingerprint:
        return False
    match record.state:
        case State.CLAIMED:
            return record.token != late.claim.token
        case State.ENDED | State.TOLD:
            return record.end == SENT and late.was_asked_once
        case _:
            return False
