"""``mms-worker status``: each account at one look, once or again and again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import orjson
from redis.asyncio import Redis
from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from worker.adapters.rabbitmq_depths import QueueDepths
from worker.adapters.redis_connection import REDIS_FAILURES, words_for
from worker.adapters.redis_journal import doubts_in
from worker.adapters.redis_limiter import look_at
from worker.adapters.redis_presence import held_by_workers
from worker.closing import ClosingStack
from worker.core.delivery import Lane
from worker.core.journal import Doubts
from worker.core.status import AccountState, AccountStatus, Depth, Held, Look, account_status
from worker.core.topology import DEAD_QUEUE, IN_DOUBT_QUEUE, UNROUTABLE_QUEUE, jobs_queue
from worker.flow.ports import CannotStart
from worker.parts import broker_address, build_redis
from worker.settings import Settings

#: Between two looks, from which rates are taken.
LOOK_S = 1.0
EXIT_NOT_ALL_KNOWN = 1
HELD_QUEUES = {"in doubt": IN_DOUBT_QUEUE, "dead": DEAD_QUEUE, "unroutable": UNROUTABLE_QUEUE}
COLUMNS = ("pace/\nlimit", "used", "worst\n1 s", "urg-\nent", "bulk", "jobs/\ncall", "clear\nin", "n")
_COLOURS = {
    AccountState.SUSPENDED: "bold red",
    AccountState.CLOSED: "yellow",
    AccountState.LOWERED: "yellow",
    AccountState.OPEN: "green",
    AccountState.UNKNOWN: "red",
}


@dataclass(frozen=True, slots=True)
class Status:
    """Everything, at one moment. ``held``: jobs by where they are held, None where unknown. ``problems``: sentences."""

    at: str
    accounts: tuple[AccountStatus, ...]
    held: dict[str, int | None]
    problems: tuple[str, ...]


async def show_status(settings: Settings, *, is_watching: bool, is_json: bool) -> int:
    """Show it until interrupted when watching, once otherwise; exit code 1 when something could not be known."""
    async with ClosingStack() as stack:
        depths = QueueDepths(broker_address(settings))
        stack.closes(depths.close)
        redis = build_redis(settings)
        stack.closes(redis.aclose)
        seen = statuses(settings, redis, depths)
        console = Console()
        if is_json:
            async for status in seen:
                sys.stdout.write(orjson.dumps(asdict(status)).decode() + "\n")
                sys.stdout.flush()
                if not is_watching:
                    return _exit_code(status)
        elif not is_watching:
            status = await anext(seen)
            console.print(drawn(status))
            return _exit_code(status)
        with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
            async for status in seen:
                live.update(drawn(status), refresh=True)
    return 0


@dataclass(frozen=True, slots=True)
class _InRedis:
    """What Redis tells, by account."""

    looks: dict[str, Look]
    held: dict[str, Held]
    doubts: dict[str, Doubts]


async def statuses(settings: Settings, redis: Redis, depths: QueueDepths) -> AsyncIterator[Status]:
    """One every LOOK_S, without end."""
    before = await _in_redis(settings, redis)
    while True:
        await asyncio.sleep(LOOK_S)
        now = await _in_redis(settings, redis)
        found = await _depths(settings, depths)
        yield _status(settings, before=before, now=now, depths=found)
        before = now


async def _in_redis(settings: Settings, redis: Redis) -> _InRedis | str:
    try:
        names = [account.name for account in settings.accounts]
        return _InRedis(await look_at(redis, names), await held_by_workers(redis), await doubts_in(redis, names))
    except REDIS_FAILURES as error:
        return f"Redis cannot be asked ({words_for(error)}): check MMS_REDIS_URL, and that Redis runs."


async def _depths(settings: Settings, depths: QueueDepths) -> dict[str, Depth | None] | str:
    queues = [jobs_queue(account.name, lane) for account in settings.accounts for lane in Lane]
    try:
        return await depths.look([*queues, *HELD_QUEUES.values()])
    except CannotStart as error:
        return str(error)


def _status(
    settings: Settings,
    *,
    before: _InRedis | str,
    now: _InRedis | str,
    depths: dict[str, Depth | None] | str,
) -> Status:
    looks_before = before.looks if isinstance(before, _InRedis) else {}
    looks_now, in_hand = (now.looks, now.held) if isinstance(now, _InRedis) else ({}, None)
    doubts = now.doubts if isinstance(now, _InRedis) else {}
    at = datetime.now(UTC)
    known = depths if isinstance(depths, dict) else {}
    held = {where: known.get(queue) for where, queue in HELD_QUEUES.items()}
    return Status(
        at=at.isoformat(timespec="seconds"),
        accounts=tuple(
            account_status(
                account.name,
                limit_per_s=account.rate_per_s,
                before=looks_before.get(account.name),
                now=looks_now.get(account.name),
                urgent=known.get(jobs_queue(account.name, Lane.URGENT)),
                bulk=known.get(jobs_queue(account.name, Lane.BULK)),
                held=None if in_hand is None else in_hand.get(account.name, Held(0, 0, 0)),
                doubts=doubts.get(account.name),
                at_s=at.timestamp(),
            )
            for account in settings.accounts
        ),
        held={where: None if depth is None else depth.jobs for where, depth in held.items()},
        problems=tuple(problem for problem in (now, depths) if isinstance(problem, str)),
    )


def _exit_code(status: Status) -> int:
    return EXIT_NOT_ALL_KNOWN if status.problems else 0


# --- For people ------------------------------------------------------------------------------------------


def drawn(status: Status) -> Group:
    """The status as a table; below it why an account is not open, what is held, and what could not be known."""
    table = Table(box=box.SIMPLE_HEAD, title=f"mms-worker status  {status.at}", title_justify="left", pad_edge=False)
    table.padding = (0, 1, 0, 0)
    for name in ("account", "state"):
        table.add_column(name, no_wrap=True)
    for name in COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for account in status.accounts:
        table.add_row(*_cells(account))
    held = ", ".join(f"{where} {_count(jobs)}" for where, jobs in status.held.items())
    reasons = (
        Text(f"{account.account}: {account.state.value}, {account.why}", style=_COLOURS[account.state])
        for account in status.accounts
        if account.why
    )
    in_doubt = (
        Text(f"{account.account}: {account.in_doubt:,} in doubt, the oldest for {duration(account.in_doubt_oldest_s)}")
        for account in status.accounts
        if account.in_doubt
    )
    problems = (Text(problem, style="red") for problem in status.problems)
    return Group(table, *reasons, *in_doubt, Text(f"held: {held}"), *problems)


def _cells(account: AccountStatus) -> Sequence[str | Text]:
    pace = "-" if account.pace_per_s is None else f"{account.pace_per_s:.3g}"
    return (
        account.account,
        Text(account.state.value, style=_COLOURS[account.state]),
        f"{pace}/{account.limit_per_s:g}",
        "-" if account.share_used is None else f"{account.share_used:.0%}",
        _count(account.worst_second),
        _count(account.backlog_urgent),
        _count(account.backlog_bulk),
        "-" if account.jobs_per_call is None else f"{account.jobs_per_call:.3g}",
        duration(account.drain_s),
        _count(account.workers),
    )


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def duration(seconds: float | None) -> str:
    """As people say it: 12 s, 3 min, 2 h 5 min, 4 d."""
    if seconds is None:
        return "-"
    minutes, hours = round(seconds / 60), round(seconds / 3_600)
    if seconds < 100:  # noqa: PLR2004 - from there minutes say enough
        return f"{seconds:.0f} s"
    if minutes < 100:  # noqa: PLR2004 - as above
        return f"{minutes} min"
    return f"{hours} h" if hours < 48 else f"{hours // 24} d"  # noqa: PLR2004 - two days
