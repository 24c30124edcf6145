"""What happens to a delivery, top to bottom.

1. **Decode.** What is not a valid job is dead-lettered with every reason.
2. **Prepare.** An expired job is told; a picture that is named by URL is fetched.
3. **Wait** in the account's lane for a slot (``account.py`` takes it from there and comes back with the slot).
4. **Call** the API for all jobs that leave in this slot together, and **classify** what came back.
5. **Settle** each of them on its own: publish what the settlement says, each message confirmed, then acknowledge. In
   this order: a crash in between repeats a message, and never loses the job (``settling.py``).

A surprise while the job is read makes it a dead letter, while its picture is fetched it spends an attempt, and from
the call on it leaves the job in doubt. Each way the job is settled like any other, so that a message which trips a bug
neither blocks the queue nor is sent twice.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import assert_never

from worker.core.delivery import Delivery
from worker.core.job import Job, MediaUrl, Rejected, decode
from worker.core.outcome import (
    Accepted,
    InDoubt,
    NotSent,
    Outcome,
    Refused,
    Suspended,
    Throttled,
    classify,
    classify_account,
    share,
)
from worker.core.picture import Picture
from worker.core.settlement import (
    Moment,
    RequeueReason,
    Settlement,
    after_call,
    bury,
    expire,
    has_expired,
    hold_in_doubt,
    put_back,
    reject,
    try_again,
)
from worker.flow.lane import Batch, ReadyJob
from worker.flow.observations import CallFinished, CallResult, JobReceived, Observer, Operation, Surprise
from worker.flow.pictures import Pictures
from worker.flow.ports import Api, Broker, Media, MediaRefused, MediaUnavailable, Monotonic
from worker.flow.settling import Settler, Settling


@dataclass(frozen=True, slots=True)
class Rules:
    """What the flow decides by, apart from the API's answers."""

    region: str
    attempts_max: int


