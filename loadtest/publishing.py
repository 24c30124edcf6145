"""Jobs onto the queue as an upstream system publishes them: persistent, confirmed, few unconfirmed at a time."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

import aio_pika
from aio_pika.abc import AbstractExchange
from aio_pika.exceptions import AMQPError

from loadtest.failure import LoadTestError

JOBS_EXCHANGE = "mms.jobs"
ANSWER_S_MAX = 10.0
UNCONFIRMED_MAX = 32


class Publishable(Protocol):
    """A job as it goes out; `name` becomes the message's id."""

    @property
    def name(self) -> str: ...
    @property
    def routing_key(self) -> str: ...
    @property
    def body(self) -> bytes: ...


async def publish_all(
    exchange: AbstractExchange, jobs: Iterable[Publishable], on_publish: Callable[[str], None]
) -> None:
    """Publish each, confirmed; `on_publish` is told its name just before.

    Takes from `jobs` as the broker confirms, so that they may be made on the way. Raises LoadTestError when the
    broker does not take one.
    """
    room = asyncio.Semaphore(UNCONFIRMED_MAX)

    async def publish(job: Publishable) -> None:
        message = aio_pika.Message(
            job.body,
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=job.name,
        )
        try:
            on_publish(job.name)
            await exchange.publish(message, job.routing_key, timeout=ANSWER_S_MAX)
        finally:
            room.release()

    try:
        async with asyncio.TaskGroup() as under_way:
            for job in jobs:
                await room.acquire()
                under_way.create_task(publish(job))
    except* (AMQPError, OSError, TimeoutError) as errors:
        raise LoadTestError(f"The broker did not take a job: {errors.exceptions[0]!r}.") from errors
