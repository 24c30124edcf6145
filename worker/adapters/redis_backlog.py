"""What Redis tells of backlogs, and where their planned waits are kept for workers to come.

Planned waits of an account are one hash of fixed size: a ring of five-minute bins, each with its number, so that
yesterday's are told from today's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from worker.adapters.redis_connection import REDIS_FAILURES
from worker.adapters.redis_limiter import look_at
from worker.adapters.redis_presence import drains_so_far, held_by_workers
from worker.core.backlog import BIN_S, BINS_MAX, PlannedWait
from worker.flow.ports import StoreLook

#: Gone a day after the last look, when nothing of it is of use any more.
KEEP_S = BIN_S * BINS_MAX

Told = TypeVar("Told")


class RedisBacklogStore:
    """Implements the ``BacklogStore`` port."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def look(self, accounts: Sequence[str]) -> StoreLook | None:
        """What there is now."""
        try:
            return StoreLook(
                buckets=await _of_each(lambda some: look_at(self._redis, some), accounts),
                held=await held_by_workers(self._redis),
                drains=await drains_so_far(self._redis),
            )
        except REDIS_FAILURES:
            return None  # the limiter tells of it, loudly

    async def recall(self, accounts: Sequence[str]) -> Mapping[str, Sequence[PlannedWait]]:
        """The planned waits of the last day; where they cannot be read, none."""
        try:
            found = await _of_each(self._recall, accounts)
        except REDIS_FAILURES:
            return {}
        return {account: found.get(account, []) for account in accounts}

    async def _recall(self, accounts: Sequence[str]) -> dict[str, list[PlannedWait]]:
        async with self._redis.pipeline(transaction=False) as asking:
            for account in accounts:
                asking.hgetall(_key(account))
            found = await asking.execute()
        return {account: _waits_in(fields) for account, fields in zip(accounts, found, strict=True)}

    async def keep(self, waits: Mapping[str, PlannedWait]) -> None:
        """Keep these too."""
        if not waits:
            return
        with contextlib.suppress(*REDIS_FAILURES):
            async with self._redis.pipeline(transaction=False) as asking:
                for account, wait in waits.items():
                    text = f"{wait.bin} {wait.urgent_s:.3f} {wait.bulk_s:.3f}"
                    asking.hset(_key(account), str(wait.bin % BINS_MAX), text)
                    asking.expire(_key(account), KEEP_S)
                await asking.execute()


async def _of_each(
    ask: Callable[[Sequence[str]], Awaitable[dict[str, Told]]], accounts: Sequence[str]
) -> dict[str, Told]:
    """What ``ask`` tells of the accounts: one whose key is of the wrong type hides no other."""
    with contextlib.suppress(ResponseError):
        return await ask(accounts)
    told: dict[str, Told] = {}
    for account in accounts:
        with contextlib.suppress(ResponseError):
            told |= await ask([account])
    return told


def _waits_in(fields: Mapping[bytes, bytes]) -> list[PlannedWait]:
    """Of what ``HGETALL`` shows; what another release left, or one of yesterday, is passed over."""
    waits = [wait for text in fields.values() if (wait := _wait_in(text)) is not None]
    newest = max((wait.bin for wait in waits), default=0)
    return [wait for wait in waits if wait.bin > newest - BINS_MAX]


def _wait_in(text: bytes) -> PlannedWait | None:
    try:
        number, urgent_s, bulk_s = text.split()
        return PlannedWait(int(number), float(urgent_s), float(bulk_s))
    except ValueError:
        return None


def _key(account: str) -> str:
    return f"mms:planned:{account}"
