"""A loop on aio-pika, without a framework: prefetch, a task for each delivery, publish, acknowledge."""

import asyncio
import json

import aio_pika
import uvloop
from aio_pika.abc import AbstractIncomingMessage

from loadtest.rivals.peers.catalogue import JOBS_QUEUE, RESULTS_QUEUE
from loadtest.rivals.peers.sending import async_sender
from loadtest.rivals.peers.surroundings import surroundings


async def run() -> None:
    """Work until the process is ended."""
    here = surroundings()
    sender = async_sender(here)
    consuming = await aio_pika.connect_robust(here.amqp_url)
    publishing = await aio_pika.connect_robust(here.amqp_url)
    channel = await consuming.channel()
    await channel.set_qos(prefetch_count=here.in_flight)
    results = await publishing.channel()
    await results.declare_queue(RESULTS_QUEUE, durable=True)

    async def work(delivery: AbstractIncomingMessage) -> None:
        async with delivery.process():
            result = await sender.send(json.loads(delivery.body))
            message = aio_pika.Message(
                json.dumps(result).encode(),
                content_type="application/json",
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            )
            await results.default_exchange.publish(message, RESULTS_QUEUE)

    queue = await channel.declare_queue(JOBS_QUEUE, durable=True)
    await queue.consume(work)
    await asyncio.Future()


if __name__ == "__main__":
    uvloop.run(run())
