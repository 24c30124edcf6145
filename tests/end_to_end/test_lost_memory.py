"""All of Redis' memory is lost while no worker runs: what a dead worker had called for is not called for again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from redis.asyncio import Redis

from tests.end_to_end.conftest import KILL, System, Upstream
from tests.jobs import job_body

SOON = {"MMS_CONNECT_TIMEOUT_S": "1", "MMS_READ_TIMEOUT_S": "2"}


async def test_a_loss_between_two_workers_is_noticed(
    system: System, upstream: Callable[[], Awaitable[Upstream]]
) -> None:
    dead = system.start_worker(**SOON)
    outside = await upstream()
    await outside.publish(job_body("first", text="first"))
    await outside.until_events(1)
    await outside.publish(job_body("stuck", text="stuck [[fault:never]]"))
    async with asyncio.timeout(10):
        while len(system.simulator.control.accepted()) < 2:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)
    dead.signal(KILL)
    dead.wait()
    async with Redis.from_url(system.redis_url) as redis:
        await redis.flushdb()
    system.start_worker(**SOON)
    await outside.publish(job_body("last", text="last"))
    await outside.until_events(3)
    assert outside.ends() == {"first": ["sent"], "stuck": ["in_doubt"], "last": ["sent"]}
    assert Counter(one.text[:5] for one in system.simulator.control.accepted()) == {"first": 1, "stuck": 1, "last": 1}
