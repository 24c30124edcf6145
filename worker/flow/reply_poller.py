"""Unread replies are asked for now and then: callbacks may be lost, or may never have been set up.

The API shows unread replies in pages and does not mark what it shows. To mark while paging would shift the pages, so:

1. **Take the turn.** One receiver at a time asks for an account. That saves calls, and nothing else hangs on it.
2. **Read** all pages, within bounds. New replies shift what is behind them: one may be on two pages, and one that
   slipped through is unread next time.
3. **Tell** all of them (``ReplyIntake``), which a reply that came by callback is not told by again.
4. **Mark** as read what was taken, in bulk. Who dies before leaves them unread, and they are known as told.

Whatever goes wrong ends the round; the next one begins anew. Of an account that is suspended nothing is asked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from worker.core.envelope import Envelope
from worker.core.outcome import Refused
from worker.core.replies import Reply
from worker.core.responses import NOT_FOUND, RepliesPage, Unanswered, in_words, read_replies
from worker.core.steps import ReplyPassed, ReplyStep, unwatched
from worker.flow.observations import Observer, Operation, RepliesPolled, ReplyWay, Surprise
from worker.flow.ports import NotTaken, Turn
from worker.flow.questions import Questions
from worker.flow.replies import ReplyIntake

#: Whether it is our turn is looked at so often at least.
LOOK_S_MAX = 5.0
#: A turn that nobody leaves, because its receiver died, ends after this. It is taken anew on the way.
TURN_S = 15.0
#: One round reads so many pages and replies, and leaves the others to the next, which then comes at once.
PAGES_MAX, REPLIES_MAX = 40, 1_000
#: Told at a time; and marked by one call.
TOLD_AT_ONCE_MAX, MARKED_AT_ONCE_MAX = 250, 200
#: Calls that mark, in one round.
MARK_CALLS_MAX = 20
#: After a round that went wrong, the next comes after so many times the usual.
WRONG_FACTOR = 2.0
NOT_OURS = "it is another receiver's turn"

Item = TypeVar("Item")


@dataclass(slots=True)
class _Unread:
    """What a round has read. ``why``: it ended early, or not all could be read; ``is_more``: there are more pages."""

    replies: dict[str, Reply] = field(default_factory=dict)
    is_more: bool = False
    why: str | None = None


class ReplyPoller:
    """Asks for the unread replies of the account of ``questions``, every ``every_s`` (more than 0).

    ``turn`` is shared with all receivers that serve the account. Numbers without a country code are read as of
    ``region``.
    """

    def __init__(
        self,
        *,
        questions: Questions,
        intake: ReplyIntake,
        turn: Turn,
        every_s: float,
        region: str,
        observe: Observer,
        passed: ReplyPassed = unwatched,
    ) -> None:
        self._questions = questions
        self._account = questions.account
        self._intake = intake
        self._turn = turn
        self._every_s = every_s
        self._region = region
        self._observe = observe
        self._passed = passed
        #: Of those that were unread last: what the API refused to mark alone.
        self._unmarkable: set[str] = set()

    async def keep_polling(self) -> None:
        """For ever."""
        while True:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - a bug that one answer trips must not stop what comes by callback
                self._observe(Surprise("reply poll", error))
            await asyncio.sleep(min(self._every_s, LOOK_S_MAX))

    async def look(self) -> None:
        """Do one round, if it is our turn."""
        if not await self._turn.take(self._turn_s):
            return
        # Whatever breaks a round off, a stop above all, leaves the turn to the others at once.
        rest_s = 0.0
        try:
            rest_s = await self._round()
        finally:
            await self._turn.leave(rest_s)

    @property
    def _turn_s(self) -> float:
        """The turn outlasts the time between two questions, also of a slow account."""
        return max(TURN_S, 2 * self._questions.interval_s)

    async def _round(self) -> float:
        """Read, tell and mark; returns for how long nobody is to begin another one."""
        unread = await self._read()
        why = unread.why
        taken: list[str] = []
        if unread.replies:
            self._passed(ReplyStep.REPLIES_READ)
        for portion in _portions(list(unread.replies.values()), TOLD_AT_ONCE_MAX):
            fault = await self._intake.take(self._account, portion, ReplyWay.POLL)
            if isinstance(fault, NotTaken):
                why = fault.why
                break
            taken += [reply.message_id for reply in portion]
        if taken and (unmarked := await self._mark(taken)) is not None:
            why = unmarked
        self._observe(RepliesPolled(self._account, len(unread.replies), why))
        if why is not None:
            return self._every_s * WRONG_FACTOR
        return 0.0 if unread.is_more else self._every_s

    # --- Reading -----------------------------------------------------------------------------------------

    async def _read(self) -> _Unread:
        """All pages of unread replies, one after the other, each reply once."""
        unread = _Unread()
        mistakes: list[str] = []
        for number in range(1, PAGES_MAX + 1):
            if number > 1 and not await self._turn.take(self._turn_s):
                unread.why = NOT_OURS
                break
            page = await self._page(number)
            if isinstance(page, str):
                unread.why = page
                break
            self._passed(ReplyStep.PAGE_READ)
            for reply in page.replies:
                unread.replies.setdefault(reply.message_id, reply)
            mistakes += page.mistakes
            unread.is_more = page.is_followed(number)
            if not unread.is_more or len(unread.replies) >= REPLIES_MAX:
                break
        if mistakes and unread.why is None:
            unread.why = f"{len(mistakes)} of the unread replies cannot be read; the first: {mistakes[0]}"
        return unread

    async def _page(self, number: int) -> RepliesPage | str:
        """One page, or why there is none."""
        answer = await self._questions.ask(Operation.REPLIES, lambda api: api.responses(self._account, number))
        match answer:
            case Envelope():
                return read_replies(answer, region=self._region) or "the API's list of replies cannot be read"
            case Refused(code=code) if code == NOT_FOUND:
                return RepliesPage((), 0, 0, ())
            case _:
                return in_words(answer)

    # --- Marking -----------------------------------------------------------------------------------------

    async def _mark(self, message_ids: Sequence[str]) -> str | None:
        """Have the API know them as read; why not all could be.

        Some that it refuses must not keep the others unread: what is refused is tried again by halves, the first half
        to its end before the second, and what was refused alone comes last in the next round. So each round of however
        many gets further than the one before.
        """
        why = None
        self._unmarkable.intersection_update(message_ids)
        in_order = sorted(message_ids, key=self._unmarkable.__contains__)
        portions = deque(_portions(in_order, MARKED_AT_ONCE_MAX))
        for _ in range(MARK_CALLS_MAX):
            if not portions:
                return why
            if not await self._turn.take(self._turn_s):
                return NOT_OURS
            portion = portions.popleft()
            answer = await self._mark_at_once(portion)
            match answer:
                case None:
                    self._passed(ReplyStep.REPLIES_MARKED)
                case Refused() if len(portion) > 1:
                    portions.extendleft(reversed(list(_portions(portion, (len(portion) + 1) // 2))))
                case Refused():
                    self._unmarkable.update(portion)
                    why = f"a reply cannot be marked as read: {in_words(answer)}"
                case _:
                    return in_words(answer)
        return why if not portions else "not all could be marked as read in one round"

    async def _mark_at_once(self, message_ids: Sequence[str]) -> Unanswered | None:
        answer = await self._questions.ask(Operation.MARK_READ, lambda api: api.mark_read(self._account, message_ids))
        return None if isinstance(answer, Envelope) else answer


def _portions(whole: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (whole[at : at + size] for at in range(0, len(whole), size))
