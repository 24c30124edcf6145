"""One connection to the broker for one role, kept: it connects, sets up, waits for the end, and starts over.

Plain connections, not aio-pika's "robust" ones: what a reconnect means for the deliveries in hand is ours to decide.
When the connection or any of its channels ends, the whole link ends, so that there is one way back.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

from aio_pika.abc import AbstractConnection
from aiormq.channel import Channel

from worker.adapters.rabbitmq_connection import (
    AMQP_FAILURES,
    BrokerAddress,
    answers_or_gone,
    connect,
    declare,
    open_raw_channel,
    why,
)
from worker.core.topology import Topology
from worker.flow.observations import BrokerConnected, BrokerLost, Observer, Role
from worker.flow.ports import CannotStart

#: Between two tries to connect: doubled each time, with jitter.
RECONNECT_S_MIN, RECONNECT_S_MAX = 0.1, 5.0
CLOSE_S_MAX = 2.0
#: Declaring and setting up, all of it.
OPEN_S_MAX = 30.0
#: A connection that ended sooner than this counts as another failed try: something may end each one, and every end
#: hands out again what was in hand.
STEADY_S = 10.0


class Link:
    """A kept connection. ``set_up`` is called on each new one, once everything is declared."""

    def __init__(
        self,
        *,
        role: Role,
        address: BrokerAddress,
        topology: Topology,
        observe: Observer,
        set_up: Callable[[], Awaitable[None]],
    ) -> None:
        self.role = role
        self.ready = asyncio.Event()
        #: What is declared on each new connection.
        self.topology = topology
        self._address = address
        self._observe = observe
        self._set_up = set_up
        self._connection: AbstractConnection | None = None
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        #: Channels that are being closed without an end of the link.
        self._given_up: set[Channel] = set()

    async def open(self) -> None:
        """Connect, declare what is missing, set up; ``CannotStart`` says in a sentence why not."""
        connection = await connect(self._address, self.role)
        self._connection = connection
        self._ended = ended = asyncio.get_running_loop().create_future()
        connection.close_callbacks.add(lambda _connection, error: self._end(ended, error, "closed"))
        try:
            with answers_or_gone():
                async with asyncio.timeout(OPEN_S_MAX):
                    # Every role declares: each may come back after somebody deleted what it needs.
                    await declare(await self.open_channel(is_confirmed=False), self.topology, self._address.timeout_s)
                    await self._set_up()
        except CannotStart:
            await self.close()
            raise
        except AMQP_FAILURES as error:
            await self.close()
            raise CannotStart(f"The broker refused what the worker needs: {why(error)}.") from error
        self.ready.set()
        self._observe(BrokerConnected(self.role))

    async def keep(self) -> None:
        """Open it again whenever it has ended."""
        loop = asyncio.get_running_loop()
        wait_s = RECONNECT_S_MIN
        while True:
            opened_at_s = loop.time()
            reason = await self._ended
            self._observe(BrokerLost(self.role, reason))
            await self.close()
            if loop.time() - opened_at_s > STEADY_S:
                wait_s = RECONNECT_S_MIN
            while not self.ready.is_set():
                await asyncio.sleep(wait_s * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
                wait_s = min(wait_s * 2, RECONNECT_S_MAX)
                try:
                    await self.open()
                except CannotStart as error:
                    self._observe(BrokerLost(self.role, str(error)))

    def end(self, reason: str) -> None:
        """Give the present connection up; only the first reason counts."""
        self._end(self._ended, None, reason)

    async def close(self) -> None:
        """Close the connection, without waiting long for a broker that does not answer."""
        connection, self._connection = self._connection, None
        self.end("closed by us")
        if connection is not None:
            with contextlib.suppress(*AMQP_FAILURES), answers_or_gone():
                async with asyncio.timeout(CLOSE_S_MAX):
                    await connection.close()

    async def declare(self, topology: Topology) -> None:
        """Declare ``topology`` too, now; ``CannotStart`` says in a sentence why not.

        On a channel of its own, which the broker closes when it refuses: the link goes on either way.
        """
        connection = self._connection
        if connection is None or not self.ready.is_set():
            raise CannotStart("There is no connection to the broker now.")
        try:
            with answers_or_gone():
                async with asyncio.timeout(OPEN_S_MAX):
                    channel = await open_raw_channel(connection, is_confirmed=False)
                    try:
                        await declare(channel, topology, self._address.timeout_s)
                    finally:
                        await channel.close()
        except AMQP_FAILURES as error:
            raise CannotStart(f"The broker refused what the account needs: {why(error)}.") from error

    async def open_channel(self, *, is_confirmed: bool) -> Channel:
        """Open a channel; its end is the end of the link, unless ``close_channel`` closes it."""
        assert self._connection is not None  # noqa: S101 - asked for by ``set_up``, on a connection that stands
        async with asyncio.timeout(self._address.timeout_s):
            channel = await open_raw_channel(self._connection, is_confirmed=is_confirmed)
        ended = self._ended

        def channel_ended(closing: asyncio.Future[Any]) -> None:
            if channel in self._given_up:
                self._given_up.discard(channel)
                return
            self._end(ended, None if closing.cancelled() else closing.exception(), "channel closed")

        channel.closing.add_done_callback(channel_ended)
        return channel

    async def close_channel(self, channel: Channel) -> None:
        """Close one channel; the link goes on. What was delivered there without an ack goes back to its queues."""
        if channel.is_closed:
            return
        self._given_up.add(channel)
        with contextlib.suppress(*AMQP_FAILURES), answers_or_gone():
            async with asyncio.timeout(self._address.timeout_s):
                await channel.close()

    async def is_blocked(self) -> bool:
        """Whether the broker has an alarm and reads nothing from us."""
        connection = self._connection
        if connection is None or connection.transport is None or not self.ready.is_set():
            return False
        try:
            # Returns without waiting unless blocked, and then the time-out ends it at once.
            async with asyncio.timeout(0):
                await connection.transport.connection.ready()
        except TimeoutError:
            return True
        return False

    def _end(self, ended: asyncio.Future[str], error: BaseException | None, otherwise: str) -> None:
        """End the connection that ``ended`` stands for; news of an earlier one changes nothing any more."""
        if not ended.done():
            ended.set_result(why(error) if error else otherwise)
        if ended is self._ended:
            self.ready.clear()
