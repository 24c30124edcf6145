"""The broker's contract, over memory and over RabbitMQ."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import aio_pika
import pamqp.frame
import pytest
from aio_pika.abc import AbstractIncomingMessage
from aiormq import spec
from aiormq.abc import AbstractChannel, ChannelFrame
from pamqp.body import ContentBody

from deploy.local import RabbitMQ
from tests.jobs import a_job, job_body
from worker.adapters import rabbitmq_link
from worker.adapters.memory import MemoryBroker, MemoryServer
from worker.adapters.rabbitmq import RabbitBroker
from worker.adapters.rabbitmq_connection import BrokerAddress, BrokerGone, answers_or_gone
from worker.adapters.rabbitmq_producer import open_producer
from worker.core.delivery import Delivery, Lane, Publication
from worker.core.settlement import RequeueReason, put_back
from worker.core.topology import JOBS_EXCHANGE, routing_key, topology
from worker.flow.observations import BrokerBlocked, BrokerLost, Observation, Role
from worker.flow.ports import Broker, CannotStart, PublishFailed, PublishUnconfirmed

ACCOUNTS = ("acme", "other")


class Outside(Protocol):
    """What a producer and an operator see."""

    async def publish_job(self, account: str, body: bytes, lane: Lane = Lane.BULK) -> None: ...
    async def bodies(self, queue: str, count: int) -> list[bytes]: ...
    async def disconnect(self) -> None: ...


@dataclass
class Stand:
    broker: Broker
    outside: Outside


class MemoryOutside:
    def __init__(self, server: MemoryServer, broker: MemoryBroker) -> None:
        self._server = server
        self._broker = broker

    async def publish_job(self, account: str, body: bytes, lane: Lane = Lane.BULK) -> None:
        self._server.publish_job(account, body, lane=lane)

    async def bodies(self, queue: str, count: int) -> list[bytes]:
        async with asyncio.timeout(5):
            while len(self._server.bodies(queue)) < count:  # noqa: ASYNC110 - the queue is a list
                await asyncio.sleep(0.01)
        return self._server.bodies(queue)

    async def disconnect(self) -> None:
        self._broker.disconnect()


class RabbitOutside:
    def __init__(self, connection: aio_pika.abc.AbstractConnection, broker: RabbitBroker) -> None:
        self._connection = connection
        self._broker = broker

    async def publish_job(self, account: str, body: bytes, lane: Lane = Lane.BULK) -> None:
        channel = await self._connection.channel()
        exchange = await channel.get_exchange(JOBS_EXCHANGE)
        await exchange.publish(aio_pika.Message(body, delivery_mode=2), routing_key(account, lane))
        await channel.close()

    async def bodies(self, queue: str, count: int) -> list[bytes]:
        channel = await self._connection.channel()
        declared = await channel.get_queue(queue)
        messages: list[AbstractIncomingMessage] = []
        async with asyncio.timeout(10):
            while len(messages) < count:
                message = await declared.get(fail=False)
                if message is None:
                    await asyncio.sleep(0.02)
                else:
                    messages.append(message)
        await channel.close()
        return [message.body for message in messages]

    async def disconnect(self) -> None:
        self._broker._consuming.end("a test broke it")
        async with asyncio.timeout(5):
            await self._broker._consuming.ready.wait()


async def rabbit(
    amqp_url: str, seen: list[Observation] | None = None, timeout_s: float = 5, look_s: float = 5
) -> RabbitBroker:
    broker = RabbitBroker(
        address=BrokerAddress(url=amqp_url, name="test", timeout_s=timeout_s),
        topology=topology(ACCOUNTS),
        prefetch=10,
        publish_timeout_s=timeout_s,
        observe=(seen if seen is not None else []).append,
        monotonic=time.monotonic,
        on_failure=lambda error: pytest.fail(repr(error)),
        look_s=look_s,
    )
    await broker.start()
    return broker


@pytest.fixture(params=["memory", "rabbitmq"])
async def stand(request: pytest.FixtureRequest) -> AsyncIterator[Stand]:
    if request.param == "memory":
        server = MemoryServer(ACCOUNTS)
        memory = MemoryBroker(server, prefetch=10, monotonic=time.monotonic)
        yield Stand(memory, MemoryOutside(server, memory))
        return
    url = request.getfixturevalue("amqp_url")
    broker = await rabbit(url)
    async with await aio_pika.connect(url) as connection:
        yield Stand(broker, RabbitOutside(connection, broker))
    await broker.close()


class Taken:
    """Deliveries as they come."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Delivery] = asyncio.Queue()

    def __call__(self, delivery: Delivery) -> None:
        self._queue.put_nowait(delivery)

    async def next(self) -> Delivery:
        async with asyncio.timeout(10):
            return await self._queue.get()

    async def nothing(self, for_s: float = 0.2) -> bool:
        try:
            async with asyncio.timeout(for_s):
                await self._queue.get()
        except TimeoutError:
            return True
        return False


