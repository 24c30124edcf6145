"""The life of the process: start, run, drain, stop.

``run`` returns when it has drained after the first stop signal (exit code 0), when the drain's limit or a second
signal cut it short (1: the calls under way were broken off, held as in doubt and told), or when a background task
failed (the surprise is raised).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from worker.flow.account import AccountSender
from worker.flow.observations import DrainEnded, DrainStarted, Observer
from worker.flow.ports import Monotonic


@dataclass(frozen=True, slots=True)
class DrainLimits:
    """``finish_s``: how long calls under way may take; ``tell_s``: how long telling of broken-off ones may take."""

    finish_s: float
    tell_s: float


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
    senders: Sequence[AccountSender],
    *,
    stop: Stop,
    limits: DrainLimits,
    observe: Observer,
    monotonic: Monotonic,
) -> int:
    """Send until stopped; returns the exit code."""
    for sender in senders:
        await sender.start()
    await stop.drain.wait()

    started_s = monotonic()
    observe(DrainStarted(sum(sender.underway.calling for sender in senders)))
    await asyncio.gather(*(sender.stop_taking() for sender in senders))
    is_whole = await _finished(senders, limits.finish_s, unless=stop.at_once)
    aborted = 0
    if not is_whole:
        aborted = sum(sender.abort() for sender in senders)
        await _finished(senders, limits.tell_s)
    observe(DrainEnded(monotonic() - started_s, aborted))
    if stop.failure is not None:
        raise stop.failure
    return 0 if is_whole else 1


async def _finished(senders: Sequence[AccountSender], limit_s: float, *, unless: asyncio.Event | None = None) -> bool:
    """Wait until all have finished; False when the limit passed, or ``unless`` was set, first."""
    finishing = asyncio.gather(*(sender.finish(limit_s) for sender in senders))
    interrupting = asyncio.ensure_future(unless.wait() if unless else asyncio.Event().wait())
    await asyncio.wait((finishing, interrupting), return_when=asyncio.FIRST_COMPLETED)
    interrupting.cancel()
    if not finishing.done():
        finishing.cancel()
        await asyncio.wait((finishing,))
        return False
    return all(finishing.result())
