"""Publishing without consuming jobs: what a receiver needs of the broker to tell its events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from worker.adapters.rabbitmq_connection import BrokerAddress
from worker.adapters.rabbitmq_publisher import Publisher
from worker.core.delivery import Publication
from worker.core.topology import REPORTS_EXCHANGE, Topology
from worker.flow.observations import Observer
from worker.flow.ports import Monotonic
from worker.flow.tasks import Tasks


class EventPublisher:
    """Implements the ``Publishing`` port over a connection of its own. ``topology``: declared on each new one.

    It publishes to ``mms.events`` and ``mms.reports`` alone.
    """

    def __init__(
        self,
        *,
        address: BrokerAddress,
        topology: Topology,
        publish_timeout_s: float,
        observe: Observer,
        monotonic: Monotonic,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._publisher = Publisher(
            address=address,
            topology=topology,
            timeout_s=publish_timeout_s,
            observe=observe,
            monotonic=monotonic,
            probe_exchange=REPORTS_EXCHANGE,
        )
        self._supervisors = Tasks(on_failure)

    @property
    def not_ready_because(self) -> str | None:
        """Why nothing can be told now, or None."""
        if not self._publisher.link.ready.is_set():
            return "not connected to the broker"
        return None if self.can_publish else "the broker has an alarm and takes nothing in"

    async def start(self) -> None:
        """Connect, declare what is missing, and keep the connection from here on. Raises ``CannotStart``."""
        await self._publisher.link.open()
        self._supervisors.start(self._publisher.link.keep())
        self._supervisors.start(self._publisher.watch())

    async def close(self) -> None:
        """Close the connection; what waits for its confirm fails."""
        await self._supervisors.cancel()
        await self._publisher.link.close()

    @property
    def can_publish(self) -> bool:
        """Whether what is published now has a chance to be confirmed."""
        return self._publisher.can_publish

    def publish_many(self, publications: Sequence[Publication]) -> list[asyncio.Future[None]]:
        """Write all together; each future ends as that of a ``Broker`` does."""
        return self._publisher.publish_many(publications)