async def test_deliveries_come_with_their_account_and_lane(stand: Stand) -> None:
    taken = Taken()
    await stand.broker.consume("acme", taken)
    await stand.outside.publish_job("acme", b"one")
    bulk = await taken.next()
    await stand.outside.publish_job("acme", b"two", Lane.URGENT)
    urgent = await taken.next()
    assert (bulk.account, bulk.lane, bulk.body, bulk.redelivered) == ("acme", Lane.BULK, b"one", False)
    assert (urgent.account, urgent.lane, urgent.body) == ("acme", Lane.URGENT, b"two")


async def test_no_more_is_handed_over_than_the_prefetch(stand: Stand) -> None:
    taken = Taken()
    await stand.broker.consume("acme", taken)
    for n in range(15):
        await stand.outside.publish_job("acme", b"%d" % n)
    held = [await taken.next() for _ in range(10)]
    assert await taken.nothing()
    stand.broker.ack(held[3])
    assert (await taken.next()).body == b"10"


async def test_what_was_brought_before_a_pause_does_not_count_against_the_prefetch(stand: Stand) -> None:
    taken = Taken()
    await stand.broker.consume("acme", taken, per_queue_max=4)
    for n in range(15):
        await stand.outside.publish_job("acme", b"%d" % n)
    held = [await taken.next() for _ in range(4)]
    await stand.broker.pause("acme")
    await stand.broker.consume("acme", taken, per_queue_max=6)
    assert len([await taken.next() for _ in range(6)]) == 6
    stand.broker.ack(held[0])
    assert await taken.nothing()


async def test_what_was_not_acknowledged_comes_again_and_the_old_delivery_is_no_longer_ours(stand: Stand) -> None:
    taken = Taken()
    await stand.broker.consume("acme", taken)
    await stand.outside.publish_job("acme", b"one")
    await stand.outside.publish_job("acme", b"two")
    first, second = await taken.next(), await taken.next()
    stand.broker.ack(first)
    assert stand.broker.is_ours(second)
    await asyncio.sleep(0)  # acks leave at the end of a turn of the event loop
    await stand.outside.disconnect()
    again = await taken.next()
    assert (again.body, again.redelivered) == (b"two", True)
    assert not stand.broker.is_ours(second)
    stand.broker.ack(second)
    assert stand.broker.is_ours(again)


@pytest.mark.parametrize(
    "done", [[0, 1, 2], [7, 3, 1, 0], [9, 8, 7], [0], [4, 2, 0, 1, 3, 5, 6, 7, 8], list(range(10))], ids=str
)
async def test_what_is_acknowledged_together_covers_nothing_that_is_in_hand(stand: Stand, done: list[int]) -> None:
    taken = Taken()
    await stand.broker.consume("acme", taken)
    for n in range(10):
        await stand.outside.publish_job("acme", b"%d" % n)
    held = [await taken.next() for _ in range(10)]
    for n in done:
        stand.broker.ack(held[n])
    await asyncio.sleep(0)
    await stand.outside.disconnect()
    again = [await taken.next() for _ in range(10 - len(done))]
    assert sorted(delivery.body for delivery in again) == [b"%d" % n for n in range(10) if n not in done]
    assert await taken.nothing()


async def test_a_paused_account_takes_nothing_and_the_others_go_on(stand: Stand) -> None:
    taken, others = Taken(), Taken()
    await stand.broker.consume("acme", taken)
    await stand.broker.consume("other", others)
    await stand.broker.pause("acme")
    await stand.outside.publish_job("acme", b"waits")
    await stand.outside.publish_job("other", b"goes")
    assert (await others.next()).body == b"goes"
    assert await taken.nothing()
    await stand.broker.consume("acme", taken)
    assert (await taken.next()).body == b"waits"


