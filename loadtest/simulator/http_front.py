"""HTTP in front of the service: reads calls, keeps the times, and delivers each answer in its manner."""

import asyncio
import random
import socket
import struct
from typing import Never as NoReturn
from typing import assert_never

from aiohttp import web

from loadtest.simulator.accounts import key_in_credentials
from loadtest.simulator.answers import Answer, Dripping, DrippingHead, Late, Never, Reset, Truncated, Whole
from loadtest.simulator.clock import SteadyWallClock
from loadtest.simulator.form import BODY_BYTES_MAX
from loadtest.simulator.records import Operation, OutageKind
from loadtest.simulator.service import Arrival, MmsService, TurnedAway
from loadtest.simulator.whole_response import whole_response

BASE_PATH = "/api/v3"
_OPERATIONS: dict[tuple[str, str], Operation] = {
    ("POST", f"{BASE_PATH}/send-mms"): "send-mms",
    ("GET", f"{BASE_PATH}/account"): "account",
    ("GET", f"{BASE_PATH}/get-responses"): "get-responses",
    ("POST", f"{BASE_PATH}/inbound-read"): "inbound-read",
    ("POST", f"{BASE_PATH}/inbound-read-bulk"): "inbound-read-bulk",
}
_LINGER_NOT = struct.pack("ii", 1, 0)  # closing then sends RST


class ArrivingRequest(web.BaseRequest):
    """A request with the moment it arrived: made as soon as its head is read, before its task runs."""

    arrived_us: int


