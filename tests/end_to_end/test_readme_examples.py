"""The README's programs in Python, as they stand there, against a real broker: they run, and what they say holds."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aio_pika
import orjson
import pytest
from aio_pika.abc import AbstractChannel

from tests.deployed import IS_DEPLOYED, as_user
from tests.end_to_end.conftest import ROOT, System, Upstream
from tests.end_to_end.vendor import until
from worker.core.delivery import Publication
from worker.core.inbound_events import reply_event, report_event
from worker.core.replies import Reply
from worker.core.reports import Report
from worker.core.sendings import SentJob
from worker.flow.pipeline import utc_now

BROKER_IN_README = "amqp://guest:guest@127.0.0.1/"
QUEUE = "upstream.shop"
JOB = SentJob("j-1", None)
TO = "+61400000001"


def example(word: str, amqp_url: str) -> str:
    """The program in which ``word`` stands, for the broker at ``amqp_url``, with the rights of an upstream system."""
    programs: list[str] = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    (program,) = (one for one in programs if word in one)
    assert BROKER_IN_README in program
    return program.replace(BROKER_IN_README, as_user(amqp_url, "upstream") if IS_DEPLOYED else amqp_url)


class Consumer:
    """The README's consumer, as a process with a database of its own in ``folder``."""

    def __init__(self, amqp_url: str, folder: Path) -> None:
        self._program = folder / "consumer.py"
        self._program.write_text(example(QUEUE, amqp_url))
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        with (self._folder / "output").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-u", self._program], cwd=self._folder, stdout=output, stderr=output
            )
        self._processes.append(process)
        return process

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait(10)

    def output(self) -> str:
        return (self._folder / "output").read_text()

    def rows(self, question: str) -> list[Any]:
        file = self._folder / "messages.db"
        if not file.exists():
            return []
        database = sqlite3.connect(file)
        try:
            return database.execute(question).fetchall()
        except sqlite3.OperationalError:  # not there yet
            return []
        finally:
            database.close()


@pytest.fixture
def consumer(amqp_url: str, tmp_path: Path) -> Iterator[Consumer]:
    consumer = Consumer(amqp_url, tmp_path)
    yield consumer
    consumer.end()


@pytest.fixture
async def channel(amqp_url: str) -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        await channel.declare_exchange("mms.events", aio_pika.ExchangeType.TOPIC, durable=True)
        yield channel


async def tell(channel: AbstractChannel, *events: Publication | dict[str, Any]) -> None:
    exchange = await channel.get_exchange("mms.events", ensure=False)
    for event in events:
        body = event.body if isinstance(event, Publication) else orjson.dumps(event)
        await exchange.publish(aio_pika.Message(body), f"{orjson.loads(body)['type']}.acme")


async def waiting(channel: AbstractChannel) -> int:
    declared = await channel.declare_queue(QUEUE, passive=True)
    return declared.declaration_result.message_count or 0


async def until_bound(consumer: Consumer, channel: AbstractChannel) -> None:
    """Tell it something until it has heard of it."""
    async with asyncio.timeout(20):
        for number in range(400):
            await tell(channel, {"type": "mms.job.expired", "source": "/s", "id": f"hello-{number}", "data": {}})
            if consumer.rows("select * from seen where id like 'hello-%'"):
                return
            await asyncio.sleep(0.05)


def report(
    status: str, superseded_by: str | None = None, message_id: str = "m-1", job: SentJob | None = JOB
) -> Publication:
    told = Report(message_id, TO, status)
    return report_event(told, account="acme", job=job, superseded_by=superseded_by, at=utc_now())


def sent(job_id: str, message_id: str) -> dict[str, Any]:
    data = {"job_id": job_id, "recipients": [{"to": TO, "message_id": message_id}], "refused": []}
    return {"type": "mms.job.sent", "source": "/s", "id": f"{job_id}:sent", "data": data}


async def test_the_consumer_stores_each_event_once_and_keeps_what_is_final(
    consumer: Consumer, channel: AbstractChannel
) -> None:
    reply = Reply("r-1", TO, "Thanks", None, "m-1", "MMS")
    answer = reply_event(reply, account="acme", job=JOB, at=utc_now())
    story: list[Publication | dict[str, Any]] = [
        report("dispatched"),
        sent("j-1", "m-1"),
        report("delivered"),
        report("queued", superseded_by="delivered"),
        answer,
        report("dispatched", message_id="m-2", job=None),
        sent("j-2", "m-2"),
        report("failed", message_id="m-3", job=None),
        sent("j-3", "m-3"),
    ]
    first = consumer.start()
    await until_bound(consumer, channel)
    await tell(channel, *story)
    await until(lambda: len(consumer.rows("select * from seen where id not like 'hello%'")) == len(story))
    first.kill()
    first.wait(10)
    second = consumer.start()
    await tell(channel, *story, *story, sent("j-4", "m-4"))
    await until(lambda: consumer.rows("select * from messages where id = 'm-4'"))
    assert second.poll() is None, consumer.output()
    assert consumer.rows("select id, recipient, job_id, status, is_final from messages order by id") == [
        ("m-1", TO, "j-1", "delivered", 1),
        ("m-2", TO, "j-2", "dispatched", 0),
        ("m-3", TO, "j-3", "failed", 1),
        ("m-4", TO, "j-4", "sent", 0),
    ]
    assert consumer.rows("select * from replies") == [("r-1", "j-1", TO, "Thanks")]
    assert consumer.output().count("an answer to j-1") == 1
    assert consumer.output().count("delivered final") == 1
    assert "queued" not in consumer.output()


async def test_an_event_that_cannot_be_stored_stays_in_the_queue_and_is_stored_later(
    consumer: Consumer, channel: AbstractChannel
) -> None:
    first = consumer.start()
    await until_bound(consumer, channel)
    (file,) = consumer._folder.glob("messages.db")
    with sqlite3.connect(file) as database:
        database.execute("alter table messages rename to gone")
    await tell(channel, report("delivered"))
    await asyncio.to_thread(first.wait, 20)
    assert first.returncode != 0
    assert "no such table" in consumer.output()
    with sqlite3.connect(file) as database:
        database.execute("alter table gone rename to messages")
    consumer.start()
    await until(lambda: consumer.rows("select status from messages") == [("delivered",)])


async def test_the_producer_publishes_a_job_that_a_worker_takes(
    system: System, upstream: Callable[[], Awaitable[Upstream]], tmp_path: Path
) -> None:
    system.start_worker(MMS_ACCOUNT="default", MMS_ATTEMPTS_MAX="1")
    outside = await upstream()
    program = tmp_path / "producer.py"
    program.write_text(example("order-8841-shipped", system.amqp_url))
    ended = await asyncio.create_subprocess_exec(sys.executable, program, stderr=asyncio.subprocess.PIPE)
    _, errors = await ended.communicate()
    assert (ended.returncode, errors) == (0, b"")
    # The picture of the example is nowhere: as the README says, name one that is really there.
    await outside.until_events(1)
    assert outside.events[0]["data"]["job_id"] == "order-8841-shipped"
