"""An account that cannot send: stopped in all workers, probed, resumed by itself.

States: *open* → *suspended*, by an answer to one of our own calls or because the limiter says that another worker had
one → *open* again, when our own probe is answered well; or, after another worker's call, when the limiter says that
somebody's probe was. A worker whose own call was refused believes its own probe alone: with a key that only it has, it
would have everybody stopped again. A probe is ``GET account``, which costs nobody anything: after ``PROBE_S_MIN``, then
after twice as long each time up to ``PROBE_S_MAX``.

With an *ailing API* (the breaker has opened) the first probe comes soon, and one that is answered well proves little:
one call goes first, and only when that is answered the others follow. While the API does not even answer probes, they
stay frequent, since they are harmless; a call that fails may have been sent, so the next one comes later each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections.abc import Awaitable, Callable

from worker.core.outcome import Accepted, SuspendedBecause, Throttled
from worker.flow.observations import AccountResumed, AccountSuspended, Observer
from worker.flow.pipeline import Pipeline
from worker.flow.ports import Limiter
from worker.flow.slots import SlotRow

PROBE_S_MIN, PROBE_S_MAX = 15.0, 60.0
#: For the worker that found the API ailing; the longest wait is that between probes that are not answered well.
AILING_PROBE_S_MIN, AILING_PROBE_S_MAX = 2.0, 4.0
#: For the others: one worker's probes are enough, as long as it lives.
AILING_ELSEWHERE_PROBE_S = 20.0
#: A call that goes first and fails may leave its job in doubt: some soon, since most outages are short, then few.
TRIALS_SOON, TRIAL_S_MAX_SOON, TRIAL_S_MAX = 6, 8.0, 300.0
ELSEWHERE = "another worker's call was refused"


class Probed(enum.Enum):
    """What a probe came to."""

    WELL = enum.auto()
    ILL = enum.auto()
    CALL_FAILED = enum.auto()
    """The account answered, and the call that went first failed."""
    NOT_TOLD = enum.auto()
    """It is well, and the store could not be told: it goes on giving no slots."""


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
        self._probe_at_s = 0.0
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
        was_own = self._is_own and self._because is not None
        self._is_own = is_own or was_own
        if self._because is not None:
            if is_own and not was_own:
                # The limiter's word was quicker than the answer to our own call: nobody else probes soon.
                self._probe_at_s = min(self._probe_at_s, self._now_s() + self._first_wait_s())
                self._look_now.set()
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

    async def end(self, try_one_call: Callable[[], Awaitable[bool]]) -> None:
        """Return when the account is well again. ``try_one_call``: makes one call; False when that failed."""
        assert self._because is not None  # noqa: S101 - ``begin`` came before
        is_ailing = self._because is SuspendedBecause.API
        wait_s, calls_failed = self._first_wait_s(), 0
        while (found := await self._found_within(wait_s, try_one_call if is_ailing else None)) is not Probed.WELL:
            calls_failed += found is Probed.CALL_FAILED
            wait_s = min(wait_s * 2, self._longest_wait_s(found, calls_failed))
        self._observe(AccountResumed(self._account, self._because))
        self._because = None
        self._opened.set()

    def _first_wait_s(self) -> float:
        if self._because is not SuspendedBecause.API:
            return PROBE_S_MIN
        return AILING_PROBE_S_MIN if self._is_own else AILING_ELSEWHERE_PROBE_S

    def _longest_wait_s(self, found: Probed, calls_failed: int) -> float:
        if found is Probed.NOT_TOLD:
            return AILING_PROBE_S_MIN
        if found is Probed.CALL_FAILED:
            return TRIAL_S_MAX_SOON if calls_failed <= TRIALS_SOON else TRIAL_S_MAX
        is_harmless = self._because is SuspendedBecause.API and self._is_own
        return AILING_PROBE_S_MAX if is_harmless else PROBE_S_MAX

    async def _found_within(self, wait_s: float, try_one_call: Callable[[], Awaitable[bool]] | None) -> Probed:
        """Wait for news or for the probe's time, and find out."""
        self._probe_at_s = self._now_s() + wait_s
        while not self._probe_now and (left_s := self._probe_at_s - self._now_s()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._look_now.wait()
                    self._look_now.clear()
                    if not self._probe_now and not self._is_own and not await self._slots.is_suspended():
                        return Probed.WELL
        self._probe_now = False
        if not await self._is_answered_well():
            return Probed.ILL
        if try_one_call is not None and not await try_one_call():
            return Probed.CALL_FAILED
        return Probed.WELL if await self._limiter.suspend(self._account, "") else Probed.NOT_TOLD

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()

    async def _is_answered_well(self) -> bool:
        slot = await self._slots.probe_slot()
        if slot is None:
            return False
        match await self._pipeline.probe(self._account):
            case Accepted():
                return True
            case Throttled(retry_after_s):
                await self._limiter.refused(
                    self._account, slot.slots, slot.n, spread_s=0.0, retry_after_s=retry_after_s
                )
        return False
