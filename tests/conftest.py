"""Servers for tests: private, started when the first test asks, shared by the session.

A test gets a vhost (`amqp_url`) and a database (`redis_url`) of its own on them. A test that kills, pauses or
reconfigures a server takes one of its own: `own_rabbitmq`, `own_redis`. Those of the end-to-end tests are as the
deployment has them (`end_to_end/conftest.py`).
"""

import itertools
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from deploy.local import RabbitMQ, Redis, ServersMissingError
from deploy.local.redis_server import DATABASES

Made = TypeVar("Made")


def make_or_skip(make: Callable[[], Made]) -> Made:
    """In continuous integration a missing server is a failure: a skipped test would look like a passed one."""
    try:
        return make()
    except ServersMissingError as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQ]:
    """The session's RabbitMQ, with the management interface."""
    with make_or_skip(lambda: RabbitMQ(management=True)) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """The session's Redis, which keeps nothing on disk."""
    with make_or_skip(Redis) as server:
        yield server


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    """Each test that asks takes the next."""
    return itertools.count(1)


@pytest.fixture
def amqp_url(rabbitmq: RabbitMQ, numbers: Iterator[int]) -> Iterator[str]:
    """The URL of a new vhost, which is deleted after the test."""
    vhost = f"test-{next(numbers)}"
    yield rabbitmq.add_vhost(vhost)
    rabbitmq.delete_vhost(vhost)


@pytest.fixture
def redis_url(redis_server: Redis, numbers: Iterator[int]) -> str:
    """The URL of an empty database that no other test uses now."""
    database = next(numbers) % DATABASES
    redis_server.flush(database)
    return redis_server.url_of(database)


@pytest.fixture
def own_rabbitmq() -> Iterator[RabbitMQ]:
    """A running RabbitMQ for this test alone (some 4 s to start), without the management interface."""
    with make_or_skip(RabbitMQ) as server:
        yield server


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    """A running Redis for this test alone, with append-only persistence."""
    with make_or_skip(lambda: Redis(append_only=True)) as server:
        yield server
