"""An account's jobs that are ready and wait for a slot: urgent before bulk, oldest first."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from worker.core.delivery import Delivery, Lane
from worker.core.job import Job
from worker.core.picture import Picture


@dataclass(frozen=True, slots=True, eq=False)
class ReadyJob:
    """A decoded job with its picture at hand."""

    delivery: Delivery
    job: Job
    picture: Picture


class Lanes:
    """Both lanes of one account. Bounded by the broker's prefetch: no more is ever handed over."""

    def __init__(self) -> None:
        self._waiting = {lane: deque[ReadyJob]() for lane in (Lane.URGENT, Lane.BULK)}
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def put(self, ready: ReadyJob) -> None:
        """Add a job behind the others of its lane."""
        self._waiting[ready.delivery.lane].append(ready)
        self._filled.set()

    def take(self) -> ReadyJob | None:
        """The next job to leave, or None."""
        for waiting in self._waiting.values():
            if waiting:
                ready = waiting.popleft()
                if not self:
                    self._filled.clear()
                return ready
        return None

    def take_older_than(self, received_before_s: float) -> Iterator[ReadyJob]:
        """Take out, oldest first, the jobs that were received before that moment of the monotonic clock."""
        for waiting in self._waiting.values():
            while waiting and waiting[0].delivery.received_at_s < received_before_s:
                yield waiting.popleft()
        if not self:
            self._filled.clear()

    async def filled(self) -> None:
        """Wait until a job waits."""
        await self._filled.wait()

    def __bool__(self) -> bool:
        return any(self._waiting.values())
