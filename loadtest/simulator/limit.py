"""How an account's calls are counted: arithmetic on whole microseconds, no clock, no I/O.

The API's document says "15 calls a second" and not which second, so there are three ways to count. Every
`now_us` must be at or after the one before it. What is called `rate_per_s` is a whole number of calls.
"""

from collections import deque
from typing import Literal, Protocol, assert_never

SECOND_US = 1_000_000

Window = Literal["rolling", "calendar", "bucket"]


class Limit(Protocol):
    """Says of each call whether it is within the limit."""

    def admits(self, now_us: int) -> bool:
        """Count a call that arrives now; False when it is over the limit."""
        ...

    def set_rate(self, rate_per_s: int, now_us: int) -> None:
        """Change the limit while it runs; calls counted before stay counted."""
        ...


class RollingLimit:
    """At most `rate_per_s` calls within any half-open second [t, t + 1 s), exactly."""

    __slots__ = ("_counted_us", "_rate_per_s", "_refused_count")

    def __init__(self, rate_per_s: int, *, refused_count: bool) -> None:
        self._rate_per_s = rate_per_s
        self._refused_count = refused_count
        self._counted_us: deque[int] = deque()

    def admits(self, now_us: int) -> bool:
        """Count a call; two calls exactly one second apart share no window."""
        counted_us = self._counted_us
        gone_us = now_us - SECOND_US
        while counted_us and counted_us[0] <= gone_us:
            counted_us.popleft()
        admitted = len(counted_us) < self._rate_per_s
        if admitted or self._refused_count:
            counted_us.append(now_us)
        return admitted

    def set_rate(self, rate_per_s: int, now_us: int) -> None:
        """Change the limit; the last second's calls stay counted."""
        del now_us  # the calls carry their own moments
        self._rate_per_s = rate_per_s


class CalendarLimit:
    """At most `rate_per_s` calls within each second of the wall clock."""

    __slots__ = ("_counted", "_rate_per_s", "_refused_count", "_second")

    def __init__(self, rate_per_s: int, *, refused_count: bool) -> None:
        self._rate_per_s = rate_per_s
        self._refused_count = refused_count
        self._second = -1
        self._counted = 0

    def admits(self, now_us: int) -> bool:
        """Count a call; refused ones change nothing, since the second is full by then."""
        second = now_us // SECOND_US
        if second != self._second:
            self._second = second
            self._counted = 0
        admitted = self._counted < self._rate_per_s
        if admitted or self._refused_count:
            self._counted += 1
        return admitted

    def set_rate(self, rate_per_s: int, now_us: int) -> None:
        """Change the limit; this second's calls stay counted."""
        del now_us  # the second is looked at with the next call
        self._rate_per_s = rate_per_s


class BucketLimit:
    """A bucket of `burst` calls (None: as many as the rate), full at the start, refilled with `rate_per_s`.

    The level is kept in millionths of a call, so that a microsecond refills a whole number of them.
    """

    __slots__ = ("_at_us", "_burst", "_level_micro", "_rate_per_s", "_refused_count")

    def __init__(self, rate_per_s: int, *, burst: int | None, refused_count: bool) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._refused_count = refused_count
        self._level_micro = (burst or rate_per_s) * SECOND_US
        self._at_us: int | None = None

    def admits(self, now_us: int) -> bool:
        """Take one call out of the bucket; a refused call that counts takes what is left."""
        self._refill(now_us)
        admitted = self._level_micro >= SECOND_US
        if admitted:
            self._level_micro -= SECOND_US
        elif self._refused_count:
            self._level_micro = 0
        return admitted

    def set_rate(self, rate_per_s: int, now_us: int) -> None:
        """Refill at the old rate up to now, at the new one from now on."""
        self._refill(now_us)
        self._rate_per_s = rate_per_s
        self._level_micro = min(self._level_micro, (self._burst or rate_per_s) * SECOND_US)

    def _refill(self, now_us: int) -> None:
        if self._at_us is not None:
            gained_micro = (now_us - self._at_us) * self._rate_per_s
            capacity_micro = (self._burst or self._rate_per_s) * SECOND_US
            self._level_micro = min(capacity_micro, self._level_micro + gained_micro)
        self._at_us = now_us


def limit_for(window: Window, rate_per_s: int, *, burst: int | None, refused_count: bool) -> Limit:
    """Build the limit that counts as `window` says; `burst` (default: the rate) is the bucket's alone."""
    match window:
        case "rolling":
            return RollingLimit(rate_per_s, refused_count=refused_count)
        case "calendar":
            return CalendarLimit(rate_per_s, refused_count=refused_count)
        case "bucket":
            return BucketLimit(rate_per_s, burst=burst, refused_count=refused_count)
        case _:
            assert_never(window)


LATELY_S = 20
"""What somebody looks at every 15 s is then seen at least once."""


class WorstSecond:
    """The most moments seen within any half-open second, exactly: of all, and of the last LATELY_S."""

    __slots__ = ("_lately", "_recent_us", "worst")

    def __init__(self) -> None:
        self._recent_us: deque[int] = deque()
        self._lately: deque[tuple[int, int]] = deque(maxlen=LATELY_S + 1)
        self.worst = 0

    def observe(self, at_us: int) -> None:
        """Take one moment, at or after the one before it."""
        recent_us = self._recent_us
        gone_us = at_us - SECOND_US
        while recent_us and recent_us[0] <= gone_us:
            recent_us.popleft()
        recent_us.append(at_us)
        count, second, lately = len(recent_us), at_us // SECOND_US, self._lately
        self.worst = max(self.worst, count)
        if not lately or lately[-1][0] != second:
            lately.append((second, count))
        elif count > lately[-1][1]:
            lately[-1] = (second, count)

    def lately(self, now_us: int) -> int:
        """The most within a second that ended in the last LATELY_S, to the second."""
        since = now_us // SECOND_US - LATELY_S
        return max((count for second, count in self._lately if second >= since), default=0)


class LimitUse:
    """How many calls were admitted, and how many the limit permitted from the first of them to the last.

    The limit may change in between: what it permits is added up stretch by stretch, in millionths of a call.
    """

    __slots__ = ("_mark_us", "_pending_micro", "_rate_per_s", "admitted", "permitted_micro")

    def __init__(self, rate_per_s: int) -> None:
        self._rate_per_s = rate_per_s
        self._mark_us = 0
        self._pending_micro = 0
        self.admitted = 0
        self.permitted_micro = 0

    def admit(self, now_us: int) -> None:
        """Take note of an admitted call."""
        if self.admitted:
            self.permitted_micro += self._pending_micro + (now_us - self._mark_us) * self._rate_per_s
        self._pending_micro = 0
        self._mark_us = now_us
        self.admitted += 1

    def set_rate(self, rate_per_s: int, now_us: int) -> None:
        """Change the limit from now on."""
        if self.admitted:
            self._pending_micro += (now_us - self._mark_us) * self._rate_per_s
            self._mark_us = now_us
        self._rate_per_s = rate_per_s
