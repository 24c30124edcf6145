"""Replies that the API tells us, by callback or when it is asked: each becomes one event, however often it comes.

1. **Claim** in the reply book those that nobody has told. What was told is remembered for longer; what somebody else is
   telling is asked for again in a moment, since the API must not hear that it was taken before it is.
2. **Find** the jobs that they answer.
3. **Publish** the events together, each confirmed.
4. **Note** that they are told. Only now they count as taken.

A crash between 3 and 4 repeats events, with the same ids, once the claims have ended. What fails before is told as not
taken, and the API is to tell it again; its claims are let go.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime

from worker.core.inbound_events import reply_event
from worker.core.replies import Reply
from worker.core.sendings import SentJob
from worker.core.steps import ReplyPassed, ReplyStep, unwatched
from worker.flow.confirming import confirmed
from worker.flow.observations import Observer, ReplyRepeated, ReplyTold, ReplyWay
from worker.flow.ports import JournalAway, Monotonic, NotTaken, Publishing, ReplyBook, ReplyFound, Sendings
from worker.flow.tasks import to_its_end

#: Who told us waits for so long at most. Less than a claim lasts: nobody else is to tell meanwhile.
TAKE_S_MAX = 10.0
#: What somebody else is telling is asked for again after this, and for so long.
BUSY_AGAIN_S, BUSY_S_MAX = 0.05, 3.0
#: Told and not noted, a reply would be told once more: that is tried so often.
NOTE_TRIES_MAX, NOTE_AGAIN_S = 3, 0.25


class ReplyIntake:
    """Takes replies in, for all accounts."""

    def __init__(
        self,
        *,
        book: ReplyBook,
        sendings: Sendings,
        publishing: Publishing,
        observe: Observer,
        monotonic: Monotonic,
        wall_clock: Callable[[], datetime],
        passed: ReplyPassed = unwatched,
    ) -> None:
        self._book = book
        self._sendings = sendings
        self._publishing = publishing
        self._observe = observe
        self._monotonic = monotonic
        self._wall_clock = wall_clock
        self._passed = passed

    async def take(
        self, account: str, replies: Sequence[Reply], way: ReplyWay, *, limit_s: float = TAKE_S_MAX
    ) -> NotTaken | None:
        """Tell those of ``replies`` that were not told before; None once every one of them is told.

        Of equal ones the first counts. No confirm is waited for longer than ``limit_s``, at most ``TAKE_S_MAX``.
        """
        started_s = self._monotonic()
        until_s = started_s + min(limit_s, TAKE_S_MAX)
        token = secrets.token_hex(8)
        waiting = {reply.message_id: reply for reply in reversed(replies)}
        repeated = len(replies) - len(waiting)
        while waiting:
            found = await self._book.look(account, list(waiting), token)
            if isinstance(found, JournalAway):
                return NotTaken(f"it is not known which replies were told before ({found.why})")
            of = dict(zip(waiting, found, strict=True))
            told = [reply_id for reply_id in waiting if of[reply_id] is ReplyFound.TOLD]
            if told:
                # Remembered for longer: what the API has as unread for ever must not be forgotten, and told again.
                await self._book.told(account, told)
                repeated += len(told)
            ours = [waiting[reply_id] for reply_id in waiting if of[reply_id] is ReplyFound.OURS]
            # Not broken off between telling and noting: what is told would be told again.
            if ours and (fault := await to_its_end(self._tell(account, ours, way, token, until_s))):
                return fault
            waiting = {reply_id: waiting[reply_id] for reply_id in waiting if of[reply_id] is ReplyFound.BUSY}
            if waiting:
                if self._monotonic() - started_s >= BUSY_S_MAX:
                    return NotTaken(f"{len(waiting)} of the replies are being told by somebody else")
                await asyncio.sleep(BUSY_AGAIN_S)
        for _ in range(repeated):
            self._observe(ReplyRepeated(account, way))
        return None

    async def _tell(
        self, account: str, replies: Sequence[Reply], way: ReplyWay, token: str, until_s: float
    ) -> NotTaken | None:
        """Publish the events of replies that are ours to tell, and note it."""
        self._passed(ReplyStep.REPLIES_CLAIMED)
        jobs = await self._jobs_of(account, replies)
        if isinstance(jobs, JournalAway):
            await self._book.put_off(account, [reply.message_id for reply in replies], token)
            return NotTaken(f"it is not known which jobs the replies answer ({jobs.why})")
        at = self._wall_clock()
        events = [reply_event(reply, account=account, job=jobs.get(reply), at=at) for reply in replies]
        are_confirmed = await confirmed(self._publishing, events, until_s - self._monotonic())
        told = [reply.message_id for reply, is_confirmed in zip(replies, are_confirmed, strict=True) if is_confirmed]
        untold = [reply.message_id for reply, is_so in zip(replies, are_confirmed, strict=True) if not is_so]
        if told:
            self._passed(ReplyStep.REPLIES_PUBLISHED)
            await self._note_told(account, told)
            self._passed(ReplyStep.REPLIES_TOLD)
            for _ in told:
                self._observe(ReplyTold(account, way))
        if untold:
            await self._book.put_off(account, untold, token)
            return NotTaken(f"the broker did not confirm {len(untold)} of {len(replies)} events")
        return None

    async def _jobs_of(self, account: str, replies: Sequence[Reply]) -> dict[Reply, SentJob] | JournalAway:
        """The jobs that the replies answer, as far as they are known."""
        answers = [(reply, reply.original_message_id) for reply in replies if reply.original_message_id]
        if not answers:
            return {}
        found = await self._sendings.find(account, [(reply.sender, original) for reply, original in answers])
        if isinstance(found, JournalAway):
            return found
        return {reply: job for (reply, _), job in zip(answers, found, strict=True) if job is not None}

    async def _note_told(self, account: str, told: Sequence[str]) -> None:
        """As far as it can be done: the events are confirmed, and that is what counts for who told us."""
        for _ in range(NOTE_TRIES_MAX):
            if not isinstance(await self._book.told(account, told), JournalAway):
                return
            await asyncio.sleep(NOTE_AGAIN_S)
