"""A whole answer to a usual request, as it goes over the line: head and body in one piece.

aiohttp's response takes some 15 µs to work out a head that is the same each time.
"""

import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from aiohttp import HttpVersion11, web

from loadtest.simulator.answers import Answer


def whole_response(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    """The response to a request; unusual ones, and unusual answers, are left to aiohttp."""
    is_usual = request.version == HttpVersion11 and request.keep_alive and request.method in ("POST", "GET")
    if is_usual and answer.body and not answer.headers:
        return _ReadyResponse(answer)
    headers = dict(answer.headers)
    headers["Content-Type"] = answer.content_type
    return web.Response(status=answer.http_status, body=answer.body, headers=headers)


class _ReadyResponse(web.StreamResponse):
    """What aiohttp's server asks of a response: to be prepared, and to be written to its end."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(status=answer.http_status)
        self._answer = answer

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write all of it; ConnectionResetError when the client has left."""
        answer, transport = self._answer, request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        head = _head(answer.http_status, answer.content_type, int(time.time()))
        transport.write(b"%b%d\r\n\r\n%b" % (head, len(answer.body), answer.body))
        self._keep_alive = True
        self._eof_sent = True

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: it is written."""


@lru_cache(maxsize=64)
def _head(status: int, content_type: str, at_s: int) -> bytes:
    """Up to the length of the body."""
    lines = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"Content-Type: {content_type}",
        f"Date: {formatdate(at_s, usegmt=True)}",
        "Content-Length: ",
    )
    return "\r\n".join(lines).encode()
