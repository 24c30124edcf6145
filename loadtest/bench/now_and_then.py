"""One job now and then, and in between the same for a bare consumer: what the broker alone takes."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aio_pika.exceptions import AMQPError

from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.jobs import BenchJob
from loadtest.failure import LoadTestError
from loadtest.publishing import ANSWER_S_MAX, JOBS_EXCHANGE, publish_all

FIRST_JOBS = 3
"""At once, before it counts: a worker fetches the picture with the first of them."""
ARRIVE_S_MAX = 10.0
POLL_S = 0.05
BARE_QUEUE = "loadtest.latency"
"""A quorum queue as the worker's."""
NS_PER_US = 1_000


@dataclass(frozen=True, slots=True)
class Moments:
    """Of the jobs that count, by their names, wall clock, us.

    `published_us`: just before `basic.publish`. `bare_us`, `delivered_us`: the same of the job as it went to a bare
    consumer, and when it was there.
    """

    published_us: dict[str, int] = field(default_factory=dict)
    bare_us: dict[str, int] = field(default_factory=dict)
    delivered_us: dict[str, int] = field(default_factory=dict)


async def publish_now_and_then(
    url: str,
    jobs: Sequence[BenchJob],
    waits_s: Sequence[float],
    *,
    arrived: Callable[[], int],
    on_count: Callable[[int], None],
) -> Moments:
    """Publish one after the other; `arrived` says how many came through. Raises NotMeasuredError, LoadTestError."""
    moments = Moments()

    def note(name: str) -> None:
        moments.published_us[name] = time.time_ns() // NS_PER_US

    def note_bare(name: str) -> None:
        moments.bare_us[name] = time.time_ns() // NS_PER_US

    try:
        async with await aio_pika.connect(url, timeout=ANSWER_S_MAX) as connection:
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            exchange = await channel.get_exchange(JOBS_EXCHANGE)
            await publish_all(exchange, jobs[:FIRST_JOBS], lambda _: None)
            await _until(lambda: arrived() >= FIRST_JOBS)
            async with await aio_pika.connect(url, timeout=ANSWER_S_MAX) as other:
                await _consume_bare(await other.channel(), moments.delivered_us)
                for number, (job, wait_s) in enumerate(zip(jobs[FIRST_JOBS:], waits_s, strict=False), 1):
                    # Half-way between the jobs, so that neither is in the other's way.
                    await asyncio.sleep(wait_s / 2)
                    await publish_all(channel.default_exchange, (replace(job, routing_key=BARE_QUEUE),), note_bare)
                    await asyncio.sleep(wait_s / 2)
                    await publish_all(exchange, (job,), note)
                    on_count(number)
                await _until(lambda: arrived() >= len(jobs) and moments.delivered_us.keys() == moments.bare_us.keys())
            await channel.queue_delete(BARE_QUEUE)
    except (AMQPError, OSError, TimeoutError) as error:
        raise LoadTestError(f"The broker does not answer as it should: {error!r}.") from error
    return moments


async def _consume_bare(channel: AbstractChannel, delivered_us: dict[str, int]) -> None:
    queue = await channel.declare_queue(BARE_QUEUE, durable=True, arguments={"x-queue-type": "quorum"})

    async def note(message: AbstractIncomingMessage) -> None:
        delivered_us[message.message_id or ""] = time.time_ns() // NS_PER_US

    await queue.consume(note, no_ack=True)


async def _until(is_so: Callable[[], bool]) -> None:
    give_up_at_s = time.monotonic() + ARRIVE_S_MAX
    while not is_so():
        if time.monotonic() > give_up_at_s:
            raise NotMeasuredError(f"What was published did not arrive within {ARRIVE_S_MAX:.0f} s.")
        await asyncio.sleep(POLL_S)
