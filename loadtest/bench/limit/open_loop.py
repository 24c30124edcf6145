"""Publishing on a schedule that waits for nobody, and how long each job took from there to its acceptance."""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import aio_pika
from aio_pika.exceptions import AMQPError

from loadtest.bench.jobs import BenchJob
from loadtest.failure import LoadTestError
from loadtest.publishing import ANSWER_S_MAX, JOBS_EXCHANGE
from loadtest.simulator.records import Accepted

NS_PER_US = 1_000
US_PER_MS = 1_000


@dataclass(frozen=True, slots=True)
class Planned:
    """A job and when it is to be published, in seconds from the beginning."""

    job: BenchJob
    after_s: float


def poisson_offsets(count: int, per_s: float, *, seed: int) -> list[float]:
    """`count` moments of a Poisson process; the same for a seed."""
    chance = random.Random(seed)
    at_s, offsets = 0.0, []
    for _ in range(count):
        at_s += chance.expovariate(per_s)
        offsets.append(at_s)
    return offsets


def publish_on_schedule(url: str, plan: Sequence[Planned], on_count: Callable[[int], object]) -> dict[str, int]:
    """Publish each at its moment, confirmed; when each was to be published (wall clock, us) by its name.

    The intended moment counts, not the real one: what made the publisher late would have made a user wait. Raises
    LoadTestError.
    """
    return asyncio.run(_publish(url, plan, on_count))


async def _publish(url: str, plan: Sequence[Planned], on_count: Callable[[int], object]) -> dict[str, int]:
    try:
        async with await aio_pika.connect(url, timeout=ANSWER_S_MAX) as connection:
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            exchange = await channel.get_exchange(JOBS_EXCHANGE)
            began_s, began_us = time.monotonic(), time.time_ns() // NS_PER_US
            async with asyncio.TaskGroup() as confirming:
                for number, planned in enumerate(plan):
                    await asyncio.sleep(max(0.0, began_s + planned.after_s - time.monotonic()))
                    message = aio_pika.Message(planned.job.body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
                    confirming.create_task(_confirmed(exchange, message, planned.job.routing_key))
                    on_count(number)
    except* (AMQPError, OSError, TimeoutError) as errors:
        raise LoadTestError(f"The broker did not take a job: {errors.exceptions[0]!r}.") from errors
    return {planned.job.name: began_us + round(planned.after_s * 1e6) for planned in plan}


async def _confirmed(exchange: aio_pika.abc.AbstractExchange, message: aio_pika.Message, key: str) -> None:
    await exchange.publish(message, key, timeout=ANSWER_S_MAX)


def waits_ms(
    published_us: Mapping[str, int], texts: Mapping[str, str], accepted: Iterable[Accepted]
) -> dict[str, float]:
    """From the intended publish to the acceptance, by the job's name; `texts`: the job's text by its name."""
    at_us = {one.text: one.at_us for one in accepted}
    return {
        name: (at_us[text] - published_us[name]) / US_PER_MS
        for name, text in texts.items()
        if name in published_us and text in at_us
    }
