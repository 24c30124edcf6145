"""TLS to the broker and to Redis, with real certificates and real servers: what holds is taken, all else is refused.

Each refusal is one sentence that says what is wrong and which setting puts it right.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import pytest

from deploy.local import RabbitMQ, Redis
from deploy.local.server_tls import ServerTls
from tests.deployed import tls_files
from worker.adapters.rabbitmq_connection import connect
from worker.closing import ClosingStack
from worker.flow.observations import Role
from worker.flow.ports import CannotStart
from worker.parts import broker_address, open_redis
from worker.settings import Settings, load

NEEDED = {"MMS_API_URL": "https://api.example.com/v3", "MMS_APP_KEY": "key"}


@dataclass(frozen=True)
class Servers:
    """A broker and a Redis that show the same certificate."""

    broker: RabbitMQ
    store: Redis
    tls: ServerTls


def started(stack: ExitStack, tls: ServerTls) -> Servers:
    return Servers(stack.enter_context(RabbitMQ(tls=tls)), stack.enter_context(Redis(tls=tls)), tls)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Their certificate is for 127.0.0.1, and not for localhost."""
    with ExitStack() as stack:
        yield started(stack, tls_files(tmp_path_factory.mktemp("tls"), "127.0.0.1"))


@pytest.fixture(scope="module")
def out_of_date(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Servers]]:
    now = datetime.now(UTC)
    validities: dict[str, dict[str, Any]] = {
        "has expired": {"not_before": now - timedelta(days=9), "not_after": now - timedelta(days=1)},
        "is not valid yet": {"not_before": now + timedelta(days=1), "not_after": now + timedelta(days=9)},
    }
    with ExitStack() as stack:
        yield {
            fault: started(stack, tls_files(tmp_path_factory.mktemp("tls"), "127.0.0.1", **validity))
            for fault, validity in validities.items()
        }


def settings(servers: Servers, *, host: str = "127.0.0.1", ca_file: Path | None = None, **more: Any) -> Settings:
    """With the addresses of ``servers``, without the files that stand in them."""
    urls = {"MMS_AMQP_URL": servers.broker.url, "MMS_REDIS_URL": servers.store.url}
    given = {name: url.partition("?")[0].replace("127.0.0.1", host) for name, url in urls.items()}
    if ca_file is not None:
        given |= {"MMS_AMQP_CA_FILE": str(ca_file), "MMS_REDIS_CA_FILE": str(ca_file)}
    loaded = load(NEEDED | given | more)
    assert isinstance(loaded, Settings), loaded
    return loaded


async def reach_broker(asked: Settings) -> None:
    await (await connect(broker_address(asked), Role.PUBLISH)).close()


async def reach_redis(asked: Settings) -> None:
    async with ClosingStack() as stack:
        await (await open_redis(asked, stack)).set("a", "b")


class Listener:
    """Answers whatever comes with the same, as RabbitMQ does with its version when it is not spoken AMQP to."""

    def __init__(self, answer: bytes) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._answer = answer
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        with self._socket.accept()[0] as peer:
            peer.recv(1)
            peer.sendall(self._answer)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(10)
        self._socket.close()


REACH = {"AMQP": reach_broker, "REDIS": reach_redis}
each_server = pytest.mark.parametrize("server", REACH)


async def refusal(server: str, asked: Settings) -> str:
    with pytest.raises(CannotStart) as refused:
        await REACH[server](asked)
    words = str(refused.value)
    assert words.count("\n") == 0
    assert "cannot be trusted" in words
    assert "mms:" not in words  # no user, no password
    return words


@each_server
async def test_a_certificate_of_the_authority_that_is_named_is_taken(server: str, servers: Servers) -> None:
    await REACH[server](settings(servers, ca_file=servers.tls.authority))


@each_server
async def test_the_authority_may_be_named_in_the_address(server: str, servers: Servers) -> None:
    await REACH[server](settings(servers, MMS_AMQP_URL=servers.broker.url, MMS_REDIS_URL=servers.store.url))


@each_server
async def test_an_authority_that_nobody_named_is_refused(server: str, servers: Servers) -> None:
    words = await refusal(server, settings(servers))
    assert f"an authority that is not trusted here; name that authority's in MMS_{server}_CA_FILE" in words


@each_server
async def test_another_authority_is_refused(server: str, servers: Servers, tmp_path: Path) -> None:
    other = tls_files(tmp_path, "127.0.0.1")
    assert "an authority that is not trusted here" in await refusal(server, settings(servers, ca_file=other.authority))


@each_server
async def test_a_certificate_for_another_host_is_refused(server: str, servers: Servers) -> None:
    words = await refusal(server, settings(servers, host="localhost", ca_file=servers.tls.authority))
    assert f"its certificate is for another host; name it in MMS_{server}_URL as its certificate does" in words


@each_server
@pytest.mark.parametrize("fault", ["has expired", "is not valid yet"])
async def test_a_certificate_out_of_its_time_is_refused(
    server: str, out_of_date: dict[str, Servers], fault: str
) -> None:
    servers = out_of_date[fault]
    assert f"its certificate {fault}" in await refusal(server, settings(servers, ca_file=servers.tls.authority))


async def test_a_broker_without_tls_is_refused(servers: Servers) -> None:
    """A Redis without it waits for the end of a line, which TLS does not send, and so is a time-out."""
    with Listener(b"AMQP\x00\x00\x09\x01") as plain:
        asked = settings(servers, ca_file=servers.tls.authority, MMS_AMQP_URL=f"amqps://a:b@127.0.0.1:{plain.port}/")
        words = await refusal("AMQP", asked)
    assert "it does not speak TLS there; check port and scheme of MMS_AMQP_URL" in words


@each_server
async def test_a_client_without_tls_gets_nothing(server: str, servers: Servers) -> None:
    urls = {"MMS_AMQP_URL": servers.broker.url, "MMS_REDIS_URL": servers.store.url}
    plain = {name: url.partition("?")[0].replace("s://", "://") for name, url in urls.items()}
    with pytest.raises(CannotStart, match="cannot be reached"):
        await REACH[server](settings(servers, **dict[str, Any](plain)))


@each_server
async def test_only_who_is_named_is_trusted_and_not_the_systems_authorities_beside(
    server: str, servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(servers.tls.authority))  # what the system trusts
    await REACH[server](settings(servers))
    assert "not trusted here" in await refusal(
        server, settings(servers, ca_file=tls_files(tmp_path, "127.0.0.1").authority)
    )


@each_server
async def test_files_in_the_address_that_cannot_be_used_are_one_sentence(
    server: str, servers: Servers, tmp_path: Path
) -> None:
    missing = tmp_path / "missing.pem"
    urls = {
        "MMS_AMQP_URL": f"amqps://127.0.0.1:1/?certfile={missing}",
        "MMS_REDIS_URL": f"rediss://127.0.0.1:1/0?ssl_certfile={missing}",
    }
    asked = settings(servers, **dict[str, Any](urls))
    with pytest.raises(CannotStart, match=rf"MMS_{server}_URL cannot be used \(No such file or directory\)"):
        await REACH[server](asked)
