"""An account's reserved slots as one worker sees them: a short row of moments, topped up before it runs out."""

from __future__ import annotations

import asyncio

from worker.flow.observations import LimiterAnswered, Observer
from worker.flow.ports import Limiter, LimiterAway, Monotonic, Slots

#: After an empty answer the limiter is asked again no sooner than this, and no later than the other.
ASK_AGAIN_S_MIN = 0.005
ASK_AGAIN_S_MAX = 5.0
AWAY_WAIT_S = 0.25
#: A slot is a promise about when a call leaves. One that was missed by more than this is not made up for: a late
#: call and the on-time ones behind it would crowd into one second.
LATE_S_MAX = 0.015
#: How long an answer that is under way is waited for, so that its slots can be returned.
GIVE_BACK_S_MAX = 0.2


class SlotRow:
    """Reserves slots for ``account`` as they are wanted, a few at a time, and hands them out in order."""

    def __init__(self, *, account: str, limiter: Limiter, monotonic: Monotonic, observe: Observer) -> None:
        self._account = account
        self._limiter = limiter
        self._monotonic = monotonic
        self._observe = observe
        self._slots: Slots | None = None
        self._used = 0
        self._next: asyncio.Task[Slots] | None = None

    async def take(self, wanted: int) -> float:
        """The moment of the next slot (monotonic seconds), now its caller's; ``wanted`` counts the jobs waiting."""
        while True:
            if self._slots is None or self._used >= self._slots.count:
                asking, self._next = self._next, None
                self._slots = await (asking or self._reserve(wanted))
                self._used = 0
            at_s = self._slots.first_at_s + self._used * self._slots.interval_s
            self._used += 1
            if not self.is_missed(at_s):
                break
        left = self._slots.count - self._used
        # Top up while slots are left, so that the question's round trip costs no capacity.
        if self._next is None and left <= self._slots.count // 2 and wanted - 1 > left:
            self._next = asyncio.create_task(self._reserve(wanted - 1 - left))
        return at_s

    def is_missed(self, at_s: float) -> bool:
        """Whether the slot at ``at_s`` has passed by too much to be used."""
        return self._monotonic() - at_s > LATE_S_MAX

    def put_back(self) -> None:
        """Make the slot taken last the next one again: its caller had no use for it."""
        self._used -= 1

    async def give_back(self) -> None:
        """Return what is reserved and not used, so that other workers can have it."""
        # The later row first: the earlier one can only be returned when nothing lies behind it.
        asking, self._next = self._next, None
        if asking is not None:
            await asyncio.wait([asking], timeout=GIVE_BACK_S_MAX)
            if asking.cancel():
                await asyncio.wait([asking])
            if not asking.cancelled() and asking.exception() is None:
                await self._limiter.give_back(self._account, asking.result(), 0)
        slots, self._slots = self._slots, None
        if slots is not None and self._used < slots.count:
            await self._limiter.give_back(self._account, slots, self._used)

    async def _reserve(self, count: int) -> Slots:
        while True:
            asked_at_s = self._monotonic()
            answer = await self._limiter.reserve(self._account, max(1, count))
            now_s = self._monotonic()
            match answer:
                case LimiterAway(why):
                    self._observe(LimiterAnswered(self._account, now_s - asked_at_s, is_away=True, why=why))
                    await asyncio.sleep(AWAY_WAIT_S)
                case Slots(count=granted, first_at_s=first_at_s):
                    self._observe(LimiterAnswered(self._account, now_s - asked_at_s, is_away=False, why=None))
                    if granted:
                        return answer
                    await asyncio.sleep(min(max(first_at_s - now_s, ASK_AGAIN_S_MIN), ASK_AGAIN_S_MAX))
