"""The contract of the queue of reports that waited, over memory and over RabbitMQ; and RabbitMQ's own troubles."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Protocol
from urllib.parse import urlsplit

import aio_pika
import pytest

from deploy.local import RabbitMQ
from tests.contract.test_broker import rabbit
from tests.contract.test_broker_consumers import FORGET_CONSUMER, until
from worker.adapters.memory import MemoryBroker, MemoryServer
from worker.adapters.memory_waiting import MemoryWaiting
from worker.adapters.rabbitmq_connection import BrokerAddress
from worker.adapters.rabbitmq_waiting import RabbitWaiting
from worker.core.delivery import Publication
from worker.core.held_jobs import HeldMessage
from worker.core.reports import Report
from worker.core.topology import (
    DELIVERY_LIMIT,
    REPORTS_EXCHANGE,
    REPORTS_QUEUE,
    for_receiving,
    report_wait_queue,
)
from worker.core.waiting_reports import WaitingReport, put_aside, read_waiting
from worker.flow.observations import BrokerLost, Consuming, Observation
from worker.flow.ports import Broker, PublishFailed, ReportQueue

PREFETCH = 8
A_REPORT = WaitingReport("acme", Report("m1", "+61400000001", "delivered", {"custom_string": "x"}))


class Receivers(Protocol):
    """Opens receivers' connections to one broker; ``close`` ends one."""

    broker: Broker

    async def open(self) -> ReportQueue: ...

    async def close(self, queue: ReportQueue) -> None: ...

    async def dead(self) -> list[bytes]:
        """The first dead letter, if there is one."""


class OverMemory:
    def __init__(self) -> None:
        self._server = MemoryServer(["acme"])
        self.broker: Broker = MemoryBroker(self._server, monotonic=time.monotonic)

    async def open(self) -> ReportQueue:
        return MemoryWaiting(self._server, prefetch=PREFETCH)

    async def close(self, queue: ReportQueue) -> None:
        assert isinstance(queue, MemoryWaiting)
        queue.disconnect()

    async def dead(self) -> list[bytes]:
        return self._server.bodies("mms.dead")


class OverRabbit:
    def __init__(self, url: str, broker: Broker) -> None:
        self.url = url
        self.broker = broker
        self.seen: list[Observation] = []
        self.failures: list[BaseException] = []
        self.opened: list[RabbitWaiting] = []

    async def open(self, *, look_s: float = 60.0) -> RabbitWaiting:
        queue = RabbitWaiting(
            address=BrokerAddress(url=self.url, name="test", timeout_s=2),
            topology=for_receiving(),
            observe=self.seen.append,
            on_failure=self.failures.append,
            prefetch=PREFETCH,
            look_s=look_s,
        )
        await queue.start()
        self.opened.append(queue)
        return queue

    async def close(self, queue: ReportQueue) -> None:
        assert isinstance(queue, RabbitWaiting)
        await queue.close()

    async def dead(self) -> list[bytes]:
        async with await aio_pika.connect(self.url) as connection:
            dead = await (await connection.channel()).get_queue("mms.dead")
            message = await dead.get(fail=False)
            return [] if message is None else [message.body]

    def lost(self) -> list[str]:
        return [one.why for one in self.seen if isinstance(one, BrokerLost)]

    def is_active(self) -> list[bool]:
        return [one.is_active for one in self.seen if isinstance(one, Consuming)]


@pytest.fixture
async def over_rabbit(amqp_url: str) -> AsyncIterator[OverRabbit]:
    broker = await rabbit(amqp_url)
    receivers = OverRabbit(amqp_url, broker)
    yield receivers
    for queue in receivers.opened:
        await queue.close()
    await broker.close()
    assert receivers.failures == []


@pytest.fixture(params=["memory", "rabbit"])
def receivers(request: pytest.FixtureRequest) -> Receivers:
    if request.param == "memory":
        return OverMemory()
    receivers: Receivers = request.getfixturevalue("over_rabbit")
    return receivers


def to_look_at(*bodies: bytes) -> list[Publication]:
    """As they come out of their wait."""
    return [Publication(REPORTS_EXCHANGE, REPORTS_QUEUE, body, {"x-mms-account": "acme"}) for body in bodies]


async def publish(broker: Broker, *publications: Publication) -> None:
    await asyncio.gather(*broker.publish_many(publications))


async def some(queue: ReportQueue, count: int) -> list[HeldMessage]:
    """The next ``count`` messages."""
    came: list[HeldMessage] = []
    async with asyncio.timeout(10):
        while len(came) < count:
            came += await queue.next()
    assert len(came) == count
    return came


async def nothing_comes(queue: ReportQueue, for_s: float = 0.3) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(for_s):
            raise AssertionError(await queue.next())


async def test_what_is_put_aside_comes_after_its_while_as_it_was(receivers: Receivers) -> None:
    queue = await receivers.open()
    started_s = time.monotonic()
    await publish(receivers.broker, put_aside(A_REPORT))
    (message,) = await some(queue, 1)
    assert 2.9 < time.monotonic() - started_s < 9
    waiting = read_waiting(message.body, message.headers)
    assert waiting == replace(A_REPORT, waited_s=3)
    assert isinstance(waiting, WaitingReport)
    assert waiting.report.more == {"custom_string": "x"}
    assert queue.is_ours(message)


