"""How long calls take lately, and how much that varies: the most that their way to the API can jitter."""

from __future__ import annotations

from collections import deque

CALLS_MAX = 128
#: With fewer, nothing is known.
CALLS_MIN = 20


class CallTimes:
    """The times of an account's latest calls."""

    def __init__(self) -> None:
        self._times_s: deque[float] = deque(maxlen=CALLS_MAX)

    def note(self, duration_s: float) -> None:
        """Take in a call that was answered."""
        self._times_s.append(duration_s)

    def usual_s(self) -> float:
        """What most calls do not exceed: the ninety-fifth percentile, the longest of a few; 0 when nothing is known."""
        return sorted(self._times_s)[len(self._times_s) * 95 // 100] if self._times_s else 0.0

    def spread_s(self) -> float:
        """From the tenth to the ninetieth percentile; 0 when too little is known."""
        if len(self._times_s) < CALLS_MIN:
            return 0.0
        ordered = sorted(self._times_s)
        return ordered[len(ordered) * 9 // 10] - ordered[len(ordered) // 10]
