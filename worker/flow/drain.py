"""Ending senders: they take nothing more, and the calls under way end and are told, or are broken off and told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from worker.flow.account import AccountSender
from worker.flow.tasks import before


@dataclass(frozen=True, slots=True)
class DrainLimits:
    """``finish_s``: how long calls under way may take, from the start of the drain; what is withdrawn counts into it.

    ``tell_s``: how long telling of broken-off ones may take, after that.
    """

    finish_s: float
    tell_s: float


@dataclass(frozen=True, slots=True)
class Drained:
    """``is_whole``: all ended by itself. ``aborted``: calls broken off; ``untold``: jobs that are still being told."""

    is_whole: bool
    aborted: int
    untold: int


async def drain(senders: Sequence[AccountSender], limits: DrainLimits, *, at_once: asyncio.Event) -> Drained:
    """End them, from this moment on; ``at_once`` breaks off what is under way. May be asked for again."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + limits.finish_s
    for sender in senders:
        sender.stop()
    # A broker that does not answer must not make the drain longer than was promised.
    await before(at_once, _withdrawn(senders, min(limits.tell_s, limits.finish_s)))
    is_whole = await _finished(senders, max(0.0, until_s - loop.time()), unless=at_once)
    aborted = 0
    if not is_whole:
        aborted = sum(sender.abort() for sender in senders)
        await _finished(senders, limits.tell_s)
    return Drained(is_whole, aborted, sum(sender.underway.settling for sender in senders))


async def _withdrawn(senders: Sequence[AccountSender], limit_s: float) -> None:
    """Let all give back what others can use, as far as ``limit_s`` goes: who drains them does the rest."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await asyncio.gather(*(sender.withdraw() for sender in senders))


async def _finished(senders: Sequence[AccountSender], limit_s: float, *, unless: asyncio.Event | None = None) -> bool:
    """Wait until all have finished; False when the limit passed, or ``unless`` was set, first."""
    whole = True

    async def finish() -> None:
        nonlocal whole
        whole = all(await asyncio.gather(*(sender.finish(limit_s) for sender in senders)))

    return await before(unless or asyncio.Event(), finish()) and whole
