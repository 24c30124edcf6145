"""What is measured: the cells of the tables, how long each takes, and which may share the machine (pure)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from loadtest.bench.limit.options import (
    RATES_PER_S,
    RIVAL_RATES_PER_S,
    RIVAL_WINDOWS,
    RIVAL_WORKERS,
    WINDOWS,
    WORKERS,
    LimitOptions,
)
from loadtest.rivals.catalogue import rival_named
from loadtest.simulator.limit import Window

CALLS_MIN = 2_000
CALLS_SPARE_SHARE = 0.125
FAST_RATE_PER_S = 500
MEASURE_S_MIN, MEASURE_S_MIN_FAST = 30, 20
RIVAL_MEASURE_S, RIVAL_MEASURE_S_FAST = 60, 20
QUIET_RATE_PER_S_MAX = 50
"""Cells up to this rate may run several at a time."""

SETTLE_S = 1.0
"""Between reading the processes, which disturbs them, and the measured time."""
START_S = 10.0
"""The first process may send for so long before the last is ready."""
HELD_JOBS_MAX = 300
"""More than one process takes off the queue ahead."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One row: the limit and how it is counted, the senders, the jitter. `rival`: None for our own workers.

    `case`: what a part does that has other rows than limits.
    """

    window: Window
    rate_per_s: int
    workers: int
    spread_ms: float
    learn_s: int
    measure_s: int
    rival: str | None = None
    case: str = ""

    @property
    def is_quiet(self) -> bool:
        """Whether others may run beside it."""
        return (
            not self.case
            and self.rate_per_s <= QUIET_RATE_PER_S_MAX
            and not (self.rival and rival_named(self.rival).is_busy)
        )

    @property
    def title(self) -> str:
        """In one line."""
        who = self.rival or ("1 worker" if self.workers == 1 else f"{self.workers} workers")
        return f"{self.window} {self.rate_per_s:,}/s {self.spread_ms:g} ms {who} {self.case}".rstrip()


def grid_cells(options: LimitOptions) -> list[Cell]:
    """Our own."""
    choice = product(
        options.windows or WINDOWS,
        options.rates_per_s or RATES_PER_S,
        options.workers or WORKERS,
        options.spreads_ms,
    )
    return [
        Cell(window, rate, workers, spread, options.learn_s, options.seconds or measure_s(rate))
        for window, rate, workers, spread in choice
    ]


def rival_cells(options: LimitOptions) -> list[Cell]:
    """The rivals', one after the other."""
    return list(_rival_cells(options))


def _rival_cells(options: LimitOptions) -> Iterator[Cell]:
    choice = product(
        options.rivals,
        options.windows or RIVAL_WINDOWS,
        options.rates_per_s or RIVAL_RATES_PER_S,
        options.workers or RIVAL_WORKERS,
        options.spreads_ms,
    )
    for name, window, rate, workers, spread in choice:
        usual_s = RIVAL_MEASURE_S if rate <= QUIET_RATE_PER_S_MAX else RIVAL_MEASURE_S_FAST
        yield Cell(window, rate, workers, spread, options.rival_learn_s, options.seconds or usual_s, name)


def measure_s(rate_per_s: int) -> int:
    """So long that CALLS_MIN calls are counted, a little below the limit too."""
    least_s = MEASURE_S_MIN_FAST if rate_per_s >= FAST_RATE_PER_S else MEASURE_S_MIN
    return max(least_s, math.ceil(CALLS_MIN * (1 + CALLS_SPARE_SHARE) / rate_per_s))


def jobs_for(rate_per_s: int, seconds: float, workers: int) -> int:
    """So many that no worker runs out of them within `seconds` after the last is ready."""
    return math.ceil(rate_per_s * (seconds + SETTLE_S + START_S)) + HELD_JOBS_MAX * workers


def best_share(spread_ms: float) -> float:
    """The most of the limit without answers 429: a jitter of J seconds on the way leaves 1 / (1 + J)."""
    return 1 / (1 + spread_ms / 1_000)
