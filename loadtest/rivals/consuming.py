"""A consumer as its author would write it with aio-pika and aiohttp; what differs is the limiter that it asks."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import aio_pika
import aiohttp
from aio_pika.abc import AbstractIncomingMessage

from loadtest.rivals.call import FILE_NAME, FILE_TYPE, Call, call_of
from loadtest.rivals.catalogue import Refused
from loadtest.rivals.command import Setup
from loadtest.rivals.life import SentFile, say_ready

PREFETCH = 32
CALL_S_MAX = 30.0

Admit = Callable[[], Awaitable[bool]]
"""Asks the limiter for one call, and waits if it is of that kind; False: not now, the job goes back."""


async def consume(setup: Setup, admit: Admit, *, refused: Refused) -> None:
    """Take jobs, ask the limiter for each in turn, and make the calls side by side; until the process is ended."""
    context = ssl.create_default_context(cafile=str(setup.ca_file))
    async with (
        aiohttp.ClientSession(
            auth=aiohttp.BasicAuth(setup.app_key, ""),
            connector=aiohttp.TCPConnector(ssl=context),
            timeout=aiohttp.ClientTimeout(total=CALL_S_MAX),
        ) as http,
        await aio_pika.connect_robust(setup.amqp_url) as connection,
        asyncio.TaskGroup() as calls,
    ):
        sender = _Sender(setup, http, admit, refused)
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=PREFETCH)
        queue = await channel.get_queue(setup.queue, ensure=False)
        async with queue.iterator() as deliveries:
            say_ready()
            async for delivery in deliveries:
                if await admit():
                    calls.create_task(sender.send(delivery))
                else:
                    await delivery.nack(requeue=True)


class _Sender:
    def __init__(self, setup: Setup, http: aiohttp.ClientSession, admit: Admit, refused: Refused) -> None:
        self._url = f"{setup.api_url}/send-mms"
        self._http = http
        self._admit = admit
        self._refused = refused
        self._sent = SentFile(setup.sent_file)

    async def send(self, delivery: AbstractIncomingMessage) -> None:
        """Settle one job that was admitted."""
        call = call_of(delivery.body)
        while await self._call(call) == HTTPStatus.TOO_MANY_REQUESTS:
            if self._refused == "put back" or not await self._admit():
                await delivery.nack(requeue=True)
                return
        await delivery.ack()
        self._sent.note()

    async def _call(self, call: Call) -> int:
        form = aiohttp.FormData()
        form.add_field("mms_text", call.text)
        form.add_field("mms_file", call.picture, filename=FILE_NAME, content_type=FILE_TYPE)
        form.add_field("numbers", call.numbers)
        async with self._http.post(self._url, data=form) as answer:
            await answer.read()
            if answer.status not in {HTTPStatus.OK, HTTPStatus.TOO_MANY_REQUESTS}:
                answer.raise_for_status()
            return answer.status
