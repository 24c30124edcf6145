"""The queue ``mms.reports`` on RabbitMQ, over a connection of its own.

Whatever goes wrong with its channel or its consumer ends the connection, and there is a new one in a moment: nothing
else hangs on it, and what had no ack comes again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel

from worker.adapters.rabbitmq_connection import AMQP_FAILURES, BrokerAddress, answers_or_gone
from worker.adapters.rabbitmq_consumer import Consumer
from worker.adapters.rabbitmq_link import Link
from worker.adapters.rabbitmq_watch import LOOK_S, ConsumerWatch
from worker.core.held_jobs import HeldMessage
from worker.core.topology import REPORTS_QUEUE, Topology
from worker.flow.observations import Consuming, Observer, Role
from worker.flow.tasks import Tasks

#: Reports in hand at most; other receivers get the others.
PREFETCH = 256


@dataclass(frozen=True, slots=True, eq=False)
class _Receipt:
    channel: Channel
    delivery_tag: int
    consumer: Consumer


class RabbitWaiting:
    """Implements the ``ReportQueue`` port. ``topology``: declared on each new connection, the queue included."""

    def __init__(
        self,
        *,
        address: BrokerAddress,
        topology: Topology,
        observe: Observer,
        on_failure: Callable[[BaseException], None],
        prefetch: int = PREFETCH,
        look_s: float = LOOK_S,
    ) -> None:
        """``look_s``: how often the consumer is looked at."""
        self._timeout_s = address.timeout_s
        self._prefetch = prefetch
        self._observe = observe
        self._link = Link(
            role=Role.CONSUME, address=address, topology=topology, observe=observe, set_up=self._subscribe
        )
        self._watch = ConsumerWatch(
            link=self._link, watched=lambda: (self,), look_s=look_s, timeout_s=address.timeout_s
        )
        self._keeping = Tasks(on_failure)
        self._consumer: Consumer | None = None
        #: At most ``prefetch`` that are ours, and as many of each connection that has ended since the last question.
        self._arrived: deque[HeldMessage] = deque()
        self._has_arrived = asyncio.Event()

    @property
    def not_ready_because(self) -> str | None:
        """Why no reports can be looked at again now, or None."""
        return None if self._link.ready.is_set() else f"takes nothing from {REPORTS_QUEUE}: not connected to the broker"

    async def start(self) -> None:
        """Connect, declare what is missing, and keep the connection from here on. Raises ``CannotStart``."""
        await self._link.open()
        self._keeping.start(self._link.keep())
        self._keeping.start(self._watch.keep_looking())

    async def close(self) -> None:
        """Close the connection; what has no ack goes back to the queue."""
        await self._keeping.cancel()
        await self._link.close()

    # --- The port ----------------------------------------------------------------------------------------

    async def next(self) -> list[HeldMessage]:
        """All that came and is ours."""
        while True:
            await self._has_arrived.wait()
            self._has_arrived.clear()
            came = [message for message in self._arrived if self.is_ours(message)]
            self._arrived.clear()
            if came:
                return came

    async def done(self, messages: Sequence[HeldMessage]) -> None:
        """Acknowledge those that are ours."""
        for receipt in self._let_go(messages):
            try:
                with answers_or_gone():
                    await receipt.channel.basic_ack(receipt.delivery_tag, wait=False)
            except AMQP_FAILURES:
                return

    async def give_back(self, messages: Sequence[HeldMessage]) -> None:
        """Put those that are ours back into the queue; the broker counts how often."""
        for receipt in self._let_go(messages):
            try:
                with answers_or_gone():
                    await receipt.channel.basic_nack(receipt.delivery_tag, requeue=True, wait=False)
            except AMQP_FAILURES:
                return

    def is_ours(self, message: HeldMessage) -> bool:
        """Whether its channel is still open."""
        return not _receipt(message).channel.is_closed

    def _let_go(self, messages: Sequence[HeldMessage]) -> list[_Receipt]:
        receipts = [_receipt(message) for message in messages if self.is_ours(message)]
        for receipt in receipts:
            receipt.consumer.unacked -= 1
        return receipts

    # --- The consumer ------------------------------------------------------------------------------------

    @property
    def consumers(self) -> tuple[Consumer, ...]:
        """Those that are believed to be alive."""
        return (self._consumer,) if self._consumer and self._link.ready.is_set() else ()

    def dead(self, consumer: Consumer) -> None:
        """A look found that it gets nothing any more."""
        if consumer is self._consumer:
            self._link.end(f"the consumer of {consumer.queue} got nothing any more")

    async def _subscribe(self) -> None:
        channel = await self._link.open_channel(is_confirmed=False)
        consumer = Consumer(REPORTS_QUEUE, REPORTS_QUEUE, self._prefetch)
        channel.on_consumer_cancel_callbacks.add(lambda _: self.dead(consumer))
        channel.closing.add_done_callback(lambda _: self._inactive(consumer))
        await channel.basic_qos(prefetch_count=self._prefetch, timeout=self._timeout_s)
        self._consumer = consumer
        await channel.basic_consume(
            REPORTS_QUEUE, self._receiver(consumer, channel), consumer_tag=consumer.tag, timeout=self._timeout_s
        )
        self._observe(Consuming(REPORTS_QUEUE, is_active=True))

    def _inactive(self, consumer: Consumer) -> None:
        if consumer is self._consumer:
            self._consumer = None
            self._observe(Consuming(REPORTS_QUEUE, is_active=False))

    def _receiver(self, consumer: Consumer, channel: Channel) -> Callable[[DeliveredMessage], Any]:
        async def receive(message: DeliveredMessage) -> None:
            consumer.received += 1
            consumer.unacked += 1
            receipt = _Receipt(channel, message.delivery_tag or 0, consumer)
            self._arrived.append(HeldMessage(message.body, message.header.properties.headers or {}, None, receipt))
            self._has_arrived.set()

        return receive


def _receipt(message: HeldMessage) -> _Receipt:
    assert isinstance(message.receipt, _Receipt)  # noqa: S101 - only this adapter makes receipts
    return message.receipt
