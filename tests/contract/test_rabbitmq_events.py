"""Publishing alone: what a receiver has of the broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import aio_pika
import pytest

from deploy.local import RabbitMQ
from worker.adapters.rabbitmq_connection import BrokerAddress
from worker.adapters.rabbitmq_events import EventPublisher
from worker.core.delivery import Publication
from worker.core.topology import DEAD_QUEUE, EVENTS_EXCHANGE, EVENTS_QUEUE, for_receiving
from worker.flow.observations import BrokerConnected, Observation, Role
from worker.flow.ports import CannotStart, PublishFailed

NEEDED = for_receiving()
EVENT = Publication(EVENTS_EXCHANGE, "mms.message.report.acme", b"{}", {})


@pytest.fixture
async def publisher_at() -> AsyncIterator[Callable[[str], EventPublisher]]:
    failures: list[BaseException] = []
    made: list[EventPublisher] = []

    def make(url: str, seen: list[Observation] | None = None) -> EventPublisher:
        made.append(
            EventPublisher(
                address=BrokerAddress(url, "test", timeout_s=5),
                topology=NEEDED,
                publish_timeout_s=5,
                observe=(seen if seen is not None else []).append,
                monotonic=time.monotonic,
                on_failure=failures.append,
            )
        )
        return made[-1]

    yield make
    for one in made:
        await one.close()
    assert failures == []


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 - the broker's doing
            await asyncio.sleep(0.02)


async def test_it_declares_what_it_needs_and_each_event_is_confirmed(
    amqp_url: str, publisher_at: Callable[..., EventPublisher]
) -> None:
    seen: list[Observation] = []
    publisher = publisher_at(amqp_url, seen)
    assert publisher.not_ready_because == "not connected to the broker"
    assert not publisher.can_publish
    await publisher.start()
    assert seen == [BrokerConnected(Role.PUBLISH)]
    assert publisher.not_ready_because is None
    await asyncio.wait_for(asyncio.gather(*publisher.publish_many([EVENT, EVENT])), 10)
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        await channel.declare_queue(DEAD_QUEUE, passive=True)
        # A stream says a little later how much it holds.
        async with asyncio.timeout(10):
            while (await channel.declare_queue(EVENTS_QUEUE, passive=True)).declaration_result.message_count != 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def test_without_a_broker_it_does_not_start(publisher_at: Callable[..., EventPublisher]) -> None:
    with pytest.raises(CannotStart, match="MMS_AMQP_URL"):
        await publisher_at("amqp://guest:guest@127.0.0.1:1/").start()


async def test_a_broker_that_ends_is_told_and_comes_back(
    own_rabbitmq: RabbitMQ, publisher_at: Callable[..., EventPublisher]
) -> None:
    publisher = publisher_at(own_rabbitmq.url)
    await publisher.start()
    await asyncio.to_thread(own_rabbitmq.stop)
    await until(lambda: not publisher.can_publish)
    assert publisher.not_ready_because == "not connected to the broker"
    (confirm,) = publisher.publish_many([EVENT])
    with pytest.raises(PublishFailed):
        await confirm
    await asyncio.to_thread(own_rabbitmq.start)
    await until(lambda: publisher.can_publish)
    await asyncio.wait_for(asyncio.gather(*publisher.publish_many([EVENT])), 10)


async def test_an_alarm_is_told(rabbitmq: RabbitMQ, amqp_url: str, publisher_at: Callable[..., EventPublisher]) -> None:
    publisher = publisher_at(amqp_url)
    await publisher.start()
    try:
        rabbitmq.control("set_vm_memory_high_watermark", "0.0000001")
        confirms = publisher.publish_many([EVENT])  # the broker tells of an alarm when something is published
        await until(lambda: not publisher.can_publish)
        assert publisher.not_ready_because == "the broker has an alarm and takes nothing in"
    finally:
        rabbitmq.control("set_vm_memory_high_watermark", "0.6")
    await until(lambda: publisher.can_publish)
    await asyncio.wait_for(asyncio.gather(*confirms), 10)
