"""Resolving a job in doubt: what commands, rules, late answers and delivery reports share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from worker.core.events import ResolvedAs
from worker.core.held_jobs import HeldJob
from worker.core.journal import Resolution, Resolved, Told
from worker.core.redrive import Asked, Decision, Done, after_resolution
from worker.flow.ports import Journal, JournalAway

#: More than the journal's own limits; should one of them ever fail, nobody is kept waiting for ever.
ANSWER_S_MAX = 30.0


async def decided(
    journal: Journal, held: HeldJob, asked: Asked, *, wall_clock: Callable[[], datetime]
) -> Decision | JournalAway:
    """Resolve a held job in the journal, and say what is to be done with what is held."""
    found = await resolved(journal, asked.account, asked.resolution)
    return found if isinstance(found, JournalAway) else after_resolution(held, asked, found, at=wall_clock())


async def resolved(journal: Journal, account: str, resolution: Resolution) -> Resolved | JournalAway:
    """The journal's answer to one resolution."""
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            answer = await journal.resolve(account, [resolution])
    except TimeoutError:
        return JournalAway(f"no answer within {ANSWER_S_MAX:g} s")
    return answer if isinstance(answer, JournalAway) else answer[0]


def tell_done(journal: Journal, asked: Asked, done: Done) -> None:
    """Note that what was decided is told and what was held is gone; otherwise each later copy would tell it again.

    What is sent again is told by its own end.
    """
    if done.resolved_as is None or done.resolved_as is ResolvedAs.RESENT:
        return
    resolution = asked.resolution
    journal.tell(asked.account, [Told(resolution.job_id, "", resolution.fingerprint, done.resolved_as.value)])
