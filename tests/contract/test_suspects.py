"""Notes on messages that are being looked at, over memory and over Redis; and the broker's count of comebacks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from deploy.local import Redis as RedisServer
from tests.contract.test_broker import Stand, Taken, stand
from tests.jobs import a_delivery
from worker.adapters.memory import MemorySuspects
from worker.adapters.redis_connection import redis_client
from worker.adapters.redis_suspects import KEEP_S, RedisSuspects, note_key
from worker.flow.ports import Suspects, SuspectsAway

__all__ = ["stand"]  # the fixture

MESSAGE, ANOTHER = a_delivery(b"\xff not JSON"), a_delivery(b"{}")


@pytest.fixture(params=["memory", "redis"])
async def suspects(request: pytest.FixtureRequest) -> AsyncIterator[Suspects]:
    if request.param == "memory":
        yield MemorySuspects()
        return
    redis = redis_client(request.getfixturevalue("redis_url"), timeout_s=0.5)
    kept = RedisSuspects(redis=redis, on_failure=lambda error: pytest.fail(repr(error)))
    yield kept
    await kept.close()
    await redis.aclose()


async def test_looks_that_never_ended_are_counted_by_message(suspects: Suspects) -> None:
    assert [await suspects.begin(MESSAGE) for _ in range(3)] == [0, 1, 2]
    assert await suspects.begin(ANOTHER) == 0
    await suspects.done(MESSAGE)
    assert await suspects.begin(MESSAGE) == 0
    assert await suspects.begin(ANOTHER) == 1


@asynccontextmanager
async def notes(url: str) -> AsyncIterator[tuple[RedisSuspects, Redis]]:
    redis = redis_client(url, timeout_s=0.2)
    suspects = RedisSuspects(redis=redis, on_failure=lambda error: pytest.fail(repr(error)))
    try:
        yield suspects, redis
    finally:
        await suspects.close()
        await redis.aclose()


async def test_a_note_ends_some_day_by_itself(redis_url: str) -> None:
    async with notes(redis_url) as (suspects, redis):
        await suspects.begin(MESSAGE)
        await suspects.begin(MESSAGE)
        assert 0 < await redis.ttl(note_key(MESSAGE)) <= KEEP_S


async def test_while_redis_is_away_that_is_said_and_a_note_is_taken_away_later(own_redis: RedisServer) -> None:
    async with notes(own_redis.url) as (suspects, redis):
        assert await suspects.begin(MESSAGE) == 0
        own_redis.pause()
        try:
            assert isinstance(await suspects.begin(ANOTHER), SuspectsAway)
            await suspects.done(MESSAGE)
        finally:
            own_redis.resume()
        async with asyncio.timeout(5):
            while await redis.exists(note_key(MESSAGE)):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)


async def test_each_comeback_is_counted(stand: Stand) -> None:
    taken = Taken()
    await stand.broker.consume("acme", taken)
    await stand.outside.publish_job("acme", b"one")
    for comebacks in range(3):
        delivery = await taken.next()
        assert (delivery.comebacks, delivery.redelivered) == (comebacks, comebacks > 0)
        await stand.outside.disconnect()
