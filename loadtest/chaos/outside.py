"""Who is outside: the producer, who publishes on through every trouble, and the reader of all events."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import AMQPError

from loadtest.chaos.books import Told
from loadtest.chaos.jobs import Job, Jobs, Sort
from loadtest.publishing import JOBS_EXCHANGE

CONFIRM_S_MAX, CONNECT_S_MAX = 5.0, 5.0
AGAIN_S = 0.3
REPEAT_AFTER_S = 2.0
EVENTS_QUEUE = "mms.events.log"
AHEAD_MAX = 500
BROKER_AWAY = (AMQPError, OSError, TimeoutError, asyncio.InvalidStateError, RuntimeError)


@dataclass(slots=True)
class Producer:
    """Publishes ``per_s`` jobs a second; what is not confirmed is published again. ``published``: what is confirmed.

    ``may_repeat``: whether a job may be published twice on purpose now.
    """

    url: str
    jobs: Jobs
    per_s: float
    may_repeat: Callable[[], bool]
    published: list[Job] = field(default_factory=list)
    repeats: int = 0
    _due: list[tuple[float, Job]] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)

    async def publish_until(self, at_s: float) -> None:
        """Until that moment of the event loop's clock, and until all of it is confirmed."""
        loop = asyncio.get_running_loop()
        next_s, waiting = loop.time(), list[Job]()
        while loop.time() < at_s or waiting or self._due:
            try:
                async with asyncio.timeout(CONNECT_S_MAX):
                    connection = await aio_pika.connect(self.url, timeout=CONNECT_S_MAX)
            except BROKER_AWAY:
                await asyncio.sleep(AGAIN_S)
                continue
            async with connection:
                try:
                    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
                    exchange = await channel.get_exchange(JOBS_EXCHANGE, ensure=False)
                    while loop.time() < at_s or waiting or self._due:
                        now_s = loop.time()
                        if not waiting:
                            waiting = self._now_due(now_s)
                            while next_s <= now_s and next_s < at_s and len(waiting) < AHEAD_MAX:
                                next_s += 1 / self.per_s
                                waiting.append(self.jobs.next(datetime.now(UTC), may_repeat=self.may_repeat()))
                        for job in list(waiting):
                            await exchange.publish(_message(job), job.routing_key, timeout=CONFIRM_S_MAX)
                            waiting.remove(job)
                            self._note(job, now_s)
                        await asyncio.sleep(max(0.0, min(next_s, at_s) - loop.time()) or AGAIN_S)
                except BROKER_AWAY:
                    await asyncio.sleep(AGAIN_S)

    def _now_due(self, now_s: float) -> list[Job]:
        due = [job for at_s, job in self._due if at_s <= now_s]
        self._due = [(at_s, job) for at_s, job in self._due if at_s > now_s]
        return due

    def _note(self, job: Job, now_s: float) -> None:
        if job.name in self._names:
            self.repeats += 1
            return
        self._names.add(job.name)
        self.published.append(job)
        if job.sort is Sort.REPEATED:
            self._due.append((now_s + REPEAT_AFTER_S, job))


def _message(job: Job) -> aio_pika.Message:
    return aio_pika.Message(
        job.body,
        content_type="application/json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=job.name,
        timestamp=datetime.now(UTC),
    )


@dataclass(slots=True)
class Reader:
    """Reads the log of events from its beginning, on through every trouble. ``told``: by job."""

    url: str
    told: defaultdict[str, list[Told]] = field(default_factory=lambda: defaultdict(list))
    _next: int = 0

    async def read(self) -> None:
        """For ever."""
        while True:
            try:
                connection = await aio_pika.connect(self.url, timeout=CONNECT_S_MAX)
                async with connection:
                    channel = await connection.channel()
                    await channel.set_qos(prefetch_count=200)
                    log = await channel.get_queue(EVENTS_QUEUE, ensure=False)
                    gone = asyncio.Event()
                    connection.close_callbacks.add(lambda *_, gone=gone: gone.set())
                    arguments: dict[str, Any] = {"x-stream-offset": self._next or "first"}
                    await log.consume(self._take, arguments=arguments, timeout=CONNECT_S_MAX)
                    await gone.wait()
            except BROKER_AWAY:
                pass
            await asyncio.sleep(AGAIN_S)

    async def _take(self, message: AbstractIncomingMessage) -> None:
        offset = message.headers.get("x-stream-offset")
        if isinstance(offset, int) and offset >= self._next:
            self._next = offset + 1
            event: dict[str, Any] = json.loads(message.body)
            data = event["data"]
            kind = str(event["type"]).removeprefix("mms.job.")
            since_us = int(datetime.fromisoformat(data["since"]).timestamp() * 1e6) if "since" in data else 0
            told = Told(kind, event["id"], str(data.get("why", "")), since_us, str(data.get("resolution", "")))
            self.told[str(data["job_id"])].append(told)
        await message.ack()


async def depths(url: str, queues: Iterable[str]) -> dict[str, int]:
    """Messages that wait in each queue."""
    async with await aio_pika.connect(url, timeout=CONNECT_S_MAX) as connection:
        channel = await connection.channel()
        found = {}
        for name in queues:
            queue = await channel.declare_queue(name, passive=True, timeout=CONNECT_S_MAX)
            found[name] = queue.declaration_result.message_count or 0
        return found


async def ids_in(url: str, queue: str) -> list[str]:
    """Empty ``queue``; the ids of the jobs in it."""
    async with await aio_pika.connect(url, timeout=CONNECT_S_MAX) as connection:
        channel = await connection.channel()
        source = await channel.get_queue(queue)
        names = []
        while (message := await source.get(no_ack=True, fail=False, timeout=CONNECT_S_MAX)) is not None:
            names.append(str(json.loads(message.body)["id"]))
        return names
