"""Leaving traces of what was sent, or is in doubt, for the reports and replies that come later (``core/sendings.py``).

A trace is left with the outcome that it is of, before that is told, and not before the outcome: a message that is known
as one of a job which is in doubt would resolve nothing. But a trace that cannot be left holds up no job for long:
without it a report is told all the same, and only does not say of which job it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from worker.core.sendings import Trace
from worker.flow.ports import JournalAway, Sendings

#: While the store is away, it is asked again at this distance, twice as long each time.
AGAIN_S_MIN, AGAIN_S_MAX = 0.1, 1.0
#: So much longer than the outcome a trace may take; and so much, when the one before could not be left.
LATER_S_MAX, LATER_S_MAX_AGAIN = 30.0, 0.05

Result = TypeVar("Result")


class Traces:
    """Leaves traces, for one process and all accounts."""

    def __init__(self, *, sendings: Sendings) -> None:
        self._sendings = sendings
        self._is_giving_up = False

    async def left_with(
        self, account: str, traces: Sequence[Trace], work: Callable[[], Awaitable[Result | JournalAway]]
    ) -> tuple[Result, frozenset[str]]:
        """Do ``work``, and leave ``traces`` with it: asked of the same store at once, they go in one round trip.

        ``work`` is done again until it is answered. Returns what it came to, and the ids of jobs of which a recipient
        is known now to have got a second message.
        """
        again_s = AGAIN_S_MIN
        while True:
            result, twice_sent = await self._together(account, traces, work)
            if not isinstance(result, JournalAway):
                return result, await self._left(account, traces, twice_sent)
            await asyncio.sleep(again_s)
            again_s = min(2 * again_s, AGAIN_S_MAX)

    async def leave(self, account: str, traces: Sequence[Trace]) -> None:
        """Leave traces, as far as that can be done now."""
        if traces:
            await self._sendings.note(account, traces)

    async def _together(
        self, account: str, traces: Sequence[Trace], work: Callable[[], Awaitable[Result | JournalAway]]
    ) -> tuple[Result | JournalAway, list[str] | JournalAway]:
        if not traces:
            return await work(), []
        working = asyncio.ensure_future(work())
        # Asked after it, and in the same round trip.
        noting = asyncio.ensure_future(self._sendings.note(account, traces))
        try:
            return await working, await noting
        finally:
            working.cancel()
            noting.cancel()

    async def _left(self, account: str, traces: Sequence[Trace], answer: list[str] | JournalAway) -> frozenset[str]:
        """Try again for a while, where there was no answer."""
        if not isinstance(answer, JournalAway):
            self._is_giving_up = False
            return frozenset(answer)
        again_s = AGAIN_S_MIN
        try:
            async with asyncio.timeout(LATER_S_MAX_AGAIN if self._is_giving_up else LATER_S_MAX):
                while isinstance(answer, JournalAway):
                    await asyncio.sleep(again_s)
                    again_s = min(2 * again_s, AGAIN_S_MAX)
                    answer = await self._sendings.note(account, traces)
        except TimeoutError:
            self._is_giving_up = True
            return frozenset()
        self._is_giving_up = False
        return frozenset(answer)
