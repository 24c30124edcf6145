"""The accounts that the simulator knows, and which of them a call's credentials name."""

import base64
import binascii
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from loadtest.simulator.limit import Limit

ACCOUNTS_MAX = 1_000
KEY_CHARACTERS_MAX = 128
RATE_PER_S_MAX = 1_000_000


@dataclass(slots=True)
class Account:
    """One account; its name is its APPKEY. `credit` None is plenty, `rate_per_s` None is no limit."""

    key: str
    rate_per_s: int | None
    limit: Limit | None
    revoked: bool = False
    credit: int | None = None


class Accounts:
    """The accounts: those of a file alone, or any key, which becomes an account when it is first seen."""

    __slots__ = ("_accounts", "_fixed", "_limit_for", "_rate_per_s")

    def __init__(
        self,
        rate_per_s: int | None,
        limit_for: Callable[[int], Limit],
        fixed: Mapping[str, int] | None = None,
    ) -> None:
        self._rate_per_s = rate_per_s
        self._limit_for = limit_for
        self._fixed = fixed
        self._accounts: dict[str, Account] = {}
        for key, own_rate_per_s in (fixed or {}).items():
            self._open(key, None if rate_per_s is None else own_rate_per_s)

    def find(self, key: str) -> Account | None:
        """The account of the key; None when it is nobody's."""
        account = self._accounts.get(key)
        if account is not None or self._fixed is not None:
            return account
        if not key or len(key) > KEY_CHARACTERS_MAX or len(self._accounts) >= ACCOUNTS_MAX:
            return None
        return self._open(key, self._rate_per_s)

    def set_rate(self, rate_per_s: int, now_us: int, key: str | None) -> list[Account]:
        """Change the rate of one account, or of all and of those to come; the accounts that it concerns.

        An account without a limit has one from now on. KeyError when the key is nobody's.
        """
        if key is None:
            changed = list(self._accounts.values())
            self._rate_per_s = rate_per_s
        elif (account := self.find(key)) is not None:
            changed = [account]
        else:
            raise KeyError(key)
        for account in changed:
            account.rate_per_s = rate_per_s
            if account.limit is None:
                account.limit = self._limit_for(rate_per_s)
            else:
                account.limit.set_rate(rate_per_s, now_us)
        return changed

    def _open(self, key: str, rate_per_s: int | None) -> Account:
        limit = None if rate_per_s is None else self._limit_for(rate_per_s)
        account = self._accounts[key] = Account(key, rate_per_s, limit)
        return account


@lru_cache(maxsize=ACCOUNTS_MAX)
def key_in_credentials(authorization: str | None, appkey: str | None) -> str | None:
    """The APPKEY in the headers `Authorization` (Basic, as user name) or `APPKEY`; None when there is none.

    With both, Basic counts. Credentials as parameters are not looked at, as the API wants it.
    """
    if authorization is not None:
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() == "basic":
            try:
                decoded = base64.b64decode(encoded.strip(), validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                decoded = ""
            return decoded.partition(":")[0] or appkey or None
    return appkey or None


def read_accounts_file(path: Path) -> dict[str, int]:
    """Read `[accounts.KEY]` tables with `rate_per_s`; ValueError with one sentence when it cannot be done."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"The accounts file {path} cannot be read: {error}.") from error
    accounts = content.pop("accounts", None)
    if content or not isinstance(accounts, dict) or not accounts:
        raise ValueError(f"The accounts file {path} must hold tables [accounts.KEY] and nothing else.")
    rates: dict[str, int] = {}
    for key, table in accounts.items():
        rate = table.get("rate_per_s") if isinstance(table, dict) else None
        if not isinstance(rate, int) or isinstance(rate, bool) or table.keys() != {"rate_per_s"}:
            raise ValueError(f"The account {key!r} in {path} must have a whole rate_per_s and nothing else.")
        rates[key] = rate
    return rates
