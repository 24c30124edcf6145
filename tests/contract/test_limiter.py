"""The limiter's contract, over memory and over Redis; and the Lua script against its Python twin."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from importlib import resources

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from deploy.local import Redis as RedisServer
from worker.adapters.memory import MemoryLimiter
from worker.adapters.redis_connection import redis_client
from worker.adapters.redis_limiter import SPAN_US, RedisLimiter
from worker.core.bucket import (
    AHEAD_US_MAX,
    FRESH_WAIT_US,
    Bucket,
    close,
    give_back,
    interval_ns,
    reserve,
)
from worker.flow.ports import Limiter, LimiterAway, Slots

PACE = {"slow": 5.0, "fast": 1000.0}


@pytest.fixture(params=["memory", "redis"])
async def limiter(request: pytest.FixtureRequest) -> AsyncIterator[Limiter]:
    if request.param == "memory":
        yield MemoryLimiter(pace_per_s=PACE, span_us=SPAN_US, monotonic=time.monotonic)
        return
    async with Redis.from_url(request.getfixturevalue("redis_url")) as redis:
        yield RedisLimiter(redis=redis, pace_per_s=PACE, monotonic=time.monotonic)


async def reserved(limiter: Limiter, account: str, count: int) -> Slots:
    slots = await limiter.reserve(account, count)
    assert isinstance(slots, Slots)
    return slots


async def test_slots_follow_each_other_at_the_pace_whoever_asks(limiter: Limiter) -> None:
    first = await reserved(limiter, "slow", 1)
    second = await reserved(limiter, "slow", 1)
    third = await reserved(limiter, "slow", 1)
    assert second.first_at_s - first.first_at_s == pytest.approx(0.2, abs=0.01)
    assert third.first_at_s - second.first_at_s == pytest.approx(0.2, abs=0.01)


async def test_one_question_reserves_what_the_next_moments_hold(limiter: Limiter) -> None:
    slots = await reserved(limiter, "fast", 500)
    assert slots.count == 26
    assert slots.interval_s == pytest.approx(0.001)
    following = await reserved(limiter, "fast", 1)
    assert following.first_at_s - slots.first_at_s >= 0.0255


async def test_the_first_slot_is_near_and_not_in_the_past(limiter: Limiter) -> None:
    first = await reserved(limiter, "slow", 1)
    await asyncio.sleep(first.first_at_s + 0.3 - time.monotonic())
    before_s = time.monotonic()
    slots = await reserved(limiter, "slow", 1)
    assert before_s - 0.01 <= slots.first_at_s <= time.monotonic() + 0.2


async def test_accounts_do_not_share_slots(limiter: Limiter) -> None:
    slow = await reserved(limiter, "slow", 1)
    fast = await reserved(limiter, "fast", 1)
    assert fast.first_at_s - slow.first_at_s < 0.1


async def test_a_closure_holds(limiter: Limiter) -> None:
    await limiter.close("fast", 1.5)
    slots = await reserved(limiter, "fast", 1)
    assert slots.first_at_s - time.monotonic() == pytest.approx(1.5, abs=0.1)


async def test_a_long_closure_grants_nothing_and_says_when_to_ask(limiter: Limiter) -> None:
    await limiter.close("fast", 60)
    slots = await reserved(limiter, "fast", 1)
    assert slots.count == 0
    assert slots.first_at_s - time.monotonic() == pytest.approx(58, abs=0.5)


async def test_unused_slots_can_be_given_back(limiter: Limiter) -> None:
    await reserved(limiter, "slow", 1)
    slots = await reserved(limiter, "slow", 1)
    await limiter.give_back("slow", slots, 0)
    following = await reserved(limiter, "slow", 1)
    assert following.first_at_s - slots.first_at_s == pytest.approx(0, abs=0.05)


async def test_slots_with_others_behind_them_cannot(limiter: Limiter) -> None:
    slots = await reserved(limiter, "fast", 20)
    second = await reserved(limiter, "fast", 1)
    await limiter.give_back("fast", slots, 0)
    third = await reserved(limiter, "fast", 1)
    assert third.first_at_s > second.first_at_s


async def test_a_redis_that_does_not_answer_is_a_value(unused_tcp_port: int) -> None:
    async with redis_client(f"redis://127.0.0.1:{unused_tcp_port}/0", timeout_s=0.5) as redis:
        limiter = RedisLimiter(redis=redis, pace_per_s=PACE, monotonic=time.monotonic)
        assert isinstance(await limiter.reserve("slow", 1), LimiterAway)
        await limiter.close("slow", 1)


async def test_a_redis_that_refuses_is_a_value(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        await redis.set("mms:bucket:slow", "not a hash")
        limiter = RedisLimiter(redis=redis, pace_per_s=PACE, monotonic=time.monotonic)
        answer = await limiter.reserve("slow", 1)
        assert isinstance(answer, LimiterAway)
        assert "WRONGTYPE" in answer.why


async def test_a_redis_that_forgot_the_script_learns_it_again(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        limiter = RedisLimiter(redis=redis, pace_per_s=PACE, monotonic=time.monotonic)
        await reserved(limiter, "slow", 1)
        await redis.script_flush()
        await reserved(limiter, "slow", 1)


# --- The twins -------------------------------------------------------------------------------------------

SCRIPT = resources.files("worker.adapters").joinpath("redis_limiter.lua").read_text()
KEY = "mms:bucket:twin"

steps = st.lists(
    st.tuples(
        st.integers(-5_000_000, 5_000_000),  # the clock's step, also backwards
        st.one_of(
            st.tuples(
                st.just("reserve"),
                st.sampled_from([0.1, 1.5, 14.7, 333.0, 980.0]),
                st.integers(1, 60),
                st.just(SPAN_US),
            ),
            st.tuples(st.just("close"), st.integers(0, 10_000_000)),
            st.tuples(st.just("give_back"), st.booleans()),
            st.tuples(st.just("flush")),
        ),
    ),
    max_size=25,
)


@pytest.fixture(scope="session")
def twin_redis(redis_server: RedisServer) -> SyncRedis:
    return SyncRedis.from_url(redis_server.url_of(0))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=steps)
def test_the_script_and_its_twin_agree_on_every_story(twin_redis: SyncRedis, story: list) -> None:  # type: ignore[type-arg]
    script = twin_redis.register_script(SCRIPT)
    twin_redis.delete(KEY)
    bucket: Bucket | None = None
    now_us, last_next_us = 1_764_000_000_000_000, 0

    def ask(command: str, *details: int) -> list[int]:
        return script(keys=[KEY], args=[command, FRESH_WAIT_US, *details, "now_us", now_us])  # type: ignore[no-any-return]

    for step_us, (command, *details) in story:
        now_us += step_us
        if command == "reserve":
            pace, count, span_us = details
            interval = interval_ns(pace)
            said = ask("reserve", interval, count, span_us, AHEAD_US_MAX)
            bucket, grant = reserve(bucket, now_us=now_us, interval_ns=interval, count=count, span_us=span_us)
            assert said == [grant.count, grant.first_us, grant.next_us, grant.now_us]
            last_next_us = grant.next_us
        elif command == "close":
            said = ask("close", details[0])
            bucket = close(bucket, now_us=now_us, for_us=details[0])
            assert said == [bucket.next_us, bucket.closed_until_us]
        elif command == "give_back":
            expected_next_us = last_next_us if details[0] else 1
            ask("give_back", last_next_us - 1000, expected_next_us)
            bucket = give_back(bucket, unused_from_us=last_next_us - 1000, next_us=expected_next_us)
        else:
            twin_redis.delete(KEY)
            bucket = None
    held = twin_redis.hgetall(KEY)
    fields = {} if bucket is None else {"next_us": bucket.next_us, "closed_until_us": bucket.closed_until_us}
    assert {name: int(held[name.encode()]) for name in fields} == fields
