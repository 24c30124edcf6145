"""Jobs onto the queue as an upstream system publishes them: persistent, confirmed, a bounded number unconfirmed."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol, cast

import aiormq
from aio_pika import Exchange
from aio_pika.abc import AbstractExchange
from aio_pika.exceptions import AMQPError
from aiormq.exceptions import ChannelInvalidStateError

from loadtest.failure import LoadTestError

JOBS_EXCHANGE = "mms.jobs"
ANSWER_S_MAX = 10.0
UNCONFIRMED_MAX = 256
_PERSISTENT = 2
_NOT_TAKEN = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError)


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
    broker does not take one, or has no queue for it.
    """
    waiting = iter(jobs)
    # The layer below aio-pika, and no task for each job: together they halve what a job costs.
    channel = await _channel_below(exchange)

    async def publish_in_turn(lines: asyncio.TaskGroup, lines_left: int) -> None:
        """One job after the other; a line that finds one opens the next line, so that few jobs start few tasks."""
        for job in waiting:
            if lines_left:
                lines.create_task(publish_in_turn(lines, lines_left - 1))
                lines_left = 0
            on_publish(job.name)
            await _publish(channel, exchange.name, job)

    try:
        async with asyncio.TaskGroup() as lines:
            lines.create_task(publish_in_turn(lines, UNCONFIRMED_MAX - 1))
    except* LoadTestError as errors:
        first = errors.exceptions[0]
        raise first from first.__cause__


async def _channel_below(exchange: AbstractExchange) -> aiormq.Channel:
    if not isinstance(exchange, Exchange):
        raise TypeError("jobs are published to an exchange of aio-pika's own kind")
    try:
        return cast("aiormq.Channel", await exchange.channel.get_underlay_channel())
    except _NOT_TAKEN as error:
        raise LoadTestError(f"The broker did not take a job: {error!r}.") from error


async def _publish(channel: aiormq.Channel, exchange: str, job: Publishable) -> None:
    """Return when the broker has taken it; raises LoadTestError."""
    properties = aiormq.spec.Basic.Properties(
        content_type="application/json", delivery_mode=_PERSISTENT, message_id=job.name
    )
    try:
        answer = await channel.basic_publish(
            job.body,
            exchange=exchange,
            routing_key=job.routing_key,
            properties=properties,
            mandatory=True,
            timeout=ANSWER_S_MAX,
            wait=False,  # that it has left is said by its confirmation: waiting here would hold up the next one
        )
    except _NOT_TAKEN as error:
        raise LoadTestError(f"The broker did not take a job: {error!r}.") from error
    if not isinstance(answer, aiormq.spec.Basic.Ack):
        raise LoadTestError(f"The broker did not take a job: it has no queue for {job.routing_key!r}.")
