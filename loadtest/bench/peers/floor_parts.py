"""What a job cannot do without, each with the least that is known to do it; nothing is decided, checked or counted.

The calls are made as the worker's transport makes them: aiohttp, one pool of connections, the body made beforehand.
"""

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any

import aiohttp
import aiormq
import aiormq.connection
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic
from redis.asyncio import Redis
from yarl import URL

from loadtest.bench.send_requests import send_requests
from loadtest.rivals.peers.surroundings import Surroundings

ACKS_TOGETHER, ACK_S_MAX = 50, 0.02
COMMANDS_TOGETHER = 32
PERSISTENT = 2
FRAMES_BUFFERED_MAX = 4_096
"""aiormq lets ten frames wait for the socket, which costs a publisher a turn of the event loop for each message."""
JSON_TYPE = "application/json"


async def connect(url: str) -> aiormq.abc.AbstractConnection:
    """To the broker. Raises what aiormq raises."""
    aiormq.connection.Connection.FRAME_BUFFER_SIZE = FRAMES_BUFFERED_MAX
    return await aiormq.connect(url)


class Taken:
    """Deliveries of a queue; those that are done, up to the first that is not, are acknowledged together."""

    def __init__(self, channel: AbstractChannel) -> None:
        self.waiting: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
        self._channel = channel
        self._done: set[int] = set()
        self._up_to = self._acknowledged = 0

    async def begin(self, queue: str, prefetch: int) -> None:
        """Have them come."""
        await self._channel.basic_qos(prefetch_count=prefetch)
        await self._channel.basic_consume(queue, self._take)

    async def _take(self, delivery: DeliveredMessage) -> None:
        self.waiting.put_nowait(delivery)

    async def done(self, delivery: DeliveredMessage) -> None:
        """This one may go."""
        self._done.add(delivery.delivery_tag or 0)
        while self._up_to + 1 in self._done:
            self._up_to += 1
            self._done.remove(self._up_to)
        if self._up_to >= self._acknowledged + ACKS_TOGETHER:
            await self.acknowledge()

    async def acknowledge(self) -> None:
        """All that is done and was not acknowledged yet."""
        if self._up_to > self._acknowledged:
            self._acknowledged = self._up_to
            await self._channel.basic_ack(self._up_to, multiple=True, wait=False)

    async def acknowledge_now_and_then(self) -> None:
        """So that a few do not wait for others to come; without end."""
        while True:
            await asyncio.sleep(ACK_S_MAX)
            await self.acknowledge()


async def publish(channel: AbstractChannel, exchange: str, routing_key: str, body: bytes) -> None:
    """Persistent; returns when the broker has it."""
    properties = Basic.Properties(content_type=JSON_TYPE, delivery_mode=PERSISTENT)
    await channel.basic_publish(body, exchange=exchange, routing_key=routing_key, properties=properties)


class Store:
    """Redis; commands that are given while others are under way leave together."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url)
        self._waiting: list[tuple[Sequence[Any], asyncio.Future[Any]]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def do(self, *command: Any) -> Any:
        """Its answer. Raises RedisError."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, answer))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        return await answer

    async def close(self) -> None:
        """Let go of the connection."""
        await self._redis.aclose()

    async def _flush(self) -> None:
        while some := self._waiting[:COMMANDS_TOGETHER]:
            del self._waiting[:COMMANDS_TOGETHER]
            pipeline = self._redis.pipeline(transaction=False)
            for command, _ in some:
                pipeline.execute_command(*command)
            try:
                told = await pipeline.execute(raise_on_error=False)
            except Exception as error:  # noqa: BLE001 - whoever waits has to hear of it
                told = [error] * len(some)
            for (_, answer), one in zip(some, told, strict=True):
                if isinstance(one, Exception):
                    answer.set_exception(one)
                else:
                    answer.set_result(one)
        self._flushing = None


def a_request(here: Surroundings) -> bytes:
    """A call as it goes over the line."""
    return next(send_requests(here.api_url, key=here.app_key, picture=here.picture, numbers=1))


class Calls:
    """The API, over TLS; each call carries the same bytes."""

    def __init__(self, here: Surroundings) -> None:
        head, _, self._body = a_request(here).partition(b"\r\n\r\n")
        lines = [line.partition(": ") for line in head.decode().split("\r\n")[1:]]
        self._headers = {name: value for name, _, value in lines if name not in {"Host", "Content-Length"}}
        self._url = URL(f"{here.api_url}/send-mms", encoded=True)
        context = ssl.create_default_context(cafile=here.ca_file)
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=here.in_flight),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        )

    async def make(self) -> bytes:
        """One; the answer's body. Raises aiohttp.ClientError."""
        async with self._http.post(self._url, data=self._body, headers=self._headers) as answer:
            answer.raise_for_status()
            return await answer.read()

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.close()
