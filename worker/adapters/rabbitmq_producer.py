"""Publishing jobs as an upstream system does: confirmed, mandatory, many in flight."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import aiormq
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity, PublishError

from worker.adapters.rabbitmq_connection import AMQP_FAILURES, BrokerAddress, connect, why
from worker.core.delivery import Lane
from worker.core.topology import JOBS_EXCHANGE, jobs_queue, routing_key
from worker.flow.observations import Role
from worker.flow.ports import CannotStart, PublishFailed

#: Publications that may wait for their confirm at a time.
UNCONFIRMED_MAX = 256


class Producer:
    """Publishes jobs of one account and lane."""

    def __init__(self, *, channel: aiormq.abc.AbstractChannel, key: str) -> None:
        self._channel = channel
        self._key = key

    async def publish(self, body: bytes, *, timeout_s: float) -> None:
        """Return once the broker has the job; raise ``PublishFailed`` otherwise."""
        properties = aiormq.spec.Basic.Properties(
            content_type="application/json", delivery_mode=2, timestamp=datetime.now(UTC)
        )
        try:
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
            raise PublishFailed(f"no confirm within {timeout_s:g} s") from error
        except AMQP_FAILURES as error:
            raise PublishFailed(why(error)) from error


@contextlib.asynccontextmanager
async def open_producer(address: BrokerAddress, *, account: str, lane: Lane) -> AsyncIterator[Producer]:
    """Connect as a producer of ``account``'s jobs; raises ``CannotStart`` when the account has no queue."""
    connection = await connect(address, Role.PUBLISH)
    try:
        await _require_queue(connection, address, jobs_queue(account, lane))
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        raw = await channel.get_underlay_channel()
        yield Producer(channel=raw, key=routing_key(account, lane))
    finally:
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
