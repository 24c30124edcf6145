"""Percentiles (pure)."""

import math
from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile: the least value that at least `share` (0 to 1) of all do not exceed."""
    if not 0 <= share <= 1:
        raise ValueError(f"A share lies between 0 and 1, not at {share}.")
    if not values:
        return None
    # Rounded first: 0.56 of 25 is 14.000000000000002 to a computer.
    rank = math.ceil(round(share * len(values), 9))
    return sorted(values)[max(0, rank - 1)]
