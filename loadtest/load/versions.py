"""What the worker and the servers call themselves."""

import asyncio
from collections.abc import Awaitable

import aio_pika
import redis
from aio_pika.exceptions import AMQPError

from loadtest.bench.readings import open_http, worker_version
from loadtest.failure import LoadTestError
from loadtest.load.result import Versions
from loadtest.publishing import ANSWER_S_MAX
from loadtest.worker_process import WorkerProcess

UNKNOWN = "unknown"


async def told_versions(worker: WorkerProcess, *, broker_url: str, store_url: str) -> Versions:
    """As each tells itself; UNKNOWN where it does not, whatever the reason."""
    with open_http() as http:
        return Versions(
            worker=await _told(asyncio.to_thread(worker_version, http, worker)),
            rabbitmq=await _told(broker_version(broker_url)),
            redis=await _told(asyncio.to_thread(store_version, store_url)),
        )


async def _told(version: Awaitable[str]) -> str:
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            return await version
    except Exception:  # noqa: BLE001 - two hours of a run must not be lost for a version
        return UNKNOWN


async def broker_version(url: str) -> str:
    """RabbitMQ's; raises LoadTestError."""
    try:
        async with await aio_pika.connect(url, timeout=ANSWER_S_MAX) as connection:
            transport = connection.transport
            told = {} if transport is None else transport.connection.server_properties
    except (AMQPError, OSError, TimeoutError) as error:
        raise LoadTestError(f"The broker does not answer as it should: {error!r}.") from error
    version = told.get("version", UNKNOWN)
    return version.decode() if isinstance(version, bytes) else str(version)


def store_version(url: str) -> str:
    """Redis's; raises RedisError."""
    with redis.Redis.from_url(url) as store:
        return str(store.info("server")["redis_version"])