class HttpFront:
    """The handler of all API calls.

    Latency is counted from the arrival, and random within `latency_s` ± `latency_spread_s`. Each call is held
    back for a random 0 to `spread_s` before it counts, as a way that jitters would do.
    """

    def __init__(
        self,
        service: MmsService,
        clock: SteadyWallClock,
        chance: random.Random,
        *,
        latency_s: float,
        latency_spread_s: float,
        spread_s: float,
    ) -> None:
        self.outage: OutageKind | None = None
        self._service = service
        self._clock = clock
        self._random = chance
        self._latency_s = latency_s
        self._latency_spread_s = latency_spread_s
        self._spread_s = spread_s

    def request(
        self, message: object, payload: object, protocol: object, writer: object, task: object
    ) -> ArrivingRequest:
        """Make a request, as `web.Server` wants it from its `request_factory`."""
        request = ArrivingRequest(
            message,  # type: ignore[arg-type]  # aiohttp does not export the types of these
            payload,  # type: ignore[arg-type]  # as above
            protocol,  # type: ignore[arg-type]  # as above
            writer,  # type: ignore[arg-type]  # as above
            task,  # type: ignore[arg-type]  # as above
            asyncio.get_running_loop(),
            client_max_size=BODY_BYTES_MAX,
        )
        request.arrived_us = self._clock.now_us()
        return request

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one call."""
        arrival, arrived_us = await self._arrive(request)
        try:
            body = await _body(request)
        except web.HTTPRequestEntityTooLarge:
            answer = self._service.too_large(arrival)
        except asyncio.CancelledError:
            self._service.broken_off(arrival)
            raise
        except (OSError, web.RequestPayloadError):
            self._service.broken_off(arrival)
            raise ConnectionResetError from None  # what aiohttp takes for a client that left
        else:
            content_type = request.headers.get("Content-Type", "")
            # Reading the query costs as much as the limit; only a GET has one.
            query = request.query if request.method == "GET" else None
            answer = self._service.finish(arrival, content_type, body, self._clock.now_us(), query)
        return await self._deliver(request, answer, arrived_us)

    async def _arrive(self, request: web.BaseRequest) -> tuple[Arrival | TurnedAway, int]:
        assert isinstance(request, ArrivingRequest)  # noqa: S101 - the factory above makes all of them
        at_us = request.arrived_us
        headers = request.headers
        key = key_in_credentials(headers.get("Authorization"), headers.get("APPKEY"))
        operation = _operation(request)
        if self._spread_s and self.outage is None:
            await asyncio.sleep(self._random.uniform(0, self._spread_s))
            at_us = self._clock.now_us()
        if self.outage is not None:
            return self._service.arrive_in_outage(self.outage, operation, key, at_us), at_us
        return self._service.arrive(operation, key, at_us), at_us

    async def _deliver(self, request: web.BaseRequest, answer: Answer, arrived_us: int) -> web.StreamResponse:
        manner = answer.manner
        match manner:
            case Whole():
                await self._sleep_until(arrived_us, self._usual_s())
                return whole_response(request, answer)
            case Late(after_s):
                await self._sleep_until(arrived_us, after_s)
                return whole_response(request, answer)
            case Never():
                return await _until_client_leaves()
            case Reset():
                await self._sleep_until(arrived_us, self._usual_s())
                reset_connection(request.transport)
                return await _until_client_leaves()
            case Truncated() | Dripping() | DrippingHead():
                await self._sleep_until(arrived_us, self._usual_s())
                return await _in_pieces(request, answer, manner)
            case _:
                assert_never(manner)

    def _usual_s(self) -> float:
        if not self._latency_spread_s:
            return self._latency_s
        return self._latency_s + self._random.uniform(-self._latency_spread_s, self._latency_spread_s)

    async def _sleep_until(self, arrived_us: int, after_s: float) -> None:
        left_s = after_s - (self._clock.now_us() - arrived_us) / 1e6
        if left_s > 0:
            await asyncio.sleep(left_s)


def reset_connection(transport: asyncio.Transport | None) -> None:
    """Cut a connection at once, with RST and no goodbye of TLS."""
    if transport is None:
        return  # the client has left by itself
    if (connection := transport.get_extra_info("socket")) is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    transport.abort()


def _operation(request: web.BaseRequest) -> Operation:
    """By the path as it came, which is at hand; by the path that it means, when it came in another way."""
    method = request.method
    known = _OPERATIONS.get((method, request.raw_path))
    return known or _OPERATIONS.get((method, request.path), "unknown")


async def _body(request: web.BaseRequest) -> bytes:
    """All of it; raises as `read` does. What has come already needs no reading in pieces."""
    length, payload = request.content_length, request.content
    if length is not None and length <= BODY_BYTES_MAX and payload.is_eof():
        return payload.read_nowait()
    return await request.read()


async def _until_client_leaves() -> NoReturn:
    await asyncio.get_running_loop().create_future()  # aiohttp cancels the handler when the connection is lost
    raise AssertionError("nobody sets this future")


async def _head(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.http_status, headers={"Content-Type": answer.content_type})
    response.content_length = len(answer.body)
    await response.prepare(request)
    return response


async def _in_pieces(
    request: web.BaseRequest, answer: Answer, manner: Truncated | Dripping | DrippingHead
) -> web.StreamResponse:
    match manner:
        case Truncated():
            return await _truncated(request, answer)
        case Dripping(pause_s):
            return await _dripping(request, answer, pause_s)
        case DrippingHead(pause_s):
            return await _dripping_head(request, answer, pause_s)


async def _truncated(request: web.BaseRequest, answer: Answer) -> NoReturn:
    response = await _head(request, answer)
    await response.write(answer.body[: len(answer.body) // 2])
    if request.transport is not None:
        request.transport.close()  # not abort: what was written must arrive
    await _until_client_leaves()


async def _dripping(request: web.BaseRequest, answer: Answer, pause_s: float) -> web.StreamResponse:
    response = await _head(request, answer)
    for place in range(len(answer.body)):
        await response.write(answer.body[place : place + 1])
        await asyncio.sleep(pause_s)
    await response.write_eof()
    return response


async def _dripping_head(request: web.BaseRequest, answer: Answer, pause_s: float) -> NoReturn:
    """Write past aiohttp, which sends a head in one piece."""
    head = (
        f"HTTP/1.1 {answer.http_status} OK\r\nContent-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\nConnection: close\r\n\r\n"
    ).encode()
    for piece in (*(head[place : place + 1] for place in range(len(head))), answer.body):
        if request.transport is not None:
            request.transport.write(piece)
        await asyncio.sleep(pause_s)
    if request.transport is not None:
        request.transport.close()
    await _until_client_leaves()