async def test_what_is_in_hand_when_an_account_is_paused_stays_ours_and_does_not_come_again(stand: Stand) -> None:
    taken = Taken()
    for n in range(15):
        await stand.outside.publish_job("acme", b"%d" % n)
    await stand.broker.consume("acme", taken)
    held = [await taken.next() for _ in range(10)]
    for _ in range(3):
        await stand.broker.pause("acme")
        await stand.broker.consume("acme", taken)
    assert all(stand.broker.is_ours(delivery) for delivery in held)
    for delivery in held:
        stand.broker.ack(delivery)
    held += [await taken.next() for _ in range(5)]
    assert [delivery.body for delivery in held] == [b"%d" % n for n in range(15)]
    assert not any(delivery.redelivered for delivery in held)
    assert await taken.nothing()


async def test_fewer_are_handed_over_when_fewer_are_asked_for(stand: Stand) -> None:
    taken = Taken()
    for n in range(6):
        await stand.outside.publish_job("acme", b"%d" % n)
    await stand.broker.consume("acme", taken, per_queue_max=2)
    held = [await taken.next(), await taken.next()]
    assert await taken.nothing()
    await stand.broker.pause("acme")
    for delivery in held:
        stand.broker.ack(delivery)
    await stand.broker.consume("acme", taken)
    assert [(await taken.next()).body for _ in range(4)] == [b"2", b"3", b"4", b"5"]


async def test_publications_made_together_are_confirmed_each_and_keep_their_order(stand: Stand) -> None:
    letters = [Publication("", "mms.dead", b"%d" % n, {"x-mms-attempts": n}) for n in range(200)]
    confirms = stand.broker.publish_many(letters)
    assert await asyncio.gather(*confirms) == [None] * 200
    assert await stand.outside.bodies("mms.dead", 200) == [letter.body for letter in letters]
    assert stand.broker.publish_many([]) == []


async def test_a_job_put_back_comes_again_to_its_own_lane_after_the_delay(stand: Stand) -> None:
    taken = Taken()
    await stand.broker.consume("acme", taken)
    await stand.outside.publish_job("acme", job_body(), Lane.URGENT)
    delivery = await taken.next()
    started_s = time.monotonic()
    for publication in put_back(delivery, a_job(), RequeueReason.THROTTLED, 1.0).publications:
        await stand.broker.publish(publication)
    stand.broker.ack(delivery)
    again = await taken.next()
    assert (again.lane, again.body, again.attempts) == (Lane.URGENT, job_body(), 0)
    assert time.monotonic() - started_s >= 0.9


@pytest.mark.parametrize("queue", ["mms.dead", "mms.in_doubt"])
async def test_letters_reach_the_queue_they_are_addressed_to(stand: Stand, queue: str) -> None:
    await stand.broker.publish(Publication("", queue, b"letter", {"x-mms-reasons": ["a", "b"]}))
    assert await stand.outside.bodies(queue, 1) == [b"letter"]


async def test_a_job_of_an_unknown_account_is_kept(stand: Stand) -> None:
    await stand.outside.publish_job("nobody", b"lost?")
    assert await stand.outside.bodies("mms.unroutable", 1) == [b"lost?"]


# --- RabbitMQ alone --------------------------------------------------------------------------------------


async def test_headers_and_times_survive_the_way_through_the_broker(amqp_url: str) -> None:
    broker = await rabbit(amqp_url)
    taken = Taken()
    await broker.consume("acme", taken)
    headers = {"x-mms-attempts": 3, "x-mms-reasons": ["one", "zwei"], "traceparent": "00-ab"}
    await broker.publish(Publication(JOBS_EXCHANGE, "acme", b"x", headers))
    delivery = await taken.next()
    assert dict(delivery.headers) == headers
    assert delivery.attempts == 3
    await broker.close()


async def test_a_publication_that_no_queue_takes_is_not_confirmed_and_the_queue_is_made_again(amqp_url: str) -> None:
    broker = await rabbit(amqp_url)
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        await channel.queue_delete("mms.dead")
        letter = Publication("", "mms.dead", b"x", {})
        with pytest.raises(PublishFailed, match="unroutable"):
            await broker.publish(letter)
        async with asyncio.timeout(5):
            await broker.publisher_ready()
        await broker.publish(letter)
        assert (await (await channel.get_queue("mms.dead")).get(timeout=5)).body == b"x"
    await broker.close()


