"""The open connections where callbacks are taken: how many there may be, and what is said to what is no request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web

#: What a request is answered with.
Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
#: And what is no request, or was not answered: by the HTTP status that the library has for it, and the error.
Broken = Callable[[int, BaseException | None], web.Response]


class _Connection(web.RequestHandler):
    """Answers in our words where the library would quote what it was sent, and tell its version.

    What it does with the library's own attributes is proven by the tests, since no word of the library's is.
    """

    __slots__ = ("_broken",)

    def __init__(self, connections: web.Server, broken: Broken, **options: Any) -> None:
        super().__init__(connections, **options)
        self._broken = broken

    def end_if_idle(self) -> bool:
        """End it when it waits for a request; whether it has ended, but for what TLS says at the end."""
        if self._waiter is not None and not self._waiter.done():
            self.force_close()
        return self.transport is None or self._task_handler is None

    def data_received(self, data: bytes) -> None:
        """Tell who reads a body that there is no more of it, when what came is no part of it.

        The library puts that behind the request, as another one, and leaves the body at waiting for its rest.
        """
        super().data_received(data)
        request = self._current_request
        if request is not None and self._messages and not request.content.is_eof():
            request.content.set_exception(web.RequestPayloadError("something else came"))
            request.content.feed_eof()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - the library's words
    ) -> web.StreamResponse:
        """The answer to what is no request, or was not answered; the connection ends with it."""
        response = self._broken(status, exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        response.force_close()
        return response


class Connections(web.Server):
    """The open connections. Of too many, the oldest one goes on which no token was ever shown."""

    def __init__(self, answer: Answer, *, broken: Broken, connections_max: int, **options: Any) -> None:
        super().__init__(answer, **options)
        self._broken = broken
        self._options = options
        self._connections_max = connections_max
        self._strange: dict[web.RequestHandler, asyncio.Transport] = {}
        self._trusted: set[web.RequestHandler] = set()

    def __call__(self) -> web.RequestHandler:
        """Another connection."""
        return _Connection(self, self._broken, loop=asyncio.get_running_loop(), **self._options)

    def end_idle(self) -> bool:
        """End those without a request; whether all have ended."""
        have_ended = [one.end_if_idle() for one in self.connections if isinstance(one, _Connection)]
        return all(have_ended)

    def trust(self, connection: web.RequestHandler) -> None:
        """A token was shown on it."""
        if self._strange.pop(connection, None) is not None:
            self._trusted.add(connection)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Count it."""
        super().connection_made(handler, transport)
        self._strange[handler] = transport
        if len(self._strange) + len(self._trusted) > self._connections_max:
            self._strange.pop(next(iter(self._strange))).abort()

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """Count it no more."""
        self._strange.pop(handler, None)
        self._trusted.discard(handler)
        super().connection_lost(handler, exc)
