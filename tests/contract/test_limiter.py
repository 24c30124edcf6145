"""The limiter's contract, over memory and over Redis; and the Lua script against its Python twin."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from importlib import resources

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from deploy.local import Redis as RedisServer
from worker.adapters.memory import MemoryLimiter
from worker.adapters.redis_connection import redis_client
from worker.adapters.redis_limiter import CHANNEL, SPAN_US, RedisLimiter, bucket_in, bucket_key, look_at
from worker.core.bucket import Bucket, Wish, fail, give_back, refuse, reserve, suspend
from worker.core.pace import GUARD_NS_FIRST, micro
from worker.flow.ports import Late, Limiter, LimiterAway, Slots

LIMIT = {"slow": 5.0, "fast": 1000.0}
#: 5 calls take a second and the guard that every account begins with.
SLOW_S = (1 + GUARD_NS_FIRST / 1e9) / 5
FAST_S = (1 + GUARD_NS_FIRST / 1e9) / 1000


@pytest.fixture(params=["memory", "redis"])
async def limiter(request: pytest.FixtureRequest) -> AsyncIterator[Limiter]:
    if request.param == "memory":
        yield MemoryLimiter(limit_per_s=LIMIT, span_us=SPAN_US, monotonic=time.monotonic)
        return
    async with Redis.from_url(request.getfixturevalue("redis_url")) as redis:
        yield RedisLimiter(redis=redis, limit_per_s=LIMIT, monotonic=time.monotonic)


async def asked(limiter: Limiter, account: str, count: int = 1) -> Slots:
    slots = await limiter.reserve(account, count)
    assert isinstance(slots, Slots)
    return slots


async def reserved(limiter: Limiter, account: str, count: int = 1) -> Slots:
    """Slots of an account; the first ones of all come only once what was promised before has passed."""
    while not (slots := await asked(limiter, account, count)).count:  # noqa: ASYNC110 - it waits for time
        await asyncio.sleep(max(0.005, slots.first_at_s - time.monotonic()))
    return slots


async def test_slots_follow_each_other_at_the_pace_whoever_asks(limiter: Limiter) -> None:
    first, second, third = [await reserved(limiter, "slow") for _ in range(3)]
    assert second.first_at_s - first.first_at_s == pytest.approx(SLOW_S, abs=0.01)
    assert third.first_at_s - second.first_at_s == pytest.approx(SLOW_S, abs=0.01)
    assert first.state.pace_per_s == pytest.approx(1 / SLOW_S)


async def test_one_question_reserves_what_the_next_moments_hold(limiter: Limiter) -> None:
    slots = await reserved(limiter, "fast", 500)
    assert 12 <= slots.count < 100  # more when the answers are slow
    assert slots.interval_s == pytest.approx(FAST_S)
    following = await reserved(limiter, "fast")
    assert following.first_at_s - slots.first_at_s == pytest.approx(slots.count * FAST_S, abs=0.003)


async def test_the_first_slot_is_near_and_not_in_the_past(limiter: Limiter) -> None:
    first = await reserved(limiter, "slow")
    await asyncio.sleep(first.first_at_s + 0.3 - time.monotonic())
    before_s = time.monotonic()
    slots = await reserved(limiter, "slow")
    assert before_s - 0.01 <= slots.first_at_s <= time.monotonic() + 0.2


async def test_accounts_do_not_share_slots(limiter: Limiter) -> None:
    slow, fast = await reserved(limiter, "slow"), await reserved(limiter, "fast")
    assert fast.first_at_s - slow.first_at_s < 0.5


async def test_a_retry_after_closes_the_account_and_says_when_to_ask(limiter: Limiter) -> None:
    slots = await reserved(limiter, "fast")
    await limiter.refused("fast", slots, 0, spread_s=0.0, retry_after_s=60)
    slots = await asked(limiter, "fast")
    assert slots.count == 0
    assert slots.first_at_s - time.monotonic() == pytest.approx(59.2, abs=0.5)
    assert slots.state.closed_for_s == pytest.approx(60, abs=0.5)


async def test_refusals_lower_the_pace_for_everyone(limiter: Limiter) -> None:
    rows = [await reserved(limiter, "fast", 500) for _ in range(8)]
    for row in rows:
        for n in range(row.count):
            await limiter.refused("fast", row, n, spread_s=0.0, retry_after_s=None)
    state = (await asked(limiter, "fast")).state
    assert state.lowered_to_per_s == pytest.approx(360, abs=1)  # a tenth below what one refusal may do
    assert state.closed_for_s == pytest.approx(0.5, abs=0.1)


async def test_a_refusal_behind_a_full_second_raises_the_guard(limiter: Limiter) -> None:
    rows = [await reserved(limiter, "slow") for _ in range(6)]
    await limiter.refused("slow", rows[-1], 0, spread_s=0.010, retry_after_s=None)
    state = (await reserved(limiter, "slow")).state
    assert state.guard_s == pytest.approx(0.010, rel=0.01)
    assert (state.lowered_to_per_s, state.worst_second) == (None, 5)


async def test_news_is_heard_by_everyone(limiter: Limiter) -> None:
    heard = asyncio.Event()
    limiter.on_news("fast", heard.set)
    listening = asyncio.create_task(limiter.listen()) if isinstance(limiter, RedisLimiter) else None
    slots = await reserved(limiter, "fast")
    await asyncio.sleep(0.2 if listening else 0)
    await limiter.refused("fast", slots, 0, spread_s=0.0, retry_after_s=1)
    async with asyncio.timeout(2):
        await heard.wait()
    if listening:
        listening.cancel()


async def test_a_suspended_account_has_slots_for_probes_alone(limiter: Limiter) -> None:
    slots = await reserved(limiter, "fast")
    await asyncio.sleep(max(0.0, slots.first_at_s - time.monotonic()))
    await limiter.suspend("fast", "credit")
    slots = await asked(limiter, "fast")
    assert (slots.count, slots.state.suspended) == (0, "credit")
    probe = await limiter.reserve("fast", 1, is_probe=True)
    assert isinstance(probe, Slots)
    assert probe.count == 1
    await limiter.suspend("fast", "")
    assert (await asked(limiter, "fast")).state.suspended == ""


async def test_unused_slots_can_be_given_back(limiter: Limiter) -> None:
    await reserved(limiter, "slow")
    slots = await reserved(limiter, "slow")
    await limiter.give_back("slow", slots, 0)
    following = await reserved(limiter, "slow")
    assert following.first_at_s - slots.first_at_s == pytest.approx(0, abs=0.05)


async def test_slots_with_others_behind_them_cannot(limiter: Limiter) -> None:
    slots = await reserved(limiter, "fast", 20)
    second = await reserved(limiter, "fast")
    await limiter.give_back("fast", slots, 0)
    third = await reserved(limiter, "fast")
    assert third.first_at_s > second.first_at_s


async def test_a_late_departure_moves_what_follows(limiter: Limiter) -> None:
    slots = await reserved(limiter, "slow")
    await limiter.reserve("slow", 1, late=Late(slots, 0.1))
    following = await reserved(limiter, "slow")
    assert following.first_at_s - slots.first_at_s == pytest.approx(SLOW_S + 0.1, abs=0.01)


async def test_a_redis_that_does_not_answer_is_a_value(unused_tcp_port: int) -> None:
    async with redis_client(f"redis://127.0.0.1:{unused_tcp_port}/0", timeout_s=0.5) as redis:
        limiter = RedisLimiter(redis=redis, limit_per_s=LIMIT, monotonic=time.monotonic)
        assert isinstance(await limiter.reserve("slow", 1), LimiterAway)
        await limiter.suspend("slow", "credit")
        assert "refused" in str(await limiter.away_because()).lower()


async def test_a_redis_that_refuses_is_a_value(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        await redis.set(bucket_key("slow"), "not a hash")
        limiter = RedisLimiter(redis=redis, limit_per_s=LIMIT, monotonic=time.monotonic)
        answer = await limiter.reserve("slow", 1)
        assert isinstance(answer, LimiterAway)
        assert "WRONGTYPE" in answer.why


async def test_a_redis_that_forgot_the_script_learns_it_again(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        limiter = RedisLimiter(redis=redis, limit_per_s=LIMIT, monotonic=time.monotonic)
        await asked(limiter, "slow")
        await redis.script_flush()
        await asked(limiter, "slow")


async def test_what_another_release_left_counts_as_forgotten(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        await redis.hset(bucket_key("slow"), mapping={"next_us": 1, "closed_until_us": 0, "seen_us": 1})
        limiter = RedisLimiter(redis=redis, limit_per_s=LIMIT, monotonic=time.monotonic)
        slots = await reserved(limiter, "slow")
        assert slots.first_at_s - time.monotonic() > 0.7
        assert (await look_at(redis, ["slow"]))["slow"].bucket is not None


async def test_a_store_that_remembers_less_than_it_told_waits_what_it_promised_out(redis_url: str) -> None:
    """As after a failover to a replica that lagged behind."""
    async with Redis.from_url(redis_url) as redis:
        limiter = RedisLimiter(redis=redis, limit_per_s=LIMIT, monotonic=time.monotonic)
        await reserved(limiter, "fast")
        key = bucket_key("fast")
        older = await redis.hgetall(key)
        await asyncio.sleep(0.3)
        await reserved(limiter, "fast")
        await redis.hset(key, mapping=older)  # type: ignore[arg-type] # bytes, as they came
        slots = await reserved(limiter, "fast")
        assert slots.first_at_s - time.monotonic() > 0.7


async def test_a_store_that_could_not_be_reached_for_a_moment_goes_on_at_once(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        limiter = RedisLimiter(redis=redis, limit_per_s=LIMIT, monotonic=time.monotonic)
        first = await reserved(limiter, "fast")
        await asyncio.sleep(max(0.0, first.first_at_s - time.monotonic()))
        key = bucket_key("fast")
        await redis.rename(key, "kept")
        await redis.set(key, "in the way")
        assert isinstance(await limiter.reserve("fast", 1), LimiterAway)
        await redis.rename("kept", key)
        assert (await reserved(limiter, "fast")).first_at_s - time.monotonic() < 0.1


async def test_a_store_that_lost_its_memory_is_told_the_guard(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        limiter = RedisLimiter(redis=redis, limit_per_s=LIMIT, monotonic=time.monotonic)
        rows = [await reserved(limiter, "slow") for _ in range(6)]
        await limiter.refused("slow", rows[-1], 0, spread_s=0.040, retry_after_s=None)
        await asked(limiter, "slow")
        await redis.flushdb()
        assert (await asked(limiter, "slow")).state.guard_s == pytest.approx(
            (GUARD_NS_FIRST / 1e9 + 0.05) / 2, rel=0.01
        )


async def test_a_clock_that_was_set_forward_makes_no_burst(redis_url: str) -> None:
    """As seen from here: our own clock stands still while the server's goes on by two seconds."""
    behind_s = 0.0
    async with Redis.from_url(redis_url) as redis:
        limiter = RedisLimiter(redis=redis, limit_per_s=LIMIT, monotonic=lambda: time.monotonic() - behind_s)
        await reserved(limiter, "fast")
        behind_s = 2.0
        assert (await asked(limiter, "fast")).count == 0
        following = await reserved(limiter, "fast")
        assert following.first_at_s - (time.monotonic() - behind_s) > 0.7


