"""A walk through a queue on RabbitMQ leaves everything as it was, but for what was settled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel

from deploy.local import RabbitMQ
from worker.adapters.rabbitmq_connection import BrokerAddress, declare
from worker.adapters.rabbitmq_walk import Walk, open_walk
from worker.core.delivery import Publication
from worker.core.held_jobs import HeldMessage
from worker.core.topology import topology
from worker.flow.ports import CannotStart, WalkFailed

#: More than fit into one small map of the broker's, in which order would be kept by chance.
MANY = 120
LETTERS = [b"%03d" % n for n in range(MANY)]
AT = datetime(2026, 11, 22, 3, 4, 5, tzinfo=UTC)


class Dead:
    """The queue mms.dead, as somebody else sees it."""

    def __init__(self, url: str, channel: AbstractChannel) -> None:
        self.url = url
        self.channel = channel

    @property
    def address(self) -> BrokerAddress:
        return BrokerAddress(url=self.url, name="test", timeout_s=2)

    async def put(self, *bodies: bytes, headers: dict[str, aio_pika.abc.FieldValue] | None = None) -> None:
        for body in bodies:
            message = aio_pika.Message(body, headers=headers, timestamp=AT, delivery_mode=2)
            await self.channel.default_exchange.publish(message, "mms.dead")

    async def holds(self, bodies: list[bytes], queue: str = "mms.dead") -> bool:
        """Whether this is what is in the queue, from its head, now or in a moment; it stays there."""
        async with await aio_pika.connect(self.url) as connection:
            source = await (await connection.channel()).get_queue(queue)
            found: list[bytes] = []
            async with asyncio.timeout(10):
                while len(found) < len(bodies):
                    message = await source.get(fail=False)
                    if message is None:
                        await asyncio.sleep(0.02)
                    else:
                        found.append(message.body)
            more = await source.get(fail=False)
        assert found == bodies
        return more is None


@pytest.fixture
async def dead(amqp_url: str) -> AsyncIterator[Dead]:
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        await declare(await channel.get_underlay_channel(), topology(["acme"]), 5)
        yield Dead(amqp_url, channel)


def copy(body: bytes, queue: str = "mms.in_doubt") -> tuple[Publication, ...]:
    return (Publication("", queue, body, {}),)


def without_the_brokers(message: HeldMessage) -> dict[str, object]:
    """The headers without the broker's own count of deliveries, which it adds from the first one on."""
    return {name: value for name, value in message.headers.items() if name != "x-delivery-count"}


async def test_a_look_sees_each_message_once_and_changes_nothing(dead: Dead) -> None:
    await dead.put(*LETTERS, headers={"x-mms-attempts": 3, "x-mms-reasons": ["one", "two"]})
    async with open_walk(dead.address, "mms.dead") as walk:
        seen = [message async for message in walk.messages()]
    assert (walk.total, walk.is_cut_short) == (MANY, False)
    assert [message.body for message in seen] == LETTERS
    assert without_the_brokers(seen[0]) == {"x-mms-attempts": 3, "x-mms-reasons": ["one", "two"]}
    assert seen[0].published_at == AT
    assert await dead.holds(LETTERS)


async def test_what_is_looked_at_again_and_again_is_not_dropped(dead: Dead) -> None:
    await dead.put(b"a", b"b")
    for _ in range(25):
        async with open_walk(dead.address, "mms.dead") as walk:
            assert [message.body async for message in walk.messages()] == [b"a", b"b"]


async def test_what_is_settled_leaves_once_its_publications_are_there_and_the_others_keep_their_order(
    dead: Dead,
) -> None:
    await dead.put(*LETTERS)
    async with open_walk(dead.address, "mms.dead") as walk:
        async for message in walk.messages():
            if int(message.body) % 3 == 0:
                await walk.settle(message, copy(message.body) + copy(message.body + b"+"))
    assert await dead.holds([body for body in LETTERS if int(body) % 3])
    settled = [body for body in LETTERS if int(body) % 3 == 0]
    assert await dead.holds([one for body in settled for one in (body, body + b"+")], "mms.in_doubt")


async def walk_through(dead: Dead, do: Callable[[Walk, HeldMessage], Awaitable[None]]) -> None:
    async with open_walk(dead.address, "mms.dead") as walk:
        async for message in walk.messages():
            await do(walk, message)


async def test_a_walk_that_is_cancelled_and_does_not_wait_leaves_everything_all_the_same(dead: Dead) -> None:
    await dead.put(*LETTERS)
    is_half_way = asyncio.Event()

    async def walk_for_ever() -> None:
        async with open_walk(dead.address, "mms.dead", is_order_kept_when_cancelled=False) as walk:
            async for message in walk.messages():
                if message.body == b"060":
                    is_half_way.set()
                    await asyncio.Event().wait()

    walking = asyncio.create_task(walk_for_ever())
    await asyncio.wait_for(is_half_way.wait(), 10)
    walking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(walking, 5)
    async with asyncio.timeout(10):
        seen: list[bytes] = []
        while sorted(seen) != LETTERS:
            async with open_walk(dead.address, "mms.dead") as walk:
                seen = [message.body async for message in walk.messages()]


class BrokenError(Exception):
    pass


