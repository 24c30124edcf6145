"""A loop that waits on the moving window of `limits`, as long as the library says that it takes."""

import asyncio
import time

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter

from loadtest.rivals.command import Setup
from loadtest.rivals.consuming import consume

WAIT_S_MIN = 0.001


async def run(setup: Setup) -> None:
    """Consume until the process is ended."""
    limiter = MovingWindowRateLimiter(RedisStorage(f"async+{setup.redis_url}", implementation="redispy"))
    limit = RateLimitItemPerSecond(setup.rate_per_s)

    async def admit() -> bool:
        while not await limiter.hit(limit, "mms"):
            window = await limiter.get_window_stats(limit, "mms")
            await asyncio.sleep(max(WAIT_S_MIN, window.reset_time - time.time()))
        return True

    await consume(setup, admit, refused="try again")
