"""Publishes at a steady rate, on through every trouble of the broker."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import aio_pika
from aio_pika.exceptions import AMQPError

from loadtest.dashboards.jobs import Job
from loadtest.publishing import JOBS_EXCHANGE

CONNECT_S_MAX, CONFIRM_S_MAX, AGAIN_S = 5.0, 5.0, 0.3
AT_ONCE = 50
BROKER_AWAY = (AMQPError, OSError, TimeoutError, asyncio.InvalidStateError, RuntimeError)


@dataclass(slots=True)
class Producer:
    """`per_s` jobs a second, and `first` of them at once; what is not confirmed is published again."""

    url: str
    jobs: Iterator[Job]
    per_s: float
    first: int = 0

    async def publish(self) -> None:
        """For ever."""
        loop = asyncio.get_running_loop()
        owed_since_s, waiting = loop.time() - self.first / self.per_s, list[Job]()
        while True:
            try:
                async with await aio_pika.connect(self.url, timeout=CONNECT_S_MAX) as connection:
                    channel = await connection.channel()
                    exchange = await channel.get_exchange(JOBS_EXCHANGE, ensure=False)
                    while True:
                        while len(waiting) < AT_ONCE and owed_since_s <= loop.time():
                            owed_since_s += 1 / self.per_s
                            waiting.append(next(self.jobs))
                        sending = (
                            exchange.publish(_message(job), job.routing_key, timeout=CONFIRM_S_MAX) for job in waiting
                        )
                        await asyncio.gather(*sending)
                        waiting.clear()
                        await asyncio.sleep(max(0.0, owed_since_s - loop.time()))
            except BROKER_AWAY:
                await asyncio.sleep(AGAIN_S)


async def publish_one(url: str, job: Job) -> None:
    """Publish it, confirmed."""
    async with await aio_pika.connect(url, timeout=CONNECT_S_MAX) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(JOBS_EXCHANGE, ensure=False)
        await exchange.publish(_message(job), job.routing_key, timeout=CONFIRM_S_MAX)


def _message(job: Job) -> aio_pika.Message:
    return aio_pika.Message(
        job.body,
        content_type="application/json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=job.name,
        timestamp=datetime.now(UTC),
    )
