"""Consumers in trouble, over RabbitMQ: noticed, told, put right without anyone's hand, and nobody else's trouble."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel
from pamqp.commands import Channel

from deploy.local import RabbitMQ
from deploy.local.rabbitmq_server import USER
from loadtest.proxy import Proxy, Stream, Timeout
from tests.contract.test_broker import Taken, rabbit
from worker.adapters.rabbitmq import RabbitBroker
from worker.adapters.rabbitmq_consumer import Receipt
from worker.core.delivery import Delivery, Publication
from worker.core.topology import JOBS_EXCHANGE
from worker.flow.observations import AccountNotConsumed, BrokerLost, Consuming, Observation
from worker.flow.ports import PublishFailed

QUEUE = "mms.jobs.acme"
#: The queue forgets the consumer of that tag, or the only one, and tells nobody: neither its channel nor the client.
FORGET_CONSUMER = """
{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"{vhost}">>, queue, <<"{queue}">>)),
[{{ok, _, _}} = ra:process_command(amqqueue:get_pid(Q), rabbit_fifo:make_checkout({{Tag, Pid}}, cancel, #{{}}))
 || {{Pid, Tag, _, _, _, _, _, _}} <- rabbit_amqqueue:consumers(Q), Tag =:= <<"{tag}">>],
ok.
"""


@dataclass
class Scene:
    """A broker that consumes two accounts, and a producer."""

    broker: RabbitBroker
    channel: AbstractChannel
    seen: list[Observation]
    acme: Taken = field(default_factory=Taken)
    other: Taken = field(default_factory=Taken)

    async def publish(self, *bodies: bytes, key: str = "acme") -> None:
        exchange = await self.channel.get_exchange(JOBS_EXCHANGE, ensure=False)
        for body in bodies:
            await exchange.publish(aio_pika.Message(body, delivery_mode=2), key)

    def told(self) -> list[str | None]:
        return [one.why for one in self.seen if isinstance(one, AccountNotConsumed)]

    def lost(self) -> list[str]:
        return [one.why for one in self.seen if isinstance(one, BrokerLost)]

    def is_active(self) -> list[bool]:
        return [one.is_active for one in self.seen if isinstance(one, Consuming) and one.queue == QUEUE]

    async def until_whole(self) -> None:
        await until(lambda: self.told() and self.told()[-1] is None)
        assert self.broker.not_ready_because is None

    def disturbed_nobody(self, *held: Delivery) -> bool:
        """Whether the connection stands, and what other accounts hold is still theirs."""
        return not self.lost() and all(self.broker.is_ours(delivery) for delivery in held)


async def until(is_so: Callable[[], object], limit_s: float = 10) -> None:
    async with asyncio.timeout(limit_s):
        while not is_so():  # noqa: ASYNC110 - what the broker does
            await asyncio.sleep(0.01)


@asynccontextmanager
async def consuming(amqp_url: str, look_s: float = 60, through: str | None = None) -> AsyncIterator[Scene]:
    seen: list[Observation] = []
    broker = await rabbit(through or amqp_url, seen, timeout_s=2, look_s=look_s)
    try:
        async with await aio_pika.connect(amqp_url) as connection:
            scene = Scene(broker, await connection.channel(), seen)
            await broker.consume("acme", scene.acme)
            await broker.consume("other", scene.other)
            yield scene
    finally:
        await broker.close()


async def test_deliveries_are_taken_in_the_step_that_reads_them_on_a_new_connection_too(amqp_url: str) -> None:
    async with consuming(amqp_url) as scene:
        steps: list[asyncio.Task[object] | None] = []

        def take(delivery: Delivery) -> None:
            steps.append(asyncio.current_task())
            scene.acme(delivery)

        for _ in range(2):
            await scene.broker.consume("acme", take)
            await scene.publish(b"1", b"2", b"3")
            for _ in range(3):
                scene.broker.ack(await scene.acme.next())
            assert len(steps) == 3
            assert len(set(steps)) == 1
            steps.clear()
            await asyncio.sleep(0)  # acks leave at the end of a turn of the event loop
            scene.broker._consuming.end("a test broke it")
            await until(lambda: not scene.broker._consuming.ready.is_set())
            await until(lambda: scene.broker.not_ready_because is None)


async def test_what_a_taker_raises_is_told_and_the_next_delivery_is_taken(amqp_url: str) -> None:
    async with consuming(amqp_url) as scene:
        failures: list[BaseException] = []
        scene.broker._accounts["acme"]._on_failure = failures.append
        errors = [RuntimeError("a bug")]

        def take(delivery: Delivery) -> None:
            if errors:
                raise errors.pop()
            scene.acme(delivery)

        await scene.broker.consume("acme", take)
        await scene.publish(b"1", b"2")
        assert (await scene.acme.next()).body == b"2"
        assert [str(failure) for failure in failures] == ["a bug"]


async def test_a_deleted_queue_is_declared_and_consumed_again_and_what_is_in_hand_is_not_lost(amqp_url: str) -> None:
    async with consuming(amqp_url) as scene:
        await scene.publish(b"in hand", b"too")
        await scene.publish(b"theirs", key="other")
        held = [await scene.acme.next(), await scene.acme.next()]
        theirs = await scene.other.next()
        await scene.channel.queue_delete(QUEUE)
        await until(lambda: scene.broker.not_ready_because is not None)
        assert scene.broker.not_ready_because == f"takes no jobs of acme: the broker cancelled the consumer of {QUEUE}"
        await scene.until_whole()
        assert scene.is_active() == [True, False, True]
        await scene.publish(b"after")
        after = await scene.acme.next()
        assert (after.body, after.redelivered) == (b"after", False)
        # Nobody else can send what the deleted queue had handed out. An ack of it does no harm.
        assert scene.disturbed_nobody(theirs, *held)
        for delivery in (*held, after):
            scene.broker.ack(delivery)
        await scene.publish(b"more")
        assert (await scene.acme.next()).body == b"more"
        assert scene.disturbed_nobody(theirs, *held)
        assert scene.told() == [f"the broker cancelled the consumer of {QUEUE}", None]


async def test_a_consumer_that_the_broker_forgot_in_silence_is_found(rabbitmq: RabbitMQ, amqp_url: str) -> None:
    async with consuming(amqp_url, look_s=0.3) as scene:
        await scene.publish(b"theirs", key="other")
        theirs = await scene.other.next()
        forget_consumer(rabbitmq, amqp_url, scene.broker)
        await scene.publish(b"waits")
        assert (await scene.acme.next()).body == b"waits"
        await scene.until_whole()
        assert scene.told()[0] == f"the consumer of {QUEUE} got nothing any more"
        assert scene.disturbed_nobody(theirs)


async def test_a_consumer_that_is_passed_over_while_another_worker_is_full_is_found(
    rabbitmq: RabbitMQ, amqp_url: str
) -> None:
    full = await rabbit(amqp_url)
    async with consuming(amqp_url, look_s=0.3) as scene:
        forget_consumer(rabbitmq, amqp_url, scene.broker)
        await scene.until_whole()
        await full.consume("acme", theirs := Taken(), per_queue_max=1)
        forget_consumer(rabbitmq, amqp_url, scene.broker)
        await scene.publish(b"theirs", b"ours")
        assert {(await scene.acme.next()).body, (await theirs.next()).body} == {b"theirs", b"ours"}
        await scene.until_whole()
    await full.close()


async def test_a_consumer_that_was_wrongly_taken_for_dead_delivers_nothing_to_a_paused_account(amqp_url: str) -> None:
    async with consuming(amqp_url) as scene:
        account = scene.broker._accounts["acme"]
        for consumer in account.consumers:
            account.dead(consumer)
        await scene.broker.pause("acme")
        queue = await scene.channel.declare_queue(QUEUE, passive=True)
        assert queue.declaration_result.consumer_count == 0
        await scene.broker.consume("acme", scene.acme)
        await scene.publish(b"after")
        assert (await scene.acme.next()).body == b"after"


async def test_looks_leave_alone_a_consumer_that_is_full_or_has_nothing_to_do(amqp_url: str) -> None:
    async with consuming(amqp_url, look_s=0.05) as scene:
        await scene.publish(*(b"%d" % n for n in range(12)))
        held = [await scene.acme.next() for _ in range(10)]
        await asyncio.sleep(0.5)
        assert scene.told() == []
        assert scene.is_active() == [True]
        assert scene.disturbed_nobody(*held)


async def test_a_queue_with_other_properties_is_told_once_and_the_other_accounts_go_on(amqp_url: str) -> None:
    async with consuming(amqp_url) as scene:
        await scene.channel.queue_delete(QUEUE)
        await scene.channel.declare_queue(QUEUE, durable=True)
        await until(lambda: "other properties" in str(scene.told()))
        await scene.publish(b"goes", key="other")
        theirs = await scene.other.next()
        assert f"takes no jobs of acme: The queue {QUEUE} exists in the broker with other properties" in str(
            scene.broker.not_ready_because
        )
        for link in (scene.broker._publisher.link, scene.broker._consuming):
            link.end("a test broke it")
        again = await scene.other.next()  # which it would not be, if nothing began before all is well
        assert (again.body, again.redelivered) == (theirs.body, True)
        await until(lambda: "other properties" in str(scene.broker.not_ready_because))
        assert sum("other properties" in str(why) for why in scene.told()) == 1
        await scene.channel.queue_delete(QUEUE)
        await scene.until_whole()
        await scene.publish(b"well again")
        assert (await scene.acme.next()).body == b"well again"
        assert scene.broker.is_ours(again)


async def test_what_is_settled_while_its_account_is_being_forgotten_disturbs_no_other(amqp_url: str) -> None:
    async with consuming(amqp_url) as scene:
        await scene.publish(b"settled", b"late")
        await scene.publish(b"theirs", key="other")
        settled, late, theirs = await scene.acme.next(), await scene.acme.next(), await scene.other.next()
        scene.broker.ack(settled)
        account = scene.broker._accounts["acme"]
        forgetting = asyncio.create_task(scene.broker.forget("acme"))
        async with asyncio.timeout(10):
            while account._acks is not None:  # noqa: ASYNC110 - turns of the event loop
                await asyncio.sleep(0)
        assert not forgetting.done()
        assert not scene.broker.is_ours(late)
        scene.broker.ack(late)
        await forgetting
        queue = await scene.channel.get_queue(QUEUE)
        assert (await queue.get()).body == b"late"
        assert await queue.get(fail=False) is None
        assert scene.disturbed_nobody(theirs)


async def test_acks_never_cover_a_delivery_that_was_lost_on_its_way_to_us(amqp_url: str) -> None:
    """The client library drops what comes for a consumer that it does not know; for the broker it is in hand."""
    async with consuming(amqp_url) as scene:
        (bulk,) = [one for one in scene.broker._accounts["acme"].consumers if one.queue == QUEUE]
        await scene.publish(b"one")
        one = await scene.acme.next()
        assert isinstance(one.receipt, Receipt)
        known = one.receipt.acks.channel.consumers
        receive = known.pop(bulk.tag)
        await scene.publish(b"lost")
        queue = await scene.channel.get_queue(QUEUE, ensure=False)
        async with asyncio.timeout(10):
            while await depth(scene):  # noqa: ASYNC110 - the broker's number
                await asyncio.sleep(0.01)
        await scene.publish(b"two", key="acme.urgent")
        two = await scene.acme.next()
        known[bulk.tag] = receive
        await scene.publish(b"three")
        for delivery in (one, two, await scene.acme.next()):
            scene.broker.ack(delivery)
        await scene.broker.forget("acme")
        lost = await queue.get()
        assert (lost.body, lost.redelivered) == (b"lost", True)
        assert await queue.get(fail=False) is None


async def test_a_channel_that_the_broker_closes_is_the_trouble_of_its_account_alone(amqp_url: str) -> None:
    """An ack for what the broker does not know is an error of the whole channel to it."""
    async with consuming(amqp_url) as scene:
        await scene.publish(b"held")
        await scene.publish(b"theirs", key="other")
        held, theirs = await scene.acme.next(), await scene.other.next()
        assert isinstance(held.receipt, Receipt)
        scene.broker.ack(replace(held, receipt=replace(held.receipt, delivery_tag=99)))
        again = await scene.acme.next()
        assert (again.body, again.redelivered) == (b"held", True)
        assert not scene.broker.is_ours(held)
        await scene.until_whole()
        assert "unknown delivery tag 99" in str(scene.told()[0])
        assert scene.disturbed_nobody(theirs, again)


async def test_an_ack_in_the_moment_in_which_the_broker_closes_a_channel_ends_no_other(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the broker's word and the channel's end lie some turns of the event loop, in which jobs are settled."""
    async with consuming(amqp_url) as scene:
        await scene.publish(b"held")
        await scene.publish(b"theirs", key="other")
        held, theirs = await scene.acme.next(), await scene.other.next()
        assert isinstance(held.receipt, Receipt)
        channel = held.receipt.acks.channel
        close = channel._on_close_frame
        were_ours = []

        async def closed_while_a_job_is_settled(frame: Channel.Close) -> None:
            asyncio.get_running_loop().call_soon(settle)
            await close(frame)

        def settle() -> None:
            were_ours.append(scene.broker.is_ours(held))
            scene.broker.ack(held)

        monkeypatch.setattr(channel, "_on_close_frame", closed_while_a_job_is_settled)
        scene.broker.ack(replace(held, receipt=replace(held.receipt, delivery_tag=99)))
        again = await scene.acme.next()
        assert (again.body, again.redelivered) == (b"held", True)
        assert were_ours == [False]
        await scene.publish(b"more", key="other")
        await scene.other.next()
        assert scene.disturbed_nobody(theirs, again)


@pytest.mark.parametrize("streams", [(Stream.DOWNSTREAM,), (Stream.UPSTREAM,), ()], ids=["answers", "questions", "all"])
async def test_a_connection_that_is_dead_in_one_direction_or_both_is_given_up(
    amqp_url: str, streams: tuple[Stream, ...]
) -> None:
    port = urlsplit(amqp_url).port
    assert port is not None
    with Proxy(port) as line:
        through = amqp_url.replace(f":{port}/", f":{line.port}/")
        async with consuming(amqp_url, look_s=0.2, through=through) as scene:
            await scene.publish(b"held")
            await scene.acme.next()
            line.add(Timeout(), *streams)
            await until(lambda: "no answer within 2 s" in scene.lost())
            line.clear()
            assert (await scene.acme.next()).body == b"held"
            await until(lambda: scene.broker.not_ready_because is None)


async def test_a_permission_that_is_revoked_is_the_trouble_of_its_account_alone_and_ends_when_it_is_given_back(
    rabbitmq: RabbitMQ, amqp_url: str
) -> None:
    vhost = urlsplit(amqp_url).path.removeprefix("/")
    async with consuming(amqp_url) as scene:
        needed = r"^mms\.(events|retry.*|jobs|unroutable|reports)$"
        permit(rabbitmq, vhost, read=rf"^mms\.jobs\.(acme\.urgent|other.*)$|{needed}")
        scene.broker._consuming.end("a test broke it")  # an open channel keeps what it was permitted
        await until(lambda: "ACCESS_REFUSED" in str(scene.told()))
        assert QUEUE in str(scene.broker.not_ready_because)
        await scene.publish(b"theirs", key="other")
        theirs = await scene.other.next()
        permit(rabbitmq, vhost, read=".*")
        await scene.until_whole()
        await scene.publish(b"goes")
        assert (await scene.acme.next()).body == b"goes"
        assert scene.broker.is_ours(theirs)
        assert scene.lost() == ["a test broke it"]


async def test_what_is_held_for_longer_than_the_broker_allows_comes_again_and_no_other_account_loses_its_own(
    rabbitmq: RabbitMQ, amqp_url: str
) -> None:
    consumer_timeout(rabbitmq, "1000", "200")
    try:
        async with consuming(amqp_url) as scene:
            await scene.publish(b"held")
            held = await scene.acme.next()
            again = await scene.acme.next()
            assert (again.body, again.redelivered) == (b"held", True)
            assert not scene.broker.is_ours(held)
            scene.broker.ack(held)  # nothing happens: its channel is gone
            scene.broker.ack(again)
            await scene.until_whole()
            assert "timed out" in str(scene.told()[0])
            await scene.publish(b"theirs", key="other")
            assert scene.disturbed_nobody(await scene.other.next())
    finally:
        consumer_timeout(rabbitmq, "1800000", "60000")


async def test_what_the_broker_refuses_to_take_fails_alone_and_the_connection_stands(
    rabbitmq: RabbitMQ, amqp_url: str
) -> None:
    vhost = urlsplit(amqp_url).path.removeprefix("/")
    async with consuming(amqp_url) as scene:
        full = '{"max-length": 1, "overflow": "reject-publish"}'
        rabbitmq.control("set_policy", "-p", vhost, "full", r"^mms\.dead$", full, "--apply-to", "queues")
        async with asyncio.timeout(10):
            with pytest.raises(PublishFailed):
                await publish_for_ever(scene.broker, Publication("", "mms.dead", b"letter", {}))
        refused, taken = scene.broker.publish_many(
            [Publication("", queue, b"letter", {}) for queue in ("mms.dead", "mms.in_doubt")]
        )
        await taken
        with pytest.raises(PublishFailed):
            await refused
        letters = await scene.channel.get_queue("mms.dead")
        while (letter := await letters.get(fail=False)) is not None:
            await letter.ack()
        await until_published(scene.broker, Publication("", "mms.dead", b"letter", {}))
        assert scene.lost() == []


async def depth(scene: Scene) -> int:
    """How many jobs the broker has that nobody has in hand."""
    return (await scene.channel.declare_queue(QUEUE, passive=True)).declaration_result.message_count or 0


async def publish_for_ever(broker: RabbitBroker, letter: Publication) -> None:
    while True:
        await broker.publish(letter)


async def until_published(broker: RabbitBroker, letter: Publication) -> None:
    """Publish it again and again until it is confirmed, as who settles does."""
    async with asyncio.timeout(10):
        while True:
            with suppress(PublishFailed):
                return await broker.publish(letter)
            await asyncio.sleep(0.05)


def permit(rabbitmq: RabbitMQ, vhost: str, *, read: str) -> None:
    rabbitmq.control("set_permissions", "-p", vhost, USER, ".*", ".*", read)


def consumer_timeout(rabbitmq: RabbitMQ, limit_ms: str, look_ms: str) -> None:
    """How long a delivery may be held, of channels that are opened from here on, and how often that is looked at."""
    settings = {"consumer_timeout": limit_ms, "channel_tick_interval": look_ms}
    rabbitmq.control(
        "eval", ", ".join(f"application:set_env(rabbit, {name}, {ms})" for name, ms in settings.items()) + "."
    )


def forget_consumer(rabbitmq: RabbitMQ, amqp_url: str, broker: RabbitBroker) -> None:
    """Have the queue forget the one consumer that ``broker`` has there."""
    (tag,) = [one.tag for one in broker._accounts["acme"].consumers if one.queue == QUEUE]
    vhost = urlsplit(amqp_url).path.removeprefix("/")
    rabbitmq.control("eval", FORGET_CONSUMER.format(vhost=vhost, queue=QUEUE, tag=tag))
