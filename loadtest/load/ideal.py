"""What a system without any faults or delays would have done that spaces its calls evenly (pure).

After a pause a rolling second lets through as many calls at once as the limit says, and a job may leave up to a second
sooner than here. The workers space their calls by design, and so does what they are compared with.
"""

from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class LimitLine:
    """A limit over time: `changes` are (from when in us, calls a second), upwards, the first at 0 or before."""

    changes: tuple[tuple[int, int], ...]

    def at(self, at_us: int) -> int:
        """In force at that moment."""
        limit_per_s = self.changes[0][1]
        for since_us, changed_per_s in self.changes:
            if since_us > at_us:
                break
            limit_per_s = changed_per_s
        return limit_per_s

    def permitted(self, since_us: int, until_us: int) -> float:
        """Calls, from the one moment to the other."""
        inner = [at_us for at_us, _ in self.changes if since_us < at_us < until_us]
        edges = [since_us, *inner, until_us]
        return sum((later - sooner) * self.at(sooner) for sooner, later in pairwise(edges)) / US_PER_S


def ideal_calls_us(
    intended_us: Sequence[int], is_urgent: Sequence[int], limit: LimitLine, *, jobs_of_a_call: int
) -> "array[int]":
    """When each job of one account, in the order of publication, would be called for; 1 in `is_urgent`: it is.

    The first slot is when the first job comes; the next ones follow at the limit's distance. Urgent jobs go first.
    """
    called_us = array("q", bytes(8 * len(intended_us)))
    waiting: tuple[deque[int], deque[int]] = (deque(), deque())
    slot_us, upcoming = 0, 0
    while upcoming < len(intended_us) or any(waiting):
        if not any(waiting):
            slot_us = max(slot_us, intended_us[upcoming])
        while upcoming < len(intended_us) and intended_us[upcoming] <= slot_us:
            waiting[0 if is_urgent[upcoming] else 1].append(upcoming)
            upcoming += 1
        for _ in range(jobs_of_a_call):
            lane = waiting[0] or waiting[1]
            if not lane:
                break
            called_us[lane.popleft()] = slot_us
        slot_us += round(US_PER_S / limit.at(slot_us))
    return called_us
