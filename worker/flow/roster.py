"""The accounts of this worker, each with its sender, and how they come and go while it runs.

States of an account here, and what leads from one to the next:

* *absent* → *starting*: it is wanted. Its queues are declared, on a channel of their own; the limiter is told its
  limit, the API its key, and who watches sees it; connections are opened; then it takes jobs.
* *starting* → *running*: all of that was done within ``START_S_MAX``.
* *starting* → *leaving*: it could not be. That is told, what was begun is undone, and ``lacking`` says so until it is
  started again. The other accounts do not notice.
* *running* → *running*: its limit, prefetch or key changed. The next slot, delivery and call go by the new one, and an
  account that is suspended is probed at once with a new key.
* *running* → *leaving*: it is wanted no more. From this moment it takes nothing; calls under way end and are told, or
  are broken off after the drain's limit and told as in doubt. It stays so as long as the broker takes in nothing: to
  give its jobs back earlier would have another worker send again what was sent.
* *leaving* → *absent*: all is told. Its channel is closed, so that the broker hands what waited here to others; its
  connections, its limit and its metrics go. Its queues stay as they are.

Wanted again while it is *leaving*, it starts once it has left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from worker.core.accounts import Account, AccountChanged, AccountsChange
from worker.flow.account import AccountSender
from worker.flow.drain import DrainLimits, drain
from worker.flow.observations import AccountLeft, AccountNotStarted, AccountServed, Observer, Surprise
from worker.flow.ports import Api, Broker, CannotStart, Limiter
from worker.flow.remembrance import Remembrance
from worker.flow.tasks import Tasks

#: From the first question to the broker until jobs are taken; and as long before, for one that is still leaving.
START_S_MAX = 60.0
#: Opening an account's connections keeps the loop busy: more at a time would make the calls of the others late.
STARTING_MAX = 2
#: How long telling is waited for at a time, once the drain's limits have passed.
STILL_TELLING_S = 60.0


@dataclass(frozen=True, slots=True)
class Member:
    """An account that is starting, running or leaving, and who sends for it."""

    account: Account
    sender: AccountSender
    is_leaving: bool = False


class Roster:
    """Who is served. ``make_sender`` makes an account's sender, which has not begun yet."""

    def __init__(
        self,
        *,
        make_sender: Callable[[Account], AccountSender],
        broker: Broker,
        limiter: Limiter,
        api: Api,
        remembrance: Remembrance,
        limits: DrainLimits,
        observe: Observer,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._make_sender = make_sender
        self._broker = broker
        self._limiter = limiter
        self._api = api
        self._remembrance = remembrance
        self._limits = limits
        self._observe = observe
        self._starting = asyncio.Semaphore(STARTING_MAX)
        self._leaving = Tasks(on_failure)
        #: Replaced as a whole, never changed: another thread counts what is in it for the metrics.
        self._members: tuple[Member, ...] = ()
        self._somebody_left = asyncio.Event()
        #: Names of accounts that are wanted and could not be started.
        self.lacking: frozenset[str] = frozenset()

    @property
    def senders(self) -> tuple[AccountSender, ...]:
        """The senders of all accounts that are starting, running or leaving."""
        return tuple(member.sender for member in self._members)

    @property
    def accounts(self) -> tuple[Account, ...]:
        """The accounts that are served, as they are served."""
        return tuple(member.account for member in self._members if not member.is_leaving)

    async def start(self, accounts: Iterable[Account]) -> None:
        """Begin with ``accounts``, which the broker, the limiter, the API and who watches were set up with."""
        await self._start_all(tuple(accounts), are_new=False)

    async def apply(self, change: AccountsChange) -> AccountsChange:
        """Make the change, and return what came of it: who could not be started is left out.

        Who is removed takes nothing more from this moment on, and leaves in its own time.
        """
        for name in change.removed:
            self._remove(name)
        for changed in change.changed:
            self._change(changed)
        return replace(change, added=await self._start_all(change.added, are_new=True))

    async def close(self) -> None:
        """Wait no more for who is still leaving: the process ends."""
        await self._leaving.cancel()

    # --- Starting ----------------------------------------------------------------------------------------

    async def _start_all(self, accounts: tuple[Account, ...], *, are_new: bool) -> tuple[Account, ...]:
        """Start them, a few at a time; returns those that run."""
        are_started = await asyncio.gather(*(self._start(account, is_new=are_new) for account in accounts))
        started = tuple(account for account, is_started in zip(accounts, are_started, strict=True) if is_started)
        self.lacking = frozenset(account.name for account in accounts) - {account.name for account in started}
        return started

    async def _start(self, account: Account, *, is_new: bool) -> bool:
        """Start one; whether it runs. This is the one place where the trouble of an account's start ends."""
        is_known = not is_new
        try:
            async with asyncio.timeout(START_S_MAX):
                await self._left(account.name)
            async with self._starting, asyncio.timeout(START_S_MAX):
                if not is_known:
                    await self._broker.declare(account.name)
                    is_known = True
                    self._introduce(account)
                await self._remembrance.begin(account.name)
                await self._api.warm_up(account.name, calls_per_s=account.limit_per_s)
                sender = self._make_sender(account)
                self._members += (Member(account, sender),)
                await sender.start()
        except CannotStart as error:
            why = str(error)
        except TimeoutError:
            why = f"it could not take jobs within {START_S_MAX:g} s"
        except Exception as error:  # noqa: BLE001 - a bug that one account trips must not stop the others
            self._observe(Surprise("account start", error))
            why = f"internal error: {type(error).__name__}"
        else:
            return True
        self._observe(AccountNotStarted(account.name, why))
        if any(member.account.name == account.name for member in self._members):
            self._remove(account.name)
        elif is_known:
            await self._forget(account.name)
        return False

    def _introduce(self, account: Account) -> None:
        """Tell everybody who needs to know it."""
        self._limiter.set_limit(account.name, account.limit_per_s)
        self._api.set_credentials(account.name, account.credentials)
        self._observe(AccountServed(account.name, account.limit_per_s))

    # --- Changing ----------------------------------------------------------------------------------------

    def _change(self, changed: AccountChanged) -> None:
        """Bring an account that runs to what is wanted of it now."""
        account = changed.account
        member = self._running(account.name)
        self._replace(member, replace(member, account=account))
        if changed.is_pace_new:
            self._limiter.set_limit(account.name, account.limit_per_s)
            member.sender.set_prefetch(account.prefetch)
            self._observe(AccountServed(account.name, account.limit_per_s))
        if changed.are_credentials_new:
            self._api.set_credentials(account.name, account.credentials)
            member.sender.try_new_key()

    # --- Leaving -----------------------------------------------------------------------------------------

    def _remove(self, name: str) -> None:
        """Let it take nothing more from this moment on, and leave."""
        member = self._running(name)
        leaving = replace(member, is_leaving=True)
        self._replace(member, leaving)
        member.sender.stop()
        self._leaving.start(self._leave(leaving))

    async def _leave(self, member: Member) -> None:
        """End what is under way, give everything else back, and forget the account."""
        sender = member.sender
        try:
            await drain([sender], self._limits, at_once=asyncio.Event())
            while not await sender.finish(STILL_TELLING_S):
                pass
            sender.let_go()
            await self._forget(member.account.name)
        except Exception as error:  # noqa: BLE001 - a bug that one account trips must not stop the others
            self._observe(Surprise("account end", error))
        finally:
            self._replace(member, None)
            self._somebody_left.set()

    async def _left(self, name: str) -> None:
        """Wait until nobody of that name is leaving."""
        while any(member.account.name == name for member in self._members):
            self._somebody_left.clear()
            await self._somebody_left.wait()

    async def _forget(self, name: str) -> None:
        """Tell everybody that it is served here no more."""
        await self._broker.forget(name)
        await self._api.forget(name)
        self._limiter.forget(name)
        self._observe(AccountLeft(name))

    def _running(self, name: str) -> Member:
        return next(member for member in self._members if member.account.name == name and not member.is_leaving)

    def _replace(self, member: Member, by: Member | None) -> None:
        """Put ``by`` into the member's place; None: take it out."""
        places = ((by if each is member else each) for each in self._members)
        self._members = tuple(each for each in places if each is not None)
