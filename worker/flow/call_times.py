"""How long calls take lately, and how much that varies: the most that their way to the API can jitter."""

from __future__ import annotations

from collections import deque

CALLS_MAX = 128
#: With fewer, nothing is known.
CALLS_MIN = 20
#: What is this many times the spread above the ninetieth percentile is none of the usual.
UNUSUAL_SPREADS = 0.3


class CallTimes:
    """The times of an account's latest calls."""

    def __init__(self) -> None:
        self._times_s: deque[float] = deque(maxlen=CALLS_MAX)

    def note(self, duration_s: float) -> None:
        """Take in a call that was answered."""
        self._times_s.append(duration_s)

    def is_unusual(self, duration_s: float) -> bool:
        """Whether a call took longer than its way and its answer ever do by themselves.

        Times that vary evenly end an eighth of their spread beyond the ninetieth percentile.
        """
        spread_s = self.spread_s()
        return spread_s > 0 and duration_s > self._percentile(90) + UNUSUAL_SPREADS * spread_s

    def usual_s(self) -> float:
        """What most calls do not exceed: the ninety-fifth percentile, the longest of a few; 0 when nothing is known."""
        return self._percentile(95) if self._times_s else 0.0

    def spread_s(self) -> float:
        """From the tenth to the ninetieth percentile; 0 when too little is known."""
        if len(self._times_s) < CALLS_MIN:
            return 0.0
        return self._percentile(90) - self._percentile(10)

    def _percentile(self, percent: int) -> float:
        return sorted(self._times_s)[len(self._times_s) * percent // 100]