# --- The twins -------------------------------------------------------------------------------------------

SCRIPT = resources.files("worker.adapters").joinpath("redis_limiter.lua").read_text()
KEY = bucket_key("twin")
LIMITS = st.sampled_from([0.1, 1.5, 14.7, 15.0, 333.0, 980.0])

a_question = st.tuples(
    st.just("reserve"),
    st.integers(1, 60),  # count
    st.sampled_from([0, SPAN_US, 400_000]),  # span
    st.integers(0, 400_000),  # lead
    st.sampled_from([0, 0, 1_000_000]),  # wait
    st.sampled_from([0, 0, 0, 1_000_000]),  # so much more it was told than what is remembered
    st.integers(0, 50_000),  # late
    st.booleans(),  # by the present shift, or by an old one
    st.integers(0, 1_000),  # jobs that left
    st.sampled_from([GUARD_NS_FIRST, 40_000_000]),  # the guard it knows
    st.sampled_from([0, 0, 1]),  # a probe
    st.integers(-1, 40),  # of which of the latest slots there was an answer
    st.booleans(),  # whether something stood still
)
a_refusal = st.tuples(
    st.just("refuse"),
    st.integers(0, 40),  # of which of the latest slots
    st.integers(0, 200_000_000),  # spread
    st.sampled_from([-1, -1, 0, 1_500_000]),  # Retry-After
)
steps = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 200_000), st.integers(-5_000_000, 60_000_000)),  # the clock's step, also backwards
        st.one_of(
            a_question,
            a_question,
            a_refusal,
            st.tuples(st.just("give_back"), st.integers(0, 3), st.booleans()),
            st.tuples(st.just("suspend"), st.sampled_from(["credit", "", ""])),
            st.tuples(st.just("fail"), st.integers(0, 40)),
            st.tuples(st.just("flush")),
        ),
    ),
    max_size=40,
)


