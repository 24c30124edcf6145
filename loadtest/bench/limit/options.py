"""The options of `limit`."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from loadtest.bench.option_types import milliseconds, one_of, several, whole
from loadtest.rivals.catalogue import RIVAL_NAMES
from loadtest.simulator.limit import Window

Part = Literal["grid", "idle", "changes", "batches", "urgent", "neighbours", "rivals"]

RATE_PER_S_MAX = 10_000
WORKERS_MAX = 64
SECONDS_MAX = 3_600
PARALLEL_MAX = 16

WINDOWS: tuple[Window, ...] = ("calendar", "rolling", "bucket")
RATES_PER_S = (15, 150, 1_000)
WORKERS = (1, 4)
SPREADS_MS = (5.0, 40.0)
RIVAL_WINDOWS: tuple[Window, ...] = ("rolling",)
RIVAL_RATES_PER_S = (15, 150)
RIVAL_WORKERS = (4,)


@dataclass(frozen=True, slots=True)
class LimitOptions:
    """What `limit` was asked for; None: as usual, which differs between ours and the rivals, or between the rates."""

    parts: tuple[Part, ...]
    windows: tuple[Window, ...] | None
    rates_per_s: tuple[int, ...] | None
    workers: tuple[int, ...] | None
    spreads_ms: tuple[float, ...]
    rivals: tuple[str, ...]
    learn_s: int
    rival_learn_s: int
    seconds: int | None
    parallel: int
    latency_ms: float
    seed: int
    json_file: Path | None


def add_limit(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    seconds = whole(1, SECONDS_MAX)
    add("--parts", type=several(one_of(get_args(Part))), help=f"of {','.join(get_args(Part))} (default all)")
    add("--windows", type=several(one_of(WINDOWS)), help="of calendar,rolling,bucket (default all; rivals: rolling)")
    add("--rates", type=several(whole(1, RATE_PER_S_MAX)), help="default 15,150,1000; rivals: 15,150")
    add("--workers", type=several(whole(1, WORKERS_MAX)), help="default 1,4; rivals: 4")
    add("--spreads", type=several(milliseconds), default=SPREADS_MS, help="jitter on the way, ms (default 5,40)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--rivals", type=several(one_of(RIVAL_NAMES)), help=f"of {','.join(RIVAL_NAMES)} (default all)")
    which.add_argument("--no-rivals", "--only-ours", action="store_true", help="measure ours alone")
    add("--learn-s", type=seconds, default=30, help="how long our workers send before it counts (default 30)")
    add("--rival-learn-s", type=seconds, default=10, help="the same for rivals (default 10)")
    add("--seconds", type=seconds, help="how long to measure each (default: so long that 1,000 calls are counted)")
    add("--parallel", type=whole(1, PARALLEL_MAX), default=4, help="measured at a time at 15 calls/s (default 4)")
    add("--latency-ms", type=milliseconds, default=20.0, help="of an answer, half as much either way (default 20)")


def limit_options(told: argparse.Namespace) -> LimitOptions:
    """Out of what was parsed."""
    return LimitOptions(
        parts=_parts(told.parts, has_rivals=not told.no_rivals),
        windows=told.windows,
        rates_per_s=told.rates,
        workers=told.workers,
        spreads_ms=told.spreads,
        rivals=told.rivals or RIVAL_NAMES,
        learn_s=told.learn_s,
        rival_learn_s=told.rival_learn_s,
        seconds=told.seconds,
        parallel=told.parallel,
        latency_ms=told.latency_ms,
        seed=told.seed,
        json_file=told.json,
    )


def _parts(told: Sequence[Part] | None, *, has_rivals: bool) -> tuple[Part, ...]:
    """In the order in which they are measured."""
    wanted: Sequence[Part] = get_args(Part) if told is None else told
    return tuple(part for part in get_args(Part) if part in wanted and (has_rivals or part != "rivals"))