async def test_of_publications_made_together_each_fails_on_its_own(amqp_url: str) -> None:
    """What cannot be routed ends the connection; whatever counts as confirmed is there all the same."""
    broker = await rabbit(amqp_url)
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        await channel.queue_delete("mms.in_doubt")
        letters = [Publication("", "mms.in_doubt" if n == 20 else "mms.dead", b"%d" % n, {}) for n in range(40)]
        confirms = broker.publish_many(letters)
        await asyncio.wait(confirms, timeout=10)
        failed = {letter.body for letter, confirm in zip(letters, confirms, strict=True) if confirm.exception()}
        assert b"20" in failed
        assert isinstance(confirms[20].exception(), PublishFailed)
        queue = await channel.get_queue("mms.dead", ensure=False)
        there = {message.body for _ in letters if (message := await queue.get(fail=False)) is not None}
        assert {letter.body for letter in letters} - failed <= there
    await broker.close()


async def test_a_publication_that_cannot_be_written_has_no_other_confirmed_before_the_broker_has_it(
    amqp_url: str,
) -> None:
    broker = await rabbit(amqp_url)
    first, cannot_be, second, third = (
        Publication("", queue, b"letter", {}) for queue in ("mms.dead", "q" * 256, "mms.dead", "mms.dead")
    )
    with pytest.raises(TypeError, match="exceeds maximum length"):
        broker.publish_many([first, cannot_be])
    async with asyncio.timeout(2):
        await asyncio.gather(*broker.publish_many([second, third]))
    async with await aio_pika.connect(amqp_url) as connection:
        assert await RabbitOutside(connection, broker).bodies("mms.dead", 3) == [b"letter"] * 3
    await broker.close()


async def test_publications_under_way_fail_when_their_connection_ends_and_at_once_while_there_is_none(
    amqp_url: str,
) -> None:
    broker = await rabbit(amqp_url)
    confirms = broker.publish_many([Publication("", "mms.dead", b"x", {}) for _ in range(50)])
    broker._publisher.link.end("a test broke it")
    await broker._publisher.link.close()
    done, waiting = await asyncio.wait(confirms, timeout=10)
    assert not waiting
    assert all(isinstance(confirm.exception(), PublishFailed | None) for confirm in done)
    (confirm,) = broker.publish_many([Publication("", "mms.dead", b"y", {})])
    with pytest.raises(PublishFailed):
        await confirm
    async with asyncio.timeout(10):
        await broker.publisher_ready()
    await asyncio.gather(*broker.publish_many([Publication("", "mms.dead", b"z", {}) for _ in range(3)]))
    await broker.close()


