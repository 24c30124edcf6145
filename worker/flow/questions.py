"""Questions to the API beside the sending: they count against the limit like calls, and yield to those that send.

A question takes a slot as a call does, so that all workers together stay within the limit. One process asks at most
every ``SHARE``-th slot's time: whatever there is to ask, the calls that send keep the rest.

What comes of a question is told to nobody but to who asked, but for a 429, which is about all calls of the account. A
question that fails does not open the breaker, and one that is answered does not close it: neither says whether the API
takes messages. A key that is refused here suspends nothing: perhaps only this process has the wrong one, and it sends
nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from worker.core.envelope import Envelope
from worker.core.outcome import Accepted, NotSent, Response, Throttled
from worker.core.responses import Unanswered, read_question
from worker.flow.observations import CallFinished, Observer, Operation, Surprise
from worker.flow.pipeline import result_of
from worker.flow.ports import Api, Limiter, Monotonic
from worker.flow.slots import Slot, SlotRow

#: One in so many of the account's slots at most.
SHARE = 20
#: A question that was refused as one too many is put again, in a later slot, so often in all.
TRIES_MAX = 3
#: Who waits for a slot longer than this is told that there is none.
SLOT_S_MAX = 120.0

Ask = Callable[[Api], Awaitable[Response]]


class Questions:
    """Asks for one account, one question at a time."""

    def __init__(
        self,
        *,
        account: str,
        api: Api,
        limiter: Limiter,
        monotonic: Monotonic,
        observe: Observer,
        slot_s_max: float = SLOT_S_MAX,
    ) -> None:
        """``slot_s_max``: how long a slot is waited for."""
        self.account = account
        self._slot_s_max = slot_s_max
        self._api = api
        self._limiter = limiter
        self._monotonic = monotonic
        self._observe = observe
        self._slots = SlotRow(
            account=account, limiter=limiter, monotonic=monotonic, observe=observe, on_suspended=self._note_suspended
        )
        limiter.on_news(account, self._slots.drop)
        self._suspended: str | None = None
        self._turn = asyncio.Lock()
        #: When the next question may be asked.
        self._next_s = 0.0

    @property
    def interval_s(self) -> float:
        """From one question to the next, at the pace that was in force last; 0 while that is not known."""
        return SHARE / self._slots.pace_per_s if self._slots.pace_per_s > 0 else 0.0

    async def ask(self, operation: Operation, ask: Ask, *, is_probe: bool = False) -> Envelope | Unanswered:
        """Put the question when there is a slot; the API's word, or why there is none. Never fails.

        ``is_probe``: the account may be asked this while it is suspended.
        """
        async with self._turn:
            answer: Envelope | Unanswered = NotSent("there was no slot")
            for _ in range(TRIES_MAX):
                slot = await self._slot(is_probe=is_probe)
                if not isinstance(slot, Slot):
                    return slot
                answer = await self._asked(operation, ask, slot)
                if not isinstance(answer, Throttled):
                    break
            return answer

    async def _slot(self, *, is_probe: bool) -> Slot | NotSent:
        await asyncio.sleep(max(0.0, self._next_s - self._monotonic()))
        try:
            async with asyncio.timeout(self._slot_s_max):
                return await self._next_slot(is_probe=is_probe)
        except TimeoutError:
            return NotSent(f"there was no slot within {self._slot_s_max:g} s")

    async def _next_slot(self, *, is_probe: bool) -> Slot | NotSent:
        while True:
            self._suspended = None
            slot = await (self._slots.probe_slot() if is_probe else self._slots.take(1, is_patient=True))
            if slot is not None:
                return slot
            if self._suspended is not None:
                return NotSent(f"the account is suspended ({self._suspended})")
            # It was missed, and nobody else can have it: a busy process must not take slot after slot from those
            # that send.
            await asyncio.sleep(self.interval_s)

    async def _asked(self, operation: Operation, ask: Ask, slot: Slot) -> Envelope | Unanswered:
        started_s = self._monotonic()
        self._slots.left(slot, 0)
        self._next_s = started_s + self.interval_s
        answer: Envelope | Unanswered
        try:
            answer = read_question(await ask(self._api))
        except Exception as error:  # noqa: BLE001 - a bug that one question trips must not stop the others
            self._observe(Surprise("question", error))
            answer = NotSent(f"internal error: {type(error).__name__}")
        outcome = Accepted({}, is_complete=True, low_balance=False) if isinstance(answer, Envelope) else answer
        low_balance = isinstance(answer, Envelope) and answer.low_balance
        self._observe(
            CallFinished(
                self.account, operation, result_of(outcome), self._monotonic() - started_s, 0, low_balance=low_balance
            )
        )
        if isinstance(answer, Throttled):
            await self._limiter.refused(
                self.account, slot.slots, slot.n, spread_s=0.0, retry_after_s=answer.retry_after_s
            )
        return answer

    def _note_suspended(self, reason: str) -> None:
        self._suspended = reason
