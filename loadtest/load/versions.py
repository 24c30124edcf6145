"""What the servers call themselves."""

import aio_pika
import redis
from aio_pika.exceptions import AMQPError

from loadtest.failure import LoadTestError
from loadtest.publishing import ANSWER_S_MAX


async def broker_version(url: str) -> str:
    """RabbitMQ's; raises LoadTestError."""
    try:
        async with await aio_pika.connect(url, timeout=ANSWER_S_MAX) as connection:
            transport = connection.transport
            told = {} if transport is None else transport.connection.server_properties
    except (AMQPError, OSError, TimeoutError) as error:
        raise LoadTestError(f"The broker does not answer as it should: {error!r}.") from error
    version = told.get("version", "unknown")
    return version.decode() if isinstance(version, bytes) else str(version)


def store_version(url: str) -> str:
    """Redis's; raises RedisError."""
    with redis.Redis.from_url(url) as store:
        return str(store.info("server")["redis_version"])
