"""The secrets of one installation: whose they are, what stays of them, and how they are made anew while all goes on."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import aio_pika
import pytest
from aiormq.exceptions import AMQPError
from redis import Redis as Client
from redis.exceptions import AuthenticationError

from deploy.access.installation import DEFINITIONS, ROOT, Hosts, prepare
from deploy.local import RabbitMQ, Redis

PASSWORD_CHARACTERS = 48


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "secrets"


def made(folder: Path, *options: str, preexec: Callable[[], None] | None = None) -> int:
    command = [sys.executable, "-m", "deploy.access", str(folder), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False, preexec_fn=preexec).returncode


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_nobody_else_can_read_the_secrets_and_they_stay(folder: Path) -> None:
    """The folder keeps others out; containers read single files of it, under users of their own."""
    assert made(folder) == 0
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o444}
    passwords = {path.read_text() for path in folder.glob("*password")}
    assert len(passwords) == len(list(folder.glob("*password"))) == 9
    before = contents(folder)
    assert made(folder) == 0
    after = contents(folder)
    assert {name for name in before if before[name] != after[name]} <= {"definitions.json"}  # new salts


def test_what_a_broker_loads_at_each_start_is_all_but_the_streams(folder: Path) -> None:
    """A node that has a stream does not start with it in its definitions (rabbitmq-server#14772)."""
    prepare(folder, Hosts())
    loaded, committed = json.loads((folder / "definitions.json").read_text()), json.loads(DEFINITIONS.read_text())
    (stream,) = (each["name"] for each in committed["queues"] if each["arguments"]["x-queue-type"] == "stream")
    assert stream not in json.dumps([loaded["queues"], loaded["bindings"]])
    for kind in ("vhosts", "permissions", "exchanges"):
        assert loaded[kind] == committed[kind]
    assert len(loaded["queues"]) == len(committed["queues"]) - 1
    assert len(loaded["bindings"]) == len([each for each in committed["bindings"] if each["destination"] != stream])


def test_a_disk_that_was_full_leaves_nothing_that_is_half_there(folder: Path) -> None:
    """Writing fails in the middle of the first password; the next time all is made."""
    half = PASSWORD_CHARACTERS // 2
    assert made(folder, preexec=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (half, half))) != 0
    assert [name for name in contents(folder) if not name.startswith(".")] == []
    assert made(folder) == 0
    assert {len(path.read_text()) for path in folder.glob("*password")} == {PASSWORD_CHARACTERS}
    assert not [name for name in contents(folder) if name.startswith(".")]


def test_what_is_empty_is_no_password(folder: Path) -> None:
    folder.mkdir()
    (folder / "worker.redis-password").touch()
    prepare(folder, Hosts())
    password = (folder / "worker.redis-password").read_text()
    assert len(password) == PASSWORD_CHARACTERS
    assert f"worker:{password}@" in (folder / "redis-url.worker").read_text()


@pytest.mark.parametrize("lost", ["rabbitmq.pem", "redis.key", "ca.pem"])
def test_without_one_of_the_certificates_all_are_made_anew_and_belong_together(folder: Path, lost: str) -> None:
    prepare(folder, Hosts())
    before = contents(folder)
    (folder / lost).unlink()
    prepare(folder, Hosts())
    after = contents(folder)
    of_tls = {name for name in before if name.endswith((".pem", ".key"))}
    assert {name for name in before if before[name] != after[name]} - {"definitions.json"} == of_tls


async def test_passwords_are_changed_as_the_readme_says(folder: Path) -> None:
    """Of one user, by people who are operators at most, and nobody else is disturbed."""
    hosts = Hosts("127.0.0.1:1", "127.0.0.1:1")
    prepare(folder, hosts)
    with RabbitMQ() as broker, Redis(users=(folder / "users.acl").read_text().splitlines()) as store:
        broker.control("import_definitions", str(folder / "definitions.json"))
        old = logins(folder, "worker"), logins(folder, "receiver")
        for name in ("worker.broker-password", "worker.redis-password"):
            (folder / name).unlink()
        prepare(folder, hosts)
        new = logins(folder, "worker"), logins(folder, "receiver")
        assert old[0] != new[0]
        assert old[1] == new[1]
        broker.control("import_definitions", str(folder / "definitions.json"))
        users = store.folder / "users.acl"
        administrator = users.read_text().splitlines()[-1]
        users.write_text((folder / "users.acl").read_text() + administrator + "\n")
        with redis_client(store, *logins(folder, "operator")[1]) as operator:
            assert operator.execute_command("ACL LOAD") in {b"OK", True}
        for at_broker, at_redis in new:
            await (await aio_pika.connect(amqp_url(broker, *at_broker))).close()
            with redis_client(store, *at_redis) as client:
                assert client.ping()
        with pytest.raises((AMQPError, ConnectionError)):
            await aio_pika.connect(amqp_url(broker, *old[0][0]))
        with redis_client(store, *old[0][1]) as client, pytest.raises(AuthenticationError):
            client.ping()


Login = tuple[str, str]


def logins(folder: Path, user: str) -> tuple[Login, Login]:
    """At the broker and at Redis, as the addresses have them."""
    found = []
    for kind in ("amqp", "redis"):
        parts = urlsplit((folder / f"{kind}-url.{user}").read_text())
        found.append((str(parts.username), str(parts.password)))
    return found[0], found[1]


def amqp_url(broker: RabbitMQ, user: str, password: str) -> str:
    return f"amqp://{user}:{password}@127.0.0.1:{broker.port}/mms"


def redis_client(store: Redis, user: str, password: str) -> Client:
    return Client(port=store.port, username=user, password=password, driver_info=None, protocol=2)
