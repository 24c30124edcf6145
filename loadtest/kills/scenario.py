"""One kill from its beginning to its books, on servers that many kills share."""

import asyncio
import contextlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue
from redis.asyncio import Redis as RedisClient

from deploy.local import RabbitMQ, Redis
from deploy.local.redis_server import DATABASES
from loadtest.demo.pictures import sample_pictures
from loadtest.kills.books import NO_RECORD, Found, Job, Plan, Told
from loadtest.kills.points import Point, nth_of
from loadtest.publishing import ANSWER_S_MAX, JOBS_EXCHANGE, publish_all
from loadtest.simulator.faults import Fault
from loadtest.simulator.process import SimulatorProcess
from loadtest.worker_process import WorkerProcess

ACCOUNT = "acme"
RATE_PER_S = 50
CALLS_MAX = 8
JOBS_OF_CALL = 3
CALLS_LOADED = 30
REFUSALS_LOADED = 8
"""So that the victim gets some of them."""
CONNECT_S, READ_S = 2, 6
"""A dead worker's claims come of age when these and the worker's own ten seconds have passed."""
LATENCY_MS, LATENCY_SPREAD_MS = 150.0, 50.0
"""Of the simulator, so that several calls are under way."""

DIE_S_MAX, END_S_MAX = 30.0, 75.0
LATE_S = 2.0
STALE_S = 1.5
"""A claim that is still there after this is of no worker that lives; and what had left has arrived."""
QUIET_S = 1.0
POLL_S = 0.01
EVENTS_BEFORE_STOP = 10
EMPTY_POLL_S = 0.5
WAITING_QUEUES = (
    f"mms.jobs.{ACCOUNT}",
    f"mms.jobs.{ACCOUNT}.urgent",
    *(f"mms.retry.{delay}s" for delay in (1, 5, 15, 60, 300)),
)
QUEUES = (*WAITING_QUEUES, "mms.dead", "mms.unroutable")
HELD_QUEUE = "mms.in_doubt"


@dataclass(frozen=True, slots=True)
class Site:
    """The servers, and where logs go. `numbers`: each kill takes the next, for what it has of its own."""

    rabbitmq: RabbitMQ
    redis: Redis
    simulator: SimulatorProcess
    folder: Path
    numbers: Iterator[int]


def plan_of(point: Point, number: int, *, is_quiet: bool) -> Plan:
    """Kill `number` at `point`."""
    picture = sample_pictures()[0].data
    calls = 1 if is_quiet else CALLS_LOADED
    jobs = [_job(f"{point.name}-{number}", n, picture) for n in range(calls * JOBS_OF_CALL)]
    return Plan(point, number, nth_of(point, number, is_quiet=is_quiet), is_quiet, CALLS_MAX, jobs)


def _job(prefix: str, n: int, picture: str) -> Job:
    name, to, text = f"{prefix}-{n}", f"+614{n:08}", f"{prefix}, call {n // JOBS_OF_CALL}"
    body = json.dumps({"id": name, "to": [to], "text": text, "media": {"data": picture}}).encode()
    return Job(name, to, text, body, ACCOUNT)


async def kill(site: Site, plan: Plan) -> Found:
    """Carry it out; raises LoadTestError when a worker does not start, and what the servers' clients raise."""
    number = next(site.numbers)
    vhost, database, key = f"kill-{number}", number % DATABASES, f"key-{number}"
    site.redis.flush(database)
    amqp_url = site.rabbitmq.add_vhost(vhost)
    try:
        settings = {
            "MMS_AMQP_URL": amqp_url,
            "MMS_REDIS_URL": site.redis.url_of(database),
            "MMS_API_URL": site.simulator.api_url,
            "MMS_API_CA_FILE": str(site.simulator.ca_file),
            "MMS_ACCOUNT": ACCOUNT,
            "MMS_APP_KEY": key,
            "MMS_RATE_PER_S": str(RATE_PER_S),
            "MMS_CALLS_MAX": str(CALLS_MAX),
            "MMS_CONNECT_TIMEOUT_S": str(CONNECT_S),
            "MMS_READ_TIMEOUT_S": str(READ_S),
        }
        async with AsyncExitStack() as stack:
            scene = Scene(site, plan, settings, number=number, key=key)
            return await scene.play(stack)
    finally:
        await asyncio.to_thread(site.rabbitmq.delete_vhost, vhost)


