"""One account in one worker: takes its deliveries, waits for its slots, makes its calls.

States: *open* (pacing) → *suspended* (credentials refused or no credit: nothing is taken, what waits is put back,
the account is probed slowly) → *open* again; from either → *draining* (nothing is taken, calls under way end).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from worker.core.bucket import FAILURES_MAX
from worker.core.delivery import Delivery, Lane
from worker.core.job import Job, MediaUrl, Rejected
from worker.core.outcome import (
    Accepted,
    InDoubt,
    NotSent,
    Outcome,
    Suspended,
    SuspendedBecause,
    Throttled,
    is_ailing,
)
from worker.core.picture import Picture
from worker.core.quarantine import CRASHES_MAX, died_over_it, is_suspect
from worker.core.settlement import SUSPENDED_WAIT_S, RequeueReason
from worker.core.steps import Passed, Step, unwatched
from worker.flow.call_times import CallTimes
from worker.flow.claimed import ClaimedJobs
from worker.flow.held import HeldBytes
from worker.flow.intake import Intake
from worker.flow.lane import Batch, Lanes
from worker.flow.observations import Observer, SlotTaken, Suspected
from worker.flow.pipeline import Pipeline
from worker.flow.ports import Broker, Limiter, Monotonic
from worker.flow.quarantine import Quarantine
from worker.flow.silence import Silence, noticed_after_s
from worker.flow.slots import Slot, SlotRow
from worker.flow.suspension import ELSEWHERE, Suspension
from worker.flow.tasks import Tasks

#: How often jobs that have waited here too long are looked for, and how soon they may come back.
SWEEP_S = 5.0
HELD_LONG_WAIT_S = 1.0
#: A claim older than this is not used any more: far less than what makes others take its worker for dead.
CLAIM_GOOD_S = 2.0
#: A suspect's turn lasts until its picture is here, or so long: a slow picture must not hold up the suspects behind it.
EXAMINED_FETCH_S_MAX = 1.0
#: The note on a message that is buried stays until that is done, or so long.
BURY_S_MAX = 10.0
#: How often the API's silence is looked at, and how many calls at least make it one.
SILENCE_LOOK_S = 0.25
SILENT_CALLS_MIN = 2
#: How much of the running mean of jobs per call the newest call makes up.
NEWEST_CALL_WEIGHT = 0.25

Result = TypeVar("Result")


@dataclass(slots=True)
class Underway:
    """How many jobs are in which stage here; ``calls``: how many calls carry those that are ``calling``."""

    preparing: int = 0
    calling: int = 0
    settling: int = 0
    calls: int = 0


@dataclass(frozen=True, slots=True)
class SendLimits:
    """The bounds of one account in one worker.

    ``recipients_max``: of one call. ``calls_max``: calls under way at a time. ``prefetch``: deliveries held per queue.
    ``hold_s_max``: how long a delivery may wait here before it is put back.
    """

    recipients_max: int
    calls_max: int
    prefetch: int
    hold_s_max: float


class AccountSender:
    """Sends the jobs of one account. ``held`` and ``quarantine`` are those of all accounts of the process."""

    def __init__(
        self,
        *,
        account: str,
        limits: SendLimits,
        held: HeldBytes,
        quarantine: Quarantine,
        pipeline: Pipeline,
        broker: Broker,
        limiter: Limiter,
        monotonic: Monotonic,
        observe: Observer,
        on_failure: Callable[[BaseException], None],
        passed: Passed = unwatched,
    ) -> None:
        self.account = account
        self._passed = passed
        self.underway = Underway()
        self._hold_s_max = limits.hold_s_max
        self._quarantine = quarantine
        self._pipeline = pipeline
        self._broker = broker
        self._limiter = limiter
        self._monotonic = monotonic
        self._observe = observe
        self._lanes = Lanes(recipients_max=limits.recipients_max)
        self._slots = SlotRow(
            account=account,
            limiter=limiter,
            monotonic=monotonic,
            observe=observe,
            on_suspended=self._suspended_elsewhere,
        )
        self._suspension = Suspension(
            account=account, slots=self._slots, limiter=limiter, pipeline=pipeline, observe=observe
        )
        limiter.on_news(account, self._hear)
        self._call_times = CallTimes()
        self._silence = Silence()
        self._is_trial_well = True
        self._jobs_per_call = 1.0
        self._room = asyncio.Semaphore(limits.calls_max)
        self._is_draining = False
        self._on_failure = on_failure
        self._loops = Tasks(on_failure)
        self._jobs = Tasks(on_failure)
        self._intake = Intake(
            account=account,
            prefetch=limits.prefetch,
            broker=broker,
            held=held,
            take=self._take,
            leaving_per_s=lambda: self._slots.pace_per_s * self._jobs_per_call,
            start=self._loops.start,
        )
        self._claimed = ClaimedJobs(
            lanes=self._lanes,
            pipeline=pipeline,
            broker=broker,
            dropped=self._intake.done_with,
            settle=self._settle,
        )
        # Tasks that may be cancelled without leaving a settlement half done: those that wait for somebody's answer.
        self._abortable: set[asyncio.Task[Any]] = set()

    @property
    def waiting(self) -> int:
        """Jobs that wait for a slot."""
        return len(self._lanes)

    @property
    def waiting_by_lane(self) -> tuple[int, int]:
        """Of these, the urgent ones and the bulk ones."""
        return self._lanes.waiting(Lane.URGENT), self._lanes.waiting(Lane.BULK)

    async def start(self) -> None:
        """Begin to take and to send."""
        self._loops.start(self._pace())
        self._loops.start(self._sweep())
        self._loops.start(self._watch_silence())
        await self._intake.open()

    # --- Changing ----------------------------------------------------------------------------------------

    def set_prefetch(self, prefetch: int) -> None:
        """Hold so many deliveries per queue at most from here on."""
        self._intake.set_prefetch(prefetch)

    def try_new_key(self) -> None:
        """The account has another key: if it is suspended, find out at once whether that is accepted."""
        if not self._suspension.is_open:
            self._suspension.probe_at_once()

    # --- Draining ----------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Take no more jobs and make no more calls, from this moment on. What waits goes back with the connection."""
        self._is_draining = True
        self._intake.close()
        self._loops.cancel_all()
        # At once: whoever stops may be told to hurry, and claims that stay would look like calls that nobody ended.
        self._claimed.release()

    async def withdraw(self) -> None:
        """After ``stop``: give back the slots, and tell the broker to send no more."""
        await self._loops.cancel()
        self._passed(Step.IN_DRAIN)
        await self._slots.give_back()
        self._claimed.release()
        await self._broker.pause(self.account)

    async def finish(self, limit_s: float) -> bool:
        """Wait for what is under way; False when ``limit_s`` passed first."""
        return await self._jobs.finish(limit_s)

    def abort(self) -> int:
        """Break off the calls under way: they are in doubt, and are settled as such. Returns their number."""
        for task in self._abortable:
            task.cancel()
        return len(self._abortable)

    def let_go(self) -> None:
        """When all have finished and the others go on: what still waits here is not held any more, but the broker's."""
        self._intake.let_go()

    # --- Taking ------------------------------------------------------------------------------------------

    def _take(self, delivery: Delivery) -> None:
        if self._is_draining:
            return
        if is_suspect(delivery):
            self._observe(Suspected(self.account))
            self._loops.start(self._examine(delivery))
        else:
            self._look_at(delivery)

    async def _examine(self, delivery: Delivery) -> None:
        """Look at a message that workers may have died of: alone, and with a note for the case that this one does."""
        async with self._quarantine.turn(delivery) as deaths:
            if not self._broker.is_ours(delivery):
                self._intake.done_with([delivery])
            elif deaths is None:
                self._settle(self._pipeline.put_back_unread(delivery, HELD_LONG_WAIT_S), [delivery])
            elif deaths >= CRASHES_MAX:
                burying = self._settle(self._pipeline.bury_unread(delivery, died_over_it(deaths)), [delivery])
                await asyncio.wait((burying,), timeout=BURY_S_MAX)
            elif fetching := self._look_at(delivery):
                await asyncio.wait((fetching,), timeout=EXAMINED_FETCH_S_MAX)

    def _look_at(self, delivery: Delivery) -> asyncio.Task[None] | None:
        """Read it, and begin what is to be done with it; returns what is still under way, if anything."""
        decoded = self._pipeline.decode(delivery)
        match decoded:
            case Rejected():
                self._settle(self._pipeline.reject(delivery, decoded), [delivery])
            case Job() if self._pipeline.has_expired(decoded):
                self._settle(self._pipeline.expire(delivery, decoded), [delivery])
            case Job(media=Picture() as picture):
                self._put(delivery, decoded, picture)
            case Job(media=MediaUrl() as media) if (kept := self._pipeline.kept_picture(media)) is not None:
                self._put(delivery, decoded, kept)
            case Job(media=MediaUrl() as media):
                return self._jobs.start(self._prepare(delivery, decoded, media))
        return None

    async def _prepare(self, delivery: Delivery, job: Job, media: MediaUrl) -> None:
        self.underway.preparing += 1
        try:
            fetched = await self._abortably(self._pipeline.fetch(media))
        finally:
            self.underway.preparing -= 1
        if isinstance(fetched, Picture):
            self._put(delivery, job, fetched)
        elif fetched is not None:
            await self._settling(self._pipeline.without_picture(delivery, job, fetched), [delivery])

    def _put(self, delivery: Delivery, job: Job, picture: Picture) -> None:
        self._lanes.put(self._pipeline.ready(delivery, job, picture))

    # --- Pacing ------------------------------------------------------------------------------------------

    async def _pace(self) -> None:
        """Slot after slot: one call each."""
        while True:
            await self._suspension.opened()
            await self._lanes.filled()
            # Never call what cannot be told: the job would be handed out again, and called again.
            await self._broker.publisher_ready()
            # Nor while something is looked at that may end this process: what is under way then is in doubt.
            await self._quarantine.calm()
            await self._room.acquire()
            if not await self._use_slot():
                self._room.release()
            if not self._lanes:
                await self._slots.give_back()

    async def _use_slot(self) -> bool:
        """Wait for a slot and let the next jobs leave in it; False when nothing will."""
        slot = await self._slots.take(wanted=self._lanes.calls_waiting, lead_s=self._pipeline.lead_s)
        if slot is None:
            return False
        batch = self._claimed.next_batch() if self._may_leave else None
        if batch is None:
            self._slots.put_back()
            return False
        self._passed(Step.AFTER_SLOT)
        self._jobs.start(self._leave(batch, slot))
        return True

    @property
    def _may_leave(self) -> bool:
        return self._suspension.is_open and self._broker.can_publish and not self._is_draining

    # --- Leaving -----------------------------------------------------------------------------------------

    async def _leave(self, batch: Batch, slot: Slot) -> None:
        """Claim the jobs, wait for the slot's moment, and call; what does not leave waits again, with its claim."""
        asked_at_s = self._monotonic()
        claimed = await self._claimed.claimed(batch)
        is_on_time = claimed is not None and await self._slots.moment(slot)
        if going := self._going(claimed, asked_at_s, may_leave=is_on_time and self._may_leave):
            self._jobs_per_call += (len(going.jobs) - self._jobs_per_call) * NEWEST_CALL_WEIGHT
            outcome = await self._call(going, slot)
            await self._settling(self._pipeline.conclude(going, outcome), going.deliveries)

    def _going(self, claimed: Batch | None, asked_at_s: float, *, may_leave: bool) -> Batch | None:
        """What of the claimed jobs leaves at this very moment; with nothing, the call's place is free again.

        Nothing may be awaited from here to the call: whatever is looked at here would not be true any more.
        """
        going: Batch | None = None
        if claimed is not None and may_leave and self._monotonic() - asked_at_s <= CLAIM_GOOD_S:
            ours = self._claimed.still_ours(claimed.jobs)
            self._claimed.left(ours)
            going = Batch(ours) if ours else None
        elif claimed is not None:
            self._claimed.wait_again(claimed)
        if going is None:
            self._room.release()
            if self._is_draining:
                self._claimed.release()
        return going

    # --- Calling -----------------------------------------------------------------------------------------

    async def _call(self, batch: Batch, slot: Slot) -> Outcome:
        self.underway.calls += 1
        self.underway.calling += len(batch.jobs)
        called_at_s = self._monotonic()
        # Told here and not when the slot was there: a busy event loop comes to this call later.
        late_s = self._slots.left(slot, len(batch.jobs))
        waited_s = called_at_s - batch.jobs[0].delivery.received_at_s
        self._observe(SlotTaken(self.account, waited_s, late_s, slot.wait_s))
        self._silence.left(batch, called_at_s)
        try:
            outcome = await self._abortably(self._pipeline.call(batch))
        finally:
            self._silence.ended(batch, self._monotonic())
            self.underway.calls -= 1
            self.underway.calling -= len(batch.jobs)
            self._room.release()
        try:
            self._react(outcome, slot, called_at_s)
        except Exception as surprise:  # noqa: BLE001 - it ends the worker, and must not leave these jobs in doubt
            self._on_failure(surprise)
        return outcome

    def _react(self, outcome: Outcome, slot: Slot, called_at_s: float) -> None:
        """What the answer says of the account. What the limiter is asked beside it keeps no job from being settled."""
        match outcome:
            case NotSent(why) | InDoubt(why):
                self._jobs.start(self._failed(slot, why))
                return
            case Throttled(retry_after_s):
                self._jobs.start(self._refused(slot, retry_after_s))
            case Suspended():
                self._suspend(outcome.because, outcome.description, is_own=True)
                self._jobs.start(self._tell_suspended(outcome.because))
            case Accepted():
                took_s = self._monotonic() - called_at_s
                # Among many slots there is no telling: refusals come soon or not at all.
                if not slot.is_among_many and self._call_times.is_unusual(took_s):
                    self._slots.stalled()
                self._call_times.note(took_s)
        self._limiter.answered(self.account, slot.slots, slot.n)

    async def _try_one_call(self) -> bool:
        """Whether an ailing API answers a call again; with nothing to call for, it is believed to."""
        if not self._broker.can_publish:
            return False
        # As a job of its own: a stop waits for it as for any other call.
        trying = self._jobs.start(self._try())
        await asyncio.shield(trying)
        return self._is_trial_well

    async def _try(self) -> None:
        self._is_trial_well = True
        if not self._lanes:
            return
        await self._room.acquire()
        # The slot first: it may be long in coming, and a claim is good for a moment only.
        slot = await self._slots.probe_slot()
        asked_at_s = self._monotonic()
        claimed = None if self._is_draining else await self._claimed.claimed(self._claimed.next_batch())
        may_leave = self._broker.can_publish and not self._is_draining
        going = self._going(claimed, asked_at_s, may_leave=may_leave)
        if slot is not None and going is not None:
            outcome = await self._call(going, slot)
            self._is_trial_well = not is_ailing(outcome)
            self._settle(self._pipeline.conclude(going, outcome), going.deliveries)
        elif claimed is not None:
            self._is_trial_well = False

    async def _watch_silence(self) -> None:
        """Close the account before the read timeout does: what is called for while the API is silent is in doubt."""
        while True:
            looked_at_s = self._monotonic()
            await asyncio.sleep(SILENCE_LOOK_S)
            now_s = self._monotonic()
            # A process that was stopped did not listen.
            has_listened = now_s - looked_at_s < 2 * SILENCE_LOOK_S
            lasts_s = self._silence.lasts_s(now_s)
            if (
                has_listened
                and self._suspension.is_open
                and len(self._silence) >= SILENT_CALLS_MIN
                and lasts_s > noticed_after_s(self._call_times.usual_s())
            ):
                description = f"no answer for {lasts_s:.1f} s, with {len(self._silence)} calls waiting for one"
                self._suspend(SuspendedBecause.API, description, is_own=True)
                await self._tell_suspended(SuspendedBecause.API)

    def _settle(self, settlement: Coroutine[Any, Any, None], deliveries: Sequence[Delivery]) -> asyncio.Task[None]:
        return self._jobs.start(self._settling(settlement, deliveries))

    async def _settling(self, settlement: Coroutine[Any, Any, None], deliveries: Sequence[Delivery]) -> None:
        self.underway.settling += len(deliveries)
        try:
            await settlement
        finally:
            self.underway.settling -= len(deliveries)
            self._intake.done_with(deliveries)

    async def _abortably(self, waiting: Coroutine[Any, Any, Result]) -> Result:
        """Await somebody's answer, as a task that ``abort`` may cancel."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine always runs in one
        self._abortable.add(task)
        try:
            return await waiting
        finally:
            self._abortable.discard(task)

    # --- Suspension --------------------------------------------------------------------------------------

    def _suspend(self, because: SuspendedBecause, description: str, *, is_own: bool) -> None:
        if not self._is_draining and self._suspension.begin(because, description, is_own=is_own):
            self._loops.start(self._wait_until_well(because))

    def _suspended_elsewhere(self, reason: str) -> None:
        # A reason that only another release knows stops the account as well.
        is_known = reason in {because.value for because in SuspendedBecause}
        self._suspend(SuspendedBecause(reason) if is_known else SuspendedBecause.CREDENTIALS, ELSEWHERE, is_own=False)

    async def _wait_until_well(self, because: SuspendedBecause) -> None:
        # An API is well again within seconds, mostly: what waits here goes on from here.
        is_for_long = because is not SuspendedBecause.API
        if is_for_long:
            await self._intake.pause()
            await self._put_back_received_before(float("inf"), RequeueReason.SUSPENDED, SUSPENDED_WAIT_S)
        await self._suspension.end(self._try_one_call)
        if is_for_long:
            await self._intake.open()

    def _hear(self) -> None:
        """Another worker found the account closed, suspended, or well again."""
        self._slots.drop()
        self._suspension.look()

    async def _tell_suspended(self, because: SuspendedBecause) -> None:
        await self._limiter.suspend(self.account, because.value)

    async def _failed(self, slot: Slot, why: str) -> None:
        if not self._is_draining and await self._limiter.failed(self.account, slot.slots, slot.n):
            description = f"{FAILURES_MAX} calls in a row were not answered properly; the last one: {why}"
            self._suspend(SuspendedBecause.API, description, is_own=True)

    async def _refused(self, slot: Slot, retry_after_s: float | None) -> None:
        await self._limiter.refused(
            self.account, slot.slots, slot.n, spread_s=self._call_times.spread_s(), retry_after_s=retry_after_s
        )

    # --- Jobs that wait too long -------------------------------------------------------------------------

    async def _sweep(self) -> None:
        """Put back what has waited so long that the broker would soon take the whole channel away."""
        while True:
            await asyncio.sleep(SWEEP_S)
            before_s = self._monotonic() - self._hold_s_max
            await self._put_back_received_before(before_s, RequeueReason.HELD_LONG, HELD_LONG_WAIT_S)

    async def _put_back_received_before(self, before_s: float, reason: RequeueReason, wait_s: float) -> None:
        jobs = list(self._lanes.take_older_than(before_s))
        ours = self._claimed.still_ours(jobs)
        claimed = self._claimed.left(ours)
        if ours:
            settling = self._pipeline.put_back(ours, reason, wait_s, claimed=claimed)
            self._settle(settling, [ready.delivery for ready in ours])
