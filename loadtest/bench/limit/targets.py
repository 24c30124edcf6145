"""What is expected of a cell, and what it misses (pure)."""

from collections.abc import Mapping
from types import MappingProxyType

from loadtest.bench.limit.cells import Cell, best_share
from loadtest.bench.limit.figures import CellFigures

SHARE_MIN: Mapping[float, float] = MappingProxyType({5.0: 0.99, 40.0: 0.955})
"""By the jitter in ms."""
SHARE_BELOW_BEST_MAX = 0.01
"""For another jitter: so far from the most that can be had."""
THROTTLED_PER_1000_MAX = 1.0
WORKERS_APART_MAX = 0.10
COMMANDS_PER_CALL_MAX: Mapping[int, float] = MappingProxyType({15: 1.2, 1_000: 0.1})
"""By the rate; for others nothing is expected."""

REACTION_S_MAX = 5.0
RECOVERY_S_MAX = 60.0


def share_min(spread_ms: float) -> float:
    """The share of the limit that is expected."""
    return SHARE_MIN.get(spread_ms, best_share(spread_ms) - SHARE_BELOW_BEST_MAX)


def missed(cell: Cell, figures: CellFigures) -> tuple[str, ...]:
    """The names of the targets that were not met; none when the cell holds."""
    commands_max = COMMANDS_PER_CALL_MAX.get(cell.rate_per_s, float("inf"))
    found = {
        "share": figures.share_of_limit < share_min(cell.spread_ms),
        "429": figures.throttled_per_1000 > THROTTLED_PER_1000_MAX,
        "apart": figures.workers_apart > WORKERS_APART_MAX,
        "Redis": figures.commands_per_call > commands_max,
    }
    return tuple(name for name, is_missed in found.items() if is_missed)


def missed_in_changes(*, last_429_after_s: float | None, recovered_after_s: float | None) -> tuple[str, ...]:
    """The same for a limit that was lowered and raised again. None: no 429 at all; never recovered."""
    found = {
        "reaction": last_429_after_s is not None and last_429_after_s > REACTION_S_MAX,
        "recovery": recovered_after_s is None or recovered_after_s > RECOVERY_S_MAX,
    }
    return tuple(name for name, is_missed in found.items() if is_missed)
