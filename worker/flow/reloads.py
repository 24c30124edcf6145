"""Changing the accounts while the worker runs: what is wanted is read again when somebody asks, and brought about.

1. **Wait** until somebody asks (SIGHUP), or until it is time to try again what could not be started.
2. **Load** what is wanted, within ``LOAD_S_MAX``. With a mistake in it, all mistakes are told, and nothing changes.
3. **Plan**: what leads from the accounts that are served to those that are wanted.
4. **Apply** it, and tell what was done.

One at a time. Who asks during a reload is not lost: the next one begins when it ends, and reads everything again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from worker.core.accounts import Account, AccountsChange, plan
from worker.flow.observations import AccountsChanged, Observer, ReloadApplied, ReloadRefused, Surprise

LOAD_S_MAX = 10.0
#: What could not be started may have been in the way only for a while: the broker away, or an account still leaving.
TRY_AGAIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """The accounts to serve. ``at_next_start``: names of settings that changed and take effect only then."""

    accounts: tuple[Account, ...]
    at_next_start: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unusable:
    """Every mistake, one sentence each, without a secret."""

    problems: tuple[str, ...]


class Serves(Protocol):
    """Who serves accounts: the roster of a sending worker, the inquiries of a receiver."""

    @property
    def accounts(self) -> tuple[Account, ...]:
        """The accounts that are served, as they are served."""

    @property
    def lacking(self) -> Collection[str]:
        """Names of accounts that are wanted and could not be started."""

    async def start(self, accounts: Iterable[Account]) -> None:
        """Begin with these."""

    async def apply(self, change: AccountsChange) -> AccountsChange:
        """Make the change, and return what came of it."""


class Reloads:
    """Reloads when ``asked`` is set. ``load`` reads what is wanted."""

    def __init__(
        self,
        *,
        roster: Serves,
        accounts: tuple[Account, ...],
        load: Callable[[], Awaitable[Wanted | Unusable]],
        asked: asyncio.Event,
        observe: Observer,
    ) -> None:
        """``accounts``: what is wanted until somebody asks."""
        self._roster = roster
        self._wanted = accounts
        self._load = load
        self._asked = asked
        self._observe = observe

    async def serve(self) -> None:
        """Start the accounts, and follow what is wanted, until it is cancelled."""
        await self._roster.start(self._wanted)
        while True:
            is_asked = await self._next()
            try:
                await (self._reload() if is_asked else self._try_again())
            except Exception as error:  # noqa: BLE001 - a bug in a reload must not stop what is sent meanwhile
                self._observe(Surprise("reload", error))

    async def _next(self) -> bool:
        """Wait until somebody asks; False when it is time to try again what could not be started."""
        try:
            async with asyncio.timeout(TRY_AGAIN_S if self._roster.lacking else None):
                await self._asked.wait()
        except TimeoutError:
            return False
        self._asked.clear()
        return True

    async def _reload(self) -> None:
        match await self._loaded():
            case Unusable(problems):
                self._observe(ReloadRefused(problems))
            case Wanted(accounts, at_next_start):
                self._wanted = accounts
                self._observe(AccountsChanged(await self._apply()))
                self._observe(ReloadApplied(at_next_start))

    async def _try_again(self) -> None:
        change = await self._apply()
        if change.added:
            self._observe(AccountsChanged(change))

    async def _loaded(self) -> Wanted | Unusable:
        try:
            async with asyncio.timeout(LOAD_S_MAX):
                return await self._load()
        except TimeoutError:
            return Unusable((f"The settings could not be read within {LOAD_S_MAX:g} s: look at the file system.",))

    async def _apply(self) -> AccountsChange:
        """Bring about what is wanted; returns what was done."""
        return await self._roster.apply(plan(served=self._roster.accounts, wanted=self._wanted))
