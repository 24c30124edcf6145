"""Suspects take turns, and each is noted outside the process before it is looked at (``core/quarantine.py``)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from worker.core.delivery import Delivery
from worker.flow.observations import Observer, SuspectNoted
from worker.flow.ports import Suspects, SuspectsAway

#: While no note can be left, it is tried again after this.
AGAIN_S = 0.25
#: While suspects wait for their turns no call leaves, but not for longer than this from when the first one came: a
#: look takes a millisecond, unless a picture or the store is slow.
CALM_AFTER_S_MAX = 2.0


class Quarantine:
    """One for all accounts of a process: whatever ends it, ends it for all of them.

    ``wait_s_max``: how long a message may wait for its turn before it is put back.
    """

    def __init__(
        self, *, suspects: Suspects, is_ours: Callable[[Delivery], bool], wait_s_max: float, observe: Observer
    ) -> None:
        self._suspects = suspects
        self._is_ours = is_ours
        self._wait_s_max = wait_s_max
        self._observe = observe
        self._turns = asyncio.Lock()
        self._suspects_here = 0
        self._first_came_at_s = 0.0
        self._calm = asyncio.Event()
        self._calm.set()

    async def calm(self) -> None:
        """Wait until no suspect is here, but not for long."""
        if not self._calm.is_set():
            left_s = self._first_came_at_s + CALM_AFTER_S_MAX - asyncio.get_running_loop().time()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, left_s)):
                    await self._calm.wait()

    @contextlib.asynccontextmanager
    async def turn(self, delivery: Delivery) -> AsyncIterator[int | None]:
        """The turn to look at ``delivery``, alone, and how many workers have died over it.

        None: its turn did not come, or no note could be left of it, and it must not be looked at.
        A look that fails ends the worker, as every failure that nobody expected does: the note stays and counts it.
        """
        deaths: int | None = None
        has_turn = has_failed = False
        self._came()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._wait_s_max):
                    await self._turns.acquire()
                    has_turn = True
                    deaths = await self._noted(delivery)
            yield deaths
        except Exception:
            has_failed = True
            raise
        finally:
            self._went()
            if has_turn:
                try:
                    if not has_failed:
                        await self._suspects.done(delivery)
                finally:
                    self._turns.release()

    def _came(self) -> None:
        if not self._suspects_here:
            self._first_came_at_s = asyncio.get_running_loop().time()
            self._calm.clear()
        self._suspects_here += 1

    def _went(self) -> None:
        self._suspects_here -= 1
        if not self._suspects_here:
            self._calm.set()

    async def _noted(self, delivery: Delivery) -> int | None:
        while self._is_ours(delivery):
            deaths = await self._suspects.begin(delivery)
            if not isinstance(deaths, SuspectsAway):
                self._observe(SuspectNoted(delivery.account, None))
                return deaths
            self._observe(SuspectNoted(delivery.account, deaths.why))
            await asyncio.sleep(AGAIN_S)
        return None
