"""The consumers of one account, kept: both lanes on a channel of their own.

States, while the connection stands:

* *idle*: nothing is wanted of it: nobody asked yet, or it is paused.
* *whole*: each of its queues has a consumer here.
* *lacking*: one has none, though it should. The broker cancelled it (its queue was deleted, or moved), closed the
  channel (held for too long, a refusal), has the queue with other properties, does not permit it, or a look found the
  consumer dead (``rabbitmq_watch.py``). The queues are declared and consumed again, with growing waits between the
  tries, until that is done; meanwhile it is told why not.

An account's trouble is its own: the channels of the others, and what they hold, stay as they are. What was handed over
stays ours as long as its channel is open, also when its queue is gone: then there is nobody else who could send it.
And should the broker have handed it to another worker as well, only one of the two gets the claim to call.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel

from worker.adapters.rabbitmq_acks import Acks
from worker.adapters.rabbitmq_connection import AMQP_FAILURES, answers_or_gone, why
from worker.adapters.rabbitmq_in_place import Receive, consume_in_place
from worker.adapters.rabbitmq_link import BackOff, Link
from worker.core.delivery import Delivery, Lane
from worker.core.status import Depth
from worker.core.topology import Topology, jobs_queue, jobs_queues
from worker.flow.observations import AccountNotConsumed, Consuming, Observer
from worker.flow.ports import CannotStart, Monotonic

Take = Callable[[Delivery], None]
#: A queue that was deleted is declared again after this: who deletes it to make it anew is to be first, and RabbitMQ
#: 3.10 answers a declaration in the middle of a deletion with an internal error, which ends the connection.
DECLARED_AGAIN_S = 0.5
#: Said of an account until it was tried; not worth a line in the log.
SETTING_UP = "it is being set up on a new connection"


@dataclass(eq=False, slots=True)
class Consumer:
    """What the broker knows us by at one queue.

    ``tag`` is used once: one that comes again while deliveries of its first life have no ack yet is an internal error
    to RabbitMQ 3.10's quorum queues, which ends the connection.
    """

    queue: str
    tag: str
    prefetch: int
    received: int = 0
    unacked: int = 0
    #: At the last look: how many had come, and whether there were more that should have.
    received_then: int = 0
    was_passed_over: bool = False

    def is_dead(self, depth: Depth | None) -> bool:
        """Whether it gets nothing any more, as far as can be told from what is in the queue now (None: no queue).

        The broker counts no consumer at all; or jobs wait there at two looks in a row, and none of them came in
        between although there was room.
        """
        got_nothing = self.received == self.received_then
        is_passed_over = depth is not None and depth.jobs > 0 and got_nothing and self.unacked < self.prefetch
        is_dead = depth is None or depth.consumers == 0 or (is_passed_over and self.was_passed_over)
        self.received_then, self.was_passed_over = self.received, is_passed_over
        return is_dead


@dataclass(frozen=True, slots=True, eq=False)
class Receipt:
    """What it takes to acknowledge a delivery: on its channel."""

    acks: Acks
    delivery_tag: int
    consumer: Consumer

    @property
    def is_good(self) -> bool:
        """Whether the channel is still open; if not, the broker hands out again what had no ack."""
        return self.acks.reach_the_broker

    def ack(self) -> None:
        """The delivery is done with. When its channel is gone, nothing happens."""
        self.consumer.unacked -= 1
        self.acks.ack(self.delivery_tag)


@dataclass(frozen=True, slots=True)
class _Wanted:
    take: Take
    prefetch: int


class AccountConsumer:
    """Has one account's deliveries handed over, on each new connection of ``link`` again."""

    def __init__(
        self,
        *,
        account: str,
        link: Link,
        timeout_s: float,
        observe: Observer,
        monotonic: Monotonic,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """``on_failure`` is told what a delivery's taker raises."""
        self.account = account
        self._on_failure = on_failure
        self._link = link
        self._timeout_s = timeout_s
        self._observe = observe
        self._monotonic = monotonic
        self._numbers = itertools.count(1)
        self._wanted: _Wanted | None = None
        #: Of the present channel.
        self._acks: Acks | None = None
        #: By queue, those that are believed to be alive.
        self._consumers: dict[str, Consumer] = {}
        #: Tags of those that are not; should the broker know them all the same, it is told to forget them.
        self._dead_tags: list[str] = []
        # Who asks, and who puts right what is lacking, change the same things, and wait for the broker on the way.
        self._changing = asyncio.Lock()
        self._lacking = asyncio.Event()
        self._because: str | None = None
        self._told: str | None = None
        self._back_off = BackOff()
        self._not_before_s = 0.0
        self._is_closed = False

    @property
    def lacking_because(self) -> str | None:
        """Why nothing of the account can be handed over now, or None."""
        return self._because

    @property
    def consumers(self) -> tuple[Consumer, ...]:
        """Those that are believed to be alive."""
        return tuple(self._consumers.values())

    @property
    def oldest_since_s(self) -> float | None:
        """Since when (monotonic) the delivery is in hand that is so for longest; None: there is none."""
        return self._acks.oldest_since_s if self._acks else None

    # --- What is wanted ----------------------------------------------------------------------------------

    async def consume(self, take: Take, prefetch: int) -> None:
        """Hand the account's deliveries to ``take`` from here on, ``prefetch`` of each queue without an ack."""
        async with self._changing:
            await self._cancel()
            self._wanted = _Wanted(take, prefetch)
            if self._link.ready.is_set() and not self._lacking.is_set():
                await self._try(is_declared=True)

    async def pause(self) -> None:
        """Hand over no more; what was handed over stays ours."""
        async with self._changing:
            self._wanted = None
            await self._cancel()

    def write_acks(self) -> None:
        """Tell the broker now of all acks so far: the connection is about to end."""
        if self._acks is not None:
            self._acks.write()

    async def close(self) -> None:
        """Hand over no more, and give back what has no ack."""
        self._is_closed = True
        async with self._changing:
            self._wanted = None
            acks, self._acks = self._acks, None
            self._all_inactive()
            if acks is not None:
                acks.end()
                await self._link.close_channel(acks.channel)
        self._lacking.set()  # ends ``keep``

    # --- What happens ------------------------------------------------------------------------------------

    def connected(self) -> None:
        """There is a new connection: everything is to be declared and consumed there."""
        self._acks = None
        self._all_inactive()
        self._lack(SETTING_UP)

    def dead(self, consumer: Consumer) -> None:
        """A look found that ``consumer`` gets nothing any more."""
        if self._consumers.get(consumer.queue) is consumer:
            self._dead_tags.append(consumer.tag)
            self._inactive(consumer)
            self._lack(f"the consumer of {consumer.queue} got nothing any more")

    async def keep(self) -> None:
        """Put right what is lacking, until it is closed."""
        loop = asyncio.get_running_loop()
        while True:
            await self._lacking.wait()
            if self._is_closed:
                return
            await asyncio.sleep(max(0.0, self._not_before_s - loop.time()) + self._back_off.next_s(loop.time()))
            await self._link.ready.wait()
            self._tell()
            async with self._changing:
                if not self._is_closed:
                    await self._try(is_declared=False)
            self._tell()
            if not self._lacking.is_set():
                self._back_off.up(loop.time())

    # --- Putting right -----------------------------------------------------------------------------------

    async def _try(self, *, is_declared: bool) -> None:
        """Have everything as it is wanted, or note why it is not."""
        try:
            with answers_or_gone():
                if not is_declared:
                    await self._link.declare(Topology((), jobs_queues(self.account)))
                if self._wanted is not None:
                    await self._subscribe(self._wanted)
        except CannotStart as error:
            self._lack(str(error))
        except AMQP_FAILURES as error:
            self._lack(why(error))
        else:
            self._because = None
            self._lacking.clear()

    async def _subscribe(self, wanted: _Wanted) -> None:
        # A paused account's channel is used again: what it brought is still acknowledged there.
        acks = self._acks
        if acks is None or acks.channel.is_closed:
            self._dead_tags.clear()
            opened = await self._link.open_channel(is_confirmed=False, on_end=self._channel_ended)
            opened.on_consumer_cancel_callbacks.add(self._cancelled_by_broker)
            self._acks = acks = Acks(opened)
        channel = acks.channel
        while self._dead_tags:
            await channel.basic_cancel(self._dead_tags.pop(), timeout=self._timeout_s)
        await channel.basic_qos(prefetch_count=wanted.prefetch, timeout=self._timeout_s)
        for lane in Lane:
            queue = jobs_queue(self.account, lane)
            if queue in self._consumers:
                continue
            consumer = Consumer(queue, f"{queue}-{next(self._numbers)}", wanted.prefetch)
            # Noted before it is there: the broker may cancel it in the same breath.
            self._consumers[queue] = consumer
            try:
                receive = self._receiver(wanted.take, lane, consumer, acks)
                await consume_in_place(channel, queue, receive, consumer_tag=consumer.tag, timeout_s=self._timeout_s)
            except BaseException:
                self._inactive(consumer)
                raise
            self._observe(Consuming(queue, is_active=queue in self._consumers))

    async def _cancel(self) -> None:
        """Have no consumers; the channel stays, for what it brought.

        Those that were taken for dead are cancelled too: some may live, and would go on to deliver.
        """
        channel = self._acks.channel if self._acks else None
        tags = [*self._dead_tags, *(consumer.tag for consumer in self.consumers)]
        self._dead_tags.clear()
        self._all_inactive()
        for tag in tags:
            if channel is None or channel.is_closed:
                return
            try:
                with answers_or_gone():
                    await channel.basic_cancel(tag, timeout=self._timeout_s)
            except AMQP_FAILURES:
                return  # the channel is gone, and its consumers with it

    def _cancelled_by_broker(self, frame: object) -> None:
        tag = getattr(frame, "consumer_tag", None)
        for consumer in self.consumers:
            if consumer.tag == tag:
                self._inactive(consumer)
                self._not_before_s = asyncio.get_running_loop().time() + DECLARED_AGAIN_S
                self._lack(f"the broker cancelled the consumer of {consumer.queue}")

    def _channel_ended(self, channel: Channel, reason: str) -> None:
        if self._acks is not None and channel is self._acks.channel:
            self._acks = None
            self._all_inactive()
            self._lack(reason)

    def _all_inactive(self) -> None:
        for consumer in self.consumers:
            self._inactive(consumer)

    def _inactive(self, consumer: Consumer) -> None:
        if self._consumers.get(consumer.queue) is consumer:
            del self._consumers[consumer.queue]
            self._observe(Consuming(consumer.queue, is_active=False))

    def _lack(self, because: str) -> None:
        if not self._is_closed:
            self._because = because
            self._lacking.set()

    def _tell(self) -> None:
        """Tell of trouble that is the account's own, once, and of its end."""
        is_own = self._because != SETTING_UP and self._link.ready.is_set()
        if self._because != self._told and is_own:
            self._told = self._because
            self._observe(AccountNotConsumed(self.account, self._because))

    def _receiver(self, take: Take, lane: Lane, consumer: Consumer, acks: Acks) -> Receive:
        def receive(message: DeliveredMessage) -> None:
            properties = message.header.properties
            received_at_s, delivery_tag = self._monotonic(), message.delivery_tag or 0
            consumer.received += 1
            consumer.unacked += 1
            acks.took(delivery_tag, received_at_s)
            delivery = Delivery(
                account=self.account,
                lane=lane,
                body=message.body,
                headers=properties.headers or {},
                redelivered=bool(message.redelivered),
                published_at=_as_moment(properties.timestamp),
                received_at_s=received_at_s,
                receipt=Receipt(acks, delivery_tag, consumer),
            )
            try:
                take(delivery)
            except Exception as surprise:  # noqa: BLE001 - whoever reads must go on; it is not lost
                self._on_failure(surprise)

        return receive


def _as_moment(stamp: object) -> datetime | None:
    """A message's timestamp with its zone; AMQP's are in UTC and whole seconds."""
    if not isinstance(stamp, datetime):
        return None
    return stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)
