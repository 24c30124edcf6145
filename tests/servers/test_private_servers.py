"""Private servers come up, survive what tests do to them with their data, and leave nothing behind."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aio_pika
import pytest
import redis.asyncio

from deploy.local import RabbitMQ, Redis, ServerError
from deploy.local.handshake import amqp_login_works, redis_process_id
from tests.servers.process_table import await_gone, descendants

ROOT = Path(__file__).resolve().parents[2]
SILENCE_S = 0.3
QUEUE_LIST_SAVED_S = 1.5
SIGNAL_S_MAX = 10


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where servers made in this test put their folders."""
    folder = tmp_path / "servers"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


async def remembered(url: str) -> bytes | None:
    """The value of `key` after writing it anew under `next`."""
    async with redis.asyncio.from_url(url) as client:
        value = await client.get("key")
        assert value is None or isinstance(value, bytes)
        await client.set("key", "kept")
        return value


async def test_redis_with_append_only_keeps_data_through_kill_and_restart(own_redis: Redis) -> None:
    url, pid = own_redis.url, own_redis.pid
    assert await remembered(url) is None
    own_redis.kill()
    await_gone([pid])
    assert not own_redis.is_running()
    own_redis.restart()
    assert own_redis.url == url
    assert own_redis.pid != pid
    assert await remembered(url) == b"kept"


async def test_redis_without_append_only_forgets() -> None:
    with Redis() as server:
        await remembered(server.url)
        server.restart()
        assert await remembered(server.url) is None


async def test_a_paused_redis_is_silent_until_resumed(own_redis: Redis) -> None:
    own_redis.pause()
    assert redis_process_id(own_redis.port, wait_s=SILENCE_S) is None
    own_redis.resume()
    assert redis_process_id(own_redis.port, wait_s=SILENCE_S) == own_redis.pid


async def test_rabbitmq_keeps_a_confirmed_quorum_message_through_kill_and_restart(own_rabbitmq: RabbitMQ) -> None:
    url, pid = own_rabbitmq.url, own_rabbitmq.pid
    started = descendants(pid)
    quorum: dict[str, Any] = {"x-queue-type": "quorum"}
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        queue = await channel.declare_queue("kept", durable=True, arguments=quorum)
        message = aio_pika.Message(b"job", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, routing_key=queue.name)

    # RabbitMQ's list of quorum queues reaches the disk half a second after a declaration, and nothing tells
    # when: a kill before that leaves the queue without a leader for good (seen with 3.10).
    await asyncio.sleep(QUEUE_LIST_SAVED_S)
    own_rabbitmq.pause()
    password = url.split(":")[2].partition("@")[0]
    assert not amqp_login_works(own_rabbitmq.port, "mms", password, "/", wait_s=SILENCE_S)
    own_rabbitmq.kill()
    await_gone([pid, *started])

    own_rabbitmq.restart()
    assert own_rabbitmq.url == url
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        queue = await channel.declare_queue("kept", durable=True, arguments=quorum)
        kept = await queue.get(timeout=5)
        assert kept.body == b"job"
        await kept.ack()


def test_a_server_that_cannot_start_says_why_and_leaves_nothing(temporary: Path) -> None:
    server = Redis(settings=("--no-such-setting", "1"))
    before = set(descendants(os.getpid()))
    with pytest.raises(ServerError, match=r"(?s)Redis ended while starting.*no-such-setting"):
        server.__enter__()
    assert not list(temporary.iterdir())
    assert not [pid for pid in descendants(os.getpid()) if pid not in before and _name(pid) == "redis-server"]


def test_another_program_that_is_quicker_to_a_port_costs_a_second_try_only() -> None:
    class Unlucky(Redis):
        """The first port it picks is taken before the server binds it."""

        def __init__(self, taken: Iterator[int]) -> None:
            super().__init__()
            self._taken = taken

        def _choose_ports(self) -> None:
            super()._choose_ports()
            self._port = next(self._taken, self._port)

    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with Unlucky(iter([taken])) as server:
            assert server.port != taken
            assert redis_process_id(server.port, wait_s=1) == server.pid


def test_another_redis_on_the_port_is_not_taken_for_ours(redis_server: Redis) -> None:
    class Mistaken(Redis):
        def _choose_ports(self) -> None:
            self._port = redis_server.port

    with pytest.raises(ServerError, match="Address already in use"), Mistaken():
        pass


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_however_the_owner_ends(ending: signal.Signals, temporary: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-m", "deploy.local", "run"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with owner:
        try:
            assert owner.stdout is not None
            told = dict(owner.stdout.readline().strip().split("=", 1) for _ in range(2))
            assert told.keys() == {"MMS_AMQP_URL", "MMS_REDIS_URL"}
            started = descendants(owner.pid)
            assert {"beam.smp", "epmd", "redis-server"} <= {_name(pid) for pid in started}
            assert len(list(temporary.iterdir())) == 2
            owner.send_signal(ending)
            owner.wait(SIGNAL_S_MAX)
        finally:
            owner.kill()
    await_gone(started)
    assert owner.returncode == (-signal.SIGKILL if ending == signal.SIGKILL else 0)
    assert not list(temporary.iterdir())


async def test_tests_do_not_share_a_vhost(rabbitmq: RabbitMQ, amqp_url: str) -> None:
    async with await aio_pika.connect(amqp_url) as connection, connection.channel() as channel:
        await channel.declare_queue("here", durable=True)
    async with await aio_pika.connect(rabbitmq.add_vhost("other")) as connection, connection.channel() as channel:
        with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
            await channel.declare_queue("here", passive=True)
    rabbitmq.delete_vhost("other")


async def test_a_test_gets_an_empty_database(redis_url: str, redis_server: Redis) -> None:
    assert await remembered(redis_url) is None
    assert await remembered(redis_url) == b"kept"
    redis_server.flush(int(redis_url.rpartition("/")[2]))
    assert await remembered(redis_url) is None


def test_rabbitmqctl_works_on_a_private_server(rabbitmq: RabbitMQ) -> None:
    names = json.loads(rabbitmq.control("list_vhosts", "name", "--formatter", "json"))
    assert {"name": "/"} in names
    with pytest.raises(ServerError, match="no_such_command"):
        rabbitmq.control("no_such_command")


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()
