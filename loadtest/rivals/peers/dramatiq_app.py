"""Dramatiq: acknowledges when the actor has ended; published with confirms."""

from typing import Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from loadtest.rivals.peers.catalogue import JOBS_QUEUE, RESULTS_QUEUE
from loadtest.rivals.peers.sending import HttpxSender
from loadtest.rivals.peers.surroundings import surroundings

here = surroundings()
broker = RabbitmqBroker(url=here.amqp_url, confirm_delivery=True)
dramatiq.set_broker(broker)
sender = HttpxSender(here)


@dramatiq.actor(queue_name=JOBS_QUEUE)
def send_mms(job: dict[str, Any]) -> None:
    """One job, and what came of it as a message of another queue."""
    record.send(sender.send(job))


@dramatiq.actor(queue_name=RESULTS_QUEUE)
def record(result: dict[str, Any]) -> None:
    """Nobody works on these here."""
