"""Jobs onto the queue, against a real broker."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractQueue

from deploy.local import RabbitMQ
from loadtest.bench.jobs import BenchJob, make_jobs
from loadtest.failure import LoadTestError
from loadtest.publishing import UNCONFIRMED_MAX, publish_all

URL_MEDIA = {"url": "https://127.0.0.1:1/picture.png"}


@pytest.fixture
async def channel(amqp_url: str) -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect(amqp_url) as connection:
        yield await connection.channel(publisher_confirms=True, on_return_raises=True)


async def place(channel: AbstractChannel, **arguments: Any) -> tuple[AbstractExchange, AbstractQueue]:
    """An exchange with a queue for the account's jobs."""
    exchange = await channel.declare_exchange("jobs", durable=True)
    queue = await channel.declare_queue("jobs", durable=True, arguments=arguments)
    await queue.bind(exchange, "default")
    return exchange, queue


@pytest.mark.parametrize("number", [0, 1, 2, UNCONFIRMED_MAX + 1, 3 * UNCONFIRMED_MAX])
async def test_every_job_is_in_the_queue_once_and_told_before(channel: AbstractChannel, number: int) -> None:
    exchange, queue = await place(channel, **{"x-queue-type": "quorum"})
    jobs, told = list(make_jobs(number, media=URL_MEDIA, recipients=1)), list[str]()
    await publish_all(exchange, iter(jobs), told.append)
    assert told == [job.name for job in jobs]
    assert (await queue.declare()).message_count == number
    seen = {}
    for _ in jobs:
        message = await queue.get(no_ack=True)
        assert message is not None
        assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
        assert message.content_type == "application/json"
        seen[message.message_id] = message.body
    assert seen == {job.name: job.body for job in jobs}


async def test_a_job_without_a_queue_is_an_error(channel: AbstractChannel) -> None:
    exchange, _ = await place(channel)
    with pytest.raises(LoadTestError, match="did not take a job") as caught:
        await publish_all(exchange, [BenchJob("one", "nobody", b"{}")], lambda _: None)
    assert "nobody" in str(caught.value) or "PublishError" in str(caught.value)


async def test_what_comes_back_is_an_error_on_any_channel(amqp_url: str) -> None:
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=False)
        exchange, _ = await place(channel)
        with pytest.raises(LoadTestError, match="no queue for 'nobody'"):
            await publish_all(exchange, [BenchJob("one", "nobody", b"{}")], lambda _: None)


async def test_a_refusal_ends_it(channel: AbstractChannel) -> None:
    exchange, _ = await place(channel, **{"x-max-length": 10, "x-overflow": "reject-publish"})
    with pytest.raises(LoadTestError, match="did not take a job"):
        await publish_all(exchange, make_jobs(UNCONFIRMED_MAX, media=URL_MEDIA, recipients=1), lambda _: None)


async def test_no_more_are_under_way_than_may_be_unconfirmed(channel: AbstractChannel, rabbitmq: RabbitMQ) -> None:
    exchange, queue = await place(channel)
    number, told, enough = 3 * UNCONFIRMED_MAX, list[str](), asyncio.Event()

    def note(name: str) -> None:
        told.append(name)
        if len(told) == UNCONFIRMED_MAX:
            enough.set()

    rabbitmq.pause()
    try:
        jobs = make_jobs(number, media=URL_MEDIA, recipients=1)
        publishing = asyncio.create_task(publish_all(exchange, jobs, note))
        async with asyncio.timeout(5):
            await enough.wait()
        await asyncio.sleep(0.05)  # in which a broker that confirms nothing must be sent nothing
        assert len(told) == UNCONFIRMED_MAX
    finally:
        rabbitmq.resume()
    await publishing
    assert len(told) == (await queue.declare()).message_count == number


async def test_a_connection_that_is_lost_meanwhile_ends_it(channel: AbstractChannel) -> None:
    exchange, _ = await place(channel)
    closing = list[asyncio.Future[None]]()

    def close_at_the_tenth(name: str) -> None:
        if name == "bench-0000010":
            closing.append(asyncio.ensure_future(channel.close()))

    def jobs() -> Iterator[BenchJob]:
        yield from make_jobs(10 * UNCONFIRMED_MAX, media=URL_MEDIA, recipients=1)
        raise AssertionError("it went on without a connection")

    with pytest.raises(LoadTestError, match="did not take a job"):
        await publish_all(exchange, jobs(), close_at_the_tenth)
    await closing[0]
    with pytest.raises(LoadTestError, match="did not take a job"):
        await publish_all(exchange, jobs(), lambda _: None)
