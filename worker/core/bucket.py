"""The arithmetic of the limiter: slots reserved ahead (pure; the Lua script is its twin).

A bucket is a token bucket of capacity one, kept as the moment of the next free slot. A reservation never
answers "no, try later" but "your slots are at these moments": slots are evenly spaced by the interval, idle
time is not saved up, and whoever asks next continues where the last one ended. How long the interval is, and what a
refusal changes about it, is ``pace.py``. A test drives both modules and ``adapters/redis_limiter.lua`` with the same
random sequences.

The breaker is kept here as well, since it is shared by all workers for the same reason: after ``FAILURES_MAX`` calls in
a row that were not answered as an API should, the account is suspended.

States of an account: *open* → *closed* until a moment (a refusal, or ``Retry-After``) → open; either may be *lowered*
(``pace.py``); and it may be *suspended* for a reason (no slots but for probes) until somebody resumes it.

All times are integer microseconds on the store's own clock; a worker's clock never takes part.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field, replace

from worker.core.pace import GUARD_NS_FIRST, Pace, after_slots, cut, interval_ns, is_jitter, is_sharper, raise_guard

SECOND_US = 1_000_000
#: Slots are not promised further ahead than this: what a dead worker costs, how long calls go on leaving once the store
#: is gone, and what a stepped clock can distort.
AHEAD_US_MAX = 800_000
#: With nothing remembered (first use, or a store that lost its memory or some of it) the first slot comes after this:
#: calls may have left a moment ago, and others hold slots that were promised before.
FRESH_WAIT_US = 1_000_000
#: How long the account is closed when its limit turns out to be lower: what is under way will be refused as well.
LOWERED_CLOSE_US = 500_000
#: So many calls in a row without a proper answer suspend the account.
FAILURES_MAX = 3
#: Why, in such a case; the worker knows it as ``SuspendedBecause.API``.
API_AILING = "api"
#: A suspended account is asked for again after this.
SUSPENDED_ASK_US = 1_000_000
#: So long after a worker told that something stood still, that may explain a refusal.
STALL_TELLS_US = 3_000_000
#: Rows of slots are remembered so long: a second before a call that is refused half a second after it left.
REMEMBERED_US = 1_500_000
REFUSALS_REMEMBERED = 256
#: The worst rolling second is that of the running minute or the one before.
WORST_OF_US = 60_000_000


class Reaction(enum.IntEnum):
    """What a refusal led to."""

    NONE = 0
    GUARD_RAISED = 1
    PACE_LOWERED = 2


@dataclass(frozen=True, slots=True)
class Row:
    """``count`` slots, the first at ``first_us``, one each ``interval_ns``."""

    first_us: int
    count: int
    interval_ns: int

    def slot_us(self, n: int) -> int:
        """The moment of slot ``n``, rounded down."""
        return self.first_us + math.floor(n * self.interval_ns / 1000)

    def until(self, moment_us: int) -> Row:
        """The slots up to and including the moment."""
        count = math.floor((moment_us - self.first_us) * 1000 / self.interval_ns) + 1
        return replace(self, count=max(0, min(self.count, count)))

    def within(self, after_us: int, before_us: int) -> int:
        """How many of the slots lie after the one moment and before the other."""
        first = max(0, math.floor((after_us - self.first_us) * 1000 / self.interval_ns) + 1)
        last = min(self.count - 1, math.ceil((before_us - self.first_us) * 1000 / self.interval_ns) - 1)
        return max(0, last - first + 1)


@dataclass(frozen=True, slots=True)
class Bucket:
    """What the store remembers of an account.

    ``next_us``: the next free slot. ``closed_until_us``: no slot before this (0: open). ``seen_us``: the store's clock
    at the last change, by which a clock that was set back is noticed. ``shift_us``: how far late departures have moved
    the slots in all. ``stalled_us``: when a worker last told that something had stood still for a moment (0: never).
    ``reacted_us``: slots before this were promised before the last reaction to a refusal.
    ``slots``, ``jobs`` (that left in them), ``refusals``: since the beginning. ``worst_*``: most slots in a rolling
    second, of the minute that began at ``worst_from_us`` and of the one before. ``suspended``: why, or "".
    ``failures``: calls in a row that failed, the last one of ``failed_us``; those of slots before ``resumed_us`` do not
    count any more.
    """

    next_us: int
    closed_until_us: int = 0
    seen_us: int = 0
    shift_us: int = 0
    stalled_us: int = 0
    reacted_us: int = 0
    slots: int = 0
    jobs: int = 0
    refusals: int = 0
    worst_now: int = 0
    worst_before: int = 0
    worst_from_us: int = 0
    failures: int = 0
    failed_us: int = 0
    resumed_us: int = 0
    suspended: str = ""
    rows: tuple[Row, ...] = ()
    refused_us: tuple[int, ...] = ()
    pace: Pace = field(default_factory=Pace)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a worker asks for, with what it has to tell.

    Up to ``count`` slots within ``span_us`` of the first one, none sooner than ``lead_us`` (the answer's way) from now.
    ``wait_us``: none sooner than this either, since what was promised is not known (the store's clock was set on).
    ``seen_us``: the store's clock at the last answer; a store that remembers less than that has lost some of its
    memory, and what it promised. ``late_us``: so much later than its slot a call left, when ``shift_us`` was
    ``late_shift_us``. ``jobs``: so many have left since it last asked. ``guard_ns``: the guard that the worker knows,
    for a store that lost its memory. ``is_probe``: may have slots of a suspended account. ``answered_us``: the latest
    slot whose call was answered properly (0: none). ``has_stalled``: since it last asked, a call left late or took
    unusually long.
    """

    count: int
    span_us: int
    lead_us: int = 0
    wait_us: int = 0
    seen_us: int = 0
    late_us: int = 0
    late_shift_us: int = 0
    jobs: int = 0
    guard_ns: int = GUARD_NS_FIRST
    is_probe: bool = False
    answered_us: int = 0
    has_stalled: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """``row.count`` slots; with 0, ``row.first_us`` is the moment to ask again.

    ``next_us`` is what the bucket holds after this grant: the proof that ``give_back`` wants.
    """

    row: Row
    next_us: int
    now_us: int
    shift_us: int


