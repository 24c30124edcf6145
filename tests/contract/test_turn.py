"""A turn's contract, over memory and over Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis

from worker.adapters.memory_held import MemoryTurn, MemoryTurns
from worker.adapters.redis_connection import redis_client
from worker.adapters.redis_turn import RedisTurn

Turn = MemoryTurn | RedisTurn
TurnOf = Callable[..., Turn]
LONG_S, SHORT_S = 60.0, 0.2


@pytest.fixture(params=["memory", "redis"])
async def turn_of(request: pytest.FixtureRequest) -> AsyncIterator[TurnOf]:
    if request.param == "memory":
        turns = MemoryTurns(monotonic=time.monotonic)
        yield lambda holder, name="a": MemoryTurn(turns, name=name, holder=holder)
        return
    async with Redis.from_url(request.getfixturevalue("redis_url")) as redis:
        yield lambda holder, name="a": RedisTurn(redis=redis, name=name, holder=holder)


async def test_it_is_one_holders_at_a_time_and_he_may_keep_it(turn_of: TurnOf) -> None:
    one, other = turn_of("one"), turn_of("other")
    assert await one.take(LONG_S)
    assert not await other.take(LONG_S)
    assert await one.take(LONG_S)
    assert await turn_of("other", name="b").take(LONG_S)


async def test_it_ends_by_itself(turn_of: TurnOf) -> None:
    assert await turn_of("one").take(SHORT_S)
    await asyncio.sleep(SHORT_S + 0.1)
    assert await turn_of("other").take(LONG_S)
    assert not await turn_of("one").take(LONG_S)


async def test_one_that_is_taken_again_lasts_from_then_on(turn_of: TurnOf) -> None:
    one, other = turn_of("one"), turn_of("other")
    await one.take(SHORT_S)
    await one.take(LONG_S)
    await asyncio.sleep(SHORT_S + 0.1)
    assert not await other.take(LONG_S)


async def test_one_that_was_left_is_nobodys_for_a_while(turn_of: TurnOf) -> None:
    one, other = turn_of("one"), turn_of("other")
    await one.take(LONG_S)
    await one.leave(SHORT_S)
    assert not await one.take(LONG_S)
    assert not await other.take(LONG_S)
    await asyncio.sleep(SHORT_S + 0.1)
    assert await other.take(LONG_S)


async def test_left_for_no_time_it_is_anybodys(turn_of: TurnOf) -> None:
    await turn_of("one").take(LONG_S)
    await turn_of("one").leave(0)
    assert await turn_of("other").take(LONG_S)


async def test_nobody_leaves_what_is_not_his(turn_of: TurnOf) -> None:
    one, other = turn_of("one"), turn_of("other")
    await other.leave(LONG_S)
    assert await one.take(LONG_S)
    await other.leave(0)
    assert not await other.take(LONG_S)


async def test_it_can_be_freed_by_anybody(turn_of: TurnOf) -> None:
    one, other = turn_of("one"), turn_of("other")
    await one.take(LONG_S)
    await one.leave(LONG_S)
    await other.free()
    assert await other.take(LONG_S)


async def test_without_redis_it_is_nobodys_and_nothing_fails(unused_tcp_port: int) -> None:
    async with redis_client(f"redis://127.0.0.1:{unused_tcp_port}/0", timeout_s=0.5) as redis:
        turn = RedisTurn(redis=redis, name="a", holder="one")
        assert not await turn.take(LONG_S)
        await turn.leave(0)
        await turn.free()
