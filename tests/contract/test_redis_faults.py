"""What is wrong with Redis is a value, and no end of the worker; and once it is well, it is answered again."""

from __future__ import annotations

import asyncio
import dataclasses
import time

from redis.asyncio import Redis

from deploy.local import Redis as RedisServer
from worker.adapters.redis_connection import redis_client
from worker.adapters.redis_groups import RedisGroups
from worker.adapters.redis_journal import RedisJournal, record_key
from worker.adapters.redis_limiter import RedisLimiter
from worker.core.journal import Claim, Verdict
from worker.flow.ports import JournalAway, LimiterAway, Slots

A_CLAIM = Claim("j1", "token", "print", redelivered=False, published_us=0)


def on(redis: Redis, failures: list[BaseException]) -> tuple[RedisJournal, RedisLimiter]:
    groups = RedisGroups(redis=redis, monotonic=time.monotonic, observe=lambda _: None, on_failure=failures.append)
    journal = RedisJournal(groups=groups, keep_s=100, call_s_max=10, on_failure=failures.append)
    return journal, RedisLimiter(redis=redis, limit_per_s={"acme": 10}, monotonic=time.monotonic)


async def test_a_connection_that_is_reset_before_it_is_written_to_is_a_value(redis_url: str) -> None:
    failures: list[BaseException] = []
    async with asyncio.timeout(10), redis_client(redis_url, timeout_s=2) as redis:
        journal, limiter = on(redis, failures)

        async def reset() -> None:
            await redis.ping()
            (connection,) = redis.connection_pool._available_connections
            assert connection._writer is not None
            connection._writer.transport.abort()

        await reset()
        assert isinstance(await journal.claim("acme", [A_CLAIM]), JournalAway | list)
        await reset()
        assert isinstance(await limiter.reserve("acme", 1), LimiterAway | Slots)
        await reset()
        await limiter.away_because()
        assert not isinstance(await journal.claim("acme", [A_CLAIM]), JournalAway)
        assert isinstance(await limiter.reserve("acme", 1), Slots)
        await journal.close()
    assert failures == []


async def test_a_password_that_was_changed_is_a_value_until_it_is_right_again(own_redis: RedisServer) -> None:
    failures: list[BaseException] = []
    async with (
        asyncio.timeout(10),
        Redis.from_url(own_redis.url) as operator,
        redis_client(own_redis.url, timeout_s=2) as redis,
    ):
        journal, limiter = on(redis, failures)
        assert isinstance(await limiter.reserve("acme", 1), Slots)
        await operator.config_set("requirepass", "another")
        # Who is in keeps his rights, so they are cut, all but the operator.
        await operator.client_kill_filter(_type="normal", skipme=True)
        refused = await limiter.reserve("acme", 1)
        assert isinstance(refused, LimiterAway)
        assert "Authentication" in refused.why
        assert isinstance(await journal.claim("acme", [A_CLAIM]), JournalAway)
        assert "Authentication" in str(await limiter.away_because())
        await operator.config_set("requirepass", "")
        assert isinstance(await limiter.reserve("acme", 1), Slots)
        assert isinstance(await journal.claim("acme", [A_CLAIM]), list)
        await journal.close()
    assert failures == []


async def test_a_record_of_the_wrong_type_leaves_its_job_in_doubt_and_holds_up_no_other(redis_url: str) -> None:
    failures: list[BaseException] = []
    async with asyncio.timeout(10), redis_client(redis_url, timeout_s=2) as redis:
        journal, _ = on(redis, failures)
        await redis.rpush(record_key("acme", "j1"), "a list")
        claims = [A_CLAIM, dataclasses.replace(A_CLAIM, job_id="j2", token="another")]
        answer = await journal.claim("acme", claims)
        assert isinstance(answer, list)
        assert [claimed.verdict for claimed in answer] == [Verdict.ENDED, Verdict.CLAIMED]
        assert answer[0].record is not None
        assert answer[0].record.end == "in_doubt"
        await journal.close()
    assert failures == []
