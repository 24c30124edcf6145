"""What happens to a delivery, top to bottom.

1. **Decode.** What is not a valid job is dead-lettered with every reason.
2. **Prepare.** An expired job is told; a picture that is named by URL is fetched.
3. **Wait** in the account's lane for a slot (``account.py`` takes it from there and comes back with the slot).
4. **Claim** in the journal the jobs that are to leave in this slot together (``claims.py``), **call** the API for them,
   and **classify** what came back.
5. **Settle** each of them on its own: write its end into the journal, with traces for the reports to come, publish what
   the settlement says, each message confirmed, then acknowledge. In this order: a crash in between repeats a message,
   and neither loses the job nor calls for it again (``settling.py``).

A surprise while the job is read makes it a dead letter, while its picture is fetched it spends an attempt, and from
the call on it leaves the job in doubt. Each way the job is settled like any other, so that a message which trips a bug
neither blocks the queue nor is sent twice.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol, assert_never

from worker.core.batch import CallContent
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
    bury_unread,
    expire,
    has_expired,
    hold_in_doubt,
    put_back,
    put_back_unread,
    reject,
    try_again,
)
from worker.core.steps import Passed, Step, unwatched
from worker.flow.claims import Claimant, Claims
from worker.flow.lane import Batch, ReadyJob
from worker.flow.observations import CallFinished, CallResult, JobReceived, Observer, Operation, Surprise
from worker.flow.pictures import Pictures
from worker.flow.ports import (
    Api,
    Broker,
    Journal,
    JournalAway,
    Media,
    MediaRefused,
    MediaUnavailable,
    Monotonic,
    Sendings,
)
from worker.flow.settling import Settler, Settling

#: An account that takes longer to answer for itself is not well.
PROBE_ANSWER_S_MAX = 3.0
#: While the journal is away, it is asked again after this.
CLAIM_AGAIN_S = 0.25


class Read(Protocol):
    """Makes a job of a message's body."""

    def __call__(self, body: bytes, *, region: str) -> Job | Rejected:
        """Numbers without a country code are read as of ``region``."""


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
        journal: Journal,
        sendings: Sendings,
        process: str,
        rules: Rules,
        observe: Observer,
        monotonic: Monotonic,
        wall_clock: Callable[[], datetime],
        chance: Callable[[], float] = random.random,
        passed: Passed = unwatched,
        read: Read = decode,
    ) -> None:
        """``process``: this one's name among all that ever were. ``read`` is another one in tests alone."""
        self._read = read
        self._passed = passed
        self._broker = broker
        self._api = api
        self._media = media
        self._rules = rules
        self._observe = observe
        self._monotonic = monotonic
        self._wall_clock = wall_clock
        self._chance = chance
        self._pictures = Pictures()
        self._settler = Settler(
            broker=broker,
            journal=journal,
            sendings=sendings,
            observe=observe,
            wall_clock=wall_clock,
            passed=passed,
        )
        self._claimant = Claimant(
            journal=journal,
            process=process,
            attempts_max=rules.attempts_max,
            now=self._now,
            observe=observe,
            monotonic=monotonic,
        )

    # 1 and 2 -------------------------------------------------------------------------------------------

    def decode(self, delivery: Delivery) -> Job | Rejected:
        """Read the delivery's body."""
        self._observe(JobReceived(delivery.account, delivery.redelivered))
        self._passed(Step.AFTER_DELIVER)
        try:
            decoded = self._read(delivery.body, region=self._rules.region)
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
        await self._end_without_call(delivery, job, settlement)

    def ready(self, delivery: Delivery, job: Job, picture: Picture) -> ReadyJob:
        """The job with everything at hand that its call needs."""
        content = CallContent(job.subject, job.text, picture)
        return ReadyJob(delivery, job, content, self._claimant.claim_of(delivery, job))

    def has_expired(self, job: Job) -> bool:
        """Whether the job must not leave any more."""
        return has_expired(job, self._wall_clock())

    # 4 -------------------------------------------------------------------------------------------------

    @property
    def lead_s(self) -> float:
        """How long before a slot the jobs that are to leave in it are claimed."""
        return self._claimant.lead_s

    async def claim(self, jobs: Sequence[ReadyJob]) -> Claims | JournalAway:
        """Claim jobs of one account. Expired ones are not called for, once they are claimed."""
        claims = await self._claimant.claim(jobs)
        if isinstance(claims, JournalAway):
            return claims
        if claims.going:
            self._passed(Step.AFTER_CLAIM)
        expired = [ready for ready in claims.going if self.has_expired(ready.job)]
        if not expired:
            return claims
        ends = (
            Settling(ready.delivery, ready.job, expire(ready.delivery, ready.job, now=self._now()), claim=ready.claim)
            for ready in expired
        )
        return Claims(tuple(ready for ready in claims.going if ready not in expired), (*claims.others, *ends))

    def release(self, jobs: Sequence[ReadyJob]) -> None:
        """Let go of the claims of jobs that did not leave."""
        self._claimant.release(jobs)

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
                code=outcome.code if isinstance(outcome, Refused) else "",
            )
        )
        return outcome

    async def probe(self, account: str) -> Outcome:
        """Ask for the account itself, which costs nobody anything: ``Accepted`` when it answers as it should."""
        started_s = self._monotonic()
        try:
            async with asyncio.timeout(PROBE_ANSWER_S_MAX):
                outcome = classify_account(await self._api.account(account))
        except TimeoutError:
            outcome = NotSent("no answer in time")
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

    async def bury_unread(self, delivery: Delivery, reason: str) -> None:
        """Settle a message that must not be looked at any more."""
        await self._settler.settle([Settling(delivery, None, bury_unread(delivery, reason, now=self._now()))])

    async def put_back_unread(self, delivery: Delivery, wait_s: float) -> None:
        """Settle a message that cannot be looked at now."""
        settlement = put_back_unread(delivery, RequeueReason.HELD_LONG, wait_s)
        await self._settler.settle([Settling(delivery, None, settlement)])

    async def expire(self, delivery: Delivery, job: Job) -> None:
        """Settle a job whose time has passed."""
        await self._end_without_call(delivery, job, expire(delivery, job, now=self._now()))

    async def settle(self, settlings: Sequence[Settling]) -> None:
        """Settle what may not be called for."""
        await self._settler.settle(settlings)

    async def put_back(
        self, jobs: Iterable[ReadyJob], reason: RequeueReason, wait_s: float, *, claimed: Collection[ReadyJob]
    ) -> None:
        """Settle jobs that cannot leave from here now; of those that are not ``claimed`` the journal knows nothing."""
        await self._settler.settle(
            Settling(
                ready.delivery,
                ready.job,
                put_back(ready.delivery, ready.job, reason, wait_s),
                claim=ready.claim if ready in claimed else None,
            )
            for ready in jobs
        )

    async def conclude(self, batch: Batch, outcome: Outcome) -> None:
        """Settle each job after the call that carried it."""
        self._passed(Step.BEFORE_OUTCOME)
        await self._settler.settle(self._after_call(ready, outcome) for ready in batch.jobs)

    def _after_call(self, ready: ReadyJob, outcome: Outcome) -> Settling:
        """What becomes of one job of the call; a bug that it trips must not touch the others."""
        delivery, job = ready.delivery, ready.job
        try:
            of_job = share(outcome, job.to)
            settlement = after_call(delivery, job, of_job, attempts_max=self._rules.attempts_max, now=self._now())
        except Exception as error:  # noqa: BLE001 - the one place where surprises after the call end
            self._observe(Surprise("conclude", error))
            of_job = InDoubt(f"internal error: {type(error).__name__}")
            settlement = hold_in_doubt(delivery, job, of_job.why, now=self._now())
        return Settling(delivery, job, settlement, of_job, ready.claim)

    async def _end_without_call(self, delivery: Delivery, job: Job, settlement: Settlement) -> None:
        """Settle a job that will not be called for, unless it has ended, or may have left, before."""
        claim = self._claimant.claim_of(delivery, job)
        while isinstance(instead := await self._claimant.claim_one(delivery, job, claim), JournalAway):
            await asyncio.sleep(CLAIM_AGAIN_S)
            if not self._broker.is_ours(delivery):
                return
        await self._settler.settle([instead or Settling(delivery, job, settlement, claim=claim)])

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
