"""A loop that waits on pyrate-limiter's bucket in Redis, an exact sliding window."""

from pyrate_limiter import Duration, Limiter, Rate, RedisBucket
from redis.asyncio import Redis

from loadtest.rivals.command import Setup
from loadtest.rivals.consuming import consume


async def run(setup: Setup) -> None:
    """Consume until the process is ended."""
    rates = [Rate(setup.rate_per_s, Duration.SECOND)]
    limiter = Limiter(await RedisBucket.init(rates, Redis.from_url(setup.redis_url), "mms"))

    async def admit() -> bool:
        return bool(await limiter.try_acquire_async("mms"))

    await consume(setup, admit, refused="try again")
