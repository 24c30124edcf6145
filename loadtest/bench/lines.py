"""Requests over connections that stay open, each when the one before it is answered; as cheap as Python has it.

A library's client costs several times what the receiver costs, and would be what is measured.
"""

import asyncio
import re
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast

from deploy.local.ports import LOOPBACK

CONNECT_S_MAX = 10.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_HEADERS_END = b"\r\n\r\n"
_STATUS_FROM, _STATUS_TO = len(b"HTTP/1.1 "), len(b"HTTP/1.1 200")


def request(path: str, body: bytes) -> bytes:
    """A post, as it goes over the line."""
    head = f"POST {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + _HEADERS_END + body


def answer_in(data: bytes | bytearray) -> tuple[int, int] | None:
    """The status of the first answer, and where it ends; None while it is not whole. Raises ValueError."""
    end = data.find(_HEADERS_END)
    if end < 0:
        return None
    length = _LENGTH.search(data, 0, end + 2)
    if length is None:
        raise ValueError("an answer without a length")
    end += len(_HEADERS_END) + int(length[1])
    return (int(data[_STATUS_FROM:_STATUS_TO]), end) if len(data) >= end else None


@dataclass(slots=True)
class Posted:
    """What was answered: how often which status, and how long that took. `lines`: how many have ended."""

    statuses: Counter[int] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    lines: int = 0
    broken: int = 0

    def note(self, status: int, asked_at_s: float) -> None:
        """One answer came."""
        self.statuses[status] += 1
        self.latencies_s.append(time.monotonic() - asked_at_s)


class _Line(asyncio.Protocol):
    """One connection. `ended` says whether it ended as it was to."""

    def __init__(
        self, requests: Iterator[bytes], note: Callable[[int, float], None], *, answers_max: int | None
    ) -> None:
        self._requests = requests
        self._note = note
        self._answers_left = answers_max
        self._buffer = bytearray()
        self._asked_at_s = 0.0
        self._is_done = False
        self._transport: asyncio.Transport | None = None
        self.ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # of a stream
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        answer = answer_in(self._buffer)
        if answer is None:
            return
        status, end = answer
        del self._buffer[:end]
        self._note(status, self._asked_at_s)
        if self._answers_left is not None:
            self._answers_left -= 1
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(self._is_done and exc is None)

    def _ask(self) -> None:
        assert self._transport is not None  # noqa: S101 - connected
        next_one = None if self._answers_left == 0 else next(self._requests, None)
        if next_one is None:
            self._is_done = True
            self._transport.close()
            return
        self._asked_at_s = time.monotonic()
        self._transport.write(next_one)


async def post(
    port: int, tls: ssl.SSLContext, requests: Iterator[bytes], posted: Posted, *, answers_max: int | None = None
) -> None:
    """Post them over one connection until there are none, or so many are answered; what goes wrong is counted."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_S_MAX):
            _, line = await loop.create_connection(
                lambda: _Line(requests, posted.note, answers_max=answers_max),
                LOOPBACK,
                port,
                ssl=tls,
                server_hostname=LOOPBACK,
            )
        posted.broken += not await line.ended
        posted.lines += 1
    except (OSError, TimeoutError):
        posted.broken += 1


def until(requests: Iterator[bytes], end_s: float) -> Iterator[bytes]:
    """The same until that moment of the monotonic clock."""
    for one in requests:
        if time.monotonic() >= end_s:
            return
        yield one
