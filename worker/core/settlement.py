"""What is done with a delivery once it is known how its job went (pure).

Settling is always the same act: publish these messages, in this order, each confirmed; then acknowledge. A
crash in between repeats messages, and never loses the job. So a settlement is simply the list of what to
publish, with a name for the record.

A job that is let go again after it was held can be held once more, and each time is told with an id of its own: the
number of its returns is part of it. The other ends are told once in a job's life, by whichever of its deliveries: a
copy that finds on record how an earlier delivery ended tells it with that one's id.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Any, assert_never

from worker.core.delivery import Delivery, Lane, Publication, carried_headers
from worker.core.events import EventType, job_event, recipients, refusals, timestamp
from worker.core.job import Job, Rejected
from worker.core.outcome import InDoubt, JobOutcome, NotSent, RefusedJob, Sent, Suspended, Throttled
from worker.core.topology import (
    DEAD_QUEUE,
    IN_DOUBT_QUEUE,
    RETRY_DELAYS_S,
    retry_delay_at_least,
    retry_queue,
    routing_key,
)


class End(enum.StrEnum):
    """How a job ended."""

    SENT = "sent"
    REFUSED = "refused"
    EXPIRED = "expired"
    DEAD = "dead"
    IN_DOUBT = "in_doubt"
    DUPLICATE = "duplicate"
    """It had ended before: published twice, or handed out again after its end was told."""


class RequeueReason(enum.StrEnum):
    """Why a job goes back to the queue."""

    THROTTLED = "throttled"
    NOT_SENT = "not_sent"
    MEDIA = "media"
    SUSPENDED = "suspended"
    HELD_LONG = "held_long"
    CLAIMED = "claimed"
    """Another delivery of the job has the claim to call."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The job has ended. ``why`` is fit for a log: it never quotes the job."""

    end: End
    publications: tuple[Publication, ...]
    job_id: str | None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Requeued:
    """The job goes round again: a copy waits ``delay_s`` in a retry queue."""

    reason: RequeueReason
    delay_s: int
    publications: tuple[Publication, ...]
    job_id: str | None
    why: str | None = None


Settlement = Finished | Requeued


#: A throttled job whose answer named no time waits this long; by then the account's slots are closed anyway.
THROTTLED_WAIT_S = 1.0
#: What another delivery has the claim to is looked at again after this.
CLAIMED_WAIT_S = 5.0
#: A job that met a suspended account comes back after this; the account itself is probed on its own.
SUSPENDED_WAIT_S = 15.0


@dataclass(frozen=True, slots=True)
class Moment:
    """What a decision needs from outside: the wall clock, and one random number in [0, 1) for jitter."""

    at: datetime
    chance: float


def after_call(delivery: Delivery, job: Job, outcome: JobOutcome, *, attempts_max: int, now: Moment) -> Settlement:
    """Decide what becomes of ``delivery`` after a call with ``outcome``."""
    match outcome:
        case Sent(sent, refused):
            more: dict[str, Any] = {"recipients": recipients(sent), "refused": refusals(refused)}
            return _finished(End.SENT, EventType.SENT, delivery, job, attempt=delivery.attempts + 1, now=now, more=more)
        case RefusedJob(code, description, refused):
            more = {"code": code, "description": description, "refused": refusals(refused)}
            attempt = delivery.attempts + 1
            return _finished(End.REFUSED, EventType.REFUSED, delivery, job, attempt=attempt, now=now, more=more)
        case InDoubt(why):
            return hold_in_doubt(delivery, job, why, now=now)
        case Throttled(retry_after_s):
            wait_s = THROTTLED_WAIT_S if retry_after_s is None else retry_after_s
            return put_back(delivery, job, RequeueReason.THROTTLED, wait_s)
        case Suspended():
            return put_back(delivery, job, RequeueReason.SUSPENDED, SUSPENDED_WAIT_S)
        case NotSent(why):
            return try_again(delivery, job, RequeueReason.NOT_SENT, why, attempts_max=attempts_max, now=now)
        case _:
            assert_never(outcome)


def try_again(
    delivery: Delivery, job: Job, reason: RequeueReason, why: str, *, attempts_max: int, now: Moment
) -> Settlement:
    """Spend an attempt: back to the queue with a longer delay each time, or a dead letter after the last."""
    attempt = delivery.attempts + 1
    if attempt >= attempts_max:
        return bury(
            delivery,
            job,
            (f"gave up after {attempt} attempts; the last one: {why}",),
            now=now,
            attempt=attempt,
        )
    # Jitter among fixed delays: this attempt's step or the next, so that jobs that failed together come back apart.
    step = min(attempt - 1 + round(now.chance), len(RETRY_DELAYS_S) - 1)
    return _requeued(delivery, job, reason, RETRY_DELAYS_S[step], attempts=attempt, why=why)


def put_back(delivery: Delivery, job: Job, reason: RequeueReason, wait_s: float) -> Requeued:
    """Back to the queue for at least ``wait_s`` (as far as the fixed delays go), without spending an attempt."""
    return _requeued(delivery, job, reason, retry_delay_at_least(wait_s), attempts=delivery.attempts)


def put_back_unread(delivery: Delivery, reason: RequeueReason, wait_s: float) -> Requeued:
    """The same for a message that was not looked at, so that nobody knows which job it is."""
    return _requeued(delivery, None, reason, retry_delay_at_least(wait_s), attempts=delivery.attempts)


