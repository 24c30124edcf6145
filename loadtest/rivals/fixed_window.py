"""A Redis counter per second, and back onto the queue with what is over it: what most write first."""

import time

from redis.asyncio import Redis

from loadtest.rivals.command import Setup
from loadtest.rivals.consuming import consume

KEPT_S = 2


async def run(setup: Setup) -> None:
    """Consume until the process is ended."""
    redis = Redis.from_url(setup.redis_url)

    async def admit() -> bool:
        key = f"mms:{int(time.time())}"
        async with redis.pipeline() as pipeline:
            pipeline.incr(key)
            pipeline.expire(key, KEPT_S)
            count, _ = await pipeline.execute()
        return int(count) <= setup.rate_per_s

    await consume(setup, admit, refused="put back")
