"""Accounts that come and go while the broker is connected, over memory and over RabbitMQ."""

from __future__ import annotations

import asyncio

import aio_pika
import pytest

from tests.contract.test_broker import Stand, Taken, rabbit, stand
from worker.adapters.rabbitmq import RabbitBroker
from worker.core.delivery import Delivery
from worker.core.topology import JOBS_EXCHANGE
from worker.flow.observations import BrokerConnected, BrokerLost, Observation
from worker.flow.ports import CannotStart

__all__ = ["stand"]  # the fixture


async def test_an_account_that_is_declared_later_gets_its_jobs_also_over_a_reconnect(stand: Stand) -> None:
    taken = Taken()
    await stand.outside.publish_job("new", b"too early")
    assert await stand.outside.bodies("mms.unroutable", 1) == [b"too early"]
    await stand.broker.declare("new")
    await stand.broker.consume("new", taken)
    await stand.outside.publish_job("new", b"one")
    assert (await taken.next()).body == b"one"
    await stand.outside.disconnect()
    again = await taken.next()
    assert (again.body, again.redelivered) == (b"one", True)
    stand.broker.ack(again)
    await stand.outside.publish_job("new", b"two")
    assert (await taken.next()).body == b"two"


async def test_what_a_forgotten_account_held_goes_back_and_the_others_keep_theirs(stand: Stand) -> None:
    gone, others = Taken(), Taken()
    await stand.broker.consume("acme", gone)
    await stand.broker.consume("other", others)
    for body in (b"acknowledged", b"held", b"held, too"):
        await stand.outside.publish_job("acme", body)
    await stand.outside.publish_job("other", b"mine")
    first, *held = [await gone.next() for _ in range(3)]
    mine = await others.next()
    stand.broker.ack(first)
    await stand.broker.pause("acme")
    await stand.broker.forget("acme")
    assert not any(stand.broker.is_ours(delivery) for delivery in held)
    stand.broker.ack(held[0])
    assert stand.broker.is_ours(mine)
    assert await stand.outside.bodies("mms.jobs.acme", 2) == [b"held", b"held, too"]
    stand.broker.ack(mine)
    await stand.outside.publish_job("other", b"next")
    assert (await others.next()).body == b"next"
    assert await gone.nothing()


async def test_a_forgotten_account_can_come_back(stand: Stand) -> None:
    before, after = Taken(), Taken()
    await stand.broker.consume("acme", before)
    await stand.outside.publish_job("acme", b"held")
    await before.next()
    await stand.broker.pause("acme")
    await stand.broker.forget("acme")
    await stand.broker.declare("acme")
    await stand.broker.consume("acme", after)
    again = await after.next()
    assert (again.body, again.redelivered) == (b"held", True)
    assert stand.broker.is_ours(again)


async def test_an_account_that_was_never_declared_can_be_forgotten(stand: Stand) -> None:
    await stand.broker.forget("nobody")


async def test_a_mark_stays(stand: Stand) -> None:
    assert not await stand.broker.has_mark("acme")
    await stand.broker.set_mark("acme")
    await stand.broker.set_mark("acme")  # another worker, at the same moment
    assert await stand.broker.has_mark("acme")
    assert not await stand.broker.has_mark("other")


# --- RabbitMQ alone --------------------------------------------------------------------------------------


async def reconnected(broker: RabbitBroker, seen: list[Observation]) -> None:
    """Wait until both connections were lost and are there again."""
    async with asyncio.timeout(10):
        while sum(isinstance(one, BrokerConnected) for one in seen) < 4 or broker.not_ready_because:  # noqa: ASYNC110 - its connections
            await asyncio.sleep(0.02)


