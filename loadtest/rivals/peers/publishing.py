"""Jobs in the form that a framework gives them."""

import asyncio
import itertools
import json
from collections.abc import Callable, Iterable, Iterator

AT_A_TIME = 64


def _jobs(lines: Iterable[bytes]) -> Iterator[dict[str, object]]:
    return (json.loads(line) for line in lines)


def _celery(lines: Iterable[bytes]) -> None:
    from loadtest.rivals.peers.celery_app import app, send_mms  # noqa: PLC0415 - each is loaded alone

    with app.producer_pool.acquire(block=True) as producer:
        for job in _jobs(lines):
            send_mms.apply_async((job,), producer=producer)


def _dramatiq(lines: Iterable[bytes]) -> None:
    from loadtest.rivals.peers.dramatiq_app import send_mms  # noqa: PLC0415

    for job in _jobs(lines):
        send_mms.send(job)


async def _taskiq(lines: Iterable[bytes]) -> None:
    from loadtest.rivals.peers.taskiq_app import broker, send_mms  # noqa: PLC0415

    await broker.startup()
    jobs = _jobs(lines)
    while some := list(itertools.islice(jobs, AT_A_TIME)):
        await asyncio.gather(*(send_mms.kiq(job) for job in some))
    await broker.shutdown()


PUBLISHERS: dict[str, Callable[[Iterable[bytes]], None]] = {
    "celery": _celery,
    "dramatiq": _dramatiq,
    "taskiq-aio-pika": lambda lines: asyncio.run(_taskiq(lines)),
}
"""By library."""
