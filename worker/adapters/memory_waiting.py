"""The queue of reports that waited, in memory: for tests and simulations."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from worker.adapters.memory import MemoryServer
from worker.core.delivery import Publication
from worker.core.held_jobs import HeldMessage
from worker.core.topology import DEAD_QUEUE, DELIVERY_LIMIT, REPORTS_EXCHANGE, REPORTS_QUEUE


class MemoryWaiting:
    """Implements the ``ReportQueue`` port: one receiver's connection to a ``MemoryServer``."""

    def __init__(self, server: MemoryServer, *, prefetch: int = 256) -> None:
        self._server = server
        self._prefetch = prefetch
        self._may_have_come = asyncio.Event()
        self._may_have_come.set()
        #: What is in hand, by receipt, in the order of coming.
        self._held: dict[object, Any] = {}
        server.changed.append(self._may_have_come.set)

    async def next(self) -> list[HeldMessage]:
        """All that is there, up to the bound."""
        queue = self._server.queues[REPORTS_QUEUE]
        while True:
            await self._may_have_come.wait()
            self._may_have_come.clear()
            came: list[HeldMessage] = []
            while queue and len(self._held) < self._prefetch:
                message, receipt = queue.popleft(), object()
                self._held[receipt] = message
                came.append(HeldMessage(message.publication.body, message.publication.headers, None, receipt))
            if came:
                return came

    async def done(self, messages: Sequence[HeldMessage]) -> None:
        """Forget those that are ours."""
        for message in messages:
            self._held.pop(message.receipt, None)
        self._may_have_come.set()

    async def give_back(self, messages: Sequence[HeldMessage]) -> None:
        """Put those that are ours back, or away when that is once too often."""
        for message in messages:
            if (held := self._held.pop(message.receipt, None)) is not None:
                self._put_back(held)
        self._may_have_come.set()

    def is_ours(self, message: HeldMessage) -> bool:
        """Whether it is in hand."""
        return message.receipt in self._held

    def disconnect(self) -> None:
        """Lose the connection, and have a new one at once: what was in hand goes back to the queue."""
        held, self._held = list(self._held.values()), {}
        for message in reversed(held):
            self._put_back(message)

    def _put_back(self, message: Any) -> None:
        if message.comebacks < DELIVERY_LIMIT:
            self._server.put_first(REPORTS_QUEUE, message)
        else:
            letter = message.publication
            self._server.accept(Publication(REPORTS_EXCHANGE, DEAD_QUEUE, letter.body, letter.headers))