async def test_what_is_done_is_gone_and_the_rest_comes_again(receivers: Receivers) -> None:
    one = await receivers.open()
    await publish(receivers.broker, *to_look_at(b"1", b"2", b"3"))
    came = await some(one, 3)
    assert [message.body for message in came] == [b"1", b"2", b"3"]
    await one.done([came[1]])
    await receivers.close(one)
    assert not one.is_ours(came[0])
    other = await receivers.open()
    again = await some(other, 2)
    assert [message.body for message in again] == [b"1", b"3"]
    # What is no longer ours can be let go of, and that does nothing.
    await one.done([came[0]])
    await one.give_back([came[2]])
    await other.done(again)
    await receivers.close(other)
    await nothing_comes(await receivers.open())


async def test_no_more_are_in_hand_than_agreed(receivers: Receivers) -> None:
    queue = await receivers.open()
    await publish(receivers.broker, *to_look_at(*(b"%d" % n for n in range(PREFETCH + 3))))
    came = await some(queue, PREFETCH)
    await nothing_comes(queue)
    await queue.done(came[:2])
    assert len(await some(queue, 2)) == 2


async def test_two_receivers_share_what_there_is(receivers: Receivers) -> None:
    one, other = await receivers.open(), await receivers.open()
    bodies = [b"%d" % n for n in range(2 * PREFETCH)]
    await publish(receivers.broker, *to_look_at(*bodies))
    came = await some(one, PREFETCH) + await some(other, PREFETCH)
    assert sorted(message.body for message in came) == sorted(bodies)


async def test_what_is_given_back_too_often_is_a_dead_letter(receivers: Receivers) -> None:
    queue = await receivers.open()
    await publish(receivers.broker, *to_look_at(b"bad"))
    for _ in range(DELIVERY_LIMIT):
        await queue.give_back(await some(queue, 1))
    (last,) = await some(queue, 1)
    assert await receivers.dead() == []
    await queue.give_back([last])
    await nothing_comes(queue)
    assert await receivers.dead() == [b"bad"]


# --- RabbitMQ's own troubles ---------------------------------------------------------------------------------


def vhost_of(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


async def test_a_deleted_queue_is_declared_and_consumed_again(over_rabbit: OverRabbit) -> None:
    queue = await over_rabbit.open()
    async with await aio_pika.connect(over_rabbit.url) as connection:
        await (await connection.channel()).queue_delete(REPORTS_QUEUE)
    await until(lambda: over_rabbit.is_active() == [True, False, True])
    await until(lambda: queue.not_ready_because is None)
    await publish(over_rabbit.broker, *to_look_at(b"after"))
    assert [message.body for message in await some(queue, 1)] == [b"after"]


async def test_what_was_in_hand_when_the_connection_ended_comes_again(
    rabbitmq: RabbitMQ, over_rabbit: OverRabbit
) -> None:
    queue = await over_rabbit.open()
    await publish(over_rabbit.broker, *to_look_at(b"1", b"2"))
    (first, second) = await some(queue, 2)
    rabbitmq.control("close_all_connections", "--vhost", vhost_of(over_rabbit.url), "a test")
    await until(lambda: not queue.is_ours(first))
    assert queue.not_ready_because == "takes nothing from mms.reports: not connected to the broker"
    await queue.done([first, second])
    assert sorted(message.body for message in await some(queue, 2)) == [b"1", b"2"]
    await until(lambda: queue.not_ready_because is None)


async def test_a_consumer_that_the_broker_forgot_in_silence_is_found(
    rabbitmq: RabbitMQ, over_rabbit: OverRabbit
) -> None:
    queue = await over_rabbit.open(look_s=0.3)
    (consumer,) = queue.consumers
    # What was let go of makes room again: else a look would take it for one that is full.
    await publish(over_rabbit.broker, *to_look_at(b"1", b"2"))
    first, second = await some(queue, 2)
    await queue.done([first])
    await queue.give_back([second])
    await queue.done(await some(queue, 1))
    assert consumer.unacked == 0
    vhost = vhost_of(over_rabbit.url)
    rabbitmq.control("eval", FORGET_CONSUMER.format(vhost=vhost, queue=REPORTS_QUEUE, tag=consumer.tag))
    await publish(over_rabbit.broker, *to_look_at(b"waits"))
    assert [message.body for message in await some(queue, 1)] == [b"waits"]
    assert over_rabbit.lost() == ["the consumer of mms.reports got nothing any more"]


async def test_no_more_wait_than_are_taken_and_one_too_many_is_refused_alone(
    over_rabbit: OverRabbit, amqp_url: str
) -> None:
    """With a bound of three; as it is declared it would take long to fill."""
    name = report_wait_queue(20)
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        await channel.queue_delete(name)
        (wait,) = [queue for queue in for_receiving().queues if queue.name == name]
        await channel.declare_queue(name, durable=True, arguments=wait.arguments | {"x-max-length": 3})
        await (await channel.get_queue(name, ensure=False)).bind(REPORTS_EXCHANGE, name)
        waiting = Publication(REPORTS_EXCHANGE, name, b"1", {})
        refused = 0
        async with asyncio.timeout(10):
            while not refused:
                confirms = over_rabbit.broker.publish_many([waiting] * 5)
                results = await asyncio.gather(*confirms, return_exceptions=True)
                refused = sum(isinstance(result, PublishFailed) for result in results)
        assert over_rabbit.broker.can_publish
        await publish(over_rabbit.broker, *to_look_at(b"1"))