@pytest.mark.parametrize("size_bytes", [0, 1, 131_063, 131_064, 131_065, 1_600_000])
async def test_bodies_of_any_size_go_through_whole(amqp_url: str, size_bytes: int) -> None:
    broker = await rabbit(amqp_url)
    taken = Taken()
    await broker.consume("acme", taken)
    body = (b"0123456789" * (size_bytes // 10 + 1))[:size_bytes]
    await asyncio.gather(*broker.publish_many([Publication(JOBS_EXCHANGE, "acme", body, {}) for _ in range(3)]))
    assert [(await taken.next()).body for _ in range(3)] == [body] * 3
    await broker.close()


async def test_a_queue_with_other_properties_is_one_clear_sentence(amqp_url: str) -> None:
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        await channel.declare_queue("mms.dead", durable=True)
    with pytest.raises(CannotStart, match=r"queue mms\.dead exists in the broker with other properties") as raised:
        await rabbit(amqp_url)
    assert "\n" not in str(raised.value)


async def test_a_refused_login_names_the_setting(amqp_url: str) -> None:
    wrong = amqp_url.replace("://", "://nobody:wrong@", 1) if "@" not in amqp_url else amqp_url
    scheme, rest = wrong.split("://")
    wrong = f"{scheme}://nobody:s3cret@{rest.split('@')[-1]}"
    with pytest.raises(CannotStart, match="refused the login: check user and password in MMS_AMQP_URL") as raised:
        await rabbit(wrong)
    assert "s3cret" not in str(raised.value)


async def test_an_unknown_virtual_host_names_the_setting(amqp_url: str) -> None:
    with pytest.raises(CannotStart, match="virtual host: check the path of MMS_AMQP_URL"):
        await rabbit(amqp_url + "-not-there")


async def test_an_unreachable_broker_names_the_setting(unused_tcp_port: int) -> None:
    with pytest.raises(CannotStart, match=r"cannot be reached .* check MMS_AMQP_URL"):
        await rabbit(f"amqp://guest:guest@127.0.0.1:{unused_tcp_port}/", timeout_s=2)


async def test_a_broker_that_accepts_and_says_nothing_is_one_sentence(unused_tcp_port: int) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1_000):
            pass
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", unused_tcp_port):
        with pytest.raises(CannotStart, match=r"cannot be reached \(no answer within 0\.3 s\): check MMS_AMQP_URL"):
            await rabbit(f"amqp://guest:guest@127.0.0.1:{unused_tcp_port}/", timeout_s=0.3)


async def test_a_broker_or_a_worker_that_is_too_slow_for_the_start_is_one_sentence(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rabbitmq_link, "OPEN_S_MAX", 0.0)
    with pytest.raises(CannotStart, match=r"at \S+ did not answer in time .* whether RabbitMQ hangs .* start it again"):
        await rabbit(amqp_url)


async def test_an_alarm_stops_publishing_without_copies_and_lets_it_go_on(rabbitmq: RabbitMQ, amqp_url: str) -> None:
    seen: list[Observation] = []
    broker = await rabbit(amqp_url, seen, timeout_s=1)
    try:
        rabbitmq.control("set_vm_memory_high_watermark", "0.0000001")
        # The broker tells of an alarm when something is published.
        publishing = asyncio.create_task(broker.publish(Publication("", "mms.dead", b"once", {})))
        async with asyncio.timeout(10):
            while broker.can_publish:  # noqa: ASYNC110 - a property of the broker
                await asyncio.sleep(0.02)
        assert broker.not_ready_because == "the broker has an alarm and takes nothing in"
        await asyncio.sleep(2.5)  # more than two of the publisher's time limits
        assert not publishing.done()
        assert BrokerBlocked(Role.PUBLISH, is_blocked=True) in seen
    finally:
        rabbitmq.control("set_vm_memory_high_watermark", "0.6")
    async with asyncio.timeout(10):
        await publishing
        await broker.publisher_ready()
    async with await aio_pika.connect(amqp_url) as connection:
        declared = await (await connection.channel()).declare_queue("mms.dead", passive=True)
        assert declared.declaration_result.message_count == 1
    assert not [observation for observation in seen if isinstance(observation, BrokerLost)]
    await broker.close()


def _headers(table: bytes) -> bytes:
    return (1 << 13).to_bytes(2, "big") + len(table).to_bytes(4, "big") + table


def _nested(depth: int) -> bytes:
    table = b""
    for _ in range(depth):
        table = b"\x01nF" + len(table).to_bytes(4, "big") + table
    return table


def _odd_properties() -> dict[str, bytes]:
    """Property lists as foreign producers may write them: flags, then values in order (AMQP 0-9-1, 4.2.6.1)."""
    far = (1_790_000_000_000_000_000).to_bytes(8, "big")
    table = b"\x04\xff\xfe\xfd\xfcS\x00\x00\x00\x01x"
    return {
        "a time stamp in nanoseconds": (1 << 6).to_bytes(2, "big") + far,
        "a header's time stamp beyond the calendar": (1 << 13).to_bytes(2, "big")
        + (len(b"\x01tT" + far)).to_bytes(4, "big")
        + b"\x01tT"
        + far,
        "a header's name that is not UTF-8": (1 << 13).to_bytes(2, "big") + len(table).to_bytes(4, "big") + table,
        "a content type that is not UTF-8": (1 << 15).to_bytes(2, "big") + b"\x03\xff\xfea",
        "a header's text that is not UTF-8": _headers(b"\x01sS\x00\x00\x00\x04caf\xe9"),
        "headers nested a thousand deep": _headers(_nested(1000)),
    }


@pytest.mark.parametrize("name", _odd_properties())
async def test_odd_properties_of_a_message_do_not_end_the_connection(amqp_url: str, name: str) -> None:
    seen: list[Observation] = []
    broker = await rabbit(amqp_url, seen)
    taken = Taken()
    await broker.consume("acme", taken)
    async with await aio_pika.connect(amqp_url) as connection:
        raw = await (await connection.channel()).get_underlay_channel()
        await publish_raw(raw, _odd_properties()[name], b"odd")
        delivery = await taken.next()
        assert (delivery.body, delivery.published_at, delivery.attempts) == (b"odd", None, 0)
        await broker.publish(Publication(JOBS_EXCHANGE, "acme", b"next", delivery.headers))
        assert (await taken.next()).body == b"next"
    assert not [observation for observation in seen if isinstance(observation, BrokerLost)]
    await broker.close()


async def publish_raw(channel: AbstractChannel, properties: bytes, body: bytes) -> None:
    """Publish with these very bytes as properties."""
    method = pamqp.frame.marshal(spec.Basic.Publish(exchange=JOBS_EXCHANGE, routing_key="acme"), channel.number)
    payload = (60).to_bytes(2, "big") + bytes(2) + len(body).to_bytes(8, "big") + properties
    header = b"\x02" + channel.number.to_bytes(2, "big") + len(payload).to_bytes(4, "big") + payload + b"\xce"
    content = pamqp.frame.marshal(ContentBody(body), channel.number)
    await channel.connection.write_queue.put(ChannelFrame(payload=method + header + content, should_close=False))


async def test_what_aiormq_raises_when_a_connection_ends_is_no_cancellation() -> None:
    for handed in (asyncio.CancelledError(), Exception("closed")):
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        answer.set_exception(handed)
        with pytest.raises(BrokerGone), answers_or_gone():
            await answer


async def wait_for_ever() -> None:
    await asyncio.Event().wait()


async def lose_a_cancellation() -> None:
    with suppress(asyncio.CancelledError):
        await wait_for_ever()


async def fail_at_a_cancellation() -> None:
    try:
        await wait_for_ever()
    except asyncio.CancelledError:
        raise OSError("while cleaning up") from None


@pytest.mark.parametrize("waiting", [wait_for_ever, lose_a_cancellation, fail_at_a_cancellation])
async def test_a_cancellation_that_somebody_asked_for_stays_one(waiting: Callable[[], Awaitable[None]]) -> None:
    async def waits() -> None:
        with answers_or_gone():
            await waiting()

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_producer_gives_up_a_broker_that_does_not_confirm_and_says_what_it_does_not_know(
    rabbitmq: RabbitMQ, amqp_url: str
) -> None:
    broker = await rabbit(amqp_url)
    await broker.close()
    address = BrokerAddress(url=amqp_url, name="test", timeout_s=5)
    async with open_producer(address, account="acme", lane=Lane.BULK) as producer:
        await producer.publish(b"one", timeout_s=5)
        rabbitmq.pause()
        try:
            with pytest.raises(PublishUnconfirmed, match="no confirm within 0.3 s"):
                await producer.publish(b"two", timeout_s=0.3)
            started_s = time.monotonic()
            with pytest.raises(PublishFailed, match="given up") as raised:
                await producer.publish(b"three", timeout_s=30)
            assert not isinstance(raised.value, PublishUnconfirmed)
            assert time.monotonic() - started_s < 1
        finally:
            rabbitmq.resume()


async def test_a_publication_whose_headers_cannot_be_written_goes_without_them(amqp_url: str) -> None:
    broker = await rabbit(amqp_url)
    taken = Taken()
    await broker.consume("acme", taken)
    headers = {"x-mms-attempts": 2, "strange": object()}
    await broker.publish(Publication(JOBS_EXCHANGE, "acme", b"x", headers))
    delivery = await taken.next()
    assert dict(delivery.headers) == {"x-mms-attempts": 2}
    await broker.close()


async def test_a_header_text_that_is_not_utf_8_is_carried_as_far_as_it_can_be_read(amqp_url: str) -> None:
    broker = await rabbit(amqp_url)
    taken = Taken()
    await broker.consume("acme", taken)
    async with await aio_pika.connect(amqp_url) as connection:
        raw = await (await connection.channel()).get_underlay_channel()
        await publish_raw(raw, _odd_properties()["a header's text that is not UTF-8"], b"odd")
        delivery = await taken.next()
        await broker.publish(Publication(JOBS_EXCHANGE, "acme", b"copy", delivery.headers))
        assert dict((await taken.next()).headers) == {"s": "caf\ufffd"}
    await broker.close()


async def test_a_broker_that_confirms_nothing_without_an_alarm_is_given_up(rabbitmq: RabbitMQ, amqp_url: str) -> None:
    seen: list[Observation] = []
    broker = await rabbit(amqp_url, seen, timeout_s=1)
    letter = Publication("", "mms.dead", b"x", {})
    rabbitmq.pause()
    try:
        async with asyncio.timeout(10):
            with pytest.raises(PublishFailed):
                await broker.publish(letter)
    finally:
        rabbitmq.resume()
    assert "no confirm within 1 s" in [lost.why for lost in seen if isinstance(lost, BrokerLost)]
    async with asyncio.timeout(15):
        await broker.publisher_ready()
        await broker.publish(letter)
    await broker.close()
