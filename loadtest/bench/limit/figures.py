"""What a measured time shows (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import pairwise

from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.ledger_figures import US_PER_S, ledger_figures
from loadtest.simulator.records import CallRecord

PACE_WINDOW_US = 5 * US_PER_S


@dataclass(frozen=True, slots=True)
class SenderReading:
    """Of one process: jobs sent since its start, and its processor time."""

    sent: int
    cpu_s: float


@dataclass(frozen=True, slots=True)
class RedisUse:
    """Commands: those that clients gave, and those that scripts ran for them."""

    by_clients: int
    in_scripts: int


@dataclass(frozen=True, slots=True)
class Measured:
    """All that was taken down. `calls`: of the measured time alone; the readings lie a moment outside of it."""

    calls: Sequence[CallRecord]
    learning_throttled_calls: int
    first: tuple[SenderReading, ...]
    last: tuple[SenderReading, ...]
    redis: RedisUse
    busy_share: float


@dataclass(frozen=True, slots=True)
class CellFigures:
    """One row of the table.

    `share_of_limit`: (n - 1) / (rate x time from the first to the last of n admitted calls). `worst_second_calls`:
    arrivals in any second, refused ones too. `worker_shares`: of the jobs sent; `workers_apart`: the most less the
    least, over the mean. `commands_per_call`: of Redis' clients, `…_with_scripts` with what scripts ran.
    `busy_share`: of the machine's cores, by everything on it.
    """

    share_of_limit: float
    calls: int
    seconds: float
    throttled_calls: int
    throttled_per_1000: float
    learning_throttled_calls: int
    worst_second_calls: int
    worker_shares: tuple[float, ...]
    workers_apart: float
    commands_per_call: float
    commands_per_call_with_scripts: float
    cpu_s_per_1000_calls: float
    busy_share: float


def cell_figures(measured: Measured, *, rate_per_s: int) -> CellFigures:
    """Raise NotMeasuredError when next to nothing was sent."""
    ledger = ledger_figures(measured.calls, rate_per_s=rate_per_s)
    pairs = list(zip(measured.first, measured.last, strict=True))
    sent = [after.sent - before.sent for before, after in pairs]
    if ledger is None or not sum(sent):
        raise NotMeasuredError("The API admitted fewer than two calls.")
    cpu_s = sum(after.cpu_s - before.cpu_s for before, after in pairs)
    return CellFigures(
        share_of_limit=ledger.share_of_limit,
        calls=ledger.calls,
        seconds=ledger.span_s,
        throttled_calls=ledger.throttled_calls,
        throttled_per_1000=ledger.throttled_calls * 1_000 / ledger.calls,
        learning_throttled_calls=measured.learning_throttled_calls,
        worst_second_calls=ledger.worst_second_calls,
        worker_shares=tuple(jobs / sum(sent) for jobs in sent),
        workers_apart=(max(sent) - min(sent)) * len(sent) / sum(sent),
        commands_per_call=measured.redis.by_clients / ledger.calls,
        commands_per_call_with_scripts=(measured.redis.by_clients + measured.redis.in_scripts) / ledger.calls,
        cpu_s_per_1000_calls=cpu_s * 1_000 / sum(sent),
        busy_share=measured.busy_share,
    )


@dataclass(frozen=True, slots=True)
class Reaction:
    """The answers 429 after a limit was lowered, in seconds from that moment.

    `last_429_after_s`: of the reaction, None when there was none. The reaction ends with the first 429 that none
    follows for `quiet_s`; what comes later are probes.
    """

    throttled_calls: int
    last_429_after_s: float | None
    probes_after_s: tuple[float, ...]


def reaction(calls: Sequence[CallRecord], *, changed_at_us: int, quiet_s: float) -> Reaction:
    """Split the answers 429 of `calls` into the reaction and probes."""
    at_s = sorted((call.at_us - changed_at_us) / US_PER_S for call in calls if is_throttled(call))
    count = next(
        (count for count, (sooner_s, later_s) in enumerate(pairwise([0.0, *at_s])) if later_s - sooner_s > quiet_s),
        len(at_s),
    )
    return Reaction(count, at_s[count - 1] if count else None, tuple(at_s[count:]))


def recovered_after_s(calls: Sequence[CallRecord], *, changed_at_us: int, pace_per_s: float) -> float | None:
    """When `pace_per_s` was first held by the admitted calls of the last 5 s; None when it never was.

    The pace is that between two calls which are 5 s apart or a little more, so that it has no steps.
    """
    admitted_us = sorted(call.at_us for call in calls if not is_throttled(call))
    first = 0
    for last, at_us in enumerate(admitted_us):
        while first + 1 < last and at_us - admitted_us[first + 1] >= PACE_WINDOW_US:
            first += 1
        span_us = at_us - admitted_us[first]
        if at_us > changed_at_us and span_us >= PACE_WINDOW_US and (last - first) * US_PER_S >= pace_per_s * span_us:
            return (at_us - changed_at_us) / US_PER_S
    return None


def is_throttled(call: CallRecord) -> bool:
    """Whether it was over the limit."""
    return call.http_status == HTTPStatus.TOO_MANY_REQUESTS
