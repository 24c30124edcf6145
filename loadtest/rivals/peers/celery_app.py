"""Celery: acknowledged late, and published with confirms."""

from functools import cache
from typing import Any

from celery import Celery

from loadtest.rivals.peers.catalogue import JOBS_QUEUE, RESULTS_QUEUE
from loadtest.rivals.peers.sending import HttpxSender
from loadtest.rivals.peers.surroundings import surroundings

here = surroundings()
app = Celery("peers", broker=here.amqp_url)
app.conf.update(
    task_default_queue=JOBS_QUEUE,
    task_acks_late=True,
    task_ignore_result=True,
    broker_transport_options={"confirm_publish": True},
    broker_pool_limit=here.in_flight,
    # With them, Celery 5.7 on gevent waits for a tenth of a second after each message that it takes.
    broker_heartbeat=0,
)


@cache
def sender() -> HttpxSender:
    """Made in the process that uses it: connections do not survive a fork."""
    return HttpxSender(here)


@app.task
def send_mms(job: dict[str, Any]) -> None:
    """One job, and what came of it as a job of another queue, as one chains tasks."""
    record.apply_async((sender().send(job),), queue=RESULTS_QUEUE)


@app.task
def record(result: dict[str, Any]) -> None:
    """Nobody works on these here."""
