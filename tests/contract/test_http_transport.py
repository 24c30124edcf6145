"""Errors are told apart by phase, each mapping proven with a real socket that misbehaves in exactly that way."""

from __future__ import annotations

import asyncio
import concurrent.futures
import ssl
import struct
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import trustme
import uvloop

from worker.adapters.http_transport import AiohttpTransport, TransportLimits

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

BODY = b"x" * 20_000
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nRetry-After: 7\r\n\r\nok"


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    return trustme.CA()


class Server:
    """A TLS server that treats each connection as told, and counts."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.connections = 0
        self.closed = 0
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.closed += 1
            writer.close()


@asynccontextmanager
async def serving(
    handler: Handler, ca: trustme.CA, *, name: str = "127.0.0.1", not_after: datetime | None = None
) -> AsyncIterator[Server]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert(name, not_after=not_after).configure_cert(context)
    server = Server(handler)
    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0, ssl=context)
    server.url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}/send-mms"
    try:
        yield server
    finally:
        listening.close()


@asynccontextmanager
async def transport(
    ca: trustme.CA | None,
    *,
    connections_max: int = 4,
    connect_s: float = 2.0,
    read_s: float = 2.0,
    keepalive_s: float = 15,
) -> AsyncIterator[AiohttpTransport]:
    context = ssl.create_default_context()
    if ca is not None:
        ca.configure_trust(context)
    limits = TransportLimits(
        connections_max=connections_max, connect_timeout_s=connect_s, read_timeout_s=read_s, keepalive_s=keepalive_s
    )
    opened = AiohttpTransport(ssl_context=context, limits=limits)
    try:
        yield opened
    finally:
        await opened.aclose()


async def post(through: AiohttpTransport, url: str) -> httpx.Response:
    return await through.handle_async_request(httpx.Request("POST", url, stream=httpx.ByteStream(BODY)))


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(len(BODY))
    return head


async def answer_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await read_request(reader)
        writer.write(ANSWER)


def reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SOL_SOCKET, SO_LINGER: close with RST
    writer.transport.abort()


# --- Before the first byte: surely not sent --------------------------------------------------------------


async def test_a_refused_connection_is_a_connect_error(ca: trustme.CA, unused_tcp_port: int) -> None:
    async with transport(ca) as through:
        with pytest.raises(httpx.ConnectError):
            await post(through, f"https://127.0.0.1:{unused_tcp_port}/send-mms")


async def test_a_name_that_does_not_resolve_is_a_connect_error(ca: trustme.CA) -> None:
    async with transport(ca) as through:
        with pytest.raises((httpx.ConnectError, httpx.ConnectTimeout)):
            await post(through, "https://no-such-host.invalid/send-mms")


async def test_an_unknown_authority_is_a_connect_error() -> None:
    async with serving(answer_all, trustme.CA()) as server, transport(None) as through:
        with pytest.raises(httpx.ConnectError):
            await post(through, server.url)


async def test_a_certificate_for_another_host_is_a_connect_error(ca: trustme.CA) -> None:
    async with serving(answer_all, ca, name="other.example") as server, transport(ca) as through:
        with pytest.raises(httpx.ConnectError):
            await post(through, server.url)


async def test_an_expired_certificate_is_a_connect_error(ca: trustme.CA) -> None:
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    async with serving(answer_all, ca, not_after=long_ago) as server, transport(ca) as through:
        with pytest.raises(httpx.ConnectError):
            await post(through, server.url)


async def test_a_handshake_that_hangs_is_a_connect_timeout(ca: trustme.CA) -> None:
    held: list[asyncio.StreamWriter] = []

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    listening = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with transport(ca, connect_s=0.2) as through:
        with pytest.raises(httpx.ConnectTimeout):
            await post(through, f"https://127.0.0.1:{port}/send-mms")
    for writer in held:
        writer.close()
    listening.close()


async def test_a_handshake_that_is_cut_off_is_a_connect_error(ca: trustme.CA) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    listening = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with transport(ca) as through:
        with pytest.raises(httpx.ConnectError):
            await post(through, f"https://127.0.0.1:{port}/send-mms")
    listening.close()


async def test_waiting_for_a_free_connection_is_a_connect_timeout(ca: trustme.CA) -> None:
    async def never(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await reader.read()

    async with serving(never, ca) as server, transport(ca, connections_max=1, connect_s=0.3) as through:
        first = asyncio.create_task(post(through, server.url))
        async with asyncio.timeout(5):
            while server.connections == 0:  # noqa: ASYNC110 - a server's counter
                await asyncio.sleep(0.01)
        with pytest.raises(httpx.ConnectTimeout):
            await post(through, server.url)
        first.cancel()
        await asyncio.wait([first])


# --- From the first byte on: in doubt --------------------------------------------------------------------


async def hang_up_after_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.close()


async def reset_after_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    reset(writer)


async def reset_in_the_upload(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(100)
    reset(writer)


async def half_a_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(ANSWER[:20])
    await writer.drain()
    writer.close()


async def half_a_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(ANSWER[:-1])
    await writer.drain()
    writer.close()


async def no_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"\x00\x01 this is no HTTP\r\n\r\n")
    await writer.drain()
    writer.close()


async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await read_request(reader)
    await reader.read()


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(ANSWER[:-2].replace(b"Content-Length: 2", b"Content-Length: 2000"))
    while True:
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.05)


async def drip_the_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "handler",
    [
        hang_up_after_request,
        reset_after_request,
        reset_in_the_upload,
        half_a_head,
        half_a_body,
        no_http,
        silence,
        drip,
        drip_the_head,
    ],
)
async def test_whatever_fails_after_the_first_byte_is_no_connect_error(ca: trustme.CA, handler: Handler) -> None:
    async with serving(handler, ca) as server, transport(ca, connect_s=0.3, read_s=0.3) as through:
        with pytest.raises(httpx.TransportError) as raised:
            await post(through, server.url)
        assert not isinstance(raised.value, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
        assert server.connections == 1  # and nothing was tried again


async def test_a_kept_connection_that_hangs_up_is_no_connect_error(ca: trustme.CA) -> None:
    async def one_answer_then_hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(ANSWER)
        await read_request(reader)
        writer.close()

    async with serving(one_answer_then_hang_up, ca) as server, transport(ca) as through:
        await post(through, server.url)
        with pytest.raises(httpx.TransportError) as raised:
            await post(through, server.url)
        assert not isinstance(raised.value, httpx.ConnectError | httpx.ConnectTimeout)
        assert server.connections == 1


async def test_a_connection_that_the_server_is_about_to_close_is_not_used(ca: trustme.CA) -> None:
    """At the idle edge the server's goodbye and our request cross, and the call would be in doubt for nothing."""
    server_keeps_s = 0.4

    async def close_when_idle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        idle_since_s = time.monotonic()
        while await reader.readexactly(1) and time.monotonic() - idle_since_s < server_keeps_s:
            await read_request(reader)
            writer.write(ANSWER)
            idle_since_s = time.monotonic()

    async with serving(close_when_idle, ca) as server, transport(ca, keepalive_s=server_keeps_s / 2) as through:
        assert (await post(through, server.url)).status_code == 200
        await asyncio.sleep(1.5 * server_keeps_s)
        assert (await post(through, server.url)).status_code == 200
        assert server.connections == 2


