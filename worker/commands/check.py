"""``mms-worker check``: is everything there, and does it let us in? Changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiormq.exceptions import ChannelNotFoundEntity
from rich.console import Console
from rich.table import Table

from worker.adapters.mms_http import MmsHttpApi
from worker.adapters.rabbitmq_connection import AMQP_FAILURES, connect, why
from worker.adapters.redis_connection import forgets_because
from worker.closing import ClosingStack
from worker.commands.terminal import EXIT_CANNOT_START
from worker.core.outcome import Accepted, NotSent, Suspended, SuspendedBecause, Throttled, classify_account
from worker.core.topology import JOBS_EXCHANGE
from worker.flow.observations import Role
from worker.flow.ports import CannotStart
from worker.parts import broker_address, build_api, open_redis
from worker.settings import AccountSettings, Settings


async def check_everything(settings: Settings) -> int:
    """Look at each part, show a table, and return the exit code."""
    async with ClosingStack() as stack:
        api = build_api(settings)
        stack.closes(api.aclose)
        checks: list[tuple[str, Callable[[], Awaitable[str]]]] = [
            ("settings", lambda: _settings(settings)),
            ("broker", lambda: _broker(settings)),
            ("Redis", lambda: _redis(settings)),
            *((f"API, account {account.name}", _account_check(api, account)) for account in settings.accounts),
        ]
        found = await asyncio.gather(*(_said(check) for _, check in checks))
    table = Table("", "what", "found", title="mms-worker check", title_justify="left")
    for (name, _), (is_well, words) in zip(checks, found, strict=True):
        table.add_row("[green]✓[/green]" if is_well else "[red]✗[/red]", name, words)
    Console().print(table)
    return 0 if all(is_well for is_well, _ in found) else EXIT_CANNOT_START


async def _said(check: Callable[[], Awaitable[str]]) -> tuple[bool, str]:
    try:
        return True, await check()
    except CannotStart as error:
        return False, str(error)


async def _settings(settings: Settings) -> str:
    if settings.failpoint is not None:
        raise CannotStart("MMS_FAILPOINT is set, which is for tests only: workers kill themselves. Take it away.")
    return f"{len(settings.accounts)} account(s)"


async def _broker(settings: Settings) -> str:
    address = broker_address(settings)
    connection = await connect(address, Role.CONSUME)
    try:
        channel = await (await connection.channel(publisher_confirms=False)).get_underlay_channel()
        await channel.exchange_declare(JOBS_EXCHANGE, passive=True, timeout=address.timeout_s)
    except ChannelNotFoundEntity:
        return f"connected to {address}; nothing is declared yet, the first worker does it"
    except AMQP_FAILURES as error:
        raise CannotStart(f"The broker refused a look at {JOBS_EXCHANGE}: {why(error)}.") from error
    finally:
        await connection.close()
    return f"connected to {address}; {JOBS_EXCHANGE} is there"


async def _redis(settings: Settings) -> str:
    async with ClosingStack() as stack:
        redis = await open_redis(settings, stack)
        if problems := await forgets_because(redis):
            raise CannotStart(
                f"Redis would forget what was called for, and jobs would be in doubt: {' and '.join(problems)}."
            )
        return "answers; it is append-only and never evicts"


def _account_check(api: MmsHttpApi, account: AccountSettings) -> Callable[[], Awaitable[str]]:
    async def look() -> str:
        match classify_account(await api.account(account.name)):
            case Accepted(low_balance=low_balance):
                return "the key is accepted" + ("; the balance is low" if low_balance else "")
            case Suspended(because, description):
                remedy = (
                    "top it up with the vendor"
                    if because is SuspendedBecause.CREDIT
                    else "check its key and auth (MMS_APP_KEY and MMS_AUTH, or MMS_ACCOUNTS_FILE)"
                )
                raise CannotStart(
                    f"The API refuses account {account.name} because of its {because.value} ({description}): {remedy}."
                )
            case Throttled():
                return "the key is accepted; the account is at its limit now"
            case NotSent(reason):
                raise CannotStart(f"The API does not answer as it should ({reason}): check MMS_API_URL and its CA.")
            case unclear:
                raise CannotStart(f"The API's answer is unclear ({type(unclear).__name__}): check MMS_API_URL.")

    return look
