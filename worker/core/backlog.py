"""What waits for an account, how long that takes, and how much later than that a job ended (pure).

The *planned wait* of a job is what the backlog at its publishing takes when the account's whole limit is used. A job
that ends later than planned is overdue: something kept the account from its limit, or the job went round.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from worker.core.delivery import Lane
from worker.core.status import AccountState, AccountStatus

#: Of the calls, what urgent jobs get while bulk jobs wait too; see ``flow/lane.py``.
URGENT_SHARE = 0.8
#: Planned waits are kept for a day, the longest of each five minutes.
BIN_S, BINS_MAX = 300, 288


@dataclass(frozen=True, slots=True)
class Backlog:
    """Jobs that wait, and for how long in seconds.

    ``drain_s``: until all have left at the pace in force; infinite when none can leave. ``planned_s``: until what is
    published now leaves at the full limit.
    """

    jobs: dict[Lane, int]
    drain_s: float
    planned_s: dict[Lane, float]


def backlog_of(status: AccountStatus) -> Backlog | None:
    """The account's backlog; None when the broker does not tell."""
    urgent, bulk = status.backlog_urgent, status.backlog_bulk
    if urgent is None or bulk is None:
        return None
    jobs_per_s = status.limit_per_s * (status.jobs_per_call or 1.0)
    return Backlog(
        jobs={Lane.URGENT: urgent, Lane.BULK: bulk},
        drain_s=_drain_s(status, urgent + bulk),
        planned_s={
            Lane.URGENT: urgent / (jobs_per_s * (URGENT_SHARE if bulk else 1.0)),
            Lane.BULK: (urgent + bulk) / jobs_per_s,
        },
    )


def _drain_s(status: AccountStatus, jobs: int) -> float:
    if not jobs:
        return 0.0
    if status.state in (AccountState.SUSPENDED, AccountState.UNKNOWN):
        return math.inf
    # Nothing was sent yet: the pace will be the limit.
    return jobs / ((status.pace_per_s or status.limit_per_s) * (status.jobs_per_call or 1.0))


@dataclass(frozen=True, slots=True)
class PlannedWait:
    """The longest planned waits of the five minutes number ``bin`` since 1970."""

    bin: int
    urgent_s: float
    bulk_s: float

    def of(self, lane: Lane) -> float:
        """That of one lane."""
        return self.urgent_s if lane is Lane.URGENT else self.bulk_s


class PlannedWaits:
    """What was planned in the last day, for one account."""

    def __init__(self) -> None:
        self._bins: dict[int, PlannedWait] = {}

    def note(self, at_s: float, planned_s: dict[Lane, float]) -> PlannedWait | None:
        """Take in what is planned at a moment (since 1970); what is known of its five minutes now, if that is news."""
        number = int(at_s // BIN_S)
        return self._take(PlannedWait(number, planned_s[Lane.URGENT], planned_s[Lane.BULK]))

    def recall(self, waits: Iterable[PlannedWait]) -> None:
        """Take in what others have found."""
        for wait in waits:
            self._take(wait)

    def at(self, published_s: float, lane: Lane) -> float | None:
        """The planned wait (s) of a job of that lane, published at that moment (since 1970); None: nothing is known.

        It was in the backlog at the next look: of the same five minutes, or of the next. When nobody looked then, at
        the first look after that; should that be long after, the job was late before, and is judged so.
        """
        number = int(published_s // BIN_S)
        near = [self._bins[each].of(lane) for each in (number, number + 1) if each in self._bins]
        if near:
            return max(near)
        later = min((each for each in self._bins if each > number), default=None)
        return None if later is None else self._bins[later].of(lane)

    def _take(self, wait: PlannedWait) -> PlannedWait | None:
        before = self._bins.get(wait.bin, PlannedWait(wait.bin, -1.0, -1.0))
        now = PlannedWait(wait.bin, max(before.urgent_s, wait.urgent_s), max(before.bulk_s, wait.bulk_s))
        if now == before:
            return None
        self._bins[wait.bin] = now
        while len(self._bins) > BINS_MAX:
            del self._bins[min(self._bins)]
        return now
