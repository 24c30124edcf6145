"""taskiq with its RabbitMQ broker: acknowledges when the task has ended."""

from typing import Any

from taskiq import TaskiqEvents, TaskiqState
from taskiq_aio_pika import AioPikaBroker, Exchange, Queue

from loadtest.rivals.peers.catalogue import JOBS_QUEUE, RESULTS_QUEUE
from loadtest.rivals.peers.sending import AsyncSender, async_sender
from loadtest.rivals.peers.surroundings import surroundings

here = surroundings()
broker = AioPikaBroker(here.amqp_url, qos=here.in_flight, task_queues=[Queue(name=JOBS_QUEUE)])
results = AioPikaBroker(here.amqp_url, exchange=Exchange(name=RESULTS_QUEUE), task_queues=[Queue(name=RESULTS_QUEUE)])
senders: list[AsyncSender] = []


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def start(_: TaskiqState) -> None:
    """In the process that works."""
    await results.startup()
    senders.append(async_sender(here))


@broker.task
async def send_mms(job: dict[str, Any]) -> None:
    """One job, and what came of it as a task of another queue."""
    await record.kiq(await senders[0].send(job))


@results.task
async def record(result: dict[str, Any]) -> None:
    """Nobody works on these here."""
