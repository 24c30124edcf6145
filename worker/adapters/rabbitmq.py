"""The broker: RabbitMQ 3.10 to 4.x over aio-pika.

Two connections, because an alarm in the broker blocks a publishing connection, and acknowledgements with it. A
delivery belongs to the channel that brought it; when that is gone the delivery is no longer ours, and an ack does
nothing.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel

from worker.adapters.rabbitmq_connection import AMQP_FAILURES, BrokerAddress, answers_or_gone, why
from worker.adapters.rabbitmq_link import Link
from worker.adapters.rabbitmq_publisher import Publisher
from worker.core.delivery import Delivery, Lane, Publication
from worker.core.topology import Topology, jobs_queue, jobs_queues
from worker.flow.observations import Consuming, Observer, Role
from worker.flow.ports import Monotonic
from worker.flow.tasks import Tasks

Take = Callable[[Delivery], None]


@dataclass(eq=False, slots=True)
class _Subscription:
    """An account whose queues we consume; ``channel`` is None until it has consumed for the first time.

    ``tags``: what the broker calls our consumers, queue by queue; each is used once. A tag used again while
    deliveries of its first life have no ack yet is an internal error to RabbitMQ 3.10's quorum queues, which ends the
    connection.
    """

    account: str
    take: Take
    prefetch: int
    channel: Channel | None = None
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class _Receipt:
    channel: Channel
    delivery_tag: int


class RabbitBroker:
    """Implements the ``Broker`` port. ``prefetch``: deliveries held unacknowledged per queue at most."""

    def __init__(
        self,
        *,
        address: BrokerAddress,
        topology: Topology,
        prefetch: int,
        publish_timeout_s: float,
        observe: Observer,
        monotonic: Monotonic,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._timeout_s = address.timeout_s
        self._prefetch = prefetch
        self._observe = observe
        self._monotonic = monotonic
        self._supervisors = Tasks(on_failure)
        self._asked = Tasks(on_failure)
        self._publisher = Publisher(
            address=address, topology=topology, timeout_s=publish_timeout_s, observe=observe, monotonic=monotonic
        )
        self._consuming = Link(
            role=Role.CONSUME, address=address, topology=topology, observe=observe, set_up=self._set_up_consuming
        )
        self._subscriptions: dict[str, _Subscription] = {}
        self._channels: dict[str, Channel] = {}
        self._numbers = itertools.count(1)
        # Subscribing, pausing and reconnecting change the same things, and each waits for the broker on the way.
        self._subscribing = asyncio.Lock()

    @property
    def not_ready_because(self) -> str | None:
        """Why no job can be taken and told now, or None."""
        if not (self._publisher.link.ready.is_set() and self._consuming.ready.is_set()):
            return "not connected to the broker"
        return None if self.can_publish else "the broker has an alarm and takes nothing in"

    async def start(self) -> None:
        """Connect, declare what is missing, and keep both connections from here on. Raises ``CannotStart``."""
        for link in (self._publisher.link, self._consuming):
            await link.open()
            self._supervisors.start(link.keep())
        self._supervisors.start(self._publisher.watch())

    async def close(self) -> None:
        """Close both connections; deliveries without an ack go back to their queues."""
        await self._supervisors.cancel()
        await self._asked.cancel()
        await asyncio.gather(self._consuming.close(), self._publisher.link.close())

    # --- Publishing --------------------------------------------------------------------------------------

    @property
    def can_publish(self) -> bool:
        """Whether what is published now has a chance to be confirmed."""
        return self._publisher.can_publish

    async def publisher_ready(self) -> None:
        """Wait until ``can_publish``."""
        await self._publisher.ready()

    async def publish(self, publication: Publication) -> None:
        """Return once the broker has confirmed; raise ``PublishFailed`` when the connection ended before."""
        await self.publish_many([publication])[0]

    def publish_many(self, publications: Sequence[Publication]) -> list[asyncio.Future[None]]:
        """Write all together; each future ends as ``publish`` does."""
        return self._publisher.publish_many(publications)

    # --- Consuming ---------------------------------------------------------------------------------------

    async def consume(self, account: str, take: Take, *, per_queue_max: int | None = None) -> None:
        """Start handing the account's deliveries to ``take``; goes on over reconnects."""
        await self._to_its_end(self._consume(account, take, per_queue_max))

    async def pause(self, account: str) -> None:
        """Cancel the account's consumers; what was handed over stays ours."""
        await self._to_its_end(self._pause(account))

    async def declare(self, account: str) -> None:
        """Declare the account's queues, now and on every connection to come; ``CannotStart`` says why not."""
        # The connection that publishes is not read from while the broker has an alarm.
        await self._consuming.declare(Topology((), jobs_queues(account)))
        for link in (self._publisher.link, self._consuming):
            link.topology = link.topology.plus(account)

    async def forget(self, account: str) -> None:
        """Close the account's channel: what was handed over and has no ack goes back. Declare it no more."""
        await self._to_its_end(self._forget(account))

    async def _to_its_end(self, work: Coroutine[Any, Any, None]) -> None:
        """Do ``work``, also when who asked for it is cancelled: a question broken off would end its channel.

        And the end of a channel is the end of the link, with the deliveries of all accounts.
        """
        await asyncio.shield(self._asked.start(work))

    async def _forget(self, account: str) -> None:
        async with self._subscribing:
            for link in (self._publisher.link, self._consuming):
                link.topology = link.topology.minus(account)
            self._subscriptions.pop(account, None)
            channel = self._channels.pop(account, None)
            if channel is not None:
                await self._consuming.close_channel(channel)

    async def _consume(self, account: str, take: Take, per_queue_max: int | None) -> None:
        async with self._subscribing:
            prefetch = min(self._prefetch, per_queue_max or self._prefetch)
            subscription = _Subscription(account, take, prefetch)
            self._subscriptions[account] = subscription
            if self._consuming.ready.is_set():
                try:
                    with answers_or_gone():
                        await self._subscribe(subscription)
                except AMQP_FAILURES as error:
                    self._consuming.end(why(error))  # the link starts over, with this subscription

    async def _pause(self, account: str) -> None:
        async with self._subscribing:
            subscription = self._subscriptions.pop(account, None)
            channel = subscription.channel if subscription else None
            if channel is None or channel.is_closed:
                return
            for queue, tag in subscription.tags.items() if subscription else ():
                try:
                    with answers_or_gone():
                        await channel.basic_cancel(tag, timeout=self._timeout_s)
                except AMQP_FAILURES:
                    return  # the channel is gone, and its consumers with it
                self._observe(Consuming(queue, is_active=False))

    async def ack(self, delivery: Delivery) -> None:
        """Acknowledge; when the delivery is no longer ours, nothing happens: it will be handed out again."""
        receipt = delivery.receipt
        assert isinstance(receipt, _Receipt)  # noqa: S101 - only this adapter makes receipts
        if not receipt.channel.is_closed:
            try:
                with answers_or_gone():
                    await receipt.channel.basic_ack(receipt.delivery_tag, wait=False)
            except AMQP_FAILURES:
                return

    def is_ours(self, delivery: Delivery) -> bool:
        """Whether the delivery's channel is still open."""
        receipt = delivery.receipt
        assert isinstance(receipt, _Receipt)  # noqa: S101 - only this adapter makes receipts
        return not receipt.channel.is_closed

    async def _set_up_consuming(self) -> None:
        async with self._subscribing:
            for subscription in self._subscriptions.values():
                await self._subscribe(subscription)

    async def _subscribe(self, subscription: _Subscription) -> None:
        # A paused account's channel is used again: what it brought is still acknowledged there.
        channel = self._channels.get(subscription.account)
        if channel is None or channel.is_closed:
            channel = self._channels[subscription.account] = await self._consuming.open_channel(is_confirmed=False)
        await channel.basic_qos(prefetch_count=subscription.prefetch, timeout=self._timeout_s)
        channel.on_consumer_cancel_callbacks.add(self._cancelled_by_broker)
        subscription.channel = channel
        for lane in Lane:
            queue = jobs_queue(subscription.account, lane)
            receive = self._receiver(subscription, lane, channel)
            tag = subscription.tags[queue] = f"{queue}-{next(self._numbers)}"
            await channel.basic_consume(queue, receive, consumer_tag=tag, timeout=self._timeout_s)
            self._observe(Consuming(queue, is_active=True))

    async def _cancelled_by_broker(self, frame: object) -> None:
        """The broker ended a consumer (its queue was deleted or moved). Unnoticed, it would never take a job again."""
        self._consuming.end(f"the broker cancelled the consumer of {getattr(frame, 'consumer_tag', 'a queue')}")

    def _receiver(self, subscription: _Subscription, lane: Lane, channel: Channel) -> Callable[[DeliveredMessage], Any]:
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


def _as_moment(stamp: object) -> datetime | None:
    """A message's timestamp with its zone; AMQP's are in UTC and whole seconds."""
    if not isinstance(stamp, datetime):
        return None
    return stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)
