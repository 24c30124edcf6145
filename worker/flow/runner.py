"""The life of the process: start, run, drain, stop.

``run`` returns when it has drained after the first stop signal (exit code 0), when the drain's limit or a second
signal cut it short (1: the calls under way were broken off, held as in doubt and told), or when a background task
failed (the surprise is raised).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from worker.flow.drain import DrainLimits, drain
from worker.flow.observations import DrainEnded, DrainStarted, Observer
from worker.flow.ports import Monotonic
from worker.flow.roster import Roster
from worker.flow.tasks import before


class Stop:
    """Stop signals: the first drains, the second stops at once."""

    def __init__(self) -> None:
        self.drain = asyncio.Event()
        self.at_once = asyncio.Event()
        self.failure: BaseException | None = None

    def signal(self) -> None:
        """Take one stop signal."""
        (self.at_once if self.drain.is_set() else self.drain).set()

    def fail(self, error: BaseException) -> None:
        """A background task failed with ``error``: nothing can be trusted any more."""
        self.failure = self.failure or error
        self.drain.set()
        self.at_once.set()


async def run(
    roster: Roster,
    serving: Coroutine[Any, Any, None],
    *,
    stop: Stop,
    limits: DrainLimits,
    observe: Observer,
    monotonic: Monotonic,
) -> int:
    """Send until stopped; returns the exit code. ``serving`` keeps the roster, and is cancelled before the drain."""
    await before(stop.drain, serving)
    await stop.drain.wait()

    started_s = monotonic()
    senders = roster.senders
    observe(DrainStarted(sum(sender.underway.calls for sender in senders)))
    drained = await drain(senders, limits, at_once=stop.at_once)
    await roster.close()
    observe(DrainEnded(monotonic() - started_s, drained.aborted, drained.untold))
    if stop.failure is not None:
        raise stop.failure
    return 0 if drained.is_whole else 1
