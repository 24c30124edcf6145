"""A watched body arrives whole, and its steps are passed when just so much of it has left."""

from __future__ import annotations

import asyncio
import ssl
from functools import partial

import httpx
import trustme

from tests.contract.test_http_transport import BODY, serving
from worker.adapters.http_transport import AiohttpTransport, TransportLimits
from worker.adapters.http_watched_body import WatchedBody
from worker.core.steps import Step

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LIMITS = TransportLimits(connections_max=1, connect_timeout_s=2, read_timeout_s=2, keepalive_s=15)


async def test_each_half_has_left_when_its_step_is_passed_and_the_answer_is_not_there() -> None:
    ca = trustme.CA()
    arrived = bytearray()
    passed: list[tuple[Step, int, bool]] = []
    has_answered = False

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal has_answered
        head = await reader.readuntil(b"\r\n\r\n")
        assert f"content-length: {len(BODY)}" in head.decode().lower()
        while len(arrived) < len(BODY):
            arrived.extend(await reader.read(65_536))
        await asyncio.sleep(0.1)
        has_answered = True
        writer.write(ANSWER)

    def note(step: Step) -> None:
        passed.append((step, len(arrived), has_answered))

    context = ssl.create_default_context()
    ca.configure_trust(context)
    async with serving(handle, ca) as server:
        through = AiohttpTransport(ssl_context=context, limits=LIMITS, make_body=partial(WatchedBody, passed=note))
        try:
            request = httpx.Request("POST", server.url, stream=httpx.ByteStream(BODY))
            answer = await through.handle_async_request(request)
            assert await answer.aread() == b"ok"
        finally:
            await through.aclose()
    assert bytes(arrived) == BODY
    assert passed == [(Step.MID_UPLOAD, len(BODY) // 2, False), (Step.AFTER_REQUEST, len(BODY), False)]
