"""Another machine's clock, read through a network (pure).

A reading lies somewhere between the moment the question left and the moment the answer came; its error is at
most half of that round trip. So of the recent readings the one with the shortest round trip is the best
(Mills, "Internet Time Synchronization: the Network Time Protocol", 1991: the clock filter).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

READINGS_MAX = 16
#: A reading that contradicts the best one by more than both errors and this much means that the clock was set.
STEP_S_MIN = 0.05


@dataclass(frozen=True, slots=True)
class Reading:
    """``ahead_s``: foreign clock minus own clock, taken at the middle of the round trip."""

    ahead_s: float
    error_s: float


@dataclass(slots=True)
class ForeignClock:
    """Translates moments of a foreign clock (µs) to the own monotonic clock (s)."""

    _readings: deque[Reading] = field(default_factory=lambda: deque(maxlen=READINGS_MAX))

    def learn(self, *, asked_at_s: float, answered_at_s: float, foreign_us: int) -> float:
        """Take in one reading; returns by how much the foreign clock was set since the last one (0: it was not)."""
        middle_s = (asked_at_s + answered_at_s) / 2
        reading = Reading(foreign_us / 1e6 - middle_s, (answered_at_s - asked_at_s) / 2)
        step_s = 0.0
        if self._readings:
            best = self._best()
            difference_s = reading.ahead_s - best.ahead_s
            if abs(difference_s) > reading.error_s + best.error_s + STEP_S_MIN:
                self._readings.clear()
                step_s = difference_s
        self._readings.append(reading)
        return step_s

    def own_s(self, foreign_us: int) -> float:
        """The own clock at the foreign moment ``foreign_us``; needs at least one reading."""
        return foreign_us / 1e6 - self._best().ahead_s

    def _best(self) -> Reading:
        return min(self._readings, key=lambda reading: reading.error_s)
