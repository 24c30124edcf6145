"""An account that cannot send (credentials refused, no credit): stopped in all workers, probed, resumed by itself.

States: *open* → *suspended*, by an answer to one of our own calls or because the limiter says that another worker had
one → *open* again, when our own probe is answered well; or, after another worker's call, when the limiter says that
somebody's probe was. A worker whose own call was refused believes its own probe alone: with a key that only it has, it
would have everybody stopped again. A probe is ``GET account``, which costs nobody anything: after ``PROBE_S_MIN``, then
after twice as long each time up to ``PROBE_S_MAX``.
"""

from __future__ import annotations

import asyncio
import contextlib

from worker.core.outcome import Accepted, SuspendedBecause, Throttled
from worker.flow.observations import AccountResumed, AccountSuspended, Observer
from worker.flow.pipeline import Pipeline
from worker.flow.ports import Limiter
from worker.flow.slots import SlotRow

PROBE_S_MIN, PROBE_S_MAX = 15.0, 60.0
ELSEWHERE = "another worker's call was refused"


class Suspension:
    """Whether ``account`` may send, as this worker knows it."""

    def __init__(
        self, *, account: str, slots: SlotRow, limiter: Limiter, pipeline: Pipeline, observe: Observer
    ) -> None:
        self._account = account
        self._slots = slots
        self._limiter = limiter
        self._pipeline = pipeline
        self._observe = observe
        self._because: SuspendedBecause | None = None
        self._opened = asyncio.Event()
        self._opened.set()
        self._is_own = False
        self._look_now = asyncio.Event()
        self._probe_now = False

    @property
    def is_open(self) -> bool:
        """Whether calls may leave."""
        return self._because is None

    async def opened(self) -> None:
        """Wait until calls may leave."""
        await self._opened.wait()

    def begin(self, because: SuspendedBecause, description: str, *, is_own: bool) -> bool:
        """Take note; False when it was suspended already, else ``end`` has to be awaited. ``is_own``: our call was."""
        self._is_own = is_own or (self._is_own and self._because is not None)
        if self._because is not None:
            return False
        self._because = because
        self._opened.clear()
        self._look_now.clear()
        self._observe(AccountSuspended(self._account, because, description))
        return True

    def look(self) -> None:
        """Another worker has news of the account: look whether it is well again."""
        self._look_now.set()

    def probe_at_once(self) -> None:
        """Something changed here (a new key): do not wait for the next probe's time."""
        self._probe_now = True
        self._look_now.set()

    async def end(self) -> None:
        """Return when the account is well again."""
        assert self._because is not None  # noqa: S101 - ``begin`` came before
        wait_s = PROBE_S_MIN
        while not await self._is_well_within(wait_s):
            wait_s = min(wait_s * 2, PROBE_S_MAX)
        self._observe(AccountResumed(self._account, self._because))
        self._because = None
        self._opened.set()

    async def _is_well_within(self, wait_s: float) -> bool:
        """Wait for news or for the probe's time, and find out."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while not self._probe_now:
                    await self._look_now.wait()
                    self._look_now.clear()
                    if not self._probe_now and not self._is_own and not await self._slots.is_suspended():
                        return True
        self._probe_now = False
        return await self._probe()

    async def _probe(self) -> bool:
        slot = await self._slots.probe_slot()
        if slot is None:
            return False
        match await self._pipeline.probe(self._account):
            case Accepted():
                await self._limiter.suspend(self._account, "")
                return True
            case Throttled(retry_after_s):
                await self._limiter.refused(
                    self._account, slot.slots, slot.n, spread_s=0.0, retry_after_s=retry_after_s
                )
        return False
