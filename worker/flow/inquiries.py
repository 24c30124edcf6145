"""What a receiver does for each account by itself, beside what is posted to it: accounts come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from worker.core.accounts import Account, AccountsChange
from worker.flow.observations import AccountLeft, AccountServed, Observer
from worker.flow.ports import Api, Limiter
from worker.flow.tasks import Tasks

#: What is done for one account: asked for again and again, until it is cancelled.
Asking = Coroutine[Any, Any, None]


class Inquiries:
    """Runs ``make(account)`` for each account, for as long as it is served."""

    def __init__(
        self,
        *,
        make: Callable[[Account], Iterable[Asking]],
        api: Api,
        limiter: Limiter,
        observe: Observer,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._make = make
        self._api = api
        self._limiter = limiter
        self._observe = observe
        self._on_failure = on_failure
        self._served: dict[str, Account] = {}
        self._asking: dict[str, Tasks] = {}

    @property
    def accounts(self) -> tuple[Account, ...]:
        """Those that are served."""
        return tuple(self._served.values())

    @property
    def lacking(self) -> tuple[str, ...]:
        """Those that could not be started: none, since nothing is declared for an account."""
        return ()

    async def start(self, accounts: Iterable[Account]) -> None:
        """Serve these."""
        for account in accounts:
            self._add(account)

    async def apply(self, change: AccountsChange) -> AccountsChange:
        """Bring about the change; returns what was done, which is all of it."""
        for name in change.removed:
            await self._remove(name)
        for changed in change.changed:
            account = changed.account
            self._served[account.name] = account
            if changed.are_credentials_new:
                self._api.set_credentials(account.name, account.credentials)
            if changed.is_pace_new:
                self._limiter.set_limit(account.name, account.limit_per_s)
                self._observe(AccountServed(account.name, account.limit_per_s))
        for account in change.added:
            self._add(account)
        return change

    async def close(self) -> None:
        """Ask nothing any more."""
        await asyncio.gather(*(asking.cancel() for asking in self._asking.values()))

    def _add(self, account: Account) -> None:
        self._api.set_credentials(account.name, account.credentials)
        self._limiter.set_limit(account.name, account.limit_per_s)
        self._observe(AccountServed(account.name, account.limit_per_s))
        self._served[account.name] = account
        self._asking[account.name] = asking = Tasks(self._on_failure)
        for work in self._make(account):
            asking.start(work)

    async def _remove(self, name: str) -> None:
        del self._served[name]
        await self._asking.pop(name).cancel()
        self._limiter.forget(name)
        await self._api.forget(name)
        self._observe(AccountLeft(name))
