"""What an operator wants to know of an account (pure): out of two looks at its bucket and one at its queues.

Rates are taken between the two looks; what the limiter has in force is that of the second.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from worker.core.bucket import Bucket, worst_second
from worker.core.journal import Doubts
from worker.core.pace import MICRO, calls_per_s, interval_ns, micro, rate_micro


class AccountState(enum.StrEnum):
    """What keeps an account from sending at its configured limit, the gravest first."""

    SUSPENDED = "suspended"
    CLOSED = "closed"
    LOWERED = "lowered"
    OPEN = "open"
    UNKNOWN = "unknown"


class DrainResult(enum.StrEnum):
    """How the drain of a worker came out."""

    WHOLE = "whole"
    """All calls under way ended, and were told."""
    TIMED_OUT = "timed_out"
    """Its limit passed, or a second signal came, before."""


@dataclass(frozen=True, slots=True)
class Depth:
    """Of one queue: jobs that wait in it (not those that a worker holds), and who consumes it."""

    jobs: int
    consumers: int


@dataclass(frozen=True, slots=True)
class Held:
    """Jobs that wait for their slot in ``workers`` workers' hands."""

    urgent: int
    bulk: int
    workers: int


@dataclass(frozen=True, slots=True)
class Look:
    """An account's bucket at a moment of the store's clock; no bucket: nothing was ever sent, or it was forgotten."""

    bucket: Bucket | None
    at_us: int


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """One account. None where it cannot be known (no answer from the broker or from Redis, or no call yet).

    ``pace_per_s``: calls a second in force. ``share_used``: slots between the looks, of the limit. ``drain_s``: until
    the waiting jobs have left, at the pace in force and with as many jobs a call as lately. The backlog counts what
    waits in the queues and in the workers' hands. ``in_doubt_oldest_s``: for how long the job is in doubt that is so
    for longest; None also where there is none.
    """

    account: str
    limit_per_s: float
    state: AccountState
    why: str
    pace_per_s: float | None
    guard_s: float | None
    share_used: float | None
    worst_second: int | None
    jobs_per_call: float | None
    backlog_urgent: int | None
    backlog_bulk: int | None
    drain_s: float | None
    workers: int | None
    in_doubt: int | None
    in_doubt_oldest_s: float | None


def account_status(
    account: str,
    *,
    limit_per_s: float,
    before: Look | None,
    now: Look | None,
    urgent: Depth | None,
    bulk: Depth | None,
    held: Held | None,
    doubts: Doubts | None,
    at_s: float,
) -> AccountStatus:
    """Put together what is known at ``at_s`` (since 1970).

    Looks, ``held`` and ``doubts`` are None without Redis, depths without the broker.

    Workers are those that told of themselves, or, without Redis, those that consume.
    """
    bucket = now.bucket if now else None
    pace_per_s = _pace_per_s(now, limit_per_s)
    state, why = _state(now, limit_per_s)
    jobs_per_call = _jobs_per_call(before, now)
    in_hand = held or Held(0, 0, 0)
    backlog_urgent = None if urgent is None else urgent.jobs + in_hand.urgent
    backlog_bulk = None if bulk is None else bulk.jobs + in_hand.bulk
    backlog = None if backlog_urgent is None or backlog_bulk is None else backlog_urgent + backlog_bulk
    return AccountStatus(
        account=account,
        limit_per_s=limit_per_s,
        state=state,
        why=why,
        pace_per_s=pace_per_s,
        guard_s=bucket.pace.guard_ns / 1e9 if bucket else None,
        share_used=_share_used(before, now, limit_per_s),
        worst_second=worst_second(bucket) if bucket else None,
        jobs_per_call=jobs_per_call,
        backlog_urgent=backlog_urgent,
        backlog_bulk=backlog_bulk,
        drain_s=_drain_s(backlog, state, pace_per_s, jobs_per_call),
        workers=held.workers if held else bulk.consumers if bulk else None,
        in_doubt=doubts.jobs if doubts else None,
        in_doubt_oldest_s=_age_s(doubts, at_s),
    )


def _age_s(doubts: Doubts | None, at_s: float) -> float | None:
    if doubts is None or doubts.oldest_us is None:
        return None
    return max(0.0, at_s - doubts.oldest_us / MICRO)


def _state(now: Look | None, limit_per_s: float) -> tuple[AccountState, str]:
    if now is None:
        return AccountState.UNKNOWN, "Redis does not answer"
    bucket = now.bucket
    if bucket is None:
        return AccountState.OPEN, "nothing sent yet"
    if bucket.suspended:
        words = {"credentials": "the API refuses its key", "credit": "it has no credit"}
        return AccountState.SUSPENDED, words.get(bucket.suspended, bucket.suspended)
    closed_s = (bucket.closed_until_us - now.at_us) / 1e6
    if closed_s > 0:
        return AccountState.CLOSED, f"after a 429, for {closed_s:.1f} s more"
    limit_micro = micro(limit_per_s)
    if bucket.pace.is_lowered and rate_micro(bucket.pace, limit_micro=limit_micro, now_us=now.at_us) < limit_micro:
        return AccountState.LOWERED, f"the API answered 429 above {bucket.pace.peak_micro / MICRO:.3g}/s"
    return AccountState.OPEN, ""


def _pace_per_s(now: Look | None, limit_per_s: float) -> float | None:
    if now is None or now.bucket is None:
        return None
    return calls_per_s(interval_ns(now.bucket.pace, limit_micro=micro(limit_per_s), now_us=now.at_us))


def _share_used(before: Look | None, now: Look | None, limit_per_s: float) -> float | None:
    if before is None or now is None or now.bucket is None or now.at_us <= before.at_us:
        return None
    slots = now.bucket.slots - (before.bucket.slots if before.bucket else 0)
    return max(0, slots) / ((now.at_us - before.at_us) / 1e6 * limit_per_s)


def _jobs_per_call(before: Look | None, now: Look | None) -> float | None:
    """Between the looks when something left, else since the beginning."""
    if now is None or now.bucket is None or not now.bucket.slots:
        return None
    earlier = before.bucket if before else None
    slots = now.bucket.slots - (earlier.slots if earlier else 0)
    jobs = now.bucket.jobs - (earlier.jobs if earlier else 0)
    if slots <= 0 or jobs <= 0:
        slots, jobs = now.bucket.slots, now.bucket.jobs
    return max(1.0, jobs / slots)


def _drain_s(
    backlog: int | None, state: AccountState, pace_per_s: float | None, jobs_per_call: float | None
) -> float | None:
    if backlog == 0:
        return 0.0
    if backlog is None or pace_per_s is None or state is AccountState.SUSPENDED:
        return None
    return backlog / (pace_per_s * (jobs_per_call or 1.0))
