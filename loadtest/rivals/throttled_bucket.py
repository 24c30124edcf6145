"""throttled-py's token bucket in Redis, in its way "Wait & Retry"; its documentation's burst is the rate."""

from throttled.asyncio import RateLimiterType, Throttled, store

from loadtest.rivals.command import Setup
from loadtest.rivals.consuming import consume

WAIT_S_MAX = 10.0


async def run(setup: Setup) -> None:
    """Consume until the process is ended."""
    throttle = Throttled(
        using=RateLimiterType.TOKEN_BUCKET.value,
        quota=f"{setup.rate_per_s}/s burst {setup.rate_per_s}",
        store=store.RedisStore(server=setup.redis_url),
        timeout=WAIT_S_MAX,
    )

    async def admit() -> bool:
        result = await throttle.limit("mms")
        return not result.limited

    await consume(setup, admit, refused="put back")
