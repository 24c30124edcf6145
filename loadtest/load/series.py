"""Figures over time: steps of a second, and longer ones where there would be too many (pure)."""

import math
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from loadtest.load.ideal import LimitLine
from loadtest.load.ledger import Calls
from loadtest.load.result import ALL, POINTS_MAX, AccountSeries, ProcessSeries, Series
from loadtest.load.sampling import Sample

US_PER_S = 1_000_000
Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the series are made of, all in microseconds since the run's zero.

    `calls` and `limits` by account; `published_us`, `ended_us` and `ideal_us` are moments of jobs, in any order: of
    the publication, of the end as told (those without one left out), and of the ideal call (None without a limit).
    """

    calls: Mapping[str, Calls]
    limits: Mapping[str, LimitLine | None]
    published_us: Sequence[int]
    ended_us: Sequence[int]
    ideal_us: Sequence[int] | None
    samples: Mapping[str, Sequence[Sample]]


def build_series(seen: Seen, seconds: int) -> Series:
    """Over so many seconds."""
    published, ended = per_second(seen.published_us, seconds), per_second(seen.ended_us, seconds)
    ideal = None if seen.ideal_us is None else per_second(seen.ideal_us, seconds)
    accounts = {name: _account(calls, seen.limits[name], seconds) for name, calls in seen.calls.items()}
    whole = _account(_together(seen.calls.values()), None, seconds)
    limits = tuple(_sum(of_all) for of_all in zip(*(one.limit_per_s for one in accounts.values()), strict=True))
    accounts = {ALL: AccountSeries(whole.arrivals_per_s, whole.rolling_max, limits, whole.throttled_per_s)} | accounts
    processes = {name: _process(samples, seconds) for name, samples in seen.samples.items()}
    one = Series(
        step_s=1.0,
        t_s=tuple(float(number + 1) for number in range(seconds)),
        accounts=accounts,
        published_per_s=tuple(map(float, published)),
        ended_per_s=tuple(map(float, ended)),
        backlog=tuple(map(round, _standing(published, ended))),
        ideal_backlog=None if ideal is None else _standing(published, ideal),
        processes=processes,
    )
    return thinned(one, math.ceil(seconds / POINTS_MAX)) if seconds > POINTS_MAX else one


def per_second(moments_us: Iterable[int], seconds: int) -> list[int]:
    """How many fall into each second; what is earlier counts into the first, what is later into the last."""
    counts = [0] * seconds
    for at_us in moments_us:
        counts[min(max(at_us // US_PER_S, 0), seconds - 1)] += 1
    return counts


def rolling_maxima(moments_us: Sequence[int], seconds: int) -> list[int]:
    """The most of these moments, in order, within any half-open second that ended within each second."""
    found = [0] * seconds
    recent_us: deque[int] = deque()
    second = 0
    for at_us in moments_us:
        now = min(max(at_us // US_PER_S, 0), seconds - 1)
        while second < now:
            second += 1
            _forget(recent_us, second * US_PER_S)
            found[second] = len(recent_us)
        _forget(recent_us, at_us)
        recent_us.append(at_us)
        found[now] = max(found[now], len(recent_us))
    for later in range(second + 1, seconds):
        _forget(recent_us, later * US_PER_S)
        found[later] = len(recent_us)
    return found


def _forget(recent_us: deque[int], now_us: int) -> None:
    while recent_us and recent_us[0] <= now_us - US_PER_S:
        recent_us.popleft()


def thinned(series: Series, factor: int) -> Series:
    """With steps of `factor` of its steps: rates are means, all else is the most (or what it was last: the limit)."""

    def of_account(one: AccountSeries) -> AccountSeries:
        return AccountSeries(
            arrivals_per_s=_thin(one.arrivals_per_s, factor, _mean),
            rolling_max=_thin(one.rolling_max, factor, max),
            limit_per_s=tuple(part[-1] for part in _parts(one.limit_per_s, factor)),
            throttled_per_s=_thin(one.throttled_per_s, factor, _mean),
        )

    def of_process(one: ProcessSeries) -> ProcessSeries:
        return ProcessSeries(
            cpu_cores=tuple(_of_some(part, _mean) for part in _parts(one.cpu_cores, factor)),
            memory_mb=tuple(_of_some(part, max) for part in _parts(one.memory_mb, factor)),
        )

    return Series(
        step_s=series.step_s * factor,
        t_s=tuple(part[-1] for part in _parts(series.t_s, factor)),
        accounts={name: of_account(one) for name, one in series.accounts.items()},
        published_per_s=_thin(series.published_per_s, factor, _mean),
        ended_per_s=_thin(series.ended_per_s, factor, _mean),
        backlog=_thin(series.backlog, factor, max),
        ideal_backlog=None if series.ideal_backlog is None else _thin(series.ideal_backlog, factor, max),
        processes={name: of_process(one) for name, one in series.processes.items()},
    )


def _account(calls: Calls, limit: LimitLine | None, seconds: int) -> AccountSeries:
    over_us = (at_us for at_us, is_over in zip(calls.at_us, calls.is_throttled, strict=True) if is_over)
    in_force = (None if limit is None else limit.at((second + 1) * US_PER_S - 1) for second in range(seconds))
    return AccountSeries(
        arrivals_per_s=tuple(map(float, per_second(calls.at_us, seconds))),
        rolling_max=tuple(rolling_maxima(calls.at_us, seconds)),
        limit_per_s=tuple(in_force),
        throttled_per_s=tuple(map(float, per_second(over_us, seconds))),
    )


def _together(calls: Iterable[Calls]) -> Calls:
    of_all = sorted((at_us, over) for one in calls for at_us, over in zip(one.at_us, one.is_throttled, strict=True))
    return Calls(array("q", (at_us for at_us, _ in of_all)), bytearray(over for _, over in of_all))


def _process(samples: Sequence[Sample], seconds: int) -> ProcessSeries:
    """What was read last within each second; where nothing was read, what was read before."""
    of_second: dict[int, Sample] = {sample.at_us // US_PER_S: sample for sample in samples}
    first = min(of_second, default=0)
    last_read = Sample(0, None, None)
    cores, memory_mb = list[float | None](), list[float | None]()
    for second in range(min(first, 0), seconds):
        last_read = of_second.get(second, last_read)
        if second >= 0:
            cores.append(last_read.cores)
            memory_mb.append(last_read.memory_mb)
    return ProcessSeries(tuple(cores), tuple(memory_mb))


def _standing(came: Sequence[int], went: Sequence[int]) -> tuple[float, ...]:
    standing, found = 0, []
    for coming, going in zip(came, went, strict=True):
        standing += coming - going
        found.append(float(max(0, standing)))
    return tuple(found)


def _sum(limits: Iterable[int | None]) -> int | None:
    told = list(limits)
    numbers = [limit for limit in told if limit is not None]
    return sum(numbers) if len(numbers) == len(told) else None


Entry = TypeVar("Entry")


def _parts(values: Sequence[Entry], factor: int) -> Iterable[Sequence[Entry]]:
    return (values[at : at + factor] for at in range(0, len(values), factor))


def _thin(values: Sequence[Number], factor: int, together: Callable[[Sequence[Number]], Number]) -> tuple[Number, ...]:
    return tuple(together(part) for part in _parts(values, factor))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _of_some(values: Sequence[float | None], together: Callable[[Sequence[float]], float]) -> float | None:
    there = [value for value in values if value is not None]
    return together(there) if there else None
