"""How an end is written down in the journal, and told again from there (pure).

A worker that is handed a job whose end is on record, because whoever wrote it died before he told it, tells it in his
place: the same messages, with the same ids.
"""

from __future__ import annotations

from typing import Any

import orjson

from worker.core.delivery import Delivery, Publication
from worker.core.job import Job
from worker.core.journal import UNREADABLE, Record, State, difference, ended, fingerprint, released
from worker.core.outcome import InDoubt, JobOutcome, RefusedJob, Sent
from worker.core.resolution import SETTLED_AS, read, resolved_event
from worker.core.settlement import (
    End,
    Finished,
    Moment,
    Requeued,
    Settlement,
    after_call,
    bury,
    expire,
)


def record_of(settlement: Settlement, outcome: JobOutcome | None, job_fingerprint: str) -> Record:
    """What the journal keeps of a settlement; ``outcome``: of the job's call, if there was one."""
    match settlement:
        case Requeued():
            return released(job_fingerprint)
        case Finished(end, why=why):
            return ended(job_fingerprint, end.value, _details(outcome, why))


def resolution_again(record: Record, delivery: Delivery, job: Job, *, now: Moment) -> tuple[Publication, ...]:
    """What was decided about the job while it was in doubt; nothing when that is known to be told.

    Nobody else may be there to tell it: the job was resolved before it was held.
    """
    grounds = read(record.details) if record.state is State.RESOLVED and record.details else None
    if grounds is None or record.end not in SETTLED_AS:
        return ()
    event = resolved_event(
        grounds,
        SETTLED_AS[record.end],
        account=delivery.account,
        job_id=job.id,
        reference=job.reference,
        attempt=delivery.attempts + 1,
        at=now.at,
        number=delivery.resolutions + 1,
    )
    return (event,)


def outcome_on_record(record: Record) -> JobOutcome | None:
    """What the job's call came to; None when it ended without one."""
    if record.end in {End.EXPIRED, End.DEAD}:
        return None
    details = _read(record.details)
    known = _outcome(details) if record.end in {End.SENT, End.REFUSED} else None
    why = details.get("why") if record.end == End.IN_DOUBT else None
    return known or InDoubt(str(why or UNREADABLE))


def told_again(record: Record, delivery: Delivery, job: Job, *, attempts_max: int, now: Moment) -> Finished:
    """The settlement that the end on record asks for."""
    outcome = outcome_on_record(record)
    if outcome is not None:
        settlement = after_call(delivery, job, outcome, attempts_max=attempts_max, now=now)
        assert isinstance(settlement, Finished)  # noqa: S101 - these outcomes are ends
        return settlement
    if record.end == End.EXPIRED:
        return expire(delivery, job, now=now)
    return bury(delivery, job, (str(_read(record.details).get("why") or "not told"),), now=now)


def same_id_reason(job: Job, record: Record) -> str:
    """Why a job is not sent whose id another one has."""
    parts = " and ".join(difference(fingerprint(job), record.fingerprint)) or "content"
    return f"id: it belongs to a job that was published before with other {parts}"


def _details(outcome: JobOutcome | None, why: str | None) -> dict[str, Any]:
    match outcome:
        case Sent(recipients, refused):
            return {"recipients": recipients, "refused": refused}
        case RefusedJob(code, description, refused):
            return {"code": code, "description": description, "refused": refused}
        case InDoubt(why_in_doubt):
            return {"why": why_in_doubt}
        case _:
            return {"why": why} if why else {}


def _outcome(details: dict[str, Any]) -> JobOutcome | None:
    try:
        refused = _pairs(details["refused"])
        if "recipients" in details:
            return Sent(_pairs(details["recipients"]), refused)
        return RefusedJob(details["code"], details["description"], refused)
    except (KeyError, TypeError, ValueError):
        return None


def _pairs(listed: list[list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((one, other) for one, other in listed)


def _read(details: str) -> dict[str, Any]:
    try:
        read = orjson.loads(details)
    except orjson.JSONDecodeError:
        return {}
    return read if isinstance(read, dict) else {}
