"""The proxy: an event loop in a thread of its own, so that it works for blocking tests and for async ones alike."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Coroutine, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from deploy.local.ports import LOOPBACK, free_port
from loadtest.proxy.toxics import Bandwidth, Latency, LimitData, ResetPeer, Slicer, Stream, Timeout, Toxic

#: Of one connection and stream, so much is on its way through the proxy at most.
CHUNK_BYTES, CHUNKS_MAX = 16_384, 64
CONNECTIONS_MAX = 512
#: How long the proxy may take to do what it is told.
ANSWER_S_MAX = 5.0
LINGER_NOT = struct.pack("ii", 1, 0)  # closing then sends RST

Result = TypeVar("Result")


class Proxy:
    """Listens on ``port`` of the loopback address, from the start of the ``with`` block to its end, for one server.

    All methods may be called from any thread, and have taken effect when they return: on connections that are open,
    from the next bytes on.
    """

    def __init__(self, port: int, *, host: str = LOOPBACK, seed: int | None = None) -> None:
        """``host`` and ``port``: of the server. ``seed``: of the jitter."""
        self.port = free_port()
        self.passed_bytes: Counter[Stream] = Counter()
        """What was handed on, of all connections."""
        self._server = (host, port)
        self._chance = random.Random(seed)
        self._toxics: dict[Stream, tuple[Toxic, ...]] = dict.fromkeys(Stream, ())
        self._links: set[_Link] = set()
        self._listening: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy {self.port}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.up()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def address(self) -> str:
        """``host:port`` of the proxy."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._links)

    def add(self, toxic: Toxic, *streams: Stream) -> None:
        """Put ``toxic`` on ``streams``: on both when none is named."""
        self._do(self._add(toxic, streams or tuple(Stream)))

    def remove(self, toxic: Toxic) -> None:
        """Take ``toxic`` away."""
        self._do(self._remove(toxic))

    def clear(self) -> None:
        """Take all toxics away."""
        self._do(self._remove(None))

    def down(self) -> None:
        """Refuse connections, and reset those that are open."""
        self._do(self._down())

    def up(self) -> None:
        """Take connections again, on the same port."""
        self._do(self._up())

    def lead_to(self, port: int) -> None:
        """Connections to come go to another port of the server's host; those that are open stay."""
        self._server = (self._server[0], port)

    def close(self) -> None:
        """End it and all of its connections; more than once does no harm."""
        if self._loop.is_closed():
            return
        if self._thread.is_alive():
            with contextlib.suppress(TimeoutError):
                self._do(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(ANSWER_S_MAX)
        self._loop.close()

    # --- In the proxy's thread ---------------------------------------------------------------------------

    def _do(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(ANSWER_S_MAX)

    async def _add(self, toxic: Toxic, streams: tuple[Stream, ...]) -> None:
        for stream in streams:
            self._toxics[stream] += (toxic,)
        if isinstance(toxic, ResetPeer):
            for link in self._links:
                link.reset_after(toxic.after_ms / 1e3)

    async def _remove(self, toxic: Toxic | None) -> None:
        for stream, toxics in self._toxics.items():
            self._toxics[stream] = tuple(one for one in toxics if toxic is not None and one is not toxic)

    async def _up(self) -> None:
        if self._listening is None:
            self._listening = await asyncio.start_server(self._connected, LOOPBACK, self.port)

    async def _down(self) -> None:
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        for link in list(self._links):
            link.reset()

    async def _end(self) -> None:
        await self._down()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # At the end of the proxy; the streams' own callback would complain of it.
        with contextlib.suppress(asyncio.CancelledError):
            await self._serve(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._links) >= CONNECTIONS_MAX:
            _reset(writer)
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._server)
        except OSError:
            _reset(writer)
            return
        link = _Link(self, writer, server_writer)
        self._links.add(link)
        for toxic in {*self._toxics[Stream.UPSTREAM], *self._toxics[Stream.DOWNSTREAM]}:
            if isinstance(toxic, ResetPeer):
                link.reset_after(toxic.after_ms / 1e3)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(link.pump(Stream.UPSTREAM, reader, server_writer))
                pumps.create_task(link.pump(Stream.DOWNSTREAM, server_reader, writer))
        except* OSError:
            link.reset()  # one end went away: so does the other
        finally:
            self._links.discard(link)
            await link.close()

    def of(self, stream: Stream) -> tuple[Toxic, ...]:
        """The toxics on ``stream`` now."""
        return self._toxics[stream]

    def delay_s(self, stream: Stream) -> float:
        """How long what comes now takes on its way."""
        return sum(
            max(0.0, toxic.latency_ms + self._chance.uniform(-toxic.jitter_ms, toxic.jitter_ms)) / 1e3
            for toxic in self._toxics[stream]
            if isinstance(toxic, Latency)
        )


class _Link:
    """One connection, both of its halves."""

    def __init__(self, proxy: Proxy, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._writers = (client, server)
        self._limited: Counter[Toxic] = Counter()
        self._has_lost: set[Stream] = set()
        self._timers: list[asyncio.TimerHandle] = []

    def reset(self) -> None:
        """End it with RST."""
        for writer in self._writers:
            _reset(writer)

    def reset_after(self, after_s: float) -> None:
        """End it so, later."""
        self._timers.append(asyncio.get_running_loop().call_later(after_s, self.reset))

    async def close(self) -> None:
        """End it in order, as far as it has not ended."""
        for timer in self._timers:
            timer.cancel()
        for writer in self._writers:
            writer.close()
        for writer in self._writers:
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def pump(self, stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hand on what comes on ``stream``, until its end."""
        coming: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_MAX)
        async with asyncio.TaskGroup() as halves:
            halves.create_task(self._take(stream, reader, coming))
            halves.create_task(self._hand_on(stream, coming, writer))

    async def _take(
        self, stream: Stream, reader: asyncio.StreamReader, coming: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        loop, due_s = asyncio.get_running_loop(), 0.0
        while True:
            chunk = await reader.read(CHUNK_BYTES)
            due_s = max(due_s, loop.time() + self._proxy.delay_s(stream))
            await coming.put((due_s, chunk))
            if not chunk:
                return

    async def _hand_on(
        self, stream: Stream, coming: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        while True:
            due_s, chunk = await coming.get()
            await asyncio.sleep(due_s - asyncio.get_running_loop().time())
            if not chunk:
                if not self._is_hanging(stream) and writer.can_write_eof():
                    writer.write_eof()
                return
            for piece in self._pieces(stream, chunk):
                await self._pass(stream, piece, writer)

    def _pieces(self, stream: Stream, chunk: bytes) -> Iterator[bytes]:
        size = min((one.bytes_max for one in self._proxy.of(stream) if isinstance(one, Slicer)), default=len(chunk))
        return (chunk[at : at + size] for at in range(0, len(chunk), size))

    async def _pass(self, stream: Stream, piece: bytes, writer: asyncio.StreamWriter) -> None:
        toxics = self._proxy.of(stream)
        if self._is_dropping(stream):
            return
        if stream in self._has_lost:
            self.reset()
            return
        limits = [toxic for toxic in toxics if isinstance(toxic, LimitData)]
        left = min((limit.bytes_max - self._limited[limit] for limit in limits), default=len(piece))
        piece, is_over = piece[:left], left < len(piece)
        for toxic in toxics:
            if isinstance(toxic, Bandwidth):
                await asyncio.sleep(len(piece) / (toxic.kb_per_s * 1e3))
        if piece:
            writer.write(piece)
            await writer.drain()
            self._proxy.passed_bytes[stream] += len(piece)
        for limit in limits:
            self._limited[limit] += len(piece)
        if is_over:
            self._has_lost.add(stream)
            self._end(min(limits, key=lambda limit: limit.bytes_max - self._limited[limit]))
        for toxic in toxics:
            if isinstance(toxic, Slicer):
                await asyncio.sleep(toxic.delay_ms / 1e3)

    def _is_dropping(self, stream: Stream) -> bool:
        """Whether what comes now is lost."""
        holes = [toxic for toxic in self._proxy.of(stream) if isinstance(toxic, Timeout)]
        for hole in holes:
            self._has_lost.add(stream)
            if hole.timeout_ms:
                self.close_after(hole.timeout_ms / 1e3)
        return bool(holes) or self._is_hanging(stream)

    def _is_hanging(self, stream: Stream) -> bool:
        return any(
            isinstance(toxic, LimitData) and toxic.then == "hang" and self._limited[toxic] >= toxic.bytes_max
            for toxic in self._proxy.of(stream)
        ) or any(isinstance(toxic, Timeout) for toxic in self._proxy.of(stream))

    def close_after(self, after_s: float) -> None:
        """End both halves, later."""
        loop = asyncio.get_running_loop()
        self._timers += [loop.call_later(after_s, writer.close) for writer in self._writers]

    def _end(self, limit: LimitData) -> None:
        match limit.then:
            case "close":
                for writer in self._writers:
                    writer.close()
            case "reset":
                self.reset()
            case "hang":
                pass


def _reset(writer: asyncio.StreamWriter) -> None:
    """Cut at once. What was written and has not left is lost."""
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
    writer.transport.abort()