class Scene:
    """What one kill works with."""

    def __init__(self, site: Site, plan: Plan, settings: Mapping[str, str], *, number: int, key: str) -> None:
        self._site = site
        self._plan = plan
        self._key = key
        self._control = site.simulator.control
        self._accepted_before = self._control.summary().recipients_accepted
        failpoint = f"{plan.point.name}:{plan.nth}"
        self._victim = WorkerProcess(
            f"victim {number}", folder=site.folder, settings={**settings, "MMS_FAILPOINT": failpoint}
        )
        self._heir = WorkerProcess(f"heir {number}", folder=site.folder, settings=settings)
        self._amqp_url = settings["MMS_AMQP_URL"]
        self._store = RedisClient.from_url(settings["MMS_REDIS_URL"], decode_responses=True)

    async def play(self, stack: AsyncExitStack) -> Found:
        """From the start to the books; `stack` puts away what was started."""
        plan = self._plan
        began_s = time.monotonic()
        stack.push_async_callback(self._store.aclose)
        await self._start(self._victim, stack)
        if not plan.is_quiet:
            await self._start(self._heir, stack)
        outside = await stack.enter_async_context(open_outside(self._amqp_url))
        if plan.point.needs_a_refusal:
            # A job that came late leaves in a call of its own, which is to be refused as well.
            count = len(plan.jobs) if plan.is_quiet else REFUSALS_LOADED
            self._control.add_fault(Fault("429_bare", count=count, account=self._key))
        if plan.point.needs_a_stop and plan.is_quiet:
            # So that the call is still under way when the worker has heard of the stop, also on a busy machine.
            self._control.add_fault(Fault("late", count=1, account=self._key, after_s=LATE_S))
        await outside.publish(plan)
        if plan.point.needs_a_stop:
            await self._until(lambda: self._is_busy(outside), DIE_S_MAX)
            self._victim.ask_to_stop()
        await self._until(lambda: self._victim.ended is not None, DIE_S_MAX)
        records, claims, accepted_by_death = await self._at_death()
        if plan.is_quiet:
            await self._start(self._heir, stack)
        await self._until(lambda: outside.told.keys() >= {job.name for job in plan.jobs}, END_S_MAX)
        # A copy that met its job's call under way comes back, to be found a repeat.
        await self._until_empty(outside)
        await asyncio.sleep(QUIET_S)
        self._heir.ask_to_stop()
        await asyncio.to_thread(self._heir.wait_until_stopped)
        await outside.read_all()
        accepted, foreign = self._ledger()
        return Found(
            victim_ended=self._victim.ended,
            has_said_so=[line["step"] for line in _lines(self._victim, "failpoint_reached")] == [plan.point.name],
            heir_ended=self._heir.ended,
            surprises=len(_lines(self._victim, "surprise") + _lines(self._heir, "surprise")),
            records=records,
            claims=claims,
            events={name: tuple(told) for name, told in outside.told.items()},
            accepted=accepted,
            accepted_by_death=accepted_by_death,
            broken_off=self._control.summary(self._key).calls_by_result.get("broken_off", 0),
            held=await outside.take_out(HELD_QUEUE),
            left={queue: await outside.depth(queue) for queue in QUEUES},
            foreign=(*foreign, *(outside.told.keys() - {job.name for job in plan.jobs})),
            took_s=time.monotonic() - began_s,
        )

    async def _start(self, worker: WorkerProcess, stack: AsyncExitStack) -> None:
        stack.enter_context(worker)
        await asyncio.to_thread(worker.wait_until_ready)

    async def _until(self, is_so: Callable[[], bool], limit_s: float) -> None:
        """Wait for it; what does not come is for the books to tell."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while not is_so():  # noqa: ASYNC110 - other processes
                    await asyncio.sleep(POLL_S)

    async def _until_empty(self, outside: "Outside") -> None:
        """Wait until nothing waits in the queues, nor comes back."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_S_MAX):
                while sum([await outside.depth(queue) for queue in WAITING_QUEUES]):  # noqa: ASYNC110 - the broker
                    await asyncio.sleep(EMPTY_POLL_S)

    def _is_busy(self, outside: "Outside") -> bool:
        """Whether a call is under way, or in a loaded kill, has been for a while."""
        if self._plan.is_quiet:
            return self._control.summary(self._key).recipients_accepted > 0
        return len(outside.told) >= EVENTS_BEFORE_STOP

    # --- At the death --------------------------------------------------------------------------------------

    async def _at_death(self) -> tuple[dict[str, str], set[str], int]:
        """The records' first letters, the claims that nobody will conclude, and what the API has accepted."""
        first = await self._records()
        await asyncio.sleep(STALE_S)
        second = await self._records()
        accepted = sum(self._ledger()[0].values())
        stale = {name for name, record in first.items() if record.startswith("C|") and record == second[name]}
        return {name: record[:1] for name, record in first.items()}, stale, accepted

    async def _records(self) -> dict[str, str]:
        """What the journal holds of each job; "-" when it holds nothing."""
        names = [job.name for job in self._plan.jobs]
        records = await self._store.mget([f"mms:job:{{{ACCOUNT}}}:{name}" for name in names])
        return {name: str(record or NO_RECORD) for name, record in zip(names, records, strict=True)}

    def _ledger(self) -> tuple[Counter[str], list[str]]:
        """How often each job was accepted, and what was that nobody published."""
        by_content = {(job.text, job.to): job.name for job in self._plan.jobs}
        accepted: Counter[str] = Counter()
        foreign = []
        for entry in self._control.accepted(self._accepted_before):
            if entry.account != self._key:
                continue
            if (name := by_content.get((entry.text, entry.to))) is None:
                foreign.append(f"call {entry.call}")
            else:
                accepted[name] += 1
        return accepted, foreign