def reserve(bucket: Bucket | None, wish: Wish, *, now_us: int, limit_micro: int) -> tuple[Bucket, Grant]:
    """Reserve slots; ``limit_micro`` is the configured limit."""
    has_lost = bucket is not None and bucket.seen_us < wish.seen_us
    wait_us = FRESH_WAIT_US if has_lost else wish.wait_us
    bucket = _remembered(bucket, now_us, wish.guard_ns)
    # Not by more than this departure was late: a store that lost its memory has forgotten all that came before.
    shift_by_us = min(wish.late_us, max(0, wish.late_shift_us + wish.late_us - bucket.shift_us))
    bucket = replace(
        bucket,
        next_us=max(bucket.next_us + shift_by_us, now_us + wait_us),
        shift_us=bucket.shift_us + shift_by_us,
        stalled_us=now_us if wish.has_stalled else bucket.stalled_us,
        jobs=bucket.jobs + wish.jobs,
        failures=0 if wish.answered_us > bucket.failed_us else bucket.failures,
    )
    interval = interval_ns(bucket.pace, limit_micro=limit_micro, now_us=now_us)
    if bucket.suspended and not wish.is_probe:
        return bucket, _none_before(bucket, now_us + SUSPENDED_ASK_US, interval, now_us)
    first_us = max(now_us + wish.lead_us, bucket.next_us, bucket.closed_until_us)
    if first_us > now_us + max(AHEAD_US_MAX, wish.lead_us):
        return bucket, _none_before(bucket, first_us - AHEAD_US_MAX, interval, now_us)
    row = Row(first_us, min(wish.count, 1 + math.floor(wish.span_us * 1000 / interval)), interval)
    bucket = _with_row(bucket, row, now_us)
    bucket = replace(bucket, pace=after_slots(bucket.pace, row.count, limit_micro=limit_micro, now_us=now_us))
    return bucket, Grant(row, bucket.next_us, now_us, bucket.shift_us)


