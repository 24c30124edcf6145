"""How long a call is waited for, also by a process that was frozen on the way.

When a process wakes that was stopped (or its machine), all its timers are over at once, and the event loop may run them
before it looks at its sockets. But the answer may have been there for long, and it is the best evidence there is of
what came of the call. So when the time is over, the sockets are looked at once more before the call is given up.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

#: Enough to read what is there already, also for a worker that wakes with all of its calls answered.
LOOK_AGAIN_S = 1.0


class Deadline:
    """An ``asyncio.timeout`` in two steps, which raises ``TimeoutError`` about a second after its limit."""

    def __init__(self, limit_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._until_s = self._loop.time() + limit_s
        self._timeout = asyncio.timeout(None)
        self._due: asyncio.TimerHandle | None = None
        self._is_over = False

    def shorten(self, limit_s: float) -> None:
        """Wait no longer than ``limit_s`` from now on; nothing, once the call is over."""
        if self._is_over:
            return
        self._until_s = min(self._until_s, self._loop.time() + limit_s)
        self._schedule()

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._schedule()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_over = True
        if self._due is not None:
            self._due.cancel()
        await self._timeout.__aexit__(kind, error, traceback)

    def _schedule(self) -> None:
        if self._due is not None:
            self._due.cancel()
        self._due = self._loop.call_at(self._until_s, self._over)

    def _over(self) -> None:
        self._timeout.reschedule(self._loop.time() + LOOK_AGAIN_S)
