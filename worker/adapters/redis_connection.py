"""Connecting to Redis: every answer has a limit, and failures are told in words for a person."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError

from worker.flow.ports import CannotStart

#: What the client raises when Redis, or the way to it, fails. ``RuntimeError`` is uvloop's word for a connection that
#: was reset before the client came to write.
REDIS_FAILURES = (RedisError, OSError, TimeoutError, RuntimeError)


def words_for(error: BaseException) -> str:
    """What a failure says."""
    return f"{type(error).__name__}: {error}"


def redis_client(url: str, *, timeout_s: float) -> Redis:
    """A client that gives up after ``timeout_s``; it connects when it is first used."""
    return Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        # Once more, for a connection that went stale while idle; further tries are the flow's to make.
        retry=Retry(NoBackoff(), 1),
    )


async def forgets_because(redis: Redis) -> list[str]:
    """What in its configuration makes Redis forget, in words for a person. Raises what ``REDIS_FAILURES`` names."""
    persistence, memory = await redis.info("persistence"), await redis.info("memory")
    problems = []
    if not persistence.get("aof_enabled"):
        problems.append("it is not append-only (set appendonly yes)")
    policy = str(memory.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        problems.append(f"it evicts (maxmemory-policy is {policy}, set noeviction)")
    return problems


async def require_redis(redis: Redis) -> None:
    """Return when Redis answers; ``CannotStart`` says in a sentence why it does not."""
    try:
        await redis.ping()
    except AuthenticationError as error:
        raise CannotStart(f"Redis refused the login ({error}): check user and password in MMS_REDIS_URL.") from error
    except REDIS_FAILURES as error:
        raise CannotStart(
            f"Redis cannot be reached or used ({error}): check MMS_REDIS_URL, and that Redis runs."
        ) from error
