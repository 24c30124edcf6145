"""The broker: RabbitMQ 3.10 to 4.x over aio-pika.

Two connections, because an alarm in the broker blocks a publishing connection, and acknowledgements with it.
Plain connections, not "robust" ones: what a reconnect means for deliveries in hand is ours to decide. Each role
has one supervisor that connects, sets up, waits for the end, and starts over with back-off. A delivery belongs
to the channel that brought it; when that is gone the delivery is no longer ours, and an ack does nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiormq
from aio_pika.abc import AbstractConnection
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel as RawChannel
from aiormq.exceptions import PublishError

from worker.adapters.rabbitmq_connection import AMQP_FAILURES, BrokerAddress, connect, declare, open_raw_channel, why
from worker.core.delivery import Delivery, Lane, Publication
from worker.core.topology import Topology, jobs_queue
from worker.flow.observations import BrokerConnected, BrokerLost, Consuming, Observer, Published, Role
from worker.flow.ports import CannotStart, Monotonic, PublishFailed
from worker.flow.tasks import Tasks

#: Between two tries to connect: doubled each time, with jitter.
RECONNECT_S_MIN, RECONNECT_S_MAX = 0.1, 5.0
CLOSE_S_MAX = 2.0

Take = Callable[[Delivery], None]


@dataclass(eq=False, slots=True)
class _Subscription:
    """An account whose queues we consume; ``channel`` is None while paused or disconnected."""

    account: str
    take: Take
    prefetch: int
    channel: RawChannel | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Receipt:
    channel: RawChannel
    delivery_tag: int


class _Link:
    """One role's connection. When the connection or any of its channels ends, all of it ends."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self.ready = asyncio.Event()
        self.connection: AbstractConnection | None = None
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def begin(self, connection: AbstractConnection) -> None:
        """Take a new connection."""
        self.connection = connection
        self.ended = asyncio.get_running_loop().create_future()
        connection.close_callbacks.add(lambda _connection, error: self.end(why(error) if error else "closed"))

    def end(self, reason: str) -> None:
        """The connection, or a part of it, has ended; only the first reason counts."""
        self.ready.clear()
        if not self.ended.done():
            self.ended.set_result(reason)

    async def open_channel(self, *, is_confirmed: bool) -> RawChannel:
        """Open a channel; its end is the end of the link."""
        assert self.connection is not None  # noqa: S101 - begin() comes first
        channel = await open_raw_channel(self.connection, is_confirmed=is_confirmed)
        channel.closing.add_done_callback(self._channel_ended)
        return channel

    def _channel_ended(self, closing: asyncio.Future[Any]) -> None:
        error = None if closing.cancelled() else closing.exception()
        self.end(why(error) if error else "channel closed")

    async def close(self) -> None:
        """Close the connection, without waiting long for a broker that does not answer."""
        connection, self.connection = self.connection, None
        self.end("closed by us")
        if connection is not None:
            with contextlib.suppress(*AMQP_FAILURES):
                async with asyncio.timeout(CLOSE_S_MAX):
                    await connection.close()