async def test_a_walk_that_breaks_half_way_gives_everything_back_in_its_order(dead: Dead) -> None:
    async def break_half_way(walk: Walk, message: HeldMessage) -> None:
        if message.body == b"001":
            await walk.settle(message, copy(message.body))
        if message.body == b"060":
            raise BrokenError

    await dead.put(*LETTERS)
    with pytest.raises(BrokenError):
        await walk_through(dead, break_half_way)
    assert await dead.holds([body for body in LETTERS if body != b"001"])
    assert await dead.holds([b"001"], "mms.in_doubt")


async def test_what_was_looked_at_before_keeps_its_order_when_the_next_walk_breaks(dead: Dead) -> None:
    async def look(_: Walk, __: HeldMessage) -> None:
        pass

    async def break_half_way(_: Walk, message: HeldMessage) -> None:
        if message.body == b"060":
            raise BrokenError

    await dead.put(*LETTERS)
    await walk_through(dead, look)
    with pytest.raises(BrokenError):
        await walk_through(dead, break_half_way)
    assert await dead.holds(LETTERS)


async def test_a_walk_that_is_interrupted_gives_everything_back_in_its_order(dead: Dead) -> None:
    await dead.put(*LETTERS)
    half_way = asyncio.Event()

    async def wait_half_way(_: Walk, message: HeldMessage) -> None:
        if message.body == b"060":
            half_way.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(walk_through(dead, wait_half_way))
    async with asyncio.timeout(10):
        await half_way.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert await dead.holds(LETTERS)


async def test_what_comes_in_meanwhile_is_not_walked_through(dead: Dead) -> None:
    await dead.put(b"a", b"b")
    async with open_walk(dead.address, "mms.dead") as walk:
        async for message in walk.messages():
            await walk.settle(message, copy(message.body + b"'", "mms.dead"))
    assert await dead.holds([b"a'", b"b'"])


async def test_a_walk_has_an_end_in_time_too(dead: Dead) -> None:
    await dead.put(b"a", b"b")
    async with open_walk(dead.address, "mms.dead", walk_s_max=0.3) as walk:
        async for message in walk.messages():
            assert message.body == b"a"
            await asyncio.sleep(0.4)
    assert walk.is_cut_short
    assert await dead.holds([b"a", b"b"])


async def test_what_somebody_else_has_in_hand_is_passed_by(dead: Dead) -> None:
    await dead.put(b"a", b"b")
    async with open_walk(dead.address, "mms.dead") as first, open_walk(dead.address, "mms.dead") as second:
        assert [message.body async for message in first.messages()] == [b"a", b"b"]
        assert [message.body async for message in second.messages()] == []
    assert await dead.holds([b"a", b"b"])


@pytest.mark.parametrize("target", ["mms.nowhere", "mms.nowhere.either"])
async def test_what_no_queue_takes_stays(dead: Dead, target: str) -> None:
    await dead.put(b"a")
    publication = Publication("" if target == "mms.nowhere" else target, target, b"a", {})
    with pytest.raises(WalkFailed, match=target):
        await walk_through(dead, lambda walk, message: walk.settle(message, [publication]))
    assert await dead.holds([b"a"])


async def test_a_header_that_cannot_be_written_does_not_keep_the_job(dead: Dead) -> None:
    await dead.put(b"a")
    async with open_walk(dead.address, "mms.dead") as walk:
        async for message in walk.messages():
            headers = {"odd": object(), "x-mms-redrives": 1}
            await walk.settle(message, [Publication("", "mms.in_doubt", b"a", headers, published_at=AT)])
    async with open_walk(dead.address, "mms.in_doubt") as walk:
        (there,) = [message async for message in walk.messages()]
    assert (without_the_brokers(there), there.published_at) == ({"x-mms-redrives": 1}, AT)


async def test_no_queue_no_broker_and_no_login_are_one_sentence(dead: Dead, unused_tcp_port: int) -> None:
    with pytest.raises(CannotStart, match=r"has no queue mms\.gone"):
        async with open_walk(dead.address, "mms.gone"):
            pytest.fail("there is no such queue")
    nowhere = BrokerAddress(url=f"amqp://guest:s3cret@127.0.0.1:{unused_tcp_port}/", name="test", timeout_s=2)
    with pytest.raises(CannotStart, match="MMS_AMQP_URL") as raised:
        async with open_walk(nowhere, "mms.dead"):
            pytest.fail("there is no broker")
    assert "s3cret" not in str(raised.value)


async def test_a_broker_that_does_not_answer_ends_the_walk_in_time_and_nothing_is_lost(
    dead: Dead, rabbitmq: RabbitMQ
) -> None:
    async def settle_unanswered(walk: Walk, message: HeldMessage) -> None:
        rabbitmq.pause()
        await walk.settle(message, copy(message.body))

    await dead.put(b"a", b"b")
    started_s = time.monotonic()
    try:
        with pytest.raises(WalkFailed, match="within 2 s"):
            await walk_through(dead, settle_unanswered)
        assert time.monotonic() - started_s < 12
    finally:
        rabbitmq.resume()
    assert await dead.holds([b"a", b"b"])


async def test_a_connection_that_ends_is_one_sentence_and_nothing_is_lost(dead: Dead) -> None:
    await dead.put(b"a", b"b")
    with pytest.raises(WalkFailed, match="did not"):
        await walk_through(dead, lambda walk, _: walk._getting.connection.close())
    assert await dead.holds([b"a", b"b"])
