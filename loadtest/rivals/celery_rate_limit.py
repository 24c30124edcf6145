"""Celery with `rate_limit`, which counts per worker: each of the processes gets its part of the limit."""

import logging
import os
import ssl
import sys
from functools import cached_property
from http import HTTPStatus
from typing import Any

import httpx
from celery import Celery
from celery.signals import worker_ready

from loadtest.rivals.call import FILE_NAME, FILE_TYPE, call_of
from loadtest.rivals.command import Setup
from loadtest.rivals.life import SentFile, say_ready

TASK = "send_mms"
CONCURRENCY = 4
CALL_S_MAX = 30.0
RETRY_S = 1


def run(setup: Setup) -> None:
    """Work until the process is ended, or publish what comes on standard input."""
    app = Celery("rivals", broker=setup.amqp_url)
    app.conf.update(task_default_queue=setup.queue, task_ignore_result=True, worker_hijack_root_logger=False)
    if setup.is_to_publish:
        _publish(app)
        return
    _add_task(app, setup)
    worker_ready.connect(_on_ready)
    logging.basicConfig(level=logging.WARNING)
    name = f"--hostname=sender-{os.getpid()}@%h"  # each needs one of its own
    app.worker_main(["worker", "--loglevel=WARNING", f"--concurrency={CONCURRENCY}", name])


def _on_ready(**_: object) -> None:
    say_ready()


def _publish(app: Any) -> None:
    with app.producer_pool.acquire(block=True) as producer:
        for line in sys.stdin.buffer:
            app.send_task(TASK, args=[line.decode()], producer=producer)


def _add_task(app: Any, setup: Setup) -> None:
    api = _Api(setup)
    sent = SentFile(setup.sent_file)

    def send_mms(task: Any, body: str) -> None:
        if api.send(body.encode()) == HTTPStatus.TOO_MANY_REQUESTS:
            raise task.retry(countdown=RETRY_S, max_retries=None)
        sent.note()

    app.task(name=TASK, bind=True, rate_limit=f"{setup.rate_per_s / setup.processes}/s")(send_mms)


class _Api:
    """The client is made in the child process that uses it: connections do not survive a fork."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup

    @cached_property
    def _http(self) -> httpx.Client:
        context = ssl.create_default_context(cafile=str(self._setup.ca_file))
        return httpx.Client(auth=(self._setup.app_key, ""), verify=context, timeout=CALL_S_MAX, trust_env=False)

    def send(self, body: bytes) -> int:
        call = call_of(body)
        answer = self._http.post(
            f"{self._setup.api_url}/send-mms",
            data={"mms_text": call.text, "numbers": call.numbers},
            files={"mms_file": (FILE_NAME, call.picture, FILE_TYPE)},
        )
        if answer.status_code not in {HTTPStatus.OK, HTTPStatus.TOO_MANY_REQUESTS}:
            answer.raise_for_status()
        return answer.status_code
