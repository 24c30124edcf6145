"""The life of the process: start, run, drain, stop.

``run`` returns when it has drained after the first stop signal (exit code 0), when the drain's limit or a second
signal cut it short (1: the calls under way were broken off, held as in doubt and told), or when a background task
failed (the surprise is raised).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

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
    await before(stop.drain, start(senders))
    await stop.drain.wait()

    started_s = monotonic()
    observe(DrainStarted(sum(sender.underway.calling for sender in senders)))
    for sender in senders:
        sender.stop()
    await before(stop.at_once, withdraw(senders, limits.tell_s))
    is_whole = await _finished(senders, limits.finish_s, unless=stop.at_once)
    aborted = 0
    if not is_whole:
        aborted = sum(sender.abort() for sender in senders)
        await _finished(senders, limits.tell_s)
    untold = sum(sender.underway.settling for sender in senders)
    observe(DrainEnded(monotonic() - started_s, aborted, untold))
    if stop.failure is not None:
        raise stop.failure
    return 0 if is_whole else 1


async def start(senders: Sequence[AccountSender]) -> None:
    """Let all begin."""
    for sender in senders:
        await sender.start()


async def withdraw(senders: Sequence[AccountSender], limit_s: float) -> None:
    """Let all give back what others can use, as far as ``limit_s`` goes: the end of the process does the rest."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await asyncio.gather(*(sender.withdraw() for sender in senders))


async def before(event: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do ``work`` unless ``event`` comes first, which cancels it; whether it was done to the end."""
    working = asyncio.ensure_future(work)
    interrupting = asyncio.ensure_future(event.wait())
    await asyncio.wait((working, interrupting), return_when=asyncio.FIRST_COMPLETED)
    interrupting.cancel()
    if working.done():
        await working  # raises what it raised
        return True
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    return False


async def _finished(senders: Sequence[AccountSender], limit_s: float, *, unless: asyncio.Event | None = None) -> bool:
    """Wait until all have finished; False when the limit passed, or ``unless`` was set, first."""
    whole = True

    async def finish() -> None:
        nonlocal whole
        whole = all(await asyncio.gather(*(sender.finish(limit_s) for sender in senders)))

    return await before(unless or asyncio.Event(), finish()) and whole