def give_back(bucket: Bucket | None, *, used: int, next_us: int) -> Bucket | None:
    """Return all but the first ``used`` slots of the last row, if it is the last (``next_us`` still holds)."""
    if bucket is None or bucket.next_us != next_us or not bucket.rows or used >= bucket.rows[-1].count:
        return bucket
    *before, row = bucket.rows
    kept = (replace(row, count=used),) if used else ()
    return replace(
        bucket,
        next_us=row.first_us + math.ceil(used * row.interval_ns / 1000),
        rows=(*before, *kept),
        slots=bucket.slots - (row.count - used),
    )


def refuse(
    bucket: Bucket | None, *, slot_us: int, spread_ns: int, retry_after_us: int, now_us: int, limit_micro: int
) -> tuple[Bucket, Reaction]:
    """React to a 429 for the call that left in the slot at ``slot_us``; ``retry_after_us`` < 0: none was given."""
    bucket = _remembered(bucket, now_us, GUARD_NS_FIRST)
    since_us = slot_us - SECOND_US
    refused_us = tuple(at_us for at_us in bucket.refused_us if at_us > since_us)
    admitted = sum(row.within(since_us, slot_us) for row in bucket.rows)
    admitted = max(0, admitted - sum(at_us < slot_us for at_us in refused_us))
    bucket = replace(
        bucket,
        refusals=bucket.refusals + 1,
        refused_us=(*refused_us, slot_us)[-REFUSALS_REMEMBERED:],
        closed_until_us=max(bucket.closed_until_us, now_us + retry_after_us) if retry_after_us >= 0 else
        bucket.closed_until_us,
    )  # fmt: skip
    has_jittered = is_jitter(bucket.pace, admitted, limit_micro=limit_micro)
    is_news = is_sharper(bucket.pace, admitted) if bucket.pace.is_lowered else not has_jittered
    if slot_us < bucket.reacted_us and not is_news:
        # It left, or was promised, before the last reaction, and met what that was about.
        return bucket, Reaction.NONE
    if has_jittered:
        has_stalled = now_us - bucket.stalled_us < STALL_TELLS_US
        pace = raise_guard(bucket.pace, spread_ns=spread_ns, has_stalled=has_stalled, now_us=now_us)
        close_us = math.ceil(interval_ns(pace, limit_micro=limit_micro, now_us=now_us) / 1000)
        # A pace of less than a call a second must not make a refusal close the account for longer than one does.
        return _closed(bucket, pace, now_us + min(close_us, LOWERED_CLOSE_US)), Reaction.GUARD_RAISED
    pace = cut(bucket.pace, admitted, limit_micro=limit_micro, now_us=now_us)
    bucket = _closed(bucket, pace, now_us + LOWERED_CLOSE_US)
    return _without_promises(bucket, now_us), Reaction.PACE_LOWERED


def _closed(bucket: Bucket, pace: Pace, until_us: int) -> Bucket:
    return replace(
        bucket,
        pace=pace,
        closed_until_us=max(bucket.closed_until_us, until_us),
        reacted_us=max(bucket.reacted_us, bucket.next_us),
    )


def _without_promises(bucket: Bucket, now_us: int) -> Bucket:
    """Take back what was promised for later: everyone drops it on the news, and it must not count as admitted."""
    rows = tuple(row.until(now_us) for row in bucket.rows)
    dropped = sum(row.count for row in bucket.rows) - sum(row.count for row in rows)
    return replace(
        bucket,
        rows=tuple(row for row in rows if row.count),
        slots=bucket.slots - dropped,
        next_us=min(bucket.next_us, bucket.closed_until_us),
    )


