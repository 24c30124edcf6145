"""Where the vendor posts delivery reports and replies: ``POST /callbacks/ACCOUNT/TOKEN/reports`` and ``…/replies``.

The vendor signs nothing, so the address carries the secret. Whatever is asked of another address, with whatever method,
gets the same answer after the same wait: nobody learns which accounts there are, or how much of a token is right. The
wait also keeps a flood of guesses cheap: a connection gets no more than some ten of these answers a second, and when
there are too many connections, one that has never shown a token makes room.

What is posted is bounded before it is read: its size, how much is in hand at a time, and how long all of it may take.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

import orjson
from aiohttp import web

from worker.adapters.receive_connections import Connections
from worker.flow.callbacks import NOT_IN_TIME, TAKE_S_MAX, CallbackKind, Malformed
from worker.flow.observations import CallbackAnswered, CallbackResult, Observer, Surprise
from worker.flow.ports import CannotStart, Monotonic, NotTaken

BODY_BYTES_MAX = 1_048_576
#: Bodies that are read or taken in at a time.
BODIES_MAX = 128
CONNECTIONS_MAX = 500
#: Before a request to an address that is nobody's is answered.
STRANGE_WAIT_S = 0.1
#: A connection without a request is closed after this, and so is one that begins a request and does not go on.
IDLE_S_MAX = 75.0
HANDSHAKE_S_MAX = 10.0
#: How long the rest of a request that is refused is read and thrown away, so that its answer gets through.
LINGER_S_MAX = 1.0
#: At the end, connections whose request was answered are looked for so often.
END_LOOK_S = 0.01
#: Connections that wait to be accepted.
BACKLOG = 512
#: When the vendor is to post again what could not be taken.
RETRY_AFTER_S = 30
SAID_CHARACTERS_MAX = 300

NOTHING_HERE = ("there is nothing here",)
NO_HTTP = ("this is no request in HTTP/1.1",)
NOT_NOW = ("it cannot be taken now: post it again",)
TOO_LARGE = (f"the body has more than {BODY_BYTES_MAX:,} bytes",)
NOT_POSTED = Malformed(("it must be posted",))
COMPRESSED = Malformed(("the body is compressed, which is not taken",))
BROKEN = Malformed(("the body is not transferred as its headers say",))
GONE = NotTaken("the connection ended before all of it was there")


class Take(Protocol):
    """Takes in what was posted: ``flow/callbacks.py``."""

    async def __call__(
        self, kind: CallbackKind, account: str, body: bytes, *, limit_s: float
    ) -> NotTaken | Malformed | None:
        """None once it is kept safe; within ``limit_s``."""


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The body exceeds ``BODY_BYTES_MAX``."""


