"""Closing what was opened, last first, within one limit for all of it: whatever does not answer, the process ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

#: All of it together, after the drain. Whoever ends processes has to wait for both: see ``deploy/compose.yaml``.
CLOSE_S_MAX = 6.0
#: What comes last still has this, to give up what lies in this process: connections, files.
LAST_S = 0.1


class ClosingStack(AsyncExitStack):
    """An exit stack for what waits for others when it is closed."""

    def __init__(self, *, limit_s: float = CLOSE_S_MAX, cut_short: Callable[[str], None] | None = None) -> None:
        """``limit_s``: from the first that is closed until the last one. ``cut_short`` hears who was broken off."""
        super().__init__()
        self._limit_s = limit_s
        self._cut_short = cut_short
        self._until_s: float | None = None

    def closes(self, close: Callable[[], Awaitable[object]]) -> None:
        """Have ``close`` awaited at the end; when it takes too long it is broken off, and the next has its turn."""
        self.push_async_callback(partial(self._close, close))

    async def _close(self, close: Callable[[], Awaitable[object]]) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._until_s is None:
            self._until_s = now_s + self._limit_s
        try:
            async with asyncio.timeout_at(max(self._until_s, now_s + LAST_S)):
                await close()
        except TimeoutError:
            if self._cut_short is not None:
                self._cut_short(getattr(close, "__qualname__", type(close).__name__))
