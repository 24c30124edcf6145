"""Each toxic does what its name says, and nothing is left of a proxy that was closed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from loadtest.proxy import Bandwidth, Latency, LimitData, Proxy, ResetPeer, Slicer, Stream, Timeout

UP, DOWN = Stream.UPSTREAM, Stream.DOWNSTREAM


class Echo:
    """A server that sends back what it gets, and keeps it."""

    def __init__(self) -> None:
        self.port = 0
        self.got = bytearray()
        self.ends: list[str] = []
        self.largest = 0
        self.is_silent = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(65_536):
                self.got += chunk
                self.largest = max(self.largest, len(chunk))
                if not self.is_silent:
                    writer.write(chunk)
                    await writer.drain()
            self.ends.append("end")
        except ConnectionError:
            self.ends.append("reset")
        finally:
            writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    server = Echo()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    yield server
    listening.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.port, seed=1) as started:
        yield started


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, data: bytes, wait_s: float = 3) -> bytes:
        """Send and read as much back, or what there is when the time or the connection ends."""
        self.writer.write(data)
        return await self.read(len(data), wait_s)

    async def read(self, count: int, wait_s: float = 3) -> bytes:
        got = b""
        try:
            async with asyncio.timeout(wait_s):
                while len(got) < count and (chunk := await self.reader.read(count - len(got))):
                    got += chunk
        except TimeoutError:
            pass
        return got


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    yield Client(reader, writer)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def first_byte(port: int) -> bytes:
    """A reset may be there before the connection is ours, or after."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.closing(writer):
        return await reader.readexactly(1)


async def took_s(client: Client, data: bytes) -> float:
    began_s = time.monotonic()
    assert await client.ask(data) == data
    return time.monotonic() - began_s


async def until(is_so: Callable[[], bool], limit_s: float = 3) -> None:
    async with asyncio.timeout(limit_s):
        while not is_so():  # noqa: ASYNC110 - another thread's state
            await asyncio.sleep(0.005)


async def test_without_a_toxic_everything_passes_also_the_end(client: Client, proxy: Proxy, echo: Echo) -> None:
    data = bytes(range(256)) * 4_000
    assert await client.ask(data) == data
    await until(lambda: proxy.passed_bytes == {UP: len(data), DOWN: len(data)})
    assert proxy.connections == 1
    client.writer.write_eof()
    assert await client.reader.read() == b""
    await until(lambda: echo.ends == ["end"])
    await until(lambda: proxy.connections == 0)


async def test_latency_is_added_to_each_way_and_does_not_slow_what_follows(client: Client, proxy: Proxy) -> None:
    assert await took_s(client, b"quick") < 0.08
    proxy.add(Latency(100), DOWN)
    assert 0.1 <= await took_s(client, b"one way") < 0.19
    proxy.add(Latency(100), UP)
    assert 0.2 <= await took_s(client, b"both ways") < 0.35
    assert await took_s(client, b"x" * 2_000_000) < 1.5  # 120 chunks: not one after the other
    proxy.clear()
    assert await took_s(client, b"quick again") < 0.08


async def test_jitter_varies_and_keeps_the_order(client: Client, proxy: Proxy) -> None:
    proxy.add(Latency(60, jitter_ms=50), UP)
    times_s = [await took_s(client, b"x") for _ in range(12)]
    assert max(times_s) - min(times_s) > 0.03
    assert min(times_s) >= 0.01
    for n in range(30):
        client.writer.write(b"%02d" % n)
        await asyncio.sleep(0.002)
    assert await client.read(60) == b"".join(b"%02d" % n for n in range(30))


async def test_a_slow_line_takes_its_time(client: Client, proxy: Proxy) -> None:
    proxy.add(Bandwidth(100), UP)
    assert 0.28 <= await took_s(client, b"x" * 30_000) < 0.6


async def test_a_slicer_passes_everything_in_small_pieces(client: Client, proxy: Proxy, echo: Echo) -> None:
    proxy.add(Slicer(10, delay_ms=2), UP)
    data = bytes(range(200))
    assert await client.ask(data) == data
    assert echo.largest <= 20


