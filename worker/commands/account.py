"""``mms-worker account``: what the API says of each account, and whether the workers may send for it."""

from __future__ import annotations

import asyncio
import enum
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import orjson
from redis.asyncio import Redis
from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from worker.adapters.mms_http import MmsHttpApi
from worker.adapters.redis_connection import REDIS_FAILURES
from worker.adapters.redis_limiter import RedisLimiter, look_at
from worker.closing import ClosingStack
from worker.commands.terminal import refuse
from worker.core.envelope import Envelope
from worker.core.held_jobs import printable
from worker.core.outcome import NotSent, Refused, Suspended, SuspendedBecause, Throttled
from worker.core.responses import Balances, Unanswered, in_words, read_balances, read_question
from worker.flow.observations import Observation, Operation
from worker.flow.ports import CannotStart
from worker.flow.questions import Questions
from worker.parts import build_api, open_redis
from worker.settings import AccountSettings, Settings

EXIT_NOT_ALL_WELL = 1
#: How long a slot is waited for: an account may be closed for a while.
SLOT_S_MAX = 10.0


class State(enum.StrEnum):
    """What the API's answer makes of an account."""

    WELL = "well"
    LOW = "low"
    """Its balance is below ``MMS_BALANCE_LOW``."""
    USED_UP = "used_up"
    REFUSED = "refused"
    """Its key is."""
    UNKNOWN = "unknown"
    """There is no clear answer."""


_COLOURS = {
    State.WELL: "green",
    State.LOW: "yellow",
    State.USED_UP: "bold red",
    State.REFUSED: "bold red",
    State.UNKNOWN: "red",
}
_ARE_WELL = {State.WELL, State.LOW}


@dataclass(frozen=True, slots=True)
class AccountSeen:
    """One account. Balances are in credits; None is unknown.

    ``vendor_name``: what the vendor calls it. ``suspended``: why the workers do not send for it, "" when they do.
    ``why``: of a state that is not well, in a sentence.
    """

    account: str
    vendor_name: str | None
    state: State
    mms_balance: float | None
    sms_balance: float | None
    suspended: str | None
    why: str | None


async def show_account(settings: Settings, name: str | None, *, is_json: bool) -> int:
    """Ask for the account called ``name``, or for all, show them, and return the exit code."""
    accounts = [account for account in settings.accounts if name in {None, account.name}]
    if not accounts:
        known = ", ".join(account.name for account in settings.accounts)
        refuse(f"{name} is no account here: known are {known}.")
    async with ClosingStack() as stack:
        api = build_api(settings)
        stack.closes(api.aclose)
        redis = await _redis(settings, stack)
        suspended = await _suspended(redis, accounts)
        answers = await asyncio.gather(*(_answer(account, api, redis) for account in accounts))
    seen = [
        account_seen(account.name, answer, suspended=suspended.get(account.name), low=settings.balance_low)
        for account, answer in zip(accounts, answers, strict=True)
    ]
    if is_json:
        sys.stdout.write(orjson.dumps({"accounts": [asdict(one) for one in seen]}).decode() + "\n")
    else:
        Console().print(drawn(seen))
    return 0 if all(one.state in _ARE_WELL for one in seen) else EXIT_NOT_ALL_WELL


async def _redis(settings: Settings, stack: ClosingStack) -> Redis | None:
    """Redis, if it answers."""
    try:
        return await open_redis(settings, stack)
    except CannotStart:
        return None


async def _suspended(redis: Redis | None, accounts: list[AccountSettings]) -> Mapping[str, str]:
    """Why the workers do not send for each account, "" when they do; without what cannot be known."""
    if redis is None:
        return {}
    try:
        looks = await look_at(redis, [account.name for account in accounts])
    except REDIS_FAILURES:
        return {}
    return {name: look.bucket.suspended if look.bucket else "" for name, look in looks.items()}


async def _answer(account: AccountSettings, api: MmsHttpApi, redis: Redis | None) -> Envelope | Unanswered:
    """One ``GET account`` call, in a slot; without Redis no worker calls, and no slot is needed."""
    if redis is not None:
        limiter = RedisLimiter(redis=redis, limit_per_s={account.name: account.rate_per_s}, monotonic=time.monotonic)
        questions = Questions(
            account=account.name,
            api=api,
            limiter=limiter,
            monotonic=time.monotonic,
            observe=_nobody_watches,
            slot_s_max=SLOT_S_MAX,
        )
        return await questions.ask(Operation.ACCOUNT, lambda api: api.account(account.name), is_probe=True)
    return read_question(await api.account(account.name))


def _nobody_watches(seen: Observation) -> None:
    """A command has no metrics."""


def account_seen(name: str, answer: Envelope | Unanswered, *, suspended: str | None, low: float) -> AccountSeen:
    """What the answer makes of the account; below ``low`` credits its balance is low."""
    balances = read_balances(answer) if isinstance(answer, Envelope) else Balances(None, None, None, is_alerted=False)
    state, why = _state(answer, balances.mms, low)
    return AccountSeen(
        account=name,
        vendor_name=balances.vendor_name,
        state=state,
        mms_balance=balances.mms,
        sms_balance=balances.sms,
        suspended=suspended,
        why=why,
    )


def _state(answer: Envelope | Unanswered, balance: float | None, low: float) -> tuple[State, str | None]:
    match answer:
        case Envelope():
            return _state_of(balance, low)
        case Suspended(SuspendedBecause.CREDIT):
            return State.USED_UP, in_words(answer)
        case Suspended():
            return State.REFUSED, f"{in_words(answer)}: check its key and auth"
        case Throttled() | NotSent() | Refused():
            return State.UNKNOWN, in_words(answer)


def _state_of(balance: float | None, low: float) -> tuple[State, str | None]:
    if balance is None:
        return State.WELL, "the API tells no balance"
    if balance <= 0:
        return State.USED_UP, "no message can be sent: top it up with the vendor"
    if balance < low:
        return State.LOW, f"its balance is below {low:g}: top it up with the vendor"
    return State.WELL, None


# --- For people ------------------------------------------------------------------------------------------


def drawn(seen: list[AccountSeen]) -> Group:
    """The accounts as a table; below it why one is not well."""
    table = Table(box=box.SIMPLE_HEAD, title="mms-worker account", title_justify="left", pad_edge=False)
    for name in ("account", "vendor's name", "state"):
        table.add_column(name)
    for name in ("MMS balance", "SMS balance"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("sending")
    for one in seen:
        table.add_row(
            Text(one.account),
            Text(printable(one.vendor_name or "-")),
            Text(one.state.value.replace("_", " "), style=_COLOURS[one.state]),
            _amount(one.mms_balance),
            _amount(one.sms_balance),
            _sending(one.suspended),
        )
    whys = [(f"{one.account}: {one.why}", _COLOURS[one.state]) for one in seen if one.why]
    return Group(table, *(Text(printable(why), style=colour) for why, colour in whys))


def _amount(credit: float | None) -> str:
    return "-" if credit is None else f"{credit:,.2f}"


def _sending(suspended: str | None) -> Text:
    if suspended is None:
        return Text("-")
    return Text(f"suspended: {suspended}", style="bold red") if suspended else Text("open", style="green")
