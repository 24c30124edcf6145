"""The arithmetic of the limiter: slots reserved ahead (pure; the Lua script is its twin).

A bucket is a token bucket of capacity one, kept as the moment of the next free slot. A reservation never
answers "no, try later" but "your slots are at these moments": slots are evenly spaced by the interval, idle
time is not saved up, and whoever asks next continues where the last one ended. A test drives this module and
``adapters/redis_limiter.lua`` with the same random sequences.

All times are integer microseconds on the store's own clock; a worker's clock never takes part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

#: Slots are not promised further ahead than this: what a dead worker costs, and what a stepped clock can distort.
AHEAD_US_MAX = 2_000_000
#: With nothing remembered (first use, or a store that lost its memory) the first slot comes after this: calls may
#: have left a moment ago, and others hold slots that were promised before.
FRESH_WAIT_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Bucket:
    """What the store remembers of an account.

    ``next_us``: the next free slot. ``closed_until_us``: no slot before this (0: open). ``seen_us``: the
    store's clock at the last change, by which a clock that was set back is noticed.
    """

    next_us: int
    closed_until_us: int
    seen_us: int


@dataclass(frozen=True, slots=True)
class Grant:
    """``count`` slots from ``first_us`` on, one each interval; with count 0, the moment to ask again.

    ``next_us`` is what the bucket holds after this grant: the proof that ``give_back`` wants.
    """

    count: int
    first_us: int
    next_us: int
    now_us: int


def interval_ns(pace_per_s: float) -> int:
    """The distance between two slots at ``pace_per_s`` calls per second, rounded up."""
    return -int(-1e9 // pace_per_s)


def reserve(bucket: Bucket | None, *, now_us: int, interval_ns: int, count: int, span_us: int) -> tuple[Bucket, Grant]:
    """Reserve up to ``count`` slots that lie within ``span_us`` of the first one (the first one always does)."""
    if bucket is None:
        bucket = _fresh(now_us)
    bucket = _on_clock(bucket, now_us)
    first_us = max(now_us, bucket.next_us, bucket.closed_until_us)
    if first_us > now_us + AHEAD_US_MAX:
        return bucket, Grant(0, first_us - AHEAD_US_MAX, bucket.next_us, now_us)
    granted = min(count, 1 + span_us * 1000 // interval_ns)
    next_us = first_us - (-granted * interval_ns // 1000)
    return replace(bucket, next_us=next_us), Grant(granted, first_us, next_us, now_us)


def give_back(bucket: Bucket | None, *, unused_from_us: int, next_us: int) -> Bucket | None:
    """Return the slots from ``unused_from_us`` on, if nobody has reserved behind them (``next_us`` still holds)."""
    if bucket is None or bucket.next_us != next_us:
        return bucket
    return replace(bucket, next_us=unused_from_us)


def close(bucket: Bucket | None, *, now_us: int, for_us: int) -> Bucket:
    """No slot of the account, for anyone, before ``now_us + for_us``; a closure is never shortened."""
    bucket = _on_clock(bucket, now_us) if bucket else _fresh(now_us)
    return replace(bucket, closed_until_us=max(bucket.closed_until_us, now_us + for_us))


def _fresh(now_us: int) -> Bucket:
    return Bucket(next_us=now_us + FRESH_WAIT_US, closed_until_us=0, seen_us=now_us)


def _on_clock(bucket: Bucket, now_us: int) -> Bucket:
    """Move the bucket to the clock as it is: one that was set back by an hour must not close the account for one."""
    back_us = max(0, bucket.seen_us - now_us)
    return Bucket(
        next_us=bucket.next_us - back_us,
        closed_until_us=max(0, bucket.closed_until_us - back_us),
        seen_us=now_us,
    )