@pytest.mark.parametrize(("then", "end"), [("close", "end"), ("reset", "reset")])
async def test_a_limit_of_data_cuts_in_the_middle(
    client: Client, proxy: Proxy, echo: Echo, then: str, end: str
) -> None:
    assert await client.ask(b"before") == b"before"
    echo.is_silent = True  # what the proxy has not read when it closes would make that a reset
    proxy.add(LimitData(1_000, then), UP)  # type: ignore[arg-type]  # parametrized
    with contextlib.suppress(ConnectionResetError):
        await client.ask(b"x" * 5_000)
    await until(lambda: echo.ends == [end])
    assert len(echo.got) <= len(b"before") + 1_000
    if then == "close":
        assert len(echo.got) == len(b"before") + 1_000


async def test_a_limit_of_data_that_hangs_keeps_the_connection(client: Client, proxy: Proxy, echo: Echo) -> None:
    proxy.add(LimitData(1_000, "hang"), UP)
    assert len(await client.ask(b"x" * 5_000, wait_s=0.3)) == 1_000
    assert await client.ask(b"more", wait_s=0.2) == b""
    assert (len(echo.got), echo.ends, proxy.connections) == (1_000, [], 1)


async def test_a_black_hole_lets_nothing_through_and_closes_when_told(client: Client, proxy: Proxy, echo: Echo) -> None:
    proxy.add(Timeout(timeout_ms=300))
    began_s = time.monotonic()
    client.writer.write(b"hello?")
    assert await client.reader.read() == b""
    assert 0.25 < time.monotonic() - began_s < 1
    assert bytes(echo.got) == b""


async def test_half_open_one_direction_is_dropped_and_the_other_works(client: Client, proxy: Proxy, echo: Echo) -> None:
    proxy.add(Timeout(), DOWN)
    assert await client.ask(b"heard?", wait_s=0.3) == b""
    assert bytes(echo.got) == b"heard?"
    assert (echo.ends, proxy.connections) == ([], 1)
    proxy.clear()
    with pytest.raises(ConnectionResetError):  # a stream with a hole in it is of no use
        await client.ask(b"again")


async def test_connections_are_reset_those_that_are_open_and_those_to_come(client: Client, proxy: Proxy) -> None:
    assert await client.ask(b"hello") == b"hello"
    proxy.add(ResetPeer())
    with pytest.raises(ConnectionResetError):
        await client.reader.readexactly(1)
    with pytest.raises(ConnectionResetError):
        await first_byte(proxy.port)


async def test_down_refuses_and_cuts_and_up_serves_on_the_same_port(client: Client, proxy: Proxy) -> None:
    assert await client.ask(b"hello") == b"hello"
    proxy.down()
    with pytest.raises(ConnectionResetError):
        await client.reader.readexactly(1)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", proxy.port)
    proxy.up()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await Client(reader, writer).ask(b"back") == b"back"
    writer.close()


async def test_a_server_that_is_not_there_is_a_reset(unused_tcp_port: int) -> None:
    with Proxy(unused_tcp_port) as proxy, pytest.raises(ConnectionResetError):
        await first_byte(proxy.port)


async def test_connections_to_come_are_led_elsewhere(client: Client, proxy: Proxy) -> None:
    async def answer_no(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"no")
        writer.close()

    assert await client.ask(b"here") == b"here"  # only now is it led through
    with contextlib.closing(await asyncio.start_server(answer_no, "127.0.0.1", 0)) as other:
        proxy.lead_to(other.sockets[0].getsockname()[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with contextlib.closing(writer):
            assert await reader.read() == b"no"
        assert await client.ask(b"still there") == b"still there"


async def test_one_toxic_is_taken_away_and_the_others_stay(client: Client, proxy: Proxy) -> None:
    slow, slower = Latency(60), Latency(150)
    proxy.add(slow, UP)
    proxy.add(slower, UP)
    assert await took_s(client, b"x") >= 0.21
    proxy.remove(slower)
    assert 0.06 <= await took_s(client, b"x") < 0.15


def test_nothing_is_left_when_it_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = Proxy(server.getsockname()[1])
        with proxy, socket.create_connection(("127.0.0.1", proxy.port)) as connection:
            connection.sendall(b"hello")
            accepted, _ = server.accept()
            proxy.add(Latency(10_000))
            accepted.sendall(b"never seen")
            accepted.close()
        proxy.close()
    assert not [thread for thread in threading.enumerate() if thread.name == f"proxy {proxy.port}"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port))