def _lines(worker: WorkerProcess, event: str) -> list[dict[str, Any]]:
    """The lines of a worker's log that tell of `event`."""
    lines = [json.loads(line) for line in worker.log().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


@dataclass(slots=True)
class Outside:
    """A producer, and a consumer of the events."""

    channel: AbstractChannel
    events: AbstractQueue
    told: defaultdict[str, list[Told]] = field(default_factory=lambda: defaultdict(list))
    all_read: asyncio.Event = field(default_factory=asyncio.Event)

    async def publish(self, plan: Plan) -> None:
        """Publish the jobs, confirmed."""
        exchange = await self.channel.get_exchange(JOBS_EXCHANGE)
        await publish_all(exchange, plan.jobs, lambda _: None)

    async def note(self, message: AbstractIncomingMessage) -> None:
        """Take in one event."""
        event: dict[str, Any] = json.loads(message.body)
        if not event:
            self.all_read.set()
            return
        told = Told(event["type"].removeprefix("mms.job."), event["id"], str(event["data"].get("why", "")))
        self.told[str(event["data"]["job_id"])].append(told)

    async def read_all(self) -> None:
        """Wait until every event that was published before has been taken in."""
        await self.channel.default_exchange.publish(aio_pika.Message(b"{}"), self.events.name, timeout=ANSWER_S_MAX)
        async with asyncio.timeout(ANSWER_S_MAX):
            await self.all_read.wait()

    async def depth(self, queue: str) -> int:
        """Messages that wait in `queue`."""
        declared = await self.channel.declare_queue(queue, passive=True, timeout=ANSWER_S_MAX)
        return declared.declaration_result.message_count or 0

    async def take_out(self, queue: str) -> list[str]:
        """Empty `queue`; the ids of the jobs in it."""
        source = await self.channel.get_queue(queue)
        names = []
        while (letter := await source.get(no_ack=True, fail=False, timeout=ANSWER_S_MAX)) is not None:
            names.append(json.loads(letter.body)["id"])
        return names


@contextlib.asynccontextmanager
async def open_outside(url: str) -> AsyncIterator[Outside]:
    """Connect, and take in every event from now on. The workers must have declared their exchanges."""
    async with await aio_pika.connect(url, timeout=ANSWER_S_MAX) as connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        events = await channel.declare_queue(exclusive=True, auto_delete=True, timeout=ANSWER_S_MAX)
        await events.bind("mms.events", "#", timeout=ANSWER_S_MAX)
        outside = Outside(channel, events)
        await events.consume(outside.note, no_ack=True, timeout=ANSWER_S_MAX)
        yield outside
