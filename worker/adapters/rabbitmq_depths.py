"""How many messages wait in which queues, by passive declarations: no management interface is needed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from aio_pika.abc import AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity

from worker.adapters.rabbitmq_connection import (
    AMQP_FAILURES,
    BrokerAddress,
    answers_or_gone,
    connect,
    open_raw_channel,
    why,
)
from worker.core.status import Depth
from worker.flow.observations import Role
from worker.flow.ports import CannotStart

CLOSE_S_MAX = 2.0


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


async def _depth(connection: AbstractConnection, queue: str) -> Depth | None:
    # A channel for each: the broker closes it when there is no such queue.
    channel = await open_raw_channel(connection, is_confirmed=False)
    try:
        declared = await channel.queue_declare(queue, passive=True)
    except ChannelNotFoundEntity:
        return None
    await channel.close()
    return Depth(declared.message_count or 0, declared.consumer_count or 0)