async def test_an_answer_without_end_is_given_up(ca: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.adapters.http_transport.ANSWER_BYTES_MAX", 100_000)

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n")
        while True:
            writer.write(b"." * 10_000)
            await writer.drain()

    async with serving(flood, ca) as server, transport(ca) as through:
        with pytest.raises(httpx.ReadError, match="larger than"):
            await post(through, server.url)


# --- What goes well --------------------------------------------------------------------------------------


async def test_an_answer_comes_whole_and_its_connection_is_used_again(ca: trustme.CA) -> None:
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await read_request(reader))
            writer.write(ANSWER)

    async with serving(answer, ca) as server, transport(ca) as through:
        for _ in range(3):
            response = await post(through, server.url)
            assert (response.status_code, await response.aread()) == (200, b"ok")
            assert response.headers["retry-after"] == "7"
        assert server.connections == 1
    assert heads[0].startswith(b"POST /send-mms HTTP/1.1\r\n")
    assert b"Content-Length: 20000\r\n" in heads[0]
    for unwanted in (b"cookie", b"expect:", b"transfer-encoding"):
        assert unwanted not in heads[0].lower()


async def test_redirects_are_not_followed(ca: trustme.CA) -> None:
    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async with serving(redirect, ca) as server, transport(ca) as through:
        assert (await post(through, server.url)).status_code == 302
        assert server.connections == 1


