"""A loop on the generic cell rate algorithm with room for one call, on Redis' clock, asked until it says yes."""

import asyncio

from redis.asyncio import Redis

from loadtest.rivals.command import Setup
from loadtest.rivals.consuming import consume

ASK_EVERY_S = 0.005
US_PER_S = 1_000_000
SCRIPT = """
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local next_us = tonumber(redis.call('GET', KEYS[1]) or 0)
if now_us < next_us then
    return 0
end
redis.call('SET', KEYS[1], string.format('%.0f', now_us + ARGV[1]), 'PX', 1000)
return 1
"""


async def run(setup: Setup) -> None:
    """Consume until the process is ended."""
    script = Redis.from_url(setup.redis_url).register_script(SCRIPT)
    interval_us = US_PER_S / setup.rate_per_s

    async def admit() -> bool:
        while not await script(keys=["mms"], args=[interval_us]):  # noqa: ASYNC110 - Redis tells no event
            await asyncio.sleep(ASK_EVERY_S)
        return True

    await consume(setup, admit, refused="try again")
