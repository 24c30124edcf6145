"""The keeper of jobs in doubt: goes through those that are held, and does what needs no person.

Which those are and why: ``core/doubt_rules.py``. Each is resolved as an operator's command does it: the journal
decides, the event is confirmed, then what is held is let go of. So whoever dies on the way, and wherever, leaves
something that the next one goes on with; and two at once, or a keeper and an operator, cannot decide on one job twice.

1. **Take the turn.** One worker at a time looks. That saves work, and nothing else hangs on it.
2. **Look** whether there is anything to do: an account's oldest doubt is past its deadline, or it is time to clear
   away what was resolved elsewhere.
3. **Walk** through what is held, at a pace that leaves the worker time for its slots, and with bounds: on the time, and
   on the number of jobs that are decided on. Jobs are sent again at a pace of their own, so that whoever watches can
   stop what was a mistake.
4. **Leave the turn** for a while: the longer, the longer the walk took.

Whatever goes wrong ends the walk. What was not decided on is held as before, and the next walk begins anew.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from worker.core.doubt_rules import Deadline, wish_for
from worker.core.events import ResolvedAs
from worker.core.held_jobs import HeldJob, Holding, read_held
from worker.core.journal import MICRO, HeldCopy
from worker.core.redrive import Asked, Done, Kept, asked_for
from worker.flow.observations import DoubtResolved, DoubtsWalked, Observer, Surprise
from worker.flow.ports import CannotStart, HeldWalk, Journal, JournalAway, Monotonic, OpenWalk, Turn, WalkFailed
from worker.flow.resolving import decided, tell_done

#: From the start to the first look, and between two looks.
FIRST_S, ROUND_S = 3.0, 60.0
#: A turn that nobody leaves, because its worker died, ends after this. It is taken anew on the way.
TURN_S = 60.0
TURN_AGAIN_S = 15.0
#: All that is held is gone through at least so often.
SWEEP_S = 900.0
#: Messages looked at a second at most, and jobs sent again.
LOOKS_PER_S, RESENDS_PER_S = 500.0, 10.0
#: Jobs decided on in one walk at most.
DONE_MAX = 1_000
#: After a walk that found little to do, nobody walks for so many times as long; and for no longer than this.
REST_FACTOR, REST_S_MAX = 20.0, 3_600.0


@dataclass(slots=True)
class _Round:
    """What one walk saw and did; ``why``: it ended early."""

    seen: int = 0
    done: Counter[str] = field(default_factory=Counter)
    why: str | None = None


class DoubtKeeper:
    """Keeps the jobs in doubt of the accounts in ``deadlines()``, which is asked again each time.

    ``turn`` and ``sweep`` are shared with all workers that serve the same accounts.
    """

    def __init__(
        self,
        *,
        open_walk: OpenWalk,
        journal: Journal,
        turn: Turn,
        sweep: Turn,
        deadlines: Callable[[], Mapping[str, Deadline]],
        region: str,
        observe: Observer,
        monotonic: Monotonic,
        wall_clock: Callable[[], datetime],
    ) -> None:
        self._open_walk = open_walk
        self._journal = journal
        self._turn = turn
        self._sweep = sweep
        self._deadlines = deadlines
        self._region = region
        self._observe = observe
        self._monotonic = monotonic
        self._wall_clock = wall_clock

    async def keep(self) -> None:
        """For ever.

        A start is no reason to go through everything: who looks at that moment would see nothing, time after time.
        """
        if await self._sweep.take(SWEEP_S):
            await self._sweep.leave(SWEEP_S)
        await asyncio.sleep(FIRST_S)
        while True:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - a bug that a held job trips must not stop what is sent meanwhile
                self._observe(Surprise("jobs in doubt", error))
            await asyncio.sleep(ROUND_S)

    async def look(self) -> None:
        """See whether there is something to do, and do it, if it is our turn."""
        if not self._deadlines() or not await self._turn.take(TURN_S):
            return
        rest_s = 0.0
        try:
            rest_s = await self._walk() if await self._is_called_for() else ROUND_S / 2
        finally:
            await self._turn.leave(rest_s)

    async def _is_called_for(self) -> bool:
        if await self._sweep.take(SWEEP_S):
            await self._sweep.leave(SWEEP_S)
            return True
        deadlines = self._deadlines()
        doubts = await self._journal.doubts(deadlines)
        if isinstance(doubts, JournalAway):
            return False
        now_s = self._wall_clock().timestamp()
        return any(
            deadlines[account].is_over(found.oldest_us / MICRO, now_s)
            for account, found in doubts.items()
            if found.oldest_us is not None
        )

    async def _walk(self) -> float:
        """Go through what is held; returns for how long nobody is to do so again."""
        started_s = self._monotonic()
        this = _Round()
        try:
            async with self._open_walk() as walk:
                await self._go_through(walk, this)
        except (CannotStart, WalkFailed) as error:
            this.why = str(error)
        self._observe(DoubtsWalked(this.seen, dict(this.done), this.why))
        if this.done.total() >= DONE_MAX:
            return ROUND_S / 2
        return min(REST_S_MAX, max(ROUND_S / 2, REST_FACTOR * (self._monotonic() - started_s)))

    async def _go_through(self, walk: HeldWalk, this: _Round) -> None:
        turn_at_s = self._monotonic()
        async for message in walk.messages():
            if self._monotonic() - turn_at_s > TURN_AGAIN_S:
                if not await self._turn.take(TURN_S):
                    this.why = "it is another worker's turn"
                    return
                turn_at_s = self._monotonic()
            await asyncio.sleep(1 / LOOKS_PER_S)
            this.seen += 1
            held = read_held(message, Holding.IN_DOUBT)
            asked = await self._asked(held)
            if isinstance(asked, Asked):
                decision = await decided(self._journal, held, asked, wall_clock=self._wall_clock)
                if isinstance(decision, Done):
                    await walk.settle(message, decision.publications)
                    this.done[decision.what] += 1
                    await self._done(asked, decision)
            else:
                decision = asked
            if isinstance(decision, JournalAway):
                this.why = decision.why
                return
            if this.done.total() >= DONE_MAX:
                return

    async def _asked(self, held: HeldJob) -> Asked | Kept | JournalAway:
        """What to ask of the journal for ``held`` now, if anything."""
        deadline = self._deadlines().get(held.account or "")
        if held.account is None or held.job_id is None or deadline is None:
            return Kept("it is of no account that is served here")
        at = self._wall_clock()
        since_us = int((held.since or at).timestamp() * MICRO)
        records = await self._journal.recall(held.account, [HeldCopy(held.job_id, since_us)])
        if isinstance(records, JournalAway):
            return records
        wish = wish_for(held, records[0], deadline, at)
        if wish is None:
            return Kept("it is a person's to decide about, or not yet the rule's")
        return asked_for(held, wish.end, wish.grounds, region=self._region)

    async def _done(self, asked: Asked, decision: Done) -> None:
        """Have everybody know what was done; and what is sent again is sent at its pace."""
        if decision.resolved_as is None:
            return
        self._observe(DoubtResolved(asked.account, decision.resolved_as, asked.resolution.job_id))
        tell_done(self._journal, asked, decision)
        if decision.resolved_as is ResolvedAs.RESENT:
            await asyncio.sleep(1 / RESENDS_PER_S)
