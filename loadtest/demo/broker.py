"""The broker as producers and consumers of events see it: the fixed exchanges and queues, and no more."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import AMQPError

from loadtest.demo.jobs import ACCOUNT, DemoJob
from loadtest.failure import LoadTestError
from loadtest.publishing import ANSWER_S_MAX, JOBS_EXCHANGE, publish_all

EVENTS_EXCHANGE = "mms.events"
JOBS_QUEUES = (f"mms.jobs.{ACCOUNT}", f"mms.jobs.{ACCOUNT}.urgent")
DEAD_QUEUE, UNROUTABLE_QUEUE = "mms.dead", "mms.unroutable"

LETTERS_MAX = 10_000
LAST_EVENT = b"last"

TakeEvent = Callable[[dict[str, Any]], None]


class DemoBroker:
    """Publishes jobs and reads events. Made by `open_broker`; the workers must have declared their queues."""

    def __init__(
        self, *, channel: AbstractChannel, jobs: AbstractExchange, events: AbstractQueue, take: TakeEvent
    ) -> None:
        self._channel = channel
        self._jobs = jobs
        self._events = events
        self._take = take
        self._all_read = asyncio.Event()
        self.published_at_us: dict[str, int] = {}
        """Wall clock, by the job's name; filled as jobs go out."""

    async def publish_all(self, jobs: Iterable[DemoJob]) -> None:
        """Publish each, confirmed; raises LoadTestError when the broker does not take one."""
        await publish_all(self._jobs, jobs, self._note_publish)

    def _note_publish(self, name: str) -> None:
        self.published_at_us[name] = time.time_ns() // 1_000

    async def depth(self, *queues: str) -> int:
        """Jobs that wait in these queues, handed to no worker."""
        declared = [await self._channel.declare_queue(queue, passive=True, timeout=ANSWER_S_MAX) for queue in queues]
        return sum(queue.declaration_result.message_count or 0 for queue in declared)

    async def take_out(self, queue: str) -> list[bytes]:
        """Empty a queue; the bodies."""
        source = await self._channel.get_queue(queue)
        bodies: list[bytes] = []
        while len(bodies) < LETTERS_MAX and (letter := await source.get(no_ack=True, fail=False, timeout=ANSWER_S_MAX)):
            bodies.append(letter.body)
        return bodies

    async def read_all_events(self) -> None:
        """Wait until every event that was published before this call has been taken."""
        last = aio_pika.Message(LAST_EVENT)
        await self._channel.default_exchange.publish(last, self._events.name, timeout=ANSWER_S_MAX)
        async with asyncio.timeout(ANSWER_S_MAX):
            await self._all_read.wait()

    async def receive(self, message: AbstractIncomingMessage) -> None:
        """Take in one message of the events' queue."""
        if message.body == LAST_EVENT:
            self._all_read.set()
        else:
            self._take(json.loads(message.body))


@contextlib.asynccontextmanager
async def open_broker(url: str, take: TakeEvent) -> AsyncIterator[DemoBroker]:
    """Connect, and hand every event from now on to `take`. The queue of events is our own and goes with us.

    Failures of the broker, in here and in the block, leave as LoadTestError.
    """
    try:
        connection = await aio_pika.connect(url, timeout=ANSWER_S_MAX)
        async with connection:
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            jobs = await channel.get_exchange(JOBS_EXCHANGE)
            events = await channel.declare_queue(exclusive=True, auto_delete=True, timeout=ANSWER_S_MAX)
            await events.bind(EVENTS_EXCHANGE, "#", timeout=ANSWER_S_MAX)
            broker = DemoBroker(channel=channel, jobs=jobs, events=events, take=take)
            await events.consume(broker.receive, no_ack=True, timeout=ANSWER_S_MAX)
            yield broker
    except (AMQPError, OSError, TimeoutError) as error:
        raise LoadTestError(f"The broker of the demo does not answer as it should: {error!r}.") from error
