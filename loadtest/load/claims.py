"""What has to hold, and whether it does (pure)."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from loadtest.chaos.faults import Family
from loadtest.load.figures import BEYOND, REACTION_S, URGENT, Refusals
from loadtest.load.result import (
    ALL,
    AccountFigures,
    Claim,
    Correctness,
    FaultFigures,
    Latency,
    Producer,
    Series,
)
from loadtest.load.scenario import KINDS, Holds, Scenario
from loadtest.percentile import percentile

PRODUCER_BEHIND_P99_MS_MAX = 100.0
SIMULATOR_CORES_MAX = 0.8
"""It has one at most."""
WORKER, SIMULATOR = "worker ", "simulator"
TENTHS = 10


@dataclass(frozen=True, slots=True)
class Figured:
    """All that claims are about."""

    accounts: Sequence[AccountFigures]
    refusals: Refusals
    series: Series
    latencies: Sequence[Latency]
    faults: Sequence[FaultFigures]
    correctness: Correctness
    producer: Producer


def claims(scenario: Scenario, seen: Figured) -> tuple[Claim, ...]:
    """Those that every run makes first."""
    return (
        *_of_books(scenario, seen.correctness),
        *_of_accounts(scenario.holds, seen.accounts),
        *_of_refusals(scenario.holds, seen.refusals),
        *_of_latencies(scenario.holds, seen.latencies),
        *_of_faults(scenario.holds, seen.faults),
        *_of_memory(scenario.holds, seen.series),
        *_of_producer(scenario, seen.producer),
        *_of_simulator(seen.series),
    )


def is_limit_kept(holds: Holds, refusals: Refusals) -> bool | None:
    """None: nothing is said of it.

    The API admits nothing beyond its limit: whoever exceeds it is known by the answers 429. They are counted of all
    accounts together: a slow one makes too few calls for such a share.
    """
    most = holds.throttled_per_1000_max
    return None if most is None else refusals.per_1000 <= most


def _of_books(scenario: Scenario, books: Correctness) -> Iterator[Claim]:
    yield Claim("no job is lost", f"{books.lost:,} of {books.published:,}", books.lost == 0)
    yield Claim("nobody gets a message twice", f"{books.duplicated:,} recipients", books.duplicated == 0)
    wrong = f"{len(books.problems)} problems" if books.problems else "they do"
    yield Claim("the books balance", wrong, not books.problems)
    if scenario.faults:
        unexplained = books.in_doubt - books.in_doubt_explained
        yield Claim("every doubt has its fault", f"{unexplained:,} of {books.in_doubt:,} have none", unexplained == 0)
    else:
        yield Claim("nothing is in doubt", f"{books.in_doubt:,} jobs", books.in_doubt == 0)


def _of_accounts(holds: Holds, accounts: Sequence[AccountFigures]) -> Iterator[Claim]:
    single = [one for one in accounts if one.name != ALL]
    if (least := holds.share_of_limit_min) is not None:
        shares = [(one.share_of_limit, one) for one in single if one.share_of_limit is not None]
        worst = min(shares, key=lambda pair: pair[0], default=None)
        claim = f"at least {least:.1%} of the limit is used while a backlog waits"
        if worst is None:
            yield Claim(claim, "there was no backlog", holds=False)
        else:
            name = f" ({worst[1].name})" if len(single) > 1 else ""
            yield Claim(claim, f"{worst[0]:.2%}{name}", worst[0] >= least)


def _of_refusals(holds: Holds, refusals: Refusals) -> Iterator[Claim]:
    if (is_kept := is_limit_kept(holds, refusals)) is not None:
        claim = f"the limit is kept: at most {holds.throttled_per_1000_max:g} of 1,000 calls are answered 429"
        told = f"{refusals.per_1000:.2f} ({refusals.throttled:,} calls)"
        if refusals.excused:
            told += f", and {refusals.excused:,} calls in the {REACTION_S} s after the limit was lowered"
        yield Claim(claim, told, is_kept)


def _of_latencies(holds: Holds, latencies: Sequence[Latency]) -> Iterator[Claim]:
    by_name = {one.name: one for one in latencies}
    for name, most_ms, words in (
        (BEYOND, holds.beyond_ideal_p99_ms_max, "99 % of jobs wait at most {} ms longer than by evenly spaced calls"),
        (URGENT, holds.urgent_p99_ms_max, "99 % of urgent jobs are called for within {} ms"),
    ):
        if most_ms is not None:
            seen = by_name.get(name)
            is_seen = seen is not None and seen.count > 0
            told = f"{seen.p99_ms:,.0f} ms" if seen is not None and is_seen else "nothing was measured"
            yield Claim(words.format(f"{most_ms:,g}"), told, is_seen and seen is not None and seen.p99_ms <= most_ms)


def _of_faults(holds: Holds, faults: Sequence[FaultFigures]) -> Iterator[Claim]:
    if (most_s := holds.recovery_s_max) is None:
        return
    never = [one.name for one in faults if one.recovered_s is None]
    worst = max(((one.recovered_s, one.name) for one in faults if one.recovered_s is not None), default=(0.0, ""))
    told = (
        f"not before the next one, or the end, after: {', '.join(never)}" if never else f"{worst[0]:.1f} s ({worst[1]})"
    )
    yield Claim(f"the pace is back within {most_s:g} s of each fault", told, not never and worst[0] <= most_s)


def _of_memory(holds: Holds, series: Series) -> Iterator[Claim]:
    workers = {name: one.memory_mb for name, one in series.processes.items() if name.startswith(WORKER)}
    read = {name: [mb for mb in values if mb is not None] for name, values in workers.items()}
    read = {name: values for name, values in read.items() if values}
    if (most_mb := holds.memory_mb_max) is not None:
        peak = max((max(values) for values in read.values()), default=None)
        told = "nothing was measured" if peak is None else f"{peak:.0f} MB"
        yield Claim(f"a worker holds at most {most_mb:g} MB", told, peak is not None and peak <= most_mb)
    if (most := holds.memory_growth_max) is not None:
        growth = max((grown for values in read.values() if (grown := _growth(values)) is not None), default=None)
        told = "too short to tell" if growth is None else f"{growth:+.1%}"
        claim = f"a worker's memory grows by at most {most:.0%} after the first tenth of the time"
        yield Claim(claim, told, growth is not None and growth <= most)


def _growth(values: Sequence[float]) -> float | None:
    """From the median of the second tenth to that of the last one."""
    tenth = len(values) // TENTHS
    if not tenth:
        return None
    return statistics.median(values[-tenth:]) / statistics.median(values[tenth : 2 * tenth]) - 1


def _of_producer(scenario: Scenario, producer: Producer) -> Iterator[Claim]:
    """A broker that was away has held it up, as it should."""
    if scenario.phases and not any(KINDS[fault.kind].family is Family.BROKER for fault in scenario.faults):
        claim = f"the producer keeps its schedule: 99 % within {PRODUCER_BEHIND_P99_MS_MAX:g} ms"
        told = f"{producer.behind_ms_p99:.1f} ms, {producer.behind_ms_max:.0f} ms at most"
        yield Claim(claim, told, producer.behind_ms_p99 <= PRODUCER_BEHIND_P99_MS_MAX)


def _of_simulator(series: Series) -> Iterator[Claim]:
    """Else it was the simulator that was measured."""
    used = sorted(cores for cores in series.processes[SIMULATOR].cpu_cores if cores is not None)
    cores = percentile(used, 0.95)
    if cores is not None:
        claim = f"the simulator is not the bottleneck: in 95 % of seconds it uses at most {SIMULATOR_CORES_MAX:g} cores"
        yield Claim(claim, f"{cores:.2f}", cores <= SIMULATOR_CORES_MAX)
