"""httpx's transport interface over aiohttp's connections, with errors told apart by phase.

Why not the stock transport: httpcore 1.0 looks through all connections for every request and falls to a few
hundred calls a second under concurrency. Why not the ready-made bridge to aiohttp: it reports a server that
hangs up *after* the request as ``ConnectTimeout``, which here would mean "not sent", and so a second send.

The mapping, proven with real sockets in the tests:
``ConnectError`` / ``ConnectTimeout``: no byte of the request has left (DNS, connect, TLS, waiting for a free
connection). Every other ``httpx.TransportError``: it may have left, wholly or in part.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx
from aiohttp.connector import Connection
from yarl import URL

from worker.adapters.http_deadline import Deadline

#: An answer to 1,000 recipients echoes the text (1,000 characters, escaped) each time; more than this is no answer.
ANSWER_BYTES_MAX = 16_000_000
#: A connection that is not open within this is no longer opened ahead: whoever needs it opens it.
AHEAD_S_MAX = 3.0


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """``connections_max`` bounds the pool; ``keepalive_s`` is when we close an idle connection."""

    connections_max: int
    connect_timeout_s: float
    read_timeout_s: float
    keepalive_s: float


#: Of the call that the current task makes.
_DEADLINE: ContextVar[Deadline] = ContextVar("deadline")


class _Connector(aiohttp.TCPConnector):
    """Has a call's answer waited for as soon as there is a connection for it, on which the request leaves at once.

    The library's own way to tell that moment, its traces, costs a tenth of the whole call.
    """

    def __init__(self, *, answer_s_max: float, **options: Any) -> None:
        super().__init__(**options)
        self._answer_s_max = answer_s_max

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - not ours
    ) -> Connection:
        """Get a connection; what it raises is the library's, and tells that no byte has left."""
        connection = await super().connect(req, traces, timeout)
        if (deadline := _DEADLINE.get(None)) is not None:
            deadline.shorten(self._answer_s_max)
        return connection


class AiohttpTransport(httpx.AsyncBaseTransport):
    """One pool of connections. Never retries, follows no redirect, keeps no cookie, reads no proxy setting."""

    def __init__(
        self, *, ssl_context: ssl.SSLContext, limits: TransportLimits, make_body: Callable[[bytes], Any] = bytes
    ) -> None:
        """``make_body``: what aiohttp is given as a request's body (tests watch it leave)."""
        self._limits = limits
        self._make_body = make_body
        self._timeout = aiohttp.ClientTimeout(
            total=None,
            connect=limits.connect_timeout_s,
            sock_connect=limits.connect_timeout_s,
        )
        self._connector = _Connector(
            answer_s_max=limits.read_timeout_s,
            ssl=ssl_context,
            limit=limits.connections_max,
            keepalive_timeout=limits.keepalive_s,
            # Addresses are looked up anew now and then, so that the vendor can move.
            ttl_dns_cache=60,
        )
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Make the call; the body must be bytes. Raises ``httpx.TransportError`` by phase, see above."""
        try:
            # Longer than connecting may take: when this fires, the request is on its way.
            async with Deadline(self._limits.connect_timeout_s + self._limits.read_timeout_s) as deadline:
                _DEADLINE.set(deadline)
                body = request.read()
                response = await self._session.request(
                    request.method,
                    URL(str(request.url), encoded=True),
                    headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw],
                    data=self._make_body(body) if body else None,
                    allow_redirects=False,
                )
                try:
                    content = await self._read(response, request)
                finally:
                    response.release()
        except aiohttp.ConnectionTimeoutError as error:
            raise httpx.ConnectTimeout(_words(error), request=request) from error
        except aiohttp.ClientConnectorError as error:
            raise httpx.ConnectError(_words(error), request=request) from error
        except TimeoutError as error:
            raise httpx.ReadTimeout("no whole answer in time", request=request) from error
        except (aiohttp.ClientError, OSError) as error:
            raise httpx.ReadError(_words(error), request=request) from error
        return httpx.Response(
            response.status,
            headers=list(response.raw_headers),
            # As a stream, since the interface would otherwise work out headers that are there already.
            stream=httpx.ByteStream(content),
            request=request,
        )

    async def connect_ahead(self, url: str, count: int) -> int:
        """Open up to ``count`` (at least 1) connections and leave them idle in the pool; returns how many there are.

        Nothing is sent on them, so this counts against no limit. Never fails: the first call says what is wrong.
        """
        target = aiohttp.ClientRequest("GET", URL(url), loop=asyncio.get_running_loop())
        opening = [asyncio.ensure_future(self._connector.connect(target, [], self._timeout)) for _ in range(count)]
        try:
            await asyncio.wait(opening, timeout=AHEAD_S_MAX)
        finally:
            for one in opening:
                one.cancel()
            opened = await asyncio.gather(*opening, return_exceptions=True)
        connections = [connection for connection in opened if not isinstance(connection, BaseException)]
        for connection in connections:
            connection.release()
        return len(connections)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def _read(self, response: aiohttp.ClientResponse, request: httpx.Request) -> bytes:
        chunks, size = [], 0
        while chunk := await response.content.readany():
            size += len(chunk)
            if size > ANSWER_BYTES_MAX:
                response.close()
                raise httpx.ReadError(f"the answer is larger than {ANSWER_BYTES_MAX} bytes", request=request)
            chunks.append(chunk)
        return b"".join(chunks)


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