def suspend(bucket: Bucket | None, reason: str, *, now_us: int) -> Bucket:
    """No slots but for probes, until ``resume``; ``reason`` "" resumes."""
    bucket = _remembered(bucket, now_us, GUARD_NS_FIRST)
    return replace(bucket, suspended=reason) if reason else replace(bucket, suspended="", failures=0, resumed_us=now_us)


def fail(bucket: Bucket | None, *, slot_us: int, now_us: int) -> tuple[Bucket, bool]:
    """Note that the call in the slot at ``slot_us`` was not answered properly; True when that suspends the account."""
    bucket = _remembered(bucket, now_us, GUARD_NS_FIRST)
    if slot_us < bucket.resumed_us:
        return bucket, False
    bucket = replace(bucket, failures=bucket.failures + 1, failed_us=max(bucket.failed_us, slot_us))
    trips = bucket.failures >= FAILURES_MAX and not bucket.suspended
    return (replace(bucket, suspended=API_AILING), True) if trips else (bucket, False)


def worst_second(bucket: Bucket) -> int:
    """The most slots in any rolling second of this minute and the one before."""
    return max(bucket.worst_now, bucket.worst_before)


def _none_before(bucket: Bucket, ask_us: int, interval: int, now_us: int) -> Grant:
    return Grant(Row(ask_us, 0, interval), bucket.next_us, now_us, bucket.shift_us)


def _with_row(bucket: Bucket, row: Row, now_us: int) -> Bucket:
    """Take the row's slots, and count the rolling second that its last one ends."""
    last_us = row.slot_us(row.count - 1)
    rows = tuple(kept for kept in bucket.rows if kept.slot_us(kept.count) >= now_us - REMEMBERED_US)
    worst = sum(kept.within(last_us - SECOND_US, last_us) for kept in rows)
    worst += row.within(last_us - SECOND_US, last_us) + 1  # its last one itself
    is_new_minute = now_us - bucket.worst_from_us >= WORST_OF_US
    return replace(
        bucket,
        next_us=row.first_us + math.ceil(row.count * row.interval_ns / 1000),
        rows=(*rows, row),
        slots=bucket.slots + row.count,
        worst_now=worst if is_new_minute else max(bucket.worst_now, worst),
        worst_before=bucket.worst_now if is_new_minute else bucket.worst_before,
        worst_from_us=now_us if is_new_minute else bucket.worst_from_us,
    )


def _remembered(bucket: Bucket | None, now_us: int, guard_ns: int) -> Bucket:
    """The bucket on the clock as it is: one that was set back by an hour must not close the account for one."""
    if bucket is None:
        pace = Pace(guard_ns=guard_ns, calm_guard_ns=guard_ns)
        return Bucket(next_us=now_us + FRESH_WAIT_US, seen_us=now_us, worst_from_us=now_us, pace=pace)
    back_us = max(0, bucket.seen_us - now_us)
    if not back_us:
        return replace(bucket, seen_us=now_us)
    pace = bucket.pace
    return replace(
        bucket,
        next_us=bucket.next_us - back_us,
        closed_until_us=max(0, bucket.closed_until_us - back_us),
        seen_us=now_us,
        stalled_us=max(0, bucket.stalled_us - back_us),
        reacted_us=bucket.reacted_us - back_us,
        worst_from_us=bucket.worst_from_us - back_us,
        failed_us=max(0, bucket.failed_us - back_us),
        resumed_us=max(0, bucket.resumed_us - back_us),
        rows=tuple(replace(row, first_us=row.first_us - back_us) for row in bucket.rows),
        refused_us=tuple(at_us - back_us for at_us in bucket.refused_us),
        pace=replace(
            pace,
            raised_us=max(0, pace.raised_us - back_us),
            cut_us=max(1, pace.cut_us - back_us) if pace.cut_us else 0,
        ),
    )
