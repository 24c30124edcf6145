"""Publishing jobs as an upstream system does: confirmed, mandatory, many in flight."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import aiormq
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity, PublishError

from worker.adapters.rabbitmq_connection import (
    AMQP_FAILURES,
    BrokerAddress,
    answers_or_gone,
    connect,
    open_raw_channel,
    why,
)
from worker.core.delivery import Lane
from worker.core.topology import JOBS_EXCHANGE, jobs_queue, routing_key
from worker.flow.observations import Role
from worker.flow.ports import CannotStart, PublishFailed, PublishUnconfirmed

#: Publications that may wait for their confirm at a time.
UNCONFIRMED_MAX = 256
CLOSE_S_MAX = 2.0


class Producer:
    """Publishes jobs of one account and lane."""

    def __init__(self, *, channel: aiormq.abc.AbstractChannel, key: str) -> None:
        self._channel = channel
        self._key = key
        self._is_given_up = False

    async def publish(self, body: bytes, *, timeout_s: float) -> None:
        """Return once the broker has the job; raise ``PublishFailed`` otherwise.

        After one publication without a confirm in time (``PublishUnconfirmed``) the rest is refused at once: the broker
        does not read, and what is written now may be taken in later, when nobody counts on it any more.
        """
        if self._is_given_up or self._channel.is_closed:
            raise PublishFailed("the connection was given up")
        properties = aiormq.spec.Basic.Properties(
            content_type="application/json", delivery_mode=2, timestamp=datetime.now(UTC)
        )
        try:
            with answers_or_gone():
                await self._channel.basic_publish(
                    body,
                    exchange=JOBS_EXCHANGE,
                    routing_key=self._key,
                    properties=properties,
                    mandatory=True,
                    timeout=timeout_s,
                )
        except PublishError as error:
            raise PublishFailed("no queue takes it") from error
        except TimeoutError as error:
            self._is_given_up = True
            raise PublishUnconfirmed(f"no confirm within {timeout_s:g} s") from error
        except AMQP_FAILURES as error:
            self._is_given_up = True
            raise PublishUnconfirmed(why(error)) from error


@contextlib.asynccontextmanager
async def open_producer(address: BrokerAddress, *, account: str, lane: Lane) -> AsyncIterator[Producer]:
    """Connect as a producer of ``account``'s jobs; raises ``CannotStart`` when the account has no queue."""
    connection = await connect(address, Role.PUBLISH)
    try:
        with answers_or_gone():
            async with asyncio.timeout(address.timeout_s):
                await _require_queue(connection, address, jobs_queue(account, lane))
                channel = await open_raw_channel(connection, is_confirmed=True)
        yield Producer(channel=channel, key=routing_key(account, lane))
    finally:
        with contextlib.suppress(*AMQP_FAILURES), answers_or_gone():
            async with asyncio.timeout(CLOSE_S_MAX):
                await connection.close()


async def _require_queue(connection: AbstractConnection, address: BrokerAddress, queue: str) -> None:
    """An unknown account's jobs would be kept in mms.unroutable; a person wants to know before."""
    channel = await connection.channel(publisher_confirms=False)
    try:
        raw = await channel.get_underlay_channel()
        await raw.queue_declare(queue, passive=True, timeout=address.timeout_s)
        await channel.close()
    except ChannelNotFoundEntity as error:
        raise CannotStart(
            f"The broker at {address} has no queue {queue}: check --account, or start a worker that is configured "
            "for the account (it declares the queue)."
        ) from error