async def test_a_declared_account_is_declared_again_on_each_connection_and_a_forgotten_one_is_not(
    amqp_url: str,
) -> None:
    seen: list[Observation] = []
    broker = await rabbit(amqp_url, seen)
    await broker.declare("new")
    await broker.pause("acme")
    await broker.forget("acme")
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        for queue in ("mms.jobs.new", "mms.jobs.new.urgent", "mms.jobs.acme", "mms.jobs.acme.urgent"):
            await channel.queue_delete(queue)
        for link in (broker._publisher.link, broker._consuming):
            link.end("a test broke it")
        await reconnected(broker, seen)
        await channel.declare_queue("mms.jobs.new", passive=True)
        with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
            await channel.declare_queue("mms.jobs.acme", passive=True)
    await broker.close()


async def test_an_account_whose_queue_has_other_properties_is_refused_and_disturbs_nobody(amqp_url: str) -> None:
    seen: list[Observation] = []
    broker = await rabbit(amqp_url, seen)
    others = Taken()
    await broker.consume("other", others)
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        await channel.declare_queue("mms.jobs.bad", durable=True)
        exchange = await channel.get_exchange(JOBS_EXCHANGE)
        await exchange.publish(aio_pika.Message(b"one"), "other")
        mine = await others.next()
        with pytest.raises(CannotStart, match=r"queue mms\.jobs\.bad exists in the broker with other properties"):
            await broker.declare("bad")
        assert broker.is_ours(mine)
        assert not [one for one in seen if isinstance(one, BrokerLost)]
        for link in (broker._publisher.link, broker._consuming):
            link.end("a test broke it")
        await reconnected(broker, seen)  # which it could not, if it had to declare the bad one
        assert (await others.next()).body == b"one"
    await broker.close()


async def test_without_a_connection_an_account_is_refused(amqp_url: str) -> None:
    broker = await rabbit(amqp_url)
    await broker.close()
    with pytest.raises(CannotStart, match="no connection to the broker"):
        await broker.declare("new")


async def test_who_gives_up_waiting_for_the_broker_does_not_end_the_connection(amqp_url: str) -> None:
    seen: list[Observation] = []
    broker = await rabbit(amqp_url, seen)
    others, taken = Taken(), Taken()
    await broker.consume("other", others)
    for turns in range(40):
        asking = asyncio.create_task(broker.consume("acme", taken))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        await broker.pause("acme")
    assert not [one for one in seen if isinstance(one, BrokerLost)]
    async with await aio_pika.connect(amqp_url) as connection:
        exchange = await (await connection.channel()).get_exchange(JOBS_EXCHANGE)
        await exchange.publish(aio_pika.Message(b"goes"), "other")
        await exchange.publish(aio_pika.Message(b"waits"), "acme")
        assert (await others.next()).body == b"goes"
        assert await taken.nothing()
    await broker.close()


async def test_accounts_that_come_and_go_under_load_lose_and_disturb_nothing(amqp_url: str) -> None:
    seen: list[Observation] = []
    broker = await rabbit(amqp_url, seen)
    done: set[bytes] = set()

    def take(delivery: Delivery) -> None:
        async def ack() -> None:
            await asyncio.sleep(0)
            if broker.is_ours(delivery):
                broker.ack(delivery)
                done.add(delivery.body)

        acking.append(asyncio.create_task(ack()))

    acking: list[asyncio.Task[None]] = []
    wanted = {b"%d" % n for n in range(2000)}
    await broker.consume("other", take)
    async with await aio_pika.connect(amqp_url) as connection:
        exchange = await (await connection.channel()).get_exchange(JOBS_EXCHANGE)
        publishing = asyncio.gather(
            *(exchange.publish(aio_pika.Message(body), ("acme", "other")[n % 2]) for n, body in enumerate(wanted))
        )
        for _ in range(10):
            await broker.declare("acme")
            await broker.consume("acme", take)
            await asyncio.sleep(0.03)
            await broker.pause("acme")
            await broker.forget("acme")
        await publishing
        await broker.declare("acme")
        await broker.consume("acme", take)
        async with asyncio.timeout(20):
            while done != wanted:  # noqa: ASYNC110 - the set is filled by the broker
                await asyncio.sleep(0.02)
    assert not [one for one in seen if isinstance(one, BrokerLost)]
    await broker.close()
