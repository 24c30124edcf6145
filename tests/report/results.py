"""Results as load tests have them, made up: each plays its story second by second, so that the figures fit together."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from loadtest.load.result import (
    ALL,
    FORMAT,
    AccountFigures,
    AccountSeries,
    Capacity,
    Claim,
    Correctness,
    FaultFigures,
    Latency,
    Machine,
    Phase,
    Preload,
    ProcessSeries,
    Producer,
    Result,
    Series,
    Versions,
)

BUSY_S = 120
MACHINE = Machine(2, (0.31, 0.42, 0.5), "3.11.2", "Linux 6.1.0")
PURPOSE = "A backlog that never ends shows whether all of the limit is used, and never more than the limit."


def series(
    limits: dict[str, int | None], *, seconds: int = BUSY_S, step_s: float = 1.0, down: Sequence[tuple[int, int]] = ()
) -> Series:
    """Accounts at their limits, whatever comes; `down`: seconds in which nothing could be sent."""
    dice = random.Random(4711)  # noqa: S311 - a story, not a secret
    points = int(seconds / step_s)
    t_s = tuple((point + 1) * step_s for point in range(points))
    up = [0.0 if any(began <= now_s < ended for began, ended in down) else 1.0 for now_s in t_s]
    accounts = {name: account(limit, up, dice) for name, limit in limits.items()}
    total = sum(limit or 900 for limit in limits.values())
    accounts[ALL] = account(None if None in limits.values() else total, up, dice, usual=total)
    published, ended, backlog, ideal = [], [], [], []
    waiting = ideally = 0.0
    for point, works in enumerate(up):
        coming = total * (1.4 if point < points * 0.6 else 0.4)
        waiting, ideally = waiting + coming * step_s, max(0.0, ideally + (coming - total) * step_s)
        done = min(waiting, total * works * dice.uniform(0.97, 1.0) * step_s)
        waiting -= done
        published.append(coming)
        ended.append(done / step_s)
        backlog.append(round(waiting))
        ideal.append(round(ideally, 1))
    return Series(
        step_s,
        t_s,
        accounts,
        tuple(published),
        tuple(ended),
        tuple(backlog),
        None if None in limits.values() else tuple(ideal),
        processes(up, dice),
    )


def account(limit: int | None, up: Sequence[float], dice: random.Random, usual: int = 900) -> AccountSeries:
    level = limit or usual
    arrivals = tuple(round(level * works * dice.uniform(0.97, 1.0), 2) for works in up)
    return AccountSeries(
        arrivals,
        tuple(min(level, math.ceil(each * 1.02)) for each in arrivals),
        tuple(limit for _ in up),
        tuple(1.0 if limit and not works else 0.0 for works in up),
    )


def processes(up: Sequence[float], dice: random.Random) -> dict[str, ProcessSeries]:
    usual = {"worker 1": (0.32, 78), "worker 2": (0.29, 75), "rabbitmq": (0.35, 160), "redis": (0.06, 18)}
    usual |= {"simulator": (0.3, 62), "producer": (0.12, 55)}
    found = {}
    for name, (cores, memory_mb) in usual.items():
        is_killed = name == "worker 2"
        cpu = tuple(
            None if is_killed and not works else round(cores * (0.3 + 0.7 * works) * dice.uniform(0.85, 1.15), 3)
            for works in up
        )
        memory = tuple(
            None if each is None else round(memory_mb * (1 + 0.1 * (1 - math.exp(-point / 30))), 1)
            for point, each in enumerate(cpu)
        )
        found[name] = ProcessSeries(cpu, memory)
    return found


def latency(name: str, definition: str, *, median_ms: float, count: int = 2_500, tail: float = 1.3) -> Latency:
    """`tail`: how many times longer each tenth rarer one takes."""

    def at(percentile: float) -> float:
        return round(median_ms * math.pow(tail, math.log10(1 / (1 - percentile / 100)) - 0.301), 3)

    percentiles, percentile = [0.0], 0.0
    while 100 - percentile > 100 / count:
        percentile += (100 - percentile) / 12
        percentiles.append(percentile)
    longest = at(percentiles[-1]) * 1.05
    spectrum = (*((each, at(each)) for each in percentiles), (100.0, longest))
    return Latency(name, definition, count, median_ms * 1.05, at(50), at(90), at(99), at(99.9), longest, spectrum)


LATENCIES = (
    latency("publish to API", "from the intended publication to the arrival of its call at the API", median_ms=42),
    latency(
        "publish to event", "from the intended publication to the event that tells its end", median_ms=97, tail=1.6
    ),
)
NO_LATENCY = Latency("publish to report", "to the delivery report", 0, 0, 0, 0, 0, 0, 0, ())


def figures(name: str, limit: int | None, seconds: int = BUSY_S, **other: Any) -> AccountFigures:
    rate = limit or 900
    calls = int(rate * seconds * 0.994)
    told = AccountFigures(
        name, limit, calls, 0, float(seconds), 0.9942 if limit else None, 0.9967 if limit else None,
        rate, calls, rate * 0.994, rate * 0.994,
    )  # fmt: skip
    return replace(told, **other)


def books(published: int = 1_790, **other: Any) -> Correctness:
    told = Correctness(published, published, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ())
    return replace(told, **other)


CLAIMS = (
    Claim("At least 99 % of the limit is used while jobs wait.", "99.42 % in 120 s", holds=True),
    Claim("No rolling second holds more calls than the limit.", "at most 15 of 15", holds=True),
    Claim("Nothing is lost, and nothing sent twice.", "0 lost, 0 sent twice of 1,790", holds=True),
)


def steady() -> Result:
    """One account at its limit, all well."""
    return Result(
        format=FORMAT,
        scenario="steady",
        title="Steady at the limit",
        purpose=PURPOSE,
        command="python -m loadtest run steady --seconds 120 --workers 2 --seed 4711",
        seed=4711,
        started_at="2026-11-26T13:40:00+00:00",
        seconds=float(BUSY_S),
        workers=2,
        settings={"MMS_RECIPIENTS_PER_CALL_MAX": "1"},
        machine=MACHINE,
        versions=Versions("0.1.0", "3.10.8", "7.0.15"),
        phases=(Phase("21 jobs/s", 0, 72), Phase("6 jobs/s", 72, 120)),
        preload=None,
        producer=Producer(1_790, 0.9, 6.3, 0),
        accounts=(figures("shop", 15),),
        series=series({"shop": 15}),
        latencies=LATENCIES,
        faults=(),
        correctness=books(),
        capacity=Capacity(4_180, 9_240),
        claims=CLAIMS,
    )


def with_faults() -> Result:
    """Four faults, one of which the pace never came back from, and a claim that failed for it."""
    what = "From the fault's end until the pace is at 95 % of the limit for 2 s, or the backlog is gone."
    return replace(
        steady(),
        scenario="faults",
        title="Faults under load",
        faults=(
            FaultFigures("worker killed", "SIGKILL to worker 2, which starts again after 3 s", 20, 23, 0.8, what, 2),
            FaultFigures("Redis restarts", "stopped, and started with the same data", 45, 49, 2.3, what, 0),
            FaultFigures("API out", "every call is answered with 503 for 10 s", 70, 80, 6.4, what, 5),
            FaultFigures("limit lowered", "from 15 to 8 calls/s, without notice", 112, 118, None, what, 0),
        ),
        series=series({"shop": 15}, down=((20, 23), (45, 49), (70, 80), (112, 118))),
        correctness=books(in_doubt=7, in_doubt_explained=7, sent=1_783, told_again=3),
        latencies=(
            latency("publish to API", "to the arrival of its call at the API", median_ms=64, tail=6.5),
            NO_LATENCY,
        ),
        claims=(*CLAIMS, Claim("After each fault the pace is back within 15 s.", "limit lowered: never", holds=False)),
    )


def twenty_accounts() -> Result:
    """Each with a limit of its own, and a call that was refused."""
    limits = {f"account-{number:02}": 5 + number * 7 for number in range(1, 21)}
    total = sum(limits.values())
    return replace(
        steady(),
        scenario="accounts",
        title="Twenty accounts with different limits",
        accounts=(
            figures(ALL, total, throttled_calls=1),
            figures("account-01", 12, worst_rolling_second=13, throttled_calls=1),
            *(figures(name, limit) for name, limit in list(limits.items())[1:]),
        ),
        is_limit_kept=True,
        series=series(dict(limits)),
        workers=6,
    )


def million() -> Result:
    """A backlog of a million with no limit, for an hour and a half, in points of three seconds."""
    return replace(
        steady(),
        scenario="million",
        title="A backlog of a million, without a limit",
        seconds=5_400.0,
        phases=(),
        preload=Preload(1_000_000, 210.4, 4_752.0),
        accounts=(figures("shop", None, 5_400),),
        series=series({"shop": None}, seconds=5_400, step_s=3.0),
        latencies=(),
        correctness=books(1_000_000),
        capacity=None,
    )


def broken() -> Result:
    """Everything that can be missing is, what can be wrong is, and every text has something to say to a browser."""
    nasty = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 1'>&amp;\u2028"
    empty = Series(1.0, (), {nasty: _nobody(), ALL: _nobody()}, (), (), (), None, {})
    return replace(
        steady(),
        scenario=nasty,
        title=nasty,
        purpose=nasty,
        command=f"python -m loadtest run {nasty}",
        started_at=nasty,
        settings={nasty: nasty},
        phases=(Phase(nasty, 0, 1),),
        accounts=(figures(ALL, None, share_of_limit=None), figures(nasty, 15, worst_rolling_second=17)),
        series=empty,
        latencies=(NO_LATENCY, replace(NO_LATENCY, name=nasty, definition=nasty)),
        faults=(FaultFigures(nasty, nasty, 0, 0, None, nasty, 1),),
        correctness=books(
            sent=1_700, lost=3, duplicated=2, foreign=1, left=4, in_doubt=5, problems=(nasty, "It does not add up.")
        ),
        capacity=Capacity(10, 0),
        producer=Producer(0, 2_000, 4_000, 3),
        claims=(Claim(nasty, nasty, holds=False),),
    )


def _nobody() -> AccountSeries:
    return AccountSeries((), (), (), ())


STORIES = {
    "steady": steady,
    "with_faults": with_faults,
    "twenty_accounts": twenty_accounts,
    "million": million,
    "broken": broken,
}