class CallbackServer:
    """Serves on ``host:port`` (0: any free port; ``port`` tells which); without ``tls`` in plain text, for a proxy."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        tokens: Mapping[str, str],
        take: Take,
        observe: Observer,
        monotonic: Monotonic,
        strange_wait_s: float = STRANGE_WAIT_S,
        take_s_max: float = TAKE_S_MAX,
        bodies_max: int = BODIES_MAX,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        """``tokens``: by account. ``take_s_max``: how long a request may take."""
        self._host = host
        self._asked_port = port
        self._tls = tls
        self._take = take
        self._observe = observe
        self._monotonic = monotonic
        self._strange_wait_s = strange_wait_s
        self._take_s_max = take_s_max
        self._tokens: dict[str, bytes] = {}
        self._nobodys = secrets.token_bytes(32)
        self._room = asyncio.Semaphore(bodies_max)
        self._in_hand = 0
        self._listening: asyncio.Server | None = None
        self._connections = Connections(
            self._answer,
            broken=self._broken,
            connections_max=connections_max,
            access_log=None,
            keepalive_timeout=IDLE_S_MAX,
            lingering_time=LINGER_S_MAX,
            auto_decompress=False,
        )
        self.admit(tokens)

    @property
    def port(self) -> int:
        """The port it listens on; 0 before the start."""
        sockets = self._listening.sockets if self._listening else ()
        return int(sockets[0].getsockname()[1]) if sockets else 0

    @property
    def in_hand(self) -> int:
        """Requests to right addresses that are not answered yet."""
        return self._in_hand

    def admit(self, tokens: Mapping[str, str]) -> None:
        """Have these tokens open their account's addresses from now on, and no others."""
        self._tokens = {account: _digest(token) for account, token in tokens.items()}

    async def start(self) -> None:
        """Listen. Raises ``CannotStart`` when the port is taken."""
        try:
            self._listening = await asyncio.get_running_loop().create_server(
                self._connections,
                self._host,
                self._asked_port,
                ssl=self._tls,
                ssl_handshake_timeout=None if self._tls is None else HANDSHAKE_S_MAX,
                backlog=BACKLOG,
            )
        except OSError as error:
            why = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
            raise CannotStart(
                f"The address for callbacks {self._host}:{self._asked_port} cannot be used "
                f"({why}): set MMS_RECEIVE_PORT (0 takes any free port) or MMS_RECEIVE_HOST."
            ) from error

    async def close(self) -> None:
        """Take no more requests, and answer those that are in hand."""
        listening, self._listening = self._listening, None
        if listening is None:
            return
        listening.close()
        await asyncio.sleep(0)  # requests that have arrived are begun
        # A body may still be coming, and the library would read no more of it.
        until_s = self._monotonic() + self._take_s_max
        while not self._connections.end_idle() and self._monotonic() < until_s:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(END_LOOK_S)
        await self._connections.shutdown(LINGER_S_MAX)

    # --- One request -------------------------------------------------------------------------------------

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        started_s = self._monotonic()
        address = self._address(request.path)
        if address is None:
            await asyncio.sleep(self._strange_wait_s)
            self._observe(CallbackAnswered(CallbackResult.UNKNOWN_ADDRESS, None, self._monotonic() - started_s))
            response = _response(404, NOTHING_HERE)
            if self._listening is None:
                response.force_close()
            return response
        account, kind = address
        self._connections.trust(request.protocol)
        self._in_hand += 1
        try:
            found = await self._taken(request, account, kind, started_s)
        finally:
            self._in_hand -= 1
        result, response, why = _told(found)
        if found is BROKEN or self._listening is None:
            response.force_close()
        self._observe(CallbackAnswered(result, account, self._monotonic() - started_s, why))
        return response

    def _broken(self, status: int, error: BaseException | None) -> web.Response:
        """Answer what the library has no request for, or could not see to an end."""
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            self._observe(CallbackAnswered(CallbackResult.UNKNOWN_ADDRESS, None, 0.0))
            return _response(400, NO_HTTP)
        if error is not None:
            self._observe(Surprise("callback", error))
        return _response(503, NOT_NOW, {"Retry-After": str(RETRY_AFTER_S)})

    def _address(self, path: str) -> tuple[str, CallbackKind] | None:
        """The account and the kind of what is posted to ``path``; None when the address is nobody's."""
        parts = path.split("/")
        names = parts if len(parts) == len(("", "callbacks", "ACCOUNT", "TOKEN", "KIND")) else [""] * 5
        root, callbacks, account, token, kind = names
        is_right = hmac.compare_digest(_digest(token), self._tokens.get(account, self._nobodys))
        if not is_right or (root, callbacks) != ("", "callbacks") or kind not in set(CallbackKind):
            return None
        return account, CallbackKind(kind)

    async def _taken(
        self, request: web.BaseRequest, account: str, kind: CallbackKind, started_s: float
    ) -> NotTaken | Malformed | TooLarge | None:
        """Read what is posted and have it taken in, all within the limit."""
        if request.method != "POST":
            return NOT_POSTED
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            return COMPRESSED
        try:
            async with asyncio.timeout(self._left_s(started_s)):
                await self._room.acquire()
        except TimeoutError:
            return NOT_IN_TIME
        try:
            async with asyncio.timeout(self._left_s(started_s)):
                body = await _body(request)
            if isinstance(body, bytes):
                return await self._take(kind, account, body, limit_s=self._left_s(started_s))
        except TimeoutError:
            return NOT_IN_TIME
        else:
            return body
        finally:
            self._room.release()

    def _left_s(self, started_s: float) -> float:
        return max(0.0, started_s + self._take_s_max - self._monotonic())


async def _body(request: web.BaseRequest) -> bytes | TooLarge | Malformed | NotTaken:
    """The whole body, or why there is none."""
    if (request.content_length or 0) > BODY_BYTES_MAX:
        return TooLarge()
    body = bytearray()
    try:
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        async for piece in request.content.iter_any():
            body += piece
            if len(body) > BODY_BYTES_MAX:
                return TooLarge()
    except ConnectionError:
        return GONE
    except web.RequestPayloadError:
        return BROKEN
    return bytes(body)


def _told(
    found: NotTaken | Malformed | TooLarge | None,
) -> tuple[CallbackResult, web.Response, str | None]:
    """What is answered, and what of it those may know who look after us."""
    match found:
        case None:
            return CallbackResult.TAKEN, _response(200), None
        case NotTaken(why):
            response = _response(503, NOT_NOW, {"Retry-After": str(RETRY_AFTER_S)})
            return CallbackResult.NOT_TAKEN, response, why
        case TooLarge():
            return CallbackResult.TOO_LARGE, _response(413, TOO_LARGE), TOO_LARGE[0]
        case Malformed() if found is NOT_POSTED:
            return CallbackResult.MALFORMED, _response(405, found.mistakes, {"Allow": "POST"}), found.mistakes[0]
        case Malformed(mistakes):
            return CallbackResult.MALFORMED, _response(400, mistakes), "; ".join(mistakes)[:SAID_CHARACTERS_MAX]


def _response(status: int, reasons: tuple[str, ...] = (), headers: Mapping[str, str] | None = None) -> web.Response:
    """``reasons``: why it was not taken."""
    body = orjson.dumps({"reasons": reasons} if reasons else {"taken": True})
    # The library would tell its version.
    named = {"Server": "mms-worker", **(headers or {})}
    return web.Response(status=status, body=body, content_type="application/json", headers=named)


def _digest(token: str) -> bytes:
    """Of equal length for all tokens, so that a comparison takes equally long."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