#: At one call a second any refusal may be jitter's; the second one comes too late to confirm the first by that alone.
REFUSED_TWICE = [
    (0, ("reserve", 1, 0, 0, 0, 0, 0, True, 0, GUARD_NS_FIRST, 0, -1, False)),
    (2_000_000, ("refuse", 0, 0, -1)),
    (15_000_000, ("reserve", 1, 0, 0, 0, 0, 0, True, 0, GUARD_NS_FIRST, 0, -1, True)),
]


@pytest.fixture(scope="session")
def twin_redis(redis_server: RedisServer) -> Iterator[SyncRedis]:
    with SyncRedis.from_url(redis_server.url_of(0)) as redis:
        yield redis


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=steps, limit=LIMITS)
@example(story=[*REFUSED_TWICE, (1, ("refuse", 0, 0, -1))], limit=1.0)  # told that something stood still just before
@example(story=[*REFUSED_TWICE, (4_000_000, ("refuse", 0, 0, -1))], limit=1.0)  # and long before
def test_the_script_and_its_twin_agree_on_every_story(twin_redis: SyncRedis, story: list, limit: float) -> None:  # type: ignore[type-arg]
    script = twin_redis.register_script(SCRIPT)
    twin_redis.delete(KEY)
    bucket: Bucket | None = None
    slots_us: list[int] = [1_764_000_000_000_000]
    now_us, next_us, limit_micro = slots_us[0], 0, micro(limit)

    def ask(command: str, *details: int | str) -> list[int]:
        return script(keys=[KEY], args=[command, *details, "now_us", now_us])  # type: ignore[no-any-return]

    for step_us, (command, *details) in story:
        now_us += step_us
        if command == "reserve":
            count, span, lead, wait, more, late, is_present, jobs, guard_ns, is_probe, answered, still = details
            answered_us = slots_us[max(-len(slots_us), -1 - answered)] if answered >= 0 else 0
            seen_us = (bucket.seen_us if bucket else now_us) + more if more else 0
            shift_us = bucket.shift_us if bucket and is_present else 0
            told = (count, span, lead, wait, seen_us, late, shift_us, jobs, guard_ns)
            said = ask("reserve", limit_micro, *told, is_probe, answered_us, int(still))
            wish = Wish(*told, bool(is_probe), answered_us, still)
            bucket, grant = reserve(bucket, wish, now_us=now_us, limit_micro=limit_micro)
            row = grant.row
            assert said[:6] == [row.count, row.first_us, row.interval_ns, grant.next_us, now_us, grant.shift_us]
            next_us = grant.next_us
            slots_us += [row.slot_us(n) for n in range(row.count)]
        elif command == "refuse":
            back, spread_ns, retry_after_us = details
            slot_us = slots_us[max(-len(slots_us), -1 - back)]
            said = ask("refuse", limit_micro, slot_us, spread_ns, retry_after_us, CHANNEL, "twin")
            bucket, reaction = refuse(
                bucket,
                slot_us=slot_us,
                spread_ns=spread_ns,
                retry_after_us=retry_after_us,
                now_us=now_us,
                limit_micro=limit_micro,
            )
            assert said == [reaction]
        elif command == "give_back":
            used, is_last = details
            ask("give_back", used, next_us if is_last else 1)
            bucket = give_back(bucket, used=used, next_us=next_us if is_last else 1)
        elif command == "suspend":
            ask("suspend", details[0], CHANNEL, "twin")
            bucket = suspend(bucket, details[0], now_us=now_us)
        elif command == "fail":
            slot_us = slots_us[max(-len(slots_us), -1 - details[0])]
            said = ask("fail", slot_us, CHANNEL, "twin")
            bucket, trips = fail(bucket, slot_us=slot_us, now_us=now_us)
            assert said == [trips]
        else:
            twin_redis.delete(KEY)
            bucket = None
        assert bucket_in(twin_redis.hgetall(KEY)) == bucket  # type: ignore[arg-type] # bytes: nothing is decoded
