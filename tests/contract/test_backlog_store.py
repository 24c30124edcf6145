"""What is kept of planned waits, over memory and over Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from worker.adapters.memory_backlog import MemoryBacklogStore
from worker.adapters.redis_backlog import KEEP_S, RedisBacklogStore
from worker.adapters.redis_connection import redis_client
from worker.adapters.redis_presence import Presence
from worker.core.backlog import BINS_MAX, PlannedWait
from worker.core.status import DrainResult, Held
from worker.flow.observations import DrainEnded
from worker.flow.ports import BacklogStore


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[BacklogStore]:
    if request.param == "memory":
        yield MemoryBacklogStore()
        return
    async with Redis.from_url(request.getfixturevalue("redis_url")) as redis:
        yield RedisBacklogStore(redis)


async def test_nothing_is_known_of_an_account_at_first(store: BacklogStore) -> None:
    assert await store.recall(["acme"]) == {"acme": []}


async def test_what_was_kept_is_recalled_and_the_latest_word_counts(store: BacklogStore) -> None:
    await store.keep({"acme": PlannedWait(1_000, 1.5, 20.25), "shop": PlannedWait(1_000, 0, 3)})
    await store.keep({"acme": PlannedWait(1_001, 0, 18)})
    await store.keep({"acme": PlannedWait(1_001, 2, 19)})
    await store.keep({})
    recalled = await store.recall(["acme", "shop", "new"])
    assert sorted(recalled["acme"], key=lambda wait: wait.bin) == [
        PlannedWait(1_000, 1.5, 20.25),
        PlannedWait(1_001, 2, 19),
    ]
    assert recalled["shop"] == [PlannedWait(1_000, 0, 3)]
    assert recalled["new"] == []


async def test_yesterday_is_forgotten(store: BacklogStore) -> None:
    for number in (1_000, 1_001, 1_000 + BINS_MAX):
        await store.keep({"acme": PlannedWait(number, 0, number)})
    recalled = await store.recall(["acme"])
    assert sorted(wait.bin for wait in recalled["acme"]) == [1_001, 1_000 + BINS_MAX]
    await store.keep({"acme": PlannedWait(1_050 + BINS_MAX, 0, 1)})
    recalled = await store.recall(["acme"])
    assert sorted(wait.bin for wait in recalled["acme"]) == [1_000 + BINS_MAX, 1_050 + BINS_MAX]


async def test_redis_keeps_no_account_for_longer_than_a_day_nor_trips_over_foreign_words(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        store = RedisBacklogStore(redis)
        await store.keep({"acme": PlannedWait(1_000, 1, 2)})
        assert KEEP_S - 60 < await redis.ttl("mms:planned:acme") <= KEEP_S
        await redis.hset("mms:planned:acme", mapping={"5": "what?", "6": "1 2", "7": "1 two 3"})
        assert (await store.recall(["acme"]))["acme"] == [PlannedWait(1_000, 1, 2)]


async def test_how_workers_ended_is_counted_for_those_that_live(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        store = RedisBacklogStore(redis)
        for number, ended in enumerate((DrainEnded(1, 0, 0), DrainEnded(9, 2, 0), DrainEnded(9, 0, 1), None)):
            presence = Presence(redis=redis, name=f"worker {number}", waiting=dict)
            if ended is not None:
                presence.note(ended)
            await presence.leave()
        looked = await store.look(["acme"])
        assert looked is not None
        assert looked.drains == {DrainResult.WHOLE: 1, DrainResult.TIMED_OUT: 2}
        assert looked.held.get("acme", Held(0, 0, 0)) == Held(0, 0, 0)
        assert looked.buckets["acme"].bucket is None


async def test_keys_that_cannot_be_read_hide_no_other_account(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        store = RedisBacklogStore(redis)
        await store.keep({name: PlannedWait(1_000, 1, 2) for name in ("acme", "shop")})
        await redis.delete("mms:planned:acme")
        for key in ("mms:bucket:acme", "mms:planned:acme"):
            await redis.set(key, "no hash")
        looked = await store.look(["acme", "shop"])
        assert looked is not None
        assert looked.buckets.keys() == {"shop"}
        assert await store.recall(["acme", "shop"]) == {"acme": [], "shop": [PlannedWait(1_000, 1, 2)]}


@pytest.mark.parametrize("told", [b"no json", b"[1]", b'{"acme": 7}', b'{"acme": ["many", 2]}', b'{"acme": {"n": 1}}'])
async def test_a_worker_of_another_release_that_tells_otherwise_is_passed_over(redis_url: str, told: bytes) -> None:
    async with Redis.from_url(redis_url) as redis:
        for name, text in (("ours", b'{"acme": [1, 20]}'), ("other", told)):
            await redis.sadd("mms:workers", name)
            await redis.set(f"mms:worker:{name}", text)
        looked = await RedisBacklogStore(redis).look(["acme"])
        assert looked is not None
        assert looked.held == {"acme": Held(1, 20, 1)}


async def test_a_redis_that_is_away_is_told_as_such(unused_tcp_port: int) -> None:
    async with redis_client(f"redis://127.0.0.1:{unused_tcp_port}/0", timeout_s=0.2) as redis:
        store = RedisBacklogStore(redis)
        assert await store.look(["acme"]) is None
        assert await store.recall(["acme"]) == {}
        await store.keep({"acme": PlannedWait(1_000, 1, 2)})
