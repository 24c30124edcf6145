"""Whether the limiter's store is there, also while nobody asks it for slots: for readiness and for whoever watches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from worker.flow.observations import LimiterAnswered, Observation, Observer
from worker.flow.ports import Monotonic

LOOK_S = 0.5
#: Without an answer to anybody for so long, the store is asked for nothing but a sign of life.
QUIET_S = 1.0


class LimiterWatch:
    """Learns from the answers that others get (``note`` is an observer), and asks by itself when there are none.

    ``observe`` is told what it finds out by itself.
    """

    def __init__(
        self, *, away_because: Callable[[], Awaitable[str | None]], observe: Observer, monotonic: Monotonic
    ) -> None:
        self._ask = away_because
        self._observe = observe
        self._monotonic = monotonic
        self._answered_at_s = monotonic()
        #: Why no slots can be had, or None.
        self.away_because: str | None = None

    def note(self, seen: Observation) -> None:
        """Take in what the flow tells."""
        if isinstance(seen, LimiterAnswered):
            self.away_because = seen.away_because
            self._answered_at_s = self._monotonic()

    async def keep_looking(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            asked_at_s = self._monotonic()
            if asked_at_s - self._answered_at_s >= QUIET_S:
                away_because = await self._ask()
                seen = LimiterAnswered(None, self._monotonic() - asked_at_s, away_because, None)
                self.note(seen)
                self._observe(seen)