def bury_unread(delivery: Delivery, reason: str, *, now: Moment) -> Finished:
    """A message that must not be looked at: dead letter. ``reason`` quotes nothing of it."""
    return _dead(
        delivery,
        (reason,),
        now=now,
        attempt=delivery.attempts,
        job_id=None,
        reference=None,
        body_for_id=delivery.body,
        why=reason,
    )


def reject(delivery: Delivery, rejected: Rejected, *, now: Moment) -> Finished:
    """A delivery that is not a valid job: dead letter with every reason."""
    return _dead(
        delivery,
        rejected.reasons,
        now=now,
        attempt=delivery.attempts,
        job_id=rejected.job_id,
        reference=rejected.reference,
        body_for_id=delivery.body,
        # The reasons quote the job.
        why="it breaks a rule for jobs; which, its dead letter says",
    )


def bury(
    delivery: Delivery, job: Job, reasons: tuple[str, ...], *, now: Moment, attempt: int | None = None
) -> Finished:
    """A valid job that cannot be processed: dead letter."""
    attempt = delivery.attempts if attempt is None else attempt
    return _dead(
        delivery,
        reasons,
        now=now,
        attempt=attempt,
        job_id=job.id,
        reference=job.reference,
        body_for_id=None,
        # These never quote the job.
        why="; ".join(reasons),
    )


def expire(delivery: Delivery, job: Job, *, now: Moment) -> Finished:
    """``expires_at`` passed before the job could leave."""
    more = {"expires_at": timestamp(job.expires_at) if job.expires_at else None}
    return _finished(End.EXPIRED, EventType.EXPIRED, delivery, job, attempt=delivery.attempts, now=now, more=more)


def duplicate(job_id: str | None, untold: tuple[Publication, ...] = ()) -> Finished:
    """Its end is told elsewhere: there is nothing to say, but for what may be ``untold``."""
    return Finished(End.DUPLICATE, untold, job_id)


def has_expired(job: Job, at: datetime) -> bool:
    """Whether the job must not leave any more."""
    return job.expires_at is not None and at >= job.expires_at


def hold_in_doubt(delivery: Delivery, job: Job, why: str, *, now: Moment) -> Finished:
    """Keep the job aside, with the evidence; nothing repeats it on its own."""
    attempt = delivery.attempts + 1
    since = timestamp(now.at)
    held = Publication(
        exchange="",
        routing_key=IN_DOUBT_QUEUE,
        body=delivery.body,
        headers=carried_headers(
            delivery,
            account=delivery.account,
            lane=delivery.lane.value,
            attempts=attempt,
            in_doubt_since=since,
            in_doubt_why=why,
        ),
        published_at=delivery.published_at,
    )
    more = {"since": since, "why": why, "recipients": list(job.to)}
    number = delivery.returns or None
    event = _event(EventType.IN_DOUBT, delivery, job, attempt=attempt, now=now, more=more, number=number)
    return Finished(End.IN_DOUBT, (held, event), job.id, why)


def _requeued(
    delivery: Delivery, job: Job | None, reason: RequeueReason, delay_s: int, *, attempts: int, why: str | None = None
) -> Requeued:
    ours: dict[str, object] = {"attempts": attempts, "requeued_for": reason.value}
    lane = delivery.lane
    # To the broker the copy is new. But somebody may have called for the job, and who has the claim may do so now.
    if delivery.was_in_hand or reason is RequeueReason.CLAIMED:
        ours["was_in_hand"] = True
    # It was its turn. Behind a backlog of hours nobody would find out for as long that its doubt is one.
    if reason is RequeueReason.CLAIMED:
        lane = Lane.URGENT
    copy = Publication(
        exchange=retry_queue(delay_s),
        routing_key=routing_key(delivery.account, lane),
        body=delivery.body,
        headers=carried_headers(delivery, **ours),
        published_at=delivery.published_at,
    )
    return Requeued(reason, delay_s, (copy,), job.id if job else None, why)


def _dead(
    delivery: Delivery,
    reasons: tuple[str, ...],
    *,
    now: Moment,
    attempt: int,
    job_id: str | None,
    reference: str | None,
    body_for_id: bytes | None,
    why: str | None = None,
) -> Finished:
    letter = Publication(
        exchange="",
        routing_key=DEAD_QUEUE,
        body=delivery.body,
        headers=carried_headers(
            delivery,
            reasons=list(reasons),
            account=delivery.account,
            lane=delivery.lane.value,
            attempts=attempt,
            dead_at=timestamp(now.at),
        ),
        published_at=delivery.published_at,
    )
    event = job_event(
        EventType.DEAD,
        account=delivery.account,
        job_id=job_id,
        reference=reference,
        attempt=attempt,
        at=now.at,
        more={"reasons": list(reasons)},
        body_for_id=body_for_id,
        number=delivery.returns or None,
    )
    return Finished(End.DEAD, (letter, event), job_id, why)


def _finished(
    end: End,
    kind: EventType,
    delivery: Delivery,
    job: Job,
    *,
    attempt: int,
    now: Moment,
    more: dict[str, Any],
) -> Finished:
    return Finished(end, (_event(kind, delivery, job, attempt=attempt, now=now, more=more),), job.id)


def _event(
    kind: EventType,
    delivery: Delivery,
    job: Job,
    *,
    attempt: int,
    now: Moment,
    more: dict[str, Any],
    number: int | None = None,
) -> Publication:
    return job_event(
        kind,
        account=delivery.account,
        job_id=job.id,
        reference=job.reference,
        attempt=attempt,
        at=now.at,
        more=more,
        number=number,
    )
