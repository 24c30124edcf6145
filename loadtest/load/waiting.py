"""When jobs of an account waited, and how much of the limit was used in that time (pure)."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from loadtest.load.ideal import LimitLine

US_PER_S = 1_000_000
START_S = 10
"""After the run's zero, which may be the workers' start: they take about one to begin, more on a busy machine."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Of one account: for each second the fewest jobs that waited in it, and the moments from which none did."""

    fewest: tuple[int, ...]
    empty_us: tuple[int, ...]


def waiting(published_us: Sequence[int], left_us: Sequence[int], seconds: int) -> Waiting:
    """Out of both in order of time. A job waits from its intended publication until it leaves.

    It leaves when its call arrives, or when its end is told if none was accepted.
    """
    fewest, empty_us = [0] * seconds, list[int]()
    second, standing, least = 0, 0, 0

    for at_us, by in _merged(published_us, left_us):
        now = min(max(at_us // US_PER_S, 0), seconds - 1)
        while second < now:
            fewest[second] = max(0, least)
            second, least = second + 1, standing
        standing += by
        least = min(least, standing)
        if standing <= 0 and by < 0:
            empty_us.append(at_us)
    for later in range(second, seconds):
        fewest[later] = max(0, least)
        least = standing
    return Waiting(tuple(fewest), tuple(empty_us))


@dataclass(frozen=True, slots=True)
class Use:
    """What the limit let through while a backlog waited, and what it permitted then; `busy_s`: for so long."""

    admitted: float
    permitted: float
    busy_s: float

    @property
    def share(self) -> float | None:
        """None when nothing ever waited."""
        return self.admitted / self.permitted if self.permitted else None

    def plus(self, other: "Use") -> "Use":
        """Both together."""
        return Use(self.admitted + other.admitted, self.permitted + other.permitted, self.busy_s + other.busy_s)


def use_of_limit(fewest: Sequence[int], admitted_us: Sequence[int], limit: LimitLine, *, backlog_min: int) -> Use:
    """In all stretches of whole seconds in which so many jobs waited, each from its beginning to its end.

    The second of the account's very first call and what is before it do not count: nobody's slots are known then. But
    whoever has not called after START_S is late.
    """
    first_s = min(admitted_us[0] // US_PER_S + 1, START_S) if admitted_us else START_S
    found = Use(0.0, 0.0, 0.0)
    for since_s, until_s in _stretches(fewest, first_s, backlog_min):
        since_us, until_us = since_s * US_PER_S, until_s * US_PER_S
        admitted = _calls_by(until_us, admitted_us) - _calls_by(since_us, admitted_us)
        found = found.plus(Use(admitted, limit.permitted(since_us, until_us), float(until_s - since_s)))
    return found


def _calls_by(at_us: int, admitted_us: Sequence[int]) -> float:
    """Calls before that moment, and the part of the next one's distance that is over by then.

    Whole calls would make a short stretch of a slow account too good or too bad by one call, by where its edges fall:
    eleven or twelve calls in 12 s at a limit of one a second. In parts an even pace is the same in any stretch, and a
    stall, however long it is, is worth one call.
    """
    calls = bisect_left(admitted_us, at_us)
    if not 0 < calls < len(admitted_us):
        return float(calls)
    sooner_us, later_us = admitted_us[calls - 1], admitted_us[calls]
    return calls + (at_us - sooner_us) / (later_us - sooner_us)


def _stretches(fewest: Sequence[int], first: int, backlog_min: int) -> Iterator[tuple[int, int]]:
    since: int | None = None
    for second in range(first, len(fewest)):
        if fewest[second] >= backlog_min:
            since = second if since is None else since
        elif since is not None:
            yield since, second
            since = None
    if since is not None:
        yield since, len(fewest)


def _merged(published_us: Sequence[int], left_us: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Of equal moments the publication comes first."""
    came, went = 0, 0
    while came < len(published_us) or went < len(left_us):
        if went == len(left_us) or (came < len(published_us) and published_us[came] <= left_us[went]):
            yield published_us[came], 1
            came += 1
        else:
            yield left_us[went], -1
            went += 1
