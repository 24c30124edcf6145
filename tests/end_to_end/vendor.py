"""The vendor's side of callbacks: posts, and posts again whatever was not answered with 200."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import aio_pika
import httpx
import orjson
from aio_pika.abc import AbstractIncomingMessage

EVENT_LOG = "mms.events.log"
AGAIN_S = 0.2
TRIES_MAX = 300


class Vendor:
    """Posts to the addresses that ``addresses()`` gives now, each time to the next one."""

    def __init__(self, client: httpx.AsyncClient, addresses: Callable[[], list[str]]) -> None:
        self._client = client
        self._addresses = addresses
        self._turn = 0
        #: How often something had to be posted again.
        self.repeats = 0

    async def post(self, kind: str, content: object) -> None:
        """Until it is taken."""
        body = orjson.dumps(content)
        for _ in range(TRIES_MAX):
            addresses = self._addresses()
            self._turn += 1
            try:
                answer = await self._client.post(f"{addresses[self._turn % len(addresses)]}/{kind}", content=body)
                if answer.status_code == 200:
                    return
            except httpx.TransportError:
                pass
            self.repeats += 1
            await asyncio.sleep(AGAIN_S)
        raise AssertionError(f"not taken after {TRIES_MAX} tries")

    async def post_all(self, kind: str, contents: Iterable[object], *, at_once: int = 16) -> None:
        """Several at a time, in about this order."""
        waiting = iter(contents)

        async def post_some() -> None:
            for content in waiting:
                await self.post(kind, content)

        await asyncio.gather(*(post_some() for _ in range(at_once)))


async def events(amqp_url: str, is_enough: Callable[[list[dict[str, Any]]], object], limit_s: float = 60) -> list[Any]:
    """The log of all events from its beginning, in its order, once there are enough."""
    found: list[dict[str, Any]] = []

    async def note(message: AbstractIncomingMessage) -> None:
        found.append(orjson.loads(message.body))
        await message.ack()

    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=1000)
        log = await channel.get_queue(EVENT_LOG)
        await log.consume(note, arguments={"x-stream-offset": "first"})
        async with asyncio.timeout(limit_s):
            while not is_enough(found):  # noqa: ASYNC110 - filled by the broker
                await asyncio.sleep(0.05)
        # Whatever was published too often is there by now, too.
        await asyncio.sleep(0.3)
    return found


async def until(is_so: Callable[[], object], limit_s: float = 30) -> None:
    async with asyncio.timeout(limit_s):
        while not is_so():  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.02)


Answer = Callable[[], Awaitable[httpx.Response]]


async def until_answered(ask: Answer, status: int, limit_s: float = 30) -> httpx.Response:
    """Ask until the answer has that status."""
    async with asyncio.timeout(limit_s):
        while (answer := await ask()).status_code != status:  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.05)
    return answer
