"""Which jobs leave together in one call (pure).

A call carries one content to many numbers, and the API's limit counts calls. So jobs of one account whose content is
equal share a call, up to the most recipients that one may carry.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from worker.core.picture import Picture

#: So many jobs that do not fit are looked past in search of one that does: what a call costs to choose stays bounded,
#: also when ten thousand jobs wait for the same number.
LOOKED_PAST_MAX = 256


@dataclass(frozen=True, slots=True)
class CallContent:
    """What one call carries, apart from the numbers. Contents are equal when a recipient could not tell them apart.

    The picture is compared by its bytes; where it came from (an address, the job itself) does not matter.
    """

    subject: str | None = field(repr=False)
    text: str = field(repr=False)
    picture: Picture


class Addressed(Protocol):
    """Anything with recipients, all different."""

    @property
    def to(self) -> Sequence[str]: ...


Waiting = TypeVar("Waiting", bound=Addressed)


def leaving_together(waiting: Iterable[Waiting], *, recipients_max: int) -> list[Waiting]:
    """Choose, out of jobs of equal content in the order in which they wait, those that leave in one call.

    The first is always among them, alone if it has more than ``recipients_max`` recipients: a job is never split.
    The others follow in their order as long as they fit; no number is there twice. ``waiting`` is read no further
    than needed.
    """
    chosen: list[Waiting] = []
    numbers: set[str] = set()
    looked_past = 0
    for job in waiting:
        fits = len(numbers) + len(job.to) <= recipients_max and numbers.isdisjoint(job.to)
        if fits or not chosen:
            chosen.append(job)
            numbers.update(job.to)
            if len(numbers) >= recipients_max:
                break
        else:
            looked_past += 1
            if looked_past >= LOOKED_PAST_MAX:
                break
    return chosen
