"""How full queues are, over memory and over RabbitMQ; and for how long deliveries have been in hand."""

from __future__ import annotations

import asyncio
import itertools
from typing import cast

import aio_pika

from tests.contract.test_broker import RabbitOutside, Stand, Taken, rabbit, stand
from worker.core.delivery import Lane
from worker.core.status import Depth
from worker.flow.ports import QueueDepths

__all__ = ["stand"]  # the fixture
BULK, URGENT = "mms.jobs.acme", "mms.jobs.acme.urgent"


def looked_at(stand: Stand) -> QueueDepths:
    return cast("QueueDepths", stand.broker)


async def test_what_waits_is_counted_by_queue_and_one_that_is_missing_hides_no_other(stand: Stand) -> None:
    for n in range(3):
        await stand.outside.publish_job("acme", b"%d" % n)
    await stand.outside.publish_job("acme", b"quick", Lane.URGENT)
    queues = ["mms.jobs.nobody", BULK, "mms.jobs.nobody.urgent", URGENT]
    found = None
    async with asyncio.timeout(10):
        while found is None or sum(depth.jobs for depth in found.values() if depth) < 4:
            found = await looked_at(stand).depths(queues)
    jobs = {queue: depth and depth.jobs for queue, depth in found.items()}
    assert jobs == {"mms.jobs.nobody": None, BULK: 3, "mms.jobs.nobody.urgent": None, URGENT: 1}


async def test_what_was_handed_over_does_not_wait_any_more(stand: Stand) -> None:
    taken = Taken()
    await stand.broker.consume("acme", taken)
    await stand.outside.publish_job("acme", b"one")
    await taken.next()
    found = await looked_at(stand).depths([BULK])
    assert found is not None
    assert (found[BULK] or Depth(9, 9)).jobs == 0


async def test_a_broker_that_is_away_tells_nothing(amqp_url: str) -> None:
    broker = await rabbit(amqp_url)
    await broker.close()
    assert await broker.depths([BULK]) is None


async def test_looks_leave_no_channel_open(amqp_url: str) -> None:
    broker = await rabbit(amqp_url)
    for _ in range(20):
        assert await broker.depths(["mms.jobs.nobody", BULK]) is not None
    transport = broker._consuming._connection.transport if broker._consuming._connection else None
    assert transport is not None
    async with asyncio.timeout(5):
        while sum(channel is not None for channel in transport.connection.channels.values()) > 2:  # noqa: ASYNC110 - the broker's
            await asyncio.sleep(0.02)
    await broker.close()


async def test_the_oldest_delivery_in_hand_is_told_until_it_has_its_ack(amqp_url: str) -> None:
    moments_s = itertools.count(100.0)
    broker = await rabbit(amqp_url)
    broker._monotonic = lambda: 1_000.0
    for account in broker._accounts.values():
        account._monotonic = lambda: next(moments_s)
    assert broker.oldest_in_hand_s == 0
    taken = Taken()
    await broker.consume("acme", taken)
    async with await aio_pika.connect(amqp_url) as connection:
        outside = RabbitOutside(connection, broker)
        for n in range(3):
            await outside.publish_job("acme", b"%d" % n)
        first, second, third = [await taken.next() for _ in range(3)]
        assert broker.oldest_in_hand_s == 900
        broker.ack(second)
        assert broker.oldest_in_hand_s == 900
        broker.ack(first)
        assert broker.oldest_in_hand_s == 898
        # What is in hand while nothing is taken stays in hand.
        await broker.pause("acme")
        await broker.consume("acme", taken)
        assert broker.oldest_in_hand_s == 898
        broker.ack(third)
        assert broker.oldest_in_hand_s == 0
        # What is held when the connection ends is somebody else's.
        await outside.publish_job("acme", b"held")
        held = await taken.next()
        assert broker.oldest_in_hand_s > 0
        await broker.pause("acme")
        await outside.disconnect()
        assert broker.oldest_in_hand_s == 0
        broker.ack(held)
        # Also while there is no other connection yet.
        await broker.consume("acme", taken)
        await taken.next()
        assert broker.oldest_in_hand_s > 0
        await broker._supervisors.cancel()
        await broker._consuming.close()
        assert broker.oldest_in_hand_s == 0
    await broker.close()
