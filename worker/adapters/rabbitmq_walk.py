"""Going through a queue once, message by message, and leaving it as it was but for what is settled on the way.

Each message is got without an acknowledgement. What is settled gets its publications, each confirmed, and only then
its acknowledgement. All others are still the broker's: they go back at the end, in their order, and also when the walk
fails or is interrupted. Nothing is kept here of what was passed by but its number.

The order is kept as far as the broker allows. What is returned comes before what was never handed out, and behind
what was: so a walk that ends early takes the rest in hand as well, for some seconds. Should there be more than that,
or should this process die, the oldest may not be first any more; they are there all the same.

A walk is bounded: by what was in the queue when it began, and by time, since a broker takes back what is held for half
an hour without an acknowledgement, and closes the channel that holds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from array import array
from collections.abc import AsyncIterator, Awaitable, Iterable
from datetime import UTC, datetime
from typing import TypeVar

from aiormq import spec
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from aiormq.exceptions import ChannelNotFoundEntity, PublishError

from worker.adapters.rabbitmq_connection import (
    AMQP_FAILURES,
    BrokerAddress,
    answers_or_gone,
    connect,
    open_raw_channel,
    why,
)
from worker.core.delivery import OUR_HEADERS, Publication
from worker.core.held_jobs import HeldMessage
from worker.flow.observations import Role
from worker.flow.ports import CannotStart, WalkFailed

#: RabbitMQ's consumer_timeout is 30 minutes.
WALK_S_MAX = 25 * 60.0
CLOSE_S_MAX = 2.0
#: To a quorum queue each message that was got is a consumer of its own. From 32 returns that are under way the broker
#: gathers the others by consumer and hands them on in an order of its own, so fewer are returned at a time.
RETURNED_TOGETHER_MAX = 16
#: A group is back within some milliseconds; a hundred thousand messages take about half a minute.
LOOK_S, LOOKS_MAX = 0.002, 250
GIVE_BACK_S_MAX = 120.0
#: How long the rest is taken in hand: some thousand messages a second.
REST_S_MAX = 5.0
_PERSISTENT = 2
_CANNOT_BE_WRITTEN = (TypeError, ValueError, struct.error)

_Answer = TypeVar("_Answer")


class Walk:
    """One way through a queue. ``total``: how many messages it held at the beginning."""

    def __init__(
        self,
        *,
        address: BrokerAddress,
        queue: str,
        total: int,
        walk_s_max: float,
        getting: Channel,
        publishing: Channel,
    ) -> None:
        self.total = total
        #: Time was up before all were seen.
        self.is_cut_short = False
        self._address = address
        self._queue = queue
        self._getting = getting
        self._publishing = publishing
        self._got = 0
        self._is_dumb = False
        #: Of what is in hand, in order.
        self._tags = array("Q")
        self._until_s = asyncio.get_running_loop().time() + walk_s_max

    async def messages(self) -> AsyncIterator[HeldMessage]:
        """Each message, from the head of the queue. Raises ``WalkFailed``."""
        while self._got < self.total:
            if asyncio.get_running_loop().time() > self._until_s:
                self.is_cut_short = True
                return
            got = await self._get()
            if got is None:
                return  # somebody else took the rest
            properties = got.header.properties
            yield HeldMessage(
                body=got.body,
                headers=properties.headers or {},
                published_at=_as_moment(properties.timestamp),
                receipt=self._tags[-1],
            )

    async def settle(self, message: HeldMessage, publications: Iterable[Publication]) -> None:
        """Publish all, in order, each confirmed, then acknowledge ``message``, which came last.

        Raises ``WalkFailed``.
        """
        for publication in publications:
            target = publication.exchange or publication.routing_key
            try:
                await self._answered(self._publish(publication), f"take what is published to {target}")
            except PublishError as error:
                raise WalkFailed(
                    f"No queue takes what is published to {target}: start a worker, it declares them."
                ) from error
        tag = message.receipt
        assert isinstance(tag, int)  # noqa: S101 - only this adapter makes receipts
        await self._answered(self._getting.basic_ack(tag), "take an acknowledgement")
        self._tags.remove(tag)

    async def _get(self) -> DeliveredMessage | None:
        """The next message, in hand from here on; None when there is none."""
        got = await self._answered(self._getting.basic_get(self._queue), f"hand out what is in {self._queue}")
        if got.delivery_tag is None:
            return None
        self._got += 1
        self._tags.append(got.delivery_tag)
        return got

    async def give_back(self) -> None:
        """Return what is in hand, in order. Where this fails, the end of the connection does it."""
        if self._is_dumb:
            return
        await self._take_the_rest()
        with contextlib.suppress(*AMQP_FAILURES), answers_or_gone():
            async with asyncio.timeout(GIVE_BACK_S_MAX):
                for at in range(0, len(self._tags), RETURNED_TOGETHER_MAX):
                    ready = await self._ready()
                    group = self._tags[at : at + RETURNED_TOGETHER_MAX]
                    for tag in group:
                        await self._getting.basic_nack(tag, requeue=True, wait=False)
                    await self._until_ready(ready + len(group))
                await self._getting.close()

    async def _take_the_rest(self) -> None:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + REST_S_MAX
        with contextlib.suppress(WalkFailed):
            while self._tags and self._got < self.total and loop.time() < until_s:
                if await self._get() is None:
                    return

    async def _until_ready(self, count: int) -> None:
        """Wait until so many are in the queue; not for long, since somebody else may take them."""
        for _ in range(LOOKS_MAX):
            if await self._ready() >= count:
                return
            await asyncio.sleep(LOOK_S)

    async def _ready(self) -> int:
        declared = await self._getting.queue_declare(self._queue, passive=True, timeout=self._address.timeout_s)
        return declared.message_count or 0

    async def _publish(self, publication: Publication) -> None:
        """A producer's header that can be read and not written must not hold the job here: then only ours go."""
        ours = {name: value for name, value in publication.headers.items() if name.startswith(OUR_HEADERS)}
        for headers in (publication.headers, ours):
            properties = spec.Basic.Properties(
                content_type=publication.content_type,
                delivery_mode=_PERSISTENT,
                headers=dict(headers),
                timestamp=publication.published_at,
            )
            with contextlib.suppress(*_CANNOT_BE_WRITTEN):
                await self._publishing.basic_publish(
                    publication.body,
                    exchange=publication.exchange,
                    routing_key=publication.routing_key,
                    properties=properties,
                    mandatory=True,
                )
                return
        raise WalkFailed(f"A message for {publication.exchange or publication.routing_key} cannot be written.")

    async def _answered(self, waiting: Awaitable[_Answer], doing: str) -> _Answer:
        """The broker's answer, in time; ``doing``: what it was to do."""
        try:
            with answers_or_gone():
                async with asyncio.timeout(self._address.timeout_s):
                    return await waiting
        except PublishError:
            raise
        except TimeoutError as error:
            self._is_dumb = True
            limit = f"within {self._address.timeout_s:g} s"
            raise WalkFailed(
                f"The broker at {self._address} did not {doing} {limit}: look for an alarm there (memory, disk)."
            ) from error
        except AMQP_FAILURES as error:
            raise WalkFailed(f"The broker at {self._address} did not {doing} ({why(error)}).") from error


