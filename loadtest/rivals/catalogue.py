"""Which rivals there are (imports nothing that is not in the standard library)."""

from dataclasses import dataclass
from typing import Literal

Refused = Literal["put back", "try again"]
"""What becomes of a job whose call was answered 429: back onto the queue (nack), or once more after another wait."""


@dataclass(frozen=True, slots=True)
class Rival:
    """One of them.

    `is_busy`: it asks without end, and would disturb whatever runs beside it. `publishes_itself`: its jobs travel in a
    form of its own.
    """

    name: str
    title: str
    is_busy: bool = False
    publishes_itself: bool = False


RIVALS = (
    Rival("incr", "Redis INCR per second, nack-requeue", is_busy=True),
    Rival("throttled", "throttled-py token bucket"),
    Rival("celery", "Celery rate_limit per worker", publishes_itself=True),
    Rival("limits", "loop on limits' moving window"),
    Rival("pyrate", "loop on pyrate-limiter"),
    Rival("gcra", "loop on a capacity-1 GCRA script", is_busy=True),
)
RIVAL_NAMES = tuple(rival.name for rival in RIVALS)


def rival_named(name: str) -> Rival:
    """The one of that name."""
    return next(rival for rival in RIVALS if rival.name == name)
