"""FastStream: acknowledges when the handler has ended; what that returns is published."""

from typing import Any

from faststream import FastStream
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue

from loadtest.rivals.peers.catalogue import JOBS_QUEUE, RESULTS_QUEUE
from loadtest.rivals.peers.sending import AsyncSender, async_sender
from loadtest.rivals.peers.surroundings import surroundings

here = surroundings()
broker = RabbitBroker(here.amqp_url, default_channel=Channel(prefetch_count=here.in_flight))
app = FastStream(broker)
results = RabbitQueue(RESULTS_QUEUE, durable=True)
senders: list[AsyncSender] = []


@app.on_startup
async def start() -> None:
    """Before the first job is taken."""
    senders.append(async_sender(here))
    await broker.connect()
    await broker.declare_queue(results)


@broker.subscriber(RabbitQueue(JOBS_QUEUE, durable=True))
@broker.publisher(results, persist=True)
async def send_mms(job: dict[str, Any]) -> dict[str, Any]:
    """One job; what came of it is published to the other queue."""
    return await senders[0].send(job)