async def test_connections_opened_ahead_are_the_ones_that_calls_use(ca: trustme.CA) -> None:
    async with serving(answer_all, ca) as server, transport(ca) as through:
        assert await through.connect_ahead(server.url, 3) == 3
        assert server.connections == 3
        await asyncio.gather(*(post(through, server.url) for _ in range(3)))
        assert server.connections == 3


async def test_opening_ahead_after_a_call_has_nothing_to_do_with_that_call(ca: trustme.CA) -> None:
    strange: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: strange.append(context))
    async with serving(answer_all, ca) as server, transport(ca, read_s=0.05) as through:
        await post(through, server.url)
        assert await through.connect_ahead(server.url, 2) == 2
        await asyncio.sleep(0.1)  # what the call was allowed to take
        assert not strange


async def test_opening_ahead_never_fails(ca: trustme.CA, unused_tcp_port: int) -> None:
    async with transport(ca) as through:
        assert await through.connect_ahead(f"https://127.0.0.1:{unused_tcp_port}/", 3) == 0


async def test_an_idle_connection_is_closed_by_us(ca: trustme.CA) -> None:
    async with serving(answer_all, ca) as server, transport(ca, keepalive_s=0.1) as through:
        await post(through, server.url)
        started_s = time.monotonic()
        async with asyncio.timeout(5):
            while server.closed == 0:  # noqa: ASYNC110 - a server's counter
                await asyncio.sleep(0.02)
        assert time.monotonic() - started_s < 3


async def test_a_cancelled_call_gives_its_connection_up(ca: trustme.CA) -> None:
    async with serving(silence, ca) as server, transport(ca, connections_max=1) as through:
        for _ in range(2):
            call = asyncio.create_task(post(through, server.url))
            await asyncio.sleep(0.1)
            call.cancel()
            await asyncio.wait([call])
        assert server.connections == 2


async def test_an_answer_is_waited_for_from_when_the_request_has_left(ca: trustme.CA) -> None:
    """And not for the time that connecting may take as well."""
    async with serving(silence, ca) as server, transport(ca, connect_s=30, read_s=0.2) as through:
        async with asyncio.timeout(15):
            with pytest.raises(httpx.ReadTimeout):
                await post(through, server.url)


# --- A process that was frozen ---------------------------------------------------------------------------


@contextmanager
def serving_elsewhere(handler: Handler, ca: trustme.CA) -> Iterator[Server]:
    """A server in a thread of its own, which goes on while we are frozen."""
    loop = asyncio.new_event_loop()
    is_over = asyncio.Event()
    started: concurrent.futures.Future[Server] = concurrent.futures.Future()

    async def serve() -> None:
        async with serving(handler, ca) as server:
            started.set_result(server)
            await is_over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        yield started.result(5)
    finally:
        loop.call_soon_threadsafe(is_over.set)
        thread.join(5)
        loop.close()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_an_answer_that_came_while_the_process_was_frozen_is_heard(
    ca: trustme.CA, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    """Its time is long over when the process wakes, and it is the best evidence there is."""
    is_received, is_answered = threading.Event(), threading.Event()

    async def answer_a_little_later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        is_received.set()
        await asyncio.sleep(0.2)
        writer.write(ANSWER)
        await writer.drain()
        is_answered.set()

    async def call_and_freeze(url: str) -> None:
        async with transport(ca, connect_s=0.5, read_s=0.5) as through:
            calling = asyncio.create_task(post(through, url))
            async with asyncio.timeout(5):
                while not is_received.is_set():  # noqa: ASYNC110 - another thread's
                    await asyncio.sleep(0.01)
            assert is_answered.wait(5)
            time.sleep(1.2)  # noqa: ASYNC251 - on purpose: nothing of this process runs
            assert (await calling).status_code == 200

    with serving_elsewhere(answer_a_little_later, ca) as server:
        run(call_and_freeze(server.url))
