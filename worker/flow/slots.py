"""An account's reserved slots as one worker sees them: a short row of moments, topped up before it runs out."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

from worker.flow.observations import LimiterAnswered, Observer
from worker.flow.ports import Late, Limiter, LimiterAway, Monotonic, Slots

#: After an empty answer the limiter is asked again no sooner than this, and no later than the other.
ASK_AGAIN_S_MIN = 0.005
ASK_AGAIN_S_MAX = 5.0
AWAY_WAIT_S = 0.25
#: A slot is a promise about when a call leaves. One that was missed by more than an interval, and by more than this,
#: is not made up for: its call would take the place of the next one. Where many slots lie within the guard, one that
#: was missed by more than the guard: calls that pile up behind a stall would be refused a second later.
LATE_S_MAX = 0.005
#: No pool of workers sends so much: there is no limit to keep, and nothing comes too late for it.
UNLIMITED_PER_S = 50_000
#: A slot nearer than this is now: the event loop's timers do not tell finer.
TIMER_S = 0.0005
#: Of the guard, what our own lateness may use up; the rest is for the way to the API. But no less than an event loop
#: is late all the time: what that does is the guard's to learn, and to move all slots for it would cost more.
GUARD_SHARE = 0.33
TOLERANCE_S_MIN = 0.002
#: Many slots lie within the guard when this share of it, or this, holds more than one.
MANY_GUARD_SHARE = 0.5
MANY_S_MIN = 0.004
#: How long an answer that is under way is waited for, so that its slots can be returned.
GIVE_BACK_S_MAX = 0.2


@dataclass(frozen=True, slots=True)
class Slot:
    """Slot ``n`` of ``slots``: permission for one call at ``at_s`` (monotonic). ``news``: how often there was any.

    ``wanted_at_s``: when it was asked for.
    """

    slots: Slots
    n: int
    news: int = 0
    wanted_at_s: float = math.inf

    @property
    def at_s(self) -> float:
        """When the call is to leave."""
        return self.slots.at_s(self.n)

    @property
    def wait_s(self) -> float:
        """For how long it was waited for."""
        return max(0.0, self.at_s - self.wanted_at_s)

    @property
    def tolerance_s(self) -> float:
        """How late it may be used without consequences."""
        return max(TOLERANCE_S_MIN, self.slots.state.guard_s * GUARD_SHARE)

    @property
    def is_among_many(self) -> bool:
        """Whether several slots lie within what the guard makes good."""
        return self.slots.interval_s <= max(MANY_S_MIN, self.slots.state.guard_s * MANY_GUARD_SHARE)


class SlotRow:
    """Reserves slots for ``account`` as they are wanted, a few at a time, and hands them out in order.

    ``on_suspended`` is told why when the limiter gives no slots because somebody suspended the account.
    """

    def __init__(
        self,
        *,
        account: str,
        limiter: Limiter,
        monotonic: Monotonic,
        observe: Observer,
        on_suspended: Callable[[str], None],
    ) -> None:
        self._account = account
        self._limiter = limiter
        self._monotonic = monotonic
        self._observe = observe
        self._on_suspended = on_suspended
        self._slots: Slots | None = None
        self._used = 0
        self._next: asyncio.Task[Slots | None] | None = None
        #: To be told with the next question.
        self._jobs = 0
        self._late: Late | None = None
        self._has_stalled = False
        #: Calls a second, of all workers, at the last answer; 0 before the first.
        self.pace_per_s = 0.0
        #: At the last answer.
        self._is_unlimited = False
        #: Counts the times at which what was promised became worthless.
        self._news = 0

    async def take(self, wanted: int, *, lead_s: float = 0.0, is_patient: bool = False) -> Slot | None:
        """Wait for the next slot, and hand it over ``lead_s`` before its moment; ``wanted`` counts the jobs waiting.

        None when it was missed or became worthless while it was waited for, or when the account is suspended: look
        again whether there is still anything to do. ``is_patient``: also when it was missed before it was known.
        """
        slot = await self._upcoming(wanted, lead_s, is_patient=is_patient)
        return slot if slot is not None and await self._is_good_at(slot, slot.at_s - lead_s) else None

    async def moment(self, slot: Slot) -> bool:
        """Wait for the slot's moment; False when it was missed, or became worthless meanwhile."""
        return await self._is_good_at(slot, slot.at_s)

    def left(self, slot: Slot, jobs: int) -> float:
        """A call with ``jobs`` leaves now in ``slot``: by how many seconds it is late."""
        self._jobs += jobs
        late_s = max(0.0, self._monotonic() - slot.at_s)
        over_s = late_s - slot.tolerance_s
        # A late call among few has the call a second later come too soon after it: all that follows is moved.
        if over_s > 0 and not slot.is_among_many:
            late = Late(slot.slots, over_s)
            self._late = late if self._late is None or over_s > self._late.by_s else self._late
            self._has_stalled = True
        return late_s

    def stalled(self) -> None:
        """A call took unusually long: something stood still for a moment, which may refuse another one."""
        self._has_stalled = True

    def put_back(self) -> None:
        """Make the slot taken last the next one again: its caller had no use for it."""
        self._used = max(0, self._used - 1)

    def drop(self) -> None:
        """Forget what was promised: the account was closed meanwhile."""
        self._slots = None
        self._used = 0
        self._news += 1
        # A question under way is asked again; an answer that is there already was promised before the news.
        if self._next is not None and self._next.done() and self._next.exception() is None:
            self._next = None

    async def give_back(self) -> None:
        """Return what is reserved and not used, so that other workers can have it."""
        # The later row first: the earlier one can only be returned when nothing lies behind it.
        asking, self._next = self._next, None
        if asking is not None:
            await asyncio.wait([asking], timeout=GIVE_BACK_S_MAX)
            if asking.cancel():
                await asyncio.wait([asking])
            if not asking.cancelled() and asking.exception() is None and (reserved := asking.result()) is not None:
                await self._limiter.give_back(self._account, reserved, 0)
        slots, self._slots = self._slots, None
        if slots is not None and self._used < slots.count:
            await self._limiter.give_back(self._account, slots, self._used)

    async def probe_slot(self) -> Slot | None:
        """Wait for a slot for a question about a suspended account."""
        slots = await self._reserve(1, is_probe=True)
        if slots is None:
            return None
        await asyncio.sleep(slots.at_s(0) - self._monotonic())
        return Slot(slots, 0)

    async def is_suspended(self) -> bool:
        """Whether the limiter has the account suspended."""
        slots = await self._reserve(1)
        if slots is None:
            return True
        await self._limiter.give_back(self._account, slots, 0)
        return False

    async def _upcoming(self, wanted: int, lead_s: float, *, is_patient: bool) -> Slot | None:
        """The next slot that can still be used; None when the account is suspended."""
        wanted_at_s = self._monotonic()
        while True:
            if self._slots is None or self._used >= self._slots.count:
                asking, self._next = self._next, None
                self._slots = await (asking or self._reserve(wanted, lead_s))
                self._used = 0
                if self._slots is None:
                    return None
            slot = Slot(self._slots, self._used, self._news, wanted_at_s)
            self._used += 1
            if not self._is_missed(slot):
                break
            if is_patient:
                return None
        left = self._slots.count - self._used
        # Top up while slots are left, so that the question's round trip costs no capacity.
        if self._next is None and left <= self._slots.count // 2 and wanted - 1 > left:
            self._next = asyncio.create_task(self._reserve(wanted - 1 - left, lead_s))
        return slot

    async def _is_good_at(self, slot: Slot, at_s: float) -> bool:
        while (left_s := at_s - self._monotonic()) > TIMER_S:  # noqa: ASYNC110 - it waits for time, not for an event
            await asyncio.sleep(left_s)  # timers may fire early: looked at again
        return slot.news == self._news and not self._is_missed(slot)

    def _is_missed(self, slot: Slot) -> bool:
        if _is_unlimited(slot.slots):
            return False
        most_s = slot.slots.state.guard_s if slot.is_among_many else slot.slots.interval_s
        late_s_max = max(LATE_S_MAX, most_s)
        return self._monotonic() - slot.at_s > late_s_max

    async def _reserve(self, count: int, lead_s: float = 0.0, *, is_probe: bool = False) -> Slots | None:
        while True:
            news = self._news
            late, self._late = self._late, None
            has_stalled, self._has_stalled = self._has_stalled, False
            jobs, self._jobs = self._jobs, 0
            asked_at_s = self._monotonic()
            answer = await self._limiter.reserve(
                self._account,
                max(1, count),
                # A call that is alone goes at once: it is hardly late, and nothing comes behind it.
                lead_s=0.0 if self._is_unlimited or count <= 1 else lead_s,
                jobs=jobs,
                late=late,
                has_stalled=has_stalled,
                is_probe=is_probe,
            )
            now_s = self._monotonic()
            match answer:
                case LimiterAway(why):
                    self._observe(LimiterAnswered(self._account, now_s - asked_at_s, why, None))
                    await asyncio.sleep(AWAY_WAIT_S)
                case Slots(count=granted, first_at_s=first_at_s, state=state):
                    self._observe(LimiterAnswered(self._account, now_s - asked_at_s, None, state))
                    self.pace_per_s = state.pace_per_s
                    self._is_unlimited = _is_unlimited(answer)
                    if granted and news == self._news:
                        return answer
                    if state.suspended and not is_probe:
                        self._on_suspended(state.suspended)
                        return None
                    await asyncio.sleep(min(max(first_at_s - now_s, ASK_AGAIN_S_MIN), ASK_AGAIN_S_MAX))


def _is_unlimited(slots: Slots) -> bool:
    return slots.interval_s * UNLIMITED_PER_S <= 1
