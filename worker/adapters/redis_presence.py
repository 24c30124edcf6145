"""Which workers are there, how many jobs each has in hand, and how those that left have ended.

What a worker was handed over is in no queue's count. So each tells now and then; what it told is gone with it, at the
latest when ``GONE_AFTER_S`` has passed. How its drain came out is counted here too: a process that has ended answers no
scrape, so those that live tell of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Mapping

import orjson
from redis.asyncio import Redis

from worker.adapters.redis_connection import REDIS_FAILURES
from worker.core.status import DrainResult, Held
from worker.flow.observations import DrainEnded, Observation

TELL_S = 3.0
GONE_AFTER_S = 16
#: The index of who is there is written anew with every so many tellings only: Redis is for the slots.
INDEX_EVERY = 10
WORKERS_KEY = "mms:workers"
DRAINS_KEY = "mms:drains"

Waiting = Callable[[], Mapping[str, tuple[int, int]]]


class Presence:
    """Tells of one worker; ``waiting`` counts its jobs that wait for a slot, urgent and bulk, by account."""

    def __init__(self, *, redis: Redis, name: str, waiting: Waiting) -> None:
        self._redis = redis
        self._name = name
        self._waiting = waiting
        self._drained: DrainResult | None = None

    def note(self, seen: Observation) -> None:
        """Take in what the flow tells."""
        if isinstance(seen, DrainEnded):
            self._drained = seen.result

    async def keep_telling(self) -> None:
        """For ever; while Redis is away nobody can be told."""
        for number in itertools.count():
            with contextlib.suppress(*REDIS_FAILURES):  # the limiter tells of them, loudly
                if number % INDEX_EVERY == 0:
                    await self._redis.sadd(WORKERS_KEY, self._name)
                await self._redis.set(_key(self._name), orjson.dumps(self._waiting()), ex=GONE_AFTER_S)
            await asyncio.sleep(TELL_S)

    async def leave(self) -> None:
        """Be there no more, and count how that came."""
        try:
            if self._drained is not None:
                await self._redis.hincrby(DRAINS_KEY, self._drained.value, 1)
            await self._redis.delete(_key(self._name))
            await self._redis.srem(WORKERS_KEY, self._name)
        except REDIS_FAILURES:
            return


async def held_by_workers(redis: Redis) -> dict[str, Held]:
    """What the workers that are there hold, by account. Raises what ``REDIS_FAILURES`` names."""
    members = await redis.smembers(WORKERS_KEY)
    names = sorted(member.decode() for member in members if isinstance(member, bytes))
    if not names:
        return {}
    told = await redis.mget([_key(name) for name in names])
    if gone := [name for name, text in zip(names, told, strict=True) if text is None]:
        await redis.srem(WORKERS_KEY, *gone)
    held: dict[str, Held] = {}
    for text in told:
        for account, (urgent, bulk) in _told_in(text).items():
            before = held.get(account, Held(0, 0, 0))
            held[account] = Held(before.urgent + urgent, before.bulk + bulk, before.workers + 1)
    return held


def _told_in(text: bytes | str | None) -> dict[str, tuple[int, int]]:
    """Jobs in hand by account, as one worker told: nothing, when it is gone or of a release that tells it otherwise."""
    try:
        told = orjson.loads(text) if text else {}
        return {account: (int(urgent), int(bulk)) for account, (urgent, bulk) in told.items()}
    except (ValueError, TypeError, AttributeError):
        return {}


async def drains_so_far(redis: Redis) -> dict[DrainResult, int]:
    """How workers have ended, of all that ever did. Raises what ``REDIS_FAILURES`` names."""
    counted = await redis.hgetall(DRAINS_KEY)
    return {result: int(counted.get(result.encode(), 0)) for result in DrainResult}


def _key(name: str) -> str:
    return f"mms:worker:{name}"
