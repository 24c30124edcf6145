"""Workers tell what they have in hand; who is gone counts no more."""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis

from worker.adapters.redis_connection import redis_client
from worker.adapters.redis_presence import Presence, held_by_workers
from worker.core.status import Held


async def told(presence: Presence) -> None:
    telling = asyncio.create_task(presence.keep_telling())
    await asyncio.sleep(0.2)
    telling.cancel()


async def test_what_all_workers_hold_is_added_up(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        one = Presence(redis=redis, name="one", waiting=lambda: {"acme": (1, 20), "shop": (0, 3)})
        other = Presence(redis=redis, name="other", waiting=lambda: {"acme": (0, 5)})
        await asyncio.gather(told(one), told(other))
        assert await held_by_workers(redis) == {"acme": Held(1, 25, 2), "shop": Held(0, 3, 1)}
        await one.leave()
        assert await held_by_workers(redis) == {"acme": Held(0, 5, 1)}


async def test_nobody_is_there(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        assert await held_by_workers(redis) == {}


async def test_a_worker_that_died_is_forgotten_after_a_while(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        await told(Presence(redis=redis, name="one", waiting=lambda: {"acme": (0, 5)}))
        (key,) = [key async for key in redis.scan_iter("mms:worker:*")]
        assert 5 < await redis.ttl(key) <= 16


async def test_a_redis_that_is_away_stops_nobody(unused_tcp_port: int) -> None:
    async with redis_client(f"redis://127.0.0.1:{unused_tcp_port}/0", timeout_s=0.2) as redis:
        presence = Presence(redis=redis, name="one", waiting=dict)
        await told(presence)
        await presence.leave()
