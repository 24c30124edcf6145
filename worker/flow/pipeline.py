"""What happens to one delivery, top to bottom.

1. **Decode.** What is not a valid job is dead-lettered with every reason.
2. **Prepare.** An expired job is told; a picture that is named by URL is fetched.
3. **Wait** in the account's lane for a slot (``account.py`` takes it from there and comes back with the slot).
4. **Call** the API, and **classify** what came back.
5. **Settle**: publish what the settlement says, each message confirmed, then acknowledge. In this order: a crash
   in between repeats a message, and never loses the job.

A surprise while the job is read makes it a dead letter, while its picture is fetched it spends an attempt, and from
the call on it leaves the job in doubt. Each way the job is settled like any other, so that a message which trips a bug
neither blocks the queue nor is sent twice.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
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
    Finished,
    Moment,
    Requeued,
    RequeueReason,
    Settlement,
    after_call,
    bury,
    expire,
    has_expired,
    put_back,
    reject,
    tells_of_a_call,
    try_again,
)
from worker.flow.lane import ReadyJob
from worker.flow.observations import (
    CallFinished,
    CallResult,
    JobFinished,
    JobReceived,
    JobRequeued,
    Observer,
    Operation,
    Surprise,
)
from worker.flow.ports import (
    Api,
    Broker,
    CallContent,
    Media,
    MediaRefused,
    MediaUnavailable,
    Monotonic,
    PublishFailed,
)

#: Between two tries to publish while the broker is away.
PUBLISH_AGAIN_S = 0.2


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
        self._broker = broker
        self._api = api
        self._media = media
        self._rules = rules
        self._observe = observe
        self._monotonic = monotonic
        self._wall_clock = wall_clock
        self._chance = chance

    # 1 and 2 -------------------------------------------------------------------------------------------

    def decode(self, delivery: Delivery) -> Job | Rejected:
        """Read the delivery's body."""
        self._observe(JobReceived(delivery.account, delivery.redelivered))
        try:
            return decode(delivery.body, region=self._rules.region)
        except Exception as error:  # noqa: BLE001 - a bug that one message trips must not stop the others
            self._observe(Surprise("decode", error))
            return Rejected((f"internal error: {type(error).__name__} while the job was read",), None, None)

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
        await self.settle(delivery, job, settlement)

    def has_expired(self, job: Job) -> bool:
        """Whether the job must not leave any more."""
        return has_expired(job, self._wall_clock())

    # 4 -------------------------------------------------------------------------------------------------

    async def call(self, ready: ReadyJob) -> Outcome:
        """Make the call and say what came of it. Cancelled on the way, it is in doubt."""
        delivery, job = ready.delivery, ready.job
        started_s = self._monotonic()
        low_balance = False
        try:
            reply = await self._api.send(delivery.account, CallContent(job.subject, job.text, ready.picture), job.to)
            outcome = classify(reply)
            low_balance = isinstance(outcome, Accepted) and outcome.low_balance
        except asyncio.CancelledError:
            _own_cancellation()
            outcome = InDoubt("the worker was stopped while the call was under way")
        except Exception as error:  # noqa: BLE001 - the one place where surprises from the call on end
            self._observe(Surprise("call", error))
            outcome = InDoubt(f"internal error while the call was under way: {type(error).__name__}")
        self._observe(
            CallFinished(
                delivery.account,
                Operation.SEND,
                result_of(outcome),
                self._monotonic() - started_s,
                len(job.to),
                low_balance=low_balance,
            )
        )
        return outcome

    async def probe(self, account: str) -> Outcome:
        """Ask for the account itself, which costs nobody anything: ``Accepted`` when it answers as it should."""
        started_s = self._monotonic()
        reply = await self._api.account(account)
        outcome = classify_account(reply)
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
        await self.settle(delivery, None, reject(delivery, rejected, now=self._now()))

    async def expire(self, delivery: Delivery, job: Job) -> None:
        """Settle a job whose time has passed."""
        await self.settle(delivery, job, expire(delivery, job, now=self._now()))

    async def put_back(self, ready: ReadyJob, reason: RequeueReason, wait_s: float) -> None:
        """Settle a job that cannot leave from here now."""
        await self.settle(ready.delivery, ready.job, put_back(ready.delivery, ready.job, reason, wait_s))

    async def conclude(self, ready: ReadyJob, outcome: Outcome) -> None:
        """Settle a job after its call."""
        delivery, job = ready.delivery, ready.job
        of_job = share(outcome, job.to)
        settlement = after_call(delivery, job, of_job, attempts_max=self._rules.attempts_max, now=self._now())
        await self.settle(delivery, job, settlement, outcome)

    async def settle(
        self, delivery: Delivery, job: Job | None, settlement: Settlement, outcome: Outcome | None = None
    ) -> None:
        """Publish, then acknowledge. Goes on until the broker has confirmed, or the delivery is not ours any more."""
        for publication in settlement.publications:
            while True:
                if not tells_of_a_call(settlement) and not self._broker.is_ours(delivery):
                    return
                try:
                    await self._broker.publish(publication)
                    break
                except PublishFailed:
                    await asyncio.sleep(PUBLISH_AGAIN_S)
                    await self._broker.publisher_ready()
        await self._broker.ack(delivery)
        match settlement:
            case Finished():
                self._observe(self._finished(delivery, job, settlement, outcome))
            case Requeued():
                self._observe(
                    JobRequeued(
                        delivery.account, settlement.reason, settlement.delay_s, settlement.job_id, settlement.why
                    )
                )
            case _:
                assert_never(settlement)

    def _finished(
        self, delivery: Delivery, job: Job | None, settlement: Finished, outcome: Outcome | None
    ) -> JobFinished:
        since = (job.created_at if job else None) or delivery.published_at
        sent = sum(number in outcome.message_ids for number in job.to) if job and isinstance(outcome, Accepted) else 0
        refused = len(job.to) - sent if job and isinstance(outcome, Accepted | Refused) else 0
        return JobFinished(
            account=delivery.account,
            end=settlement.end,
            attempts=delivery.attempts + (outcome is not None),
            end_to_end_s=max(0.0, (self._wall_clock() - since).total_seconds()) if since else None,
            recipients_sent=sent,
            recipients_refused=refused,
            job_id=settlement.job_id,
            why=settlement.why,
        )

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
