"""How many messages wait in which queues, by passive declarations: no management interface is needed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence

from aio_pika.abc import AbstractConnection
from aiormq.channel import Channel
from aiormq.exceptions import ChannelNotFoundEntity

from worker.adapters.rabbitmq_connection import (
    AMQP_FAILURES,
    BrokerAddress,
    answers_or_gone,
    connect,
    open_raw_channel,
    why,
)
from worker.adapters.rabbitmq_link import Link
from worker.core.status import Depth
from worker.flow.observations import Role
from worker.flow.ports import CannotStart

CLOSE_S_MAX = 2.0
#: One look over a kept connection, at all queues.
LOOK_S_MAX = 10.0


class QueueDepths:
    """A connection to look at queues with; opened with the first look, and again when it was lost."""

    def __init__(self, address: BrokerAddress) -> None:
        self._address = address
        self._connection: AbstractConnection | None = None

    async def look(self, queues: Iterable[str]) -> dict[str, Depth | None]:
        """Each queue's depth, None when there is no such queue. Raises ``CannotStart`` with a sentence."""
        connection = self._connection
        if connection is None or connection.is_closed:
            connection = self._connection = await connect(self._address, Role.CONSUME)
        try:
            with answers_or_gone():
                async with asyncio.timeout(self._address.timeout_s):
                    return {queue: await _depth(connection, queue) for queue in queues}
        except AMQP_FAILURES as error:
            await self.close()
            raise CannotStart(
                f"The broker at {self._address} does not tell how full its queues are: {why(error)}."
            ) from (error)

    async def close(self) -> None:
        """Close the connection, without waiting long."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*AMQP_FAILURES), answers_or_gone():
                async with asyncio.timeout(CLOSE_S_MAX):
                    await connection.close()


async def depths_over(link: Link, queues: Sequence[str]) -> dict[str, Depth | None] | None:
    """The same over a connection that is kept for something else; None when the broker does not tell now.

    On channels of its own: the broker closes one with each answer that there is no such queue.
    """
    if not link.ready.is_set():
        return None
    channel: Channel | None = None
    found: dict[str, Depth | None] = {}
    try:
        with answers_or_gone():
            async with asyncio.timeout(LOOK_S_MAX):
                for queue in queues:
                    if channel is None or channel.is_closed:
                        channel = await link.open_channel(is_confirmed=False, on_end=_not_looked_after)
                    try:
                        declared = await channel.queue_declare(queue, passive=True)
                    except ChannelNotFoundEntity:
                        found[queue] = None
                    else:
                        found[queue] = Depth(declared.message_count or 0, declared.consumer_count or 0)
    except AMQP_FAILURES:
        return None
    finally:
        if channel is not None:
            await link.close_channel(channel)
    return found


def _not_looked_after(channel: Channel, reason: str) -> None:
    """A look's channel may end: there will be another."""


async def _depth(connection: AbstractConnection, queue: str) -> Depth | None:
    # A channel for each: the broker closes it when there is no such queue.
    channel = await open_raw_channel(connection, is_confirmed=False)
    try:
        declared = await channel.queue_declare(queue, passive=True)
    except ChannelNotFoundEntity:
        return None
    await channel.close()
    return Depth(declared.message_count or 0, declared.consumer_count or 0)