@contextlib.asynccontextmanager
async def open_walk(
    address: BrokerAddress, queue: str, *, walk_s_max: float = WALK_S_MAX, is_order_kept_when_cancelled: bool = True
) -> AsyncIterator[Walk]:
    """Begin a walk on a connection of its own, which declares nothing; at the end all that is not settled goes back.

    Without ``is_order_kept_when_cancelled`` it goes back by itself then, since the connection ends, in the broker's own
    order and without delay. Raises ``CannotStart`` when there is no broker, or no such queue.
    """
    connection = await connect(address, Role.CONSUME)
    try:
        try:
            with answers_or_gone():
                async with asyncio.timeout(address.timeout_s):
                    getting = await open_raw_channel(connection, is_confirmed=False)
                    publishing = await open_raw_channel(connection, is_confirmed=True)
                    declared = await getting.queue_declare(queue, passive=True)
        except ChannelNotFoundEntity as error:
            raise CannotStart(
                f"The broker at {address} has no queue {queue}: check MMS_AMQP_URL, or start a worker (it declares it)."
            ) from error
        except AMQP_FAILURES as error:
            raise CannotStart(f"The broker at {address} refused a look into {queue}: {why(error)}.") from error
        walk = Walk(
            address=address,
            queue=queue,
            total=declared.message_count or 0,
            walk_s_max=walk_s_max,
            getting=getting,
            publishing=publishing,
        )
        is_cancelled = False
        try:
            yield walk
        except asyncio.CancelledError:
            is_cancelled = True
            raise
        finally:
            if is_order_kept_when_cancelled or not is_cancelled:
                await walk.give_back()
    finally:
        with contextlib.suppress(*AMQP_FAILURES), answers_or_gone():
            async with asyncio.timeout(CLOSE_S_MAX):
                await connection.close()


def _as_moment(stamp: object) -> datetime | None:
    """A message's timestamp with its zone; AMQP's are in UTC and whole seconds."""
    if not isinstance(stamp, datetime):
        return None
    return stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)
