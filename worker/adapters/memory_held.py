"""Held jobs and turns in memory, for tests and simulations."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterable

from worker.adapters.memory import MemoryServer
from worker.core.delivery import Publication
from worker.core.held_jobs import HeldMessage
from worker.core.topology import IN_DOUBT_QUEUE
from worker.flow.ports import Monotonic, WalkFailed


class MemoryWalk:
    """Implements the ``HeldWalk`` port: one way through ``queue`` of ``server``."""

    def __init__(self, server: MemoryServer, queue: str, failures: deque[str]) -> None:
        self._server = server
        self._queue = queue
        self._failures = failures
        self._in_hand = deque(server.queues[queue])
        server.queues[queue].clear()

    async def messages(self) -> AsyncIterator[HeldMessage]:
        """Each message, from the head of the queue."""
        for message in list(self._in_hand):
            await self._step()
            publication = message.publication
            yield HeldMessage(publication.body, publication.headers, publication.published_at, receipt=message)

    async def settle(self, message: HeldMessage, publications: Iterable[Publication]) -> None:
        """Publish all, then let go of ``message``."""
        for publication in publications:
            await self._step()
            self._server.accept(publication)
        await self._step()
        self._in_hand = deque(one for one in self._in_hand if one is not message.receipt)

    def give_back(self) -> None:
        """Return what was not settled to the head of its queue."""
        self._server.queues[self._queue].extendleft(reversed(self._in_hand))

    async def _step(self) -> None:
        await asyncio.sleep(0)
        if self._failures:
            raise WalkFailed(self._failures.popleft())


class MemoryHeld:
    """The jobs in doubt on a ``MemoryServer``. ``failures``: raised at the next steps of a walk, one each."""

    def __init__(self, server: MemoryServer) -> None:
        self._server = server
        self.failures: deque[str] = deque()
        self.walks = 0

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[MemoryWalk]:
        """Begin a walk."""
        self.walks += 1
        walk = MemoryWalk(self._server, IN_DOUBT_QUEUE, self.failures)
        try:
            yield walk
        finally:
            walk.give_back()


class MemoryTurns:
    """Whose turn it is, of what, and until when: what ``MemoryTurn``s share."""

    def __init__(self, *, monotonic: Monotonic) -> None:
        self.monotonic = monotonic
        self.held: dict[str, tuple[str, float]] = {}
        self.is_away = False


class MemoryTurn:
    """Implements the ``Turn`` port."""

    def __init__(self, turns: MemoryTurns, *, name: str, holder: str) -> None:
        self._turns = turns
        self._name = name
        self._holder = holder

    async def take(self, for_s: float) -> bool:
        """Whether it is ours now."""
        if self._turns.is_away or self._whose() not in {None, self._holder}:
            return False
        self._hold(self._holder, for_s)
        return True

    async def leave(self, for_s: float) -> None:
        """Let nobody take it for ``for_s``, if it is ours."""
        if not self._turns.is_away and self._whose() == self._holder:
            self._hold("nobody", for_s)

    async def free(self) -> None:
        """Let anybody take it now."""
        if not self._turns.is_away:
            self._turns.held.pop(self._name, None)

    def _whose(self) -> str | None:
        holder, until_s = self._turns.held.get(self._name, (None, 0.0))
        return holder if self._turns.monotonic() < until_s else None

    def _hold(self, holder: str, for_s: float) -> None:
        self._turns.held[self._name] = holder, self._turns.monotonic() + for_s