class RabbitBroker:
    """Implements the ``Broker`` port. ``prefetch``: deliveries held unacknowledged per queue, by account."""

    def __init__(
        self,
        *,
        address: BrokerAddress,
        topology: Topology,
        prefetch: Mapping[str, int],
        publish_timeout_s: float,
        observe: Observer,
        monotonic: Monotonic,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._address = address
        self._topology = topology
        self._prefetch = prefetch
        self._publish_timeout_s = publish_timeout_s
        self._observe = observe
        self._monotonic = monotonic
        self._supervisors = Tasks(on_failure)
        self._publishing = _Link(Role.PUBLISH)
        self._consuming = _Link(Role.CONSUME)
        self._publish_channel: RawChannel | None = None
        self._subscriptions: dict[str, _Subscription] = {}

    @property
    def is_ready(self) -> bool:
        """Whether both connections stand."""
        return self._publishing.ready.is_set() and self._consuming.ready.is_set()

    async def start(self) -> None:
        """Connect, declare what is missing, and keep both connections from here on. Raises ``CannotStart``."""
        for link in (self._publishing, self._consuming):
            await self._open(link)
            self._supervisors.start(self._keep(link))

    async def close(self) -> None:
        """Close both connections; deliveries without an ack go back to their queues."""
        await self._supervisors.cancel()
        await asyncio.gather(self._consuming.close(), self._publishing.close())

    # --- Publishing --------------------------------------------------------------------------------------

    async def publisher_ready(self) -> None:
        """Wait until the publishing connection stands."""
        await self._publishing.ready.wait()

    async def publish(self, publication: Publication) -> None:
        """Publish with confirm, persistent and mandatory; raise ``PublishFailed`` when it was not confirmed in time."""
        started_s = self._monotonic()
        failure = await self._try_to_publish(publication)
        self._observe(Published(self._monotonic() - started_s, failure))
        if failure is not None:
            raise PublishFailed(failure)

    async def _try_to_publish(self, publication: Publication) -> str | None:
        channel = self._publish_channel
        if channel is None or channel.is_closed:
            return "not connected"
        properties = aiormq.spec.Basic.Properties(
            content_type=publication.content_type,
            delivery_mode=2,
            headers=dict(publication.headers),
            message_id=publication.message_id,
            timestamp=publication.published_at,
        )
        try:
            await channel.basic_publish(
                publication.body,
                exchange=publication.exchange,
                routing_key=publication.routing_key,
                properties=properties,
                mandatory=True,
                timeout=self._publish_timeout_s,
                # The confirm is what counts; waiting for the socket's buffer as well would serialise publications.
                wait=False,
            )
        except PublishError:
            # What should take it is gone: start over, which declares it again.
            self._publishing.end(
                f"no queue takes what is published to {publication.exchange or 'the queue'} {publication.routing_key}"
            )
            return "unroutable"
        except TimeoutError:
            return "timeout"
        except AMQP_FAILURES as error:
            return type(error).__name__
        return None

    # --- Consuming ---------------------------------------------------------------------------------------

    async def consume(self, account: str, take: Take) -> None:
        """Start handing the account's deliveries to ``take``; goes on over reconnects."""
        subscription = _Subscription(account, take, self._prefetch[account])
        self._subscriptions[account] = subscription
        if self._consuming.ready.is_set():
            try:
                await self._subscribe(subscription)
            except AMQP_FAILURES as error:
                self._consuming.end(why(error))  # the supervisor starts over, with this subscription

    async def pause(self, account: str) -> None:
        """Cancel the account's consumers; what was handed over stays ours."""
        subscription = self._subscriptions.pop(account, None)
        channel = subscription.channel if subscription else None
        if channel is None or channel.is_closed:
            return
        for lane in Lane:
            try:
                await channel.basic_cancel(jobs_queue(account, lane), timeout=self._address.timeout_s)
            except AMQP_FAILURES:
                return  # the channel is gone, and its consumers with it
            self._observe(Consuming(jobs_queue(account, lane), is_active=False))

    async def ack(self, delivery: Delivery) -> None:
        """Acknowledge; when the delivery is no longer ours, nothing happens: it will be handed out again."""
        receipt = delivery.receipt
        assert isinstance(receipt, _Receipt)  # noqa: S101 - only this adapter makes receipts
        if not receipt.channel.is_closed:
            try:
                await receipt.channel.basic_ack(receipt.delivery_tag, wait=False)
            except AMQP_FAILURES:
                return

    def is_ours(self, delivery: Delivery) -> bool:
        """Whether the delivery's channel is still open."""
        receipt = delivery.receipt
        assert isinstance(receipt, _Receipt)  # noqa: S101 - only this adapter makes receipts
        return not receipt.channel.is_closed

    async def _subscribe(self, subscription: _Subscription) -> None:
        channel = await self._consuming.open_channel(is_confirmed=False)
        await channel.basic_qos(prefetch_count=subscription.prefetch, timeout=self._address.timeout_s)
        channel.on_consumer_cancel_callbacks.add(self._cancelled_by_broker)
        subscription.channel = channel
        for lane in Lane:
            queue = jobs_queue(subscription.account, lane)
            receive = self._receiver(subscription, lane, channel)
            await channel.basic_consume(queue, receive, consumer_tag=queue, timeout=self._address.timeout_s)
            self._observe(Consuming(queue, is_active=True))

    async def _cancelled_by_broker(self, frame: object) -> None:
        """The broker ended a consumer (its queue was deleted or moved). Unnoticed, it would never take a job again."""
        self._consuming.end(f"the broker cancelled the consumer of {getattr(frame, 'consumer_tag', 'a queue')}")

    def _receiver(
        self, subscription: _Subscription, lane: Lane, channel: RawChannel
    ) -> Callable[[DeliveredMessage], Any]:
        async def receive(message: DeliveredMessage) -> None:
            properties = message.header.properties
            subscription.take(
                Delivery(
                    account=subscription.account,
                    lane=lane,
                    body=message.body,
                    headers=properties.headers or {},
                    redelivered=bool(message.redelivered),
                    published_at=_as_moment(properties.timestamp),
                    received_at_s=self._monotonic(),
                    receipt=_Receipt(channel, message.delivery_tag or 0),
                )
            )

        return receive

    # --- Keeping the connections -------------------------------------------------------------------------

    async def _keep(self, link: _Link) -> None:
        while True:
            reason = await link.ended
            self._observe(BrokerLost(link.role, reason))
            await link.close()
            wait_s = RECONNECT_S_MIN
            while not link.ready.is_set():
                await asyncio.sleep(wait_s * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
                wait_s = min(wait_s * 2, RECONNECT_S_MAX)
                try:
                    await self._open(link)
                except CannotStart as error:
                    self._observe(BrokerLost(link.role, str(error)))

    async def _open(self, link: _Link) -> None:
        """Connect and set up one role; ``CannotStart`` says in a sentence why not."""
        link.begin(await connect(self._address, link.role))
        try:
            # Both roles declare: each may come back after somebody deleted what it needs.
            await declare(await link.open_channel(is_confirmed=False), self._topology, self._address.timeout_s)
            match link.role:
                case Role.PUBLISH:
                    self._publish_channel = await link.open_channel(is_confirmed=True)
                case Role.CONSUME:
                    for subscription in self._subscriptions.values():
                        await self._subscribe(subscription)
        except CannotStart:
            await link.close()
            raise
        except AMQP_FAILURES as error:
            await link.close()
            raise CannotStart(f"The broker refused what the worker needs: {why(error)}.") from error
        link.ready.set()
        self._observe(BrokerConnected(link.role))


def _as_moment(stamp: object) -> datetime | None:
    """A message's timestamp with its zone; AMQP's are in UTC and whole seconds."""
    if not isinstance(stamp, datetime):
        return None
    return stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)
