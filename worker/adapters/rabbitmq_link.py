"""One connection to the broker for one role, kept: it connects, sets up, waits for the end, and starts over.

Plain connections, not aio-pika's "robust" ones: what a reconnect means for the deliveries in hand is ours to decide.
When the connection ends, or a channel that nobody else looks after, the whole link ends, so that there is one way back.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

from aio_pika.abc import AbstractConnection
from aiormq.channel import Channel
from aiormq.exceptions import ChannelNotFoundEntity

from worker.adapters.rabbitmq_connection import (
    AMQP_FAILURES,
    BrokerAddress,
    BrokerGone,
    answers_or_gone,
    connect,
    declare,
    open_raw_channel,
    why,
)
from worker.core.topology import Topology
from worker.flow.observations import BrokerConnected, BrokerLost, Observer, Role
from worker.flow.ports import CannotStart

#: Between two tries: doubled each time, with jitter, so that the workers of a broker that went away do not come back
#: all at once. However long it was away, jobs flow again within five seconds of its return.
AGAIN_S_MIN, AGAIN_S_MAX = 0.1, 2.0
CLOSE_S_MAX = 2.0
#: Declaring and setting up, all of it.
OPEN_S_MAX = 30.0
#: What ended sooner than this counts as another failed try: something may end each one, and every end of a connection
#: hands out again what was in hand.
STEADY_S = 10.0


class BackOff:
    """How long to wait before something is tried again."""

    def __init__(self) -> None:
        self._wait_s = AGAIN_S_MIN
        self._up_since_s: float | None = None

    def up(self, now_s: float) -> None:
        """It is there since now (on any clock that only goes forward)."""
        self._up_since_s = now_s

    def next_s(self, now_s: float) -> float:
        """How long to wait now: short again when it had been there for ``STEADY_S``."""
        if self._up_since_s is not None and now_s - self._up_since_s > STEADY_S:
            self._wait_s = AGAIN_S_MIN
        self._up_since_s = None
        wait_s = self._wait_s * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, not a secret
        self._wait_s = min(self._wait_s * 2, AGAIN_S_MAX)
        return wait_s


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
        except TimeoutError as error:
            await self.close()
            raise CannotStart(self._no_answer("what the worker needs was declared")) from error
        except AMQP_FAILURES as error:
            await self.close()
            raise CannotStart(f"The broker refused what the worker needs: {why(error)}.") from error
        self.ready.set()
        self._observe(BrokerConnected(self.role))

    async def keep(self) -> None:
        """Open it again whenever it has ended."""
        loop = asyncio.get_running_loop()
        back_off = BackOff()
        while True:
            back_off.up(loop.time())
            reason = await self._ended
            self._observe(BrokerLost(self.role, reason))
            await self.close()
            while not self.ready.is_set():
                await asyncio.sleep(back_off.next_s(loop.time()))
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
                        await self.close_channel(channel)
        except TimeoutError as error:
            raise CannotStart(self._no_answer("what the account needs was declared")) from error
        except AMQP_FAILURES as error:
            raise CannotStart(f"The broker refused what the account needs: {why(error)}.") from error

    async def has_exchange(self, name: str) -> bool:
        """Whether the exchange exists; ``CannotStart`` when that cannot be found out."""
        connection = self._connection
        if connection is None or not self.ready.is_set():
            raise CannotStart("There is no connection to the broker now.")
        try:
            with answers_or_gone():
                async with asyncio.timeout(OPEN_S_MAX):
                    channel = await open_raw_channel(connection, is_confirmed=False)
                    try:
                        await channel.exchange_declare(name, passive=True, timeout=self._address.timeout_s)
                    finally:
                        await self.close_channel(channel)
        except ChannelNotFoundEntity:
            return False
        except AMQP_FAILURES as error:
            raise CannotStart(f"The broker does not say whether {name} exists: {why(error)}.") from error
        return True

    async def open_channel(
        self, *, is_confirmed: bool, on_end: Callable[[Channel, str], None] | None = None
    ) -> Channel:
        """Open a channel. Its end, with the reason, goes to ``on_end``; with nobody to hear it, the link ends."""
        connection, ended = self._connection, self._ended
        if connection is None:
            raise BrokerGone("there is no connection to the broker now")
        async with asyncio.timeout(self._address.timeout_s):
            channel = await open_raw_channel(connection, is_confirmed=is_confirmed)

        def channel_ended(closing: asyncio.Future[Any]) -> None:
            error = None if closing.cancelled() else closing.exception()
            if on_end is None:
                self._end(ended, error, "channel closed")
            else:
                on_end(channel, why(error) if error else "channel closed")

        channel.closing.add_done_callback(channel_ended)
        return channel

    async def close_channel(self, channel: Channel) -> None:
        """Close one channel. What was delivered there without an ack goes back to its queues."""
        if channel.is_closed:
            return
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

    def _no_answer(self, meanwhile: str) -> str:
        """One sentence about a broker that did not answer in time; who was too slow, it or we, cannot be told."""
        return (
            f"The broker at {self._address} did not answer in time (within {self._address.timeout_s:g} s, "
            f"{OPEN_S_MAX:g} s for all) while {meanwhile}: look whether RabbitMQ hangs or is overloaded, and whether "
            "this worker was stopped or starved meanwhile; then start it again."
        )

    def _end(self, ended: asyncio.Future[str], error: BaseException | None, otherwise: str) -> None:
        """End the connection that ``ended`` stands for; news of an earlier one changes nothing any more."""
        if not ended.done():
            ended.set_result(why(error) if error else otherwise)
        if ended is self._ended:
            self.ready.clear()
