"""The broker: RabbitMQ 3.10 to 4.x over aio-pika.

Two connections, because an alarm in the broker blocks a publishing connection, and acknowledgements with it. A
delivery belongs to the channel that brought it; when that is gone the delivery is no longer ours, and an ack does
nothing. Each account has a channel of its own, and its trouble is its own (``rabbitmq_consumer.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from worker.adapters.rabbitmq_connection import BrokerAddress
from worker.adapters.rabbitmq_consumer import AccountConsumer, Receipt, Take
from worker.adapters.rabbitmq_depths import depths_over
from worker.adapters.rabbitmq_link import Link
from worker.adapters.rabbitmq_publisher import Publisher
from worker.adapters.rabbitmq_watch import LOOK_S, ConsumerWatch
from worker.core.delivery import Delivery, Publication
from worker.core.status import Depth
from worker.core.topology import Topology, jobs_queues, journal_mark
from worker.flow.observations import Observer, Role
from worker.flow.ports import Monotonic
from worker.flow.tasks import Tasks


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
        look_s: float = LOOK_S,
    ) -> None:
        """``topology`` is what is declared at the start. ``look_s``: how often the consumers are looked at."""
        self._timeout_s = address.timeout_s
        self._prefetch = prefetch
        self._observe = observe
        self._monotonic = monotonic
        self._topology = topology
        self._on_failure = on_failure
        self._supervisors = Tasks(on_failure)
        self._asked = Tasks(on_failure)
        # Every role declares what all share: each may come back after somebody deleted what it needs.
        shared = topology.shared
        self._publisher = Publisher(
            address=address, topology=shared, timeout_s=publish_timeout_s, observe=observe, monotonic=monotonic
        )
        self._consuming = Link(
            role=Role.CONSUME, address=address, topology=shared, observe=observe, set_up=self._connected
        )
        self._accounts: dict[str, AccountConsumer] = {}
        self._has_started = False
        self._watch = ConsumerWatch(
            link=self._consuming, watched=self._accounts.values, look_s=look_s, timeout_s=address.timeout_s
        )

    @property
    def not_ready_because(self) -> str | None:
        """Why no job can be taken and told now, or None."""
        if not (self._publisher.link.ready.is_set() and self._consuming.ready.is_set()):
            return "not connected to the broker"
        if not self._has_started:
            return "the accounts' queues are being declared"
        if not self.can_publish:
            return "the broker has an alarm and takes nothing in"
        lacking = ((name, one.lacking_because) for name, one in self._accounts.items())
        return next((f"takes no jobs of {name}: {because}" for name, because in lacking if because), None)

    async def start(self) -> None:
        """Connect, declare what is missing, and keep both connections from here on. Raises ``CannotStart``."""
        for link in (self._publisher.link, self._consuming):
            await link.open()
            self._supervisors.start(link.keep())
        self._supervisors.start(self._publisher.watch())
        accounts = self._topology.accounts
        await self._consuming.declare(Topology((), tuple(each for name in accounts for each in jobs_queues(name))))
        for account in accounts:
            self._add(account)
        self._supervisors.start(self._watch.keep_looking())
        self._has_started = True

    async def close(self) -> None:
        """Close both connections; deliveries without an ack go back to their queues."""
        await self._supervisors.cancel()
        await self._asked.cancel()
        for consumer in self._accounts.values():
            consumer.write_acks()
        await asyncio.gather(self._consuming.close(), self._publisher.link.close())

    @property
    def oldest_in_hand_s(self) -> float:
        """For how long the delivery has had no ack that has had none for longest; 0 when there is none."""
        since = (one.oldest_since_s for one in self._accounts.values())
        return max((self._monotonic() - since_s for since_s in since if since_s is not None), default=0.0)

    async def depths(self, queues: Sequence[str]) -> dict[str, Depth | None] | None:
        """Each queue's depth, None when there is no such queue; None for all when the broker does not tell."""
        return await depths_over(self._consuming, queues)

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
        prefetch = min(self._prefetch, per_queue_max or self._prefetch)
        await self._to_its_end(self._add(account).consume(take, prefetch))

    async def pause(self, account: str) -> None:
        """Cancel the account's consumers; what was handed over stays ours."""
        if account in self._accounts:
            await self._to_its_end(self._accounts[account].pause())

    async def declare(self, account: str) -> None:
        """Declare the account's queues, now and on every connection to come; ``CannotStart`` says why not."""
        # The connection that publishes is not read from while the broker has an alarm.
        await self._consuming.declare(Topology((), jobs_queues(account)))
        self._add(account)

    async def has_mark(self, account: str) -> bool:
        """Whether the account's journal has begun to remember."""
        return await self._consuming.has_exchange(journal_mark(account).name)

    async def set_mark(self, account: str) -> None:
        """Note that it has."""
        await self._consuming.declare(Topology((journal_mark(account),), ()))

    async def forget(self, account: str) -> None:
        """Close the account's channel: what was handed over and has no ack goes back. Declare it no more."""
        if account in self._accounts:
            await self._to_its_end(self._accounts.pop(account).close())

    def _add(self, account: str) -> AccountConsumer:
        """Who consumes for the account; from now on, if there was nobody."""
        consumer = self._accounts.get(account)
        if consumer is None:
            consumer = self._accounts[account] = AccountConsumer(
                account=account,
                link=self._consuming,
                timeout_s=self._timeout_s,
                observe=self._observe,
                monotonic=self._monotonic,
                on_failure=self._on_failure,
            )
            self._supervisors.start(consumer.keep())
        return consumer

    async def _connected(self) -> None:
        for consumer in self._accounts.values():
            consumer.connected()

    async def _to_its_end(self, work: Coroutine[Any, Any, None]) -> None:
        """Do ``work``, also when who asked for it is cancelled: a question broken off would end its channel.

        And with the channel all that was delivered there would go back.
        """
        await asyncio.shield(self._asked.start(work))

    def ack(self, delivery: Delivery) -> None:
        """Acknowledge, together with all that is in this turn of the event loop.

        When the delivery is no longer ours, nothing happens: it will be handed out again.
        """
        receipt = delivery.receipt
        assert isinstance(receipt, Receipt)  # noqa: S101 - only this adapter makes receipts
        receipt.ack()

    def is_ours(self, delivery: Delivery) -> bool:
        """Whether the delivery's channel is still open."""
        receipt = delivery.receipt
        assert isinstance(receipt, Receipt)  # noqa: S101 - only this adapter makes receipts
        return receipt.is_good