class Pipeline:
    """The steps, for one process and all accounts. It holds no job between two steps."""

    def __init__(
        self,
        *,
        broker: Broker,
        api: Api,
        media: Media,
        rules: Rules,
        observe: Observer,
        monotonic: Monotonic,
        wall_clock: Callable[[], datetime],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._api = api
        self._media = media
        self._rules = rules
        self._observe = observe
        self._monotonic = monotonic
        self._wall_clock = wall_clock
        self._chance = chance
        self._pictures = Pictures()
        self._settler = Settler(broker=broker, observe=observe, wall_clock=wall_clock)

    # 1 and 2 -------------------------------------------------------------------------------------------

    def decode(self, delivery: Delivery) -> Job | Rejected:
        """Read the delivery's body."""
        self._observe(JobReceived(delivery.account, delivery.redelivered))
        try:
            decoded = decode(delivery.body, region=self._rules.region)
        except Exception as error:  # noqa: BLE001 - a bug that one message trips must not stop the others
            self._observe(Surprise("decode", error))
            return Rejected((f"internal error: {type(error).__name__} while the job was read",), None, None)
        if isinstance(decoded, Job) and isinstance(decoded.media, Picture):
            return replace(decoded, media=self._pictures.one_of(decoded.media))
        return decoded

    def kept_picture(self, media: MediaUrl) -> Picture | None:
        """The picture, if it is at hand; most jobs of a campaign share one."""
        kept = self._media.kept(media.url)
        return kept if isinstance(kept, Picture) else None

    async def fetch(self, media: MediaUrl) -> Picture | MediaRefused | MediaUnavailable | None:
        """Fetch the picture; None when it was broken off, and the delivery simply stays the broker's."""
        try:
            return await self._media.fetch(media.url)
        except asyncio.CancelledError:
            _own_cancellation()
            return None
        except Exception as error:  # noqa: BLE001 - the one place where surprises before the call end
            self._observe(Surprise("fetch", error))
            return MediaUnavailable(f"internal error: {type(error).__name__}")

    async def without_picture(self, delivery: Delivery, job: Job, fault: MediaRefused | MediaUnavailable) -> None:
        """Settle a job whose picture cannot be had: at all, or this time."""
        why = f"media.url: {fault.reason}"
        match fault:
            case MediaRefused():
                settlement: Settlement = bury(delivery, job, (why,), now=self._now())
            case MediaUnavailable():
                settlement = try_again(
                    delivery,
                    job,
                    RequeueReason.MEDIA,
                    why,
                    attempts_max=self._rules.attempts_max,
                    now=self._now(),
                )
            case _:
                assert_never(fault)
        await self._settler.settle([Settling(delivery, job, settlement)])

    def has_expired(self, job: Job) -> bool:
        """Whether the job must not leave any more."""
        return has_expired(job, self._wall_clock())

    # 4 -------------------------------------------------------------------------------------------------

    async def call(self, batch: Batch) -> Outcome:
        """Make the call and say what came of it. Cancelled on the way, it is in doubt."""
        numbers = batch.numbers
        started_s = self._monotonic()
        low_balance = False
        try:
            outcome = classify(await self._api.send(batch.account, batch.content, numbers))
            low_balance = isinstance(outcome, Accepted) and outcome.low_balance
        except asyncio.CancelledError:
            _own_cancellation()
            outcome = InDoubt("the worker was stopped while the call was under way")
        except Exception as error:  # noqa: BLE001 - the one place where surprises while calling end
            self._observe(Surprise("call", error))
            outcome = InDoubt(f"internal error while the call was under way: {type(error).__name__}")
        self._observe(
            CallFinished(
                batch.account,
                Operation.SEND,
                result_of(outcome),
                self._monotonic() - started_s,
                len(numbers),
                low_balance=low_balance,
                jobs=len(batch.jobs),
            )
        )
        return outcome

    async def probe(self, account: str) -> Outcome:
        """Ask for the account itself, which costs nobody anything: ``Accepted`` when it answers as it should."""
        started_s = self._monotonic()
        try:
            outcome = classify_account(await self._api.account(account))
        except Exception as error:  # noqa: BLE001 - a bug that one account's probe trips must not stop the others
            self._observe(Surprise("probe", error))
            outcome = NotSent(f"internal error: {type(error).__name__}")
        self._observe(
            CallFinished(
                account,
                Operation.ACCOUNT,
                result_of(outcome),
                self._monotonic() - started_s,
                0,
                low_balance=False,
            )
        )
        return outcome

    # 5 -------------------------------------------------------------------------------------------------

    async def reject(self, delivery: Delivery, rejected: Rejected) -> None:
        """Settle a delivery that is not a valid job."""
        await self._settler.settle([Settling(delivery, None, reject(delivery, rejected, now=self._now()))])

    async def expire(self, jobs: Iterable[tuple[Delivery, Job]]) -> None:
        """Settle jobs whose time has passed."""
        await self._settler.settle(
            Settling(delivery, job, expire(delivery, job, now=self._now())) for delivery, job in jobs
        )

    async def put_back(self, jobs: Iterable[ReadyJob], reason: RequeueReason, wait_s: float) -> None:
        """Settle jobs that cannot leave from here now."""
        await self._settler.settle(
            Settling(ready.delivery, ready.job, put_back(ready.delivery, ready.job, reason, wait_s)) for ready in jobs
        )

    async def conclude(self, batch: Batch, outcome: Outcome) -> None:
        """Settle each job after the call that carried it."""
        await self._settler.settle(
            Settling(ready.delivery, ready.job, self._after_call(ready, outcome), outcome) for ready in batch.jobs
        )

    def _after_call(self, ready: ReadyJob, outcome: Outcome) -> Settlement:
        """What becomes of one job of the call; a bug that it trips must not touch the others."""
        delivery, job = ready.delivery, ready.job
        try:
            of_job = share(outcome, job.to)
            return after_call(delivery, job, of_job, attempts_max=self._rules.attempts_max, now=self._now())
        except Exception as error:  # noqa: BLE001 - the one place where surprises after the call end
            self._observe(Surprise("conclude", error))
            return hold_in_doubt(delivery, job, f"internal error: {type(error).__name__}", now=self._now())

    def _now(self) -> Moment:
        return Moment(at=self._wall_clock(), chance=self._chance())


def _own_cancellation() -> None:
    """Take note that the current task goes on after it was broken off; what it waits for next is not cancelled."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()


def utc_now() -> datetime:
    """The wall clock, with its zone."""
    return datetime.now(UTC)


def result_of(outcome: Outcome) -> CallResult:
    """The name that metrics and logs use for an outcome."""
    match outcome:
        case Accepted():
            return CallResult.SENT
        case Refused():
            return CallResult.REFUSED
        case Throttled():
            return CallResult.THROTTLED
        case NotSent():
            return CallResult.NOT_SENT
        case Suspended():
            return CallResult.SUSPENDED
        case InDoubt():
            return CallResult.IN_DOUBT
        case _:
            assert_never(outcome)
