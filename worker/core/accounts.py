"""The accounts that a worker serves as plain values, and how one set of them differs from another (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from worker.core.doubt_rules import Deadline


@dataclass(frozen=True, slots=True)
class Credentials:
    """An account's key, and how it is shown to the API: as the user name of HTTP Basic, or in the header APPKEY."""

    app_key: str = field(repr=False)
    app_secret: str = field(repr=False)
    auth: Literal["basic", "appkey"]


@dataclass(frozen=True, slots=True)
class Account:
    """``limit_per_s``: calls per second that the API allows it. ``prefetch``: deliveries to hold per queue at most.

    ``doubts``: what becomes of its jobs in doubt by itself, and when.
    """

    name: str
    limit_per_s: float
    prefetch: int
    credentials: Credentials
    doubts: Deadline = Deadline()  # noqa: RUF009 - a Deadline cannot be changed


@dataclass(frozen=True, slots=True)
class AccountChanged:
    """``account`` as it is to be from now on, and what of it is new."""

    account: Account
    is_pace_new: bool
    are_credentials_new: bool


@dataclass(frozen=True, slots=True)
class AccountsChange:
    """What leads from the accounts that are served to those that are wanted; each name is in one place at most."""

    added: tuple[Account, ...]
    removed: tuple[str, ...]
    changed: tuple[AccountChanged, ...]


def plan(*, served: Iterable[Account], wanted: Iterable[Account]) -> AccountsChange:
    """What to do, so that ``wanted`` is served. An account is known by its name alone: renamed, it is another one."""
    before = {account.name: account for account in served}
    after = {account.name: account for account in wanted}
    return AccountsChange(
        added=tuple(account for name, account in after.items() if name not in before),
        removed=tuple(name for name in before if name not in after),
        changed=tuple(
            _changed(before[name], account)
            for name, account in after.items()
            if name in before and before[name] != account
        ),
    )


def _changed(before: Account, after: Account) -> AccountChanged:
    return AccountChanged(
        after,
        is_pace_new=(before.limit_per_s, before.prefetch) != (after.limit_per_s, after.prefetch),
        are_credentials_new=before.credentials != after.credentials,
    )
