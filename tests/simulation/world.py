"""The real flow of several workers on ports in memory, in virtual time, with faults by the roll of seeded dice.

A worker that dies is not tidied up: from that moment on, nothing that it asks for is done and nothing is answered, and
what the broker had handed to it goes back to its queue. What it had asked for a moment before may still be done.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import orjson

from tests.jobs import job_body
from worker.adapters.memory import (
    MemoryApi,
    MemoryBroker,
    MemoryLimiter,
    MemoryMedia,
    MemoryServer,
    MemorySuspects,
    SeenCall,
)
from worker.adapters.memory_journal import MemoryJournal
from worker.adapters.memory_sendings import MemorySendings
from worker.core.delivery import Delivery, Lane, Publication
from worker.core.journal import Claim, Record, Resolution, Resolved, Told
from worker.core.outcome import Answer, NeverLeft, NoAnswer, Response
from worker.core.sendings import NOTED_LATE_S_MAX, Trace
from worker.core.steps import Step
from worker.flow.account import AccountSender, SendLimits
from worker.flow.held import HeldBytes
from worker.flow.observations import Observation
from worker.flow.pipeline import Pipeline, Rules
from worker.flow.ports import Claimed, JournalAway, LimiterAway, PublishFailed, Slots
from worker.flow.quarantine import Quarantine

ACCOUNT = "acme"
START = datetime(2026, 11, 22, 3, 4, 5, tzinfo=UTC)
READ_TIMEOUT_S = 5.0
CALL_S_MAX = READ_TIMEOUT_S + 5.0
LATENCY_S_MAX = 0.004

Result = TypeVar("Result")


class DiedError(BaseException):
    """The worker is dead: what was about to run does not."""


class Life:
    """Whether a worker lives; everything that it asks for from outside goes through here.

    What it asks of the journal and of the store of traces goes in one line, and is done in the order of asking.
    """

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._line = asyncio.Lock()
        self.is_over = False

    async def through(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Ask for something: it takes a while to get there, and for the answer to come back."""
        await self._while_alive()
        result = await work()
        await self._while_alive()
        return result

    async def in_line(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """The same for what is asked of one store."""
        async with self._line:
            await self._while_alive()
            result = await work()
        await self._while_alive()
        return result

    def check(self) -> None:
        """Go on, if it does; whoever tidies up does not either."""
        if self.is_over:
            raise DiedError

    async def _while_alive(self) -> None:
        await asyncio.sleep(self._dice.uniform(0, LATENCY_S_MAX))
        if self.is_over:
            await asyncio.Event().wait()


class MortalJournal(MemoryJournal):
    """One worker's way to the shared journal."""

    def __init__(self, shared: MemoryJournal, life: Life) -> None:
        self._shared = shared
        self._life = life

    async def claim(self, account: str, claims: Sequence[Claim]) -> list[Claimed] | JournalAway:
        return await self._life.in_line(lambda: self._shared.claim(account, claims))

    async def conclude(self, account: str, outcomes: Sequence[tuple[Claim, Record]]) -> list[bool] | JournalAway:
        return await self._life.in_line(lambda: self._shared.conclude(account, outcomes))

    async def resolve(self, account: str, resolutions: Sequence[Resolution]) -> list[Resolved] | JournalAway:
        return await self._life.in_line(lambda: self._shared.resolve(account, resolutions))

    def tell(self, account: str, ends: Any) -> None:
        told: list[Told] = list(ends)
        asyncio.get_running_loop().call_later(LATENCY_S_MAX, self._tell, account, told)

    def _tell(self, account: str, told: list[Told]) -> None:
        if not self._life.is_over:
            self._shared.tell(account, told)


class MortalSendings(MemorySendings):
    """One worker's way to the shared traces."""

    def __init__(self, shared: MemorySendings, life: Life) -> None:
        self._shared = shared
        self._life = life

    async def note(self, account: str, traces: Sequence[Trace]) -> list[str] | JournalAway:
        return await self._life.in_line(lambda: self._shared.note(account, traces))


class MortalLimiter:
    """One worker's way to the shared limiter."""

    def __init__(self, shared: MemoryLimiter, life: Life) -> None:
        self._shared = shared
        self._life = life

    async def reserve(self, account: str, count: int, **wish: Any) -> Slots | LimiterAway:
        self._life.check()
        return await self._shared.reserve(account, count, **wish)

    async def give_back(self, account: str, slots: Slots, used: int) -> None:
        self._life.check()
        await self._shared.give_back(account, slots, used)

    async def refused(self, account: str, slots: Slots, n: int, **answer: Any) -> None:
        self._life.check()
        await self._shared.refused(account, slots, n, **answer)

    def answered(self, account: str, slots: Slots, n: int) -> None:
        if not self._life.is_over:
            self._shared.answered(account, slots, n)

    async def failed(self, account: str, slots: Slots, n: int) -> bool:
        self._life.check()
        return await self._shared.failed(account, slots, n)

    async def suspend(self, account: str, reason: str) -> bool:
        self._life.check()
        return await self._shared.suspend(account, reason)

    def set_limit(self, account: str, limit_per_s: float) -> None:
        self._shared.set_limit(account, limit_per_s)

    def forget(self, account: str) -> None:
        self._shared.forget(account)

    def on_news(self, account: str, listener: Callable[[], None]) -> None:
        self._shared.on_news(account, listener)


class MortalBroker(MemoryBroker):
    """One worker's connection to the shared broker; confirms and acks take a while, and may be lost on the way."""

    def __init__(self, server: MemoryServer, life: Life, dice: random.Random) -> None:
        super().__init__(server, prefetch=40, monotonic=asyncio.get_running_loop().time)
        self._life = life
        self._dice = dice

    async def publish(self, publication: Publication) -> None:
        if self._life.is_over:
            await asyncio.Event().wait()
        await self._life.through(lambda: super(MortalBroker, self).publish(publication))
        if self._dice.random() < 0.01:
            raise PublishFailed("the connection ended before the confirm")

    def ack(self, delivery: Delivery) -> None:
        asyncio.get_running_loop().call_later(self._dice.uniform(0, LATENCY_S_MAX), self._ack, delivery)

    def _ack(self, delivery: Delivery) -> None:
        if not self._life.is_over:
            super().ack(delivery)


@dataclass
class Ledger:
    """What the API did: how often each number was accepted, and which calls the worker may be left in doubt about."""

    accepted: Counter[str] = field(default_factory=Counter)
    doubtful: set[str] = field(default_factory=set)
    arrivals_s: list[float] = field(default_factory=list)


class SimulatedApi:
    """Answers well mostly; and in every way of the outcome table."""

    def __init__(self, ledger: Ledger, dice: random.Random, trouble: float) -> None:
        self._ledger = ledger
        self._dice = dice
        self._trouble = trouble
        self.is_out = False

    async def answer(self, call: SeenCall) -> Response:  # noqa: PLR0911 - a table
        loop = asyncio.get_running_loop()
        if self.is_out:
            return NeverLeft("refused")
        self._ledger.arrivals_s.append(loop.time())
        kind = self._dice.random()
        await asyncio.sleep(self._dice.uniform(0.005, 0.04))
        if kind < self._trouble * 0.2:
            return NeverLeft("reset while connecting")
        if kind < self._trouble * 0.3:
            return Answer(429, b"{}")
        if kind < self._trouble * 0.4:
            return Answer(400, b'{"meta":{"status":"FIELD_INVALID"},"msg":"no"}')
        self._ledger.doubtful |= set(call.numbers)
        is_accepted = kind >= self._trouble or self._dice.random() < 0.5
        if is_accepted:
            self._ledger.accepted.update(call.numbers)
        if kind < self._trouble * 0.7:
            return Answer(502, b"<html>")
        if kind < self._trouble:
            await asyncio.sleep(READ_TIMEOUT_S)
            return NoAnswer("no whole answer in time")
        if self._dice.random() < 0.05:
            await asyncio.sleep(self._dice.uniform(0.2, READ_TIMEOUT_S - 1))
        self._ledger.doubtful -= set(call.numbers)
        accepted = self._ledger.accepted
        messages = [{"message_id": f"id-{number}-{accepted[number]}", "to": number} for number in call.numbers]
        data = {"messages": messages, "success_number": len(messages)}
        return Answer(200, orjson.dumps({"meta": {"code": 200, "status": "SUCCESS"}, "data": data}))


class Worker:
    """One incarnation of a worker."""

    def __init__(self, world: World, number: int) -> None:
        dice = random.Random(world.dice.random())  # noqa: S311 - not for secrets
        self.life = Life(dice)
        self.number = number
        loop = asyncio.get_running_loop()
        self.broker = MortalBroker(world.server, self.life, dice)
        self.dies_at: tuple[Step, int] | None = None
        self._world = world
        api = MemoryApi(self._answer, monotonic=loop.time)
        api.account_reply = Answer(200, b'{"meta":{"status":"SUCCESS"},"data":{}}')
        self._pipeline = Pipeline(
            broker=self.broker,
            api=api,
            media=MemoryMedia({}),
            journal=MortalJournal(world.journal, self.life),
            sendings=MortalSendings(world.sendings, self.life),
            process=f"w{number}",
            rules=Rules(region="AU", attempts_max=8),
            observe=world.seen.append,
            monotonic=loop.time,
            wall_clock=lambda: START + timedelta(seconds=loop.time() - world.started_s),
            chance=dice.random,
            passed=self._passed,
        )
        self.sender = AccountSender(
            account=ACCOUNT,
            limits=SendLimits(recipients_max=world.recipients_max, calls_max=16, prefetch=40, hold_s_max=600),
            held=HeldBytes(1_000_000_000),
            quarantine=Quarantine(
                suspects=world.suspects, is_ours=self.broker.is_ours, wait_s_max=600, observe=world.seen.append
            ),
            pipeline=self._pipeline,
            broker=self.broker,
            limiter=MortalLimiter(world.limiter, self.life),
            monotonic=loop.time,
            observe=world.seen.append,
            on_failure=self._failed,
            passed=self._passed,
        )

    async def _answer(self, call: SeenCall) -> Response:
        return await self.life.through(lambda: self._world.api.answer(call))

    def _passed(self, step: Step) -> None:
        if self.life.is_over:
            raise DiedError
        if self.dies_at is None or self.dies_at[0] is not step:
            return
        self.dies_at = (step, self.dies_at[1] - 1)
        if self.dies_at[1] <= 0:
            self.kill()
            raise DiedError

    def _failed(self, error: BaseException) -> None:
        if not isinstance(error, DiedError):
            self._world.failures.append(error)

    def kill(self) -> None:
        """It dies here and now."""
        if not self.life.is_over:
            self.life.is_over = True
            self._world.crashes += 1
            self.broker.close()


class World:
    """The servers, the workers that live, and the books."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)  # noqa: S311 - not for secrets
        self.failures: list[BaseException] = []
        self.seen: list[Observation] = []
        self.crashes = 0
        self.recipients_max = self.dice.choice([1, 1, 20])
        loop = asyncio.get_running_loop()
        self.started_s = loop.time()
        self.server = MemoryServer([ACCOUNT])
        self.limit_per_s = self.dice.choice([15.0, 50.0])
        self.limiter = MemoryLimiter(limit_per_s={ACCOUNT: self.limit_per_s}, span_us=12_000, monotonic=loop.time)
        self.journal = MemoryJournal(call_s_max=CALL_S_MAX, monotonic=loop.time)
        self.sendings = MemorySendings(keep_s=259_200, noted_s_max=CALL_S_MAX + NOTED_LATE_S_MAX, monotonic=loop.time)
        self.suspects = MemorySuspects()
        self.ledger = Ledger()
        self.api = SimulatedApi(self.ledger, self.dice, trouble=self.dice.choice([0.0, 0.02, 0.1]))
        self.workers: list[Worker] = []
        self.published: dict[str, str] = {}
        self.forgets = self.dice.random() < 0.15
        self._numbers = 0

    async def start_worker(self) -> None:
        """One more."""
        self._numbers += 1
        worker = Worker(self, self._numbers)
        self.workers.append(worker)
        await worker.sender.start()

    def living(self) -> list[Worker]:
        """Those that have not died."""
        return [worker for worker in self.workers if not worker.life.is_over]

    def publish(self, number: int) -> None:
        """One more job, to a number of its own; some twice."""
        job_id, to = f"j{number}", f"+614{number:08d}"
        self.published[job_id] = to
        text = self.dice.choice(["hello", "hello", f"hello {number}"])
        body = job_body(job_id, to=[to], text=text)
        lane = self.dice.choice([Lane.BULK, Lane.BULK, Lane.URGENT])
        # Of what was published twice, a journal that forgets cannot know.
        for _ in range(2 if self.dice.random() < 0.05 and not self.forgets else 1):
            self.server.publish_job(ACCOUNT, body, lane=lane)

    def ends(self) -> dict[str, list[dict[str, Any]]]:
        """The events of each job."""
        ends: dict[str, list[dict[str, Any]]] = {job_id: [] for job_id in self.published}
        for body in self.server.bodies("mms.events.log"):
            event = orjson.loads(body)
            ends[event["data"]["job_id"]].append(event)
        return ends

    def waiting(self) -> int:
        """Jobs in the account's queues, or in a living worker's hands."""
        queued = sum(len(self.server.queues[f"mms.jobs.{key}"]) for key in (ACCOUNT, f"{ACCOUNT}.urgent"))
        return queued + sum(worker.broker.held for worker in self.living())
