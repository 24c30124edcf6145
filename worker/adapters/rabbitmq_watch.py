"""A slow look at the consumers and at their connection, in case that nobody tells us what became of them.

What the broker tells is heard at once (``rabbitmq_consumer.py``). But a connection can be dead in one direction, and a
broker can forget a consumer, or stop to serve it, without a word: then all would look well here, and no job would come
any more. So a channel is opened now and then, which a dead connection does not answer; and over it the broker says what
it knows of the queues that are consumed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from aiormq.channel import Channel
from aiormq.exceptions import ChannelNotFoundEntity

from worker.adapters.rabbitmq_connection import AMQP_FAILURES, answers_or_gone
from worker.adapters.rabbitmq_consumer import Consumer
from worker.adapters.rabbitmq_link import Link
from worker.core.status import Depth

LOOK_S = 5.0


class Watched(Protocol):
    """Whoever has consumers."""

    @property
    def consumers(self) -> Sequence[Consumer]:
        """Those that are believed to be alive."""

    def dead(self, consumer: Consumer) -> None:
        """A look found that ``consumer`` gets nothing any more."""


class ConsumerWatch:
    """Looks every ``look_s``. ``timeout_s``: how long the broker may take for an answer."""

    def __init__(
        self, *, link: Link, watched: Callable[[], Iterable[Watched]], look_s: float, timeout_s: float
    ) -> None:
        self._link = link
        self._watched = watched
        self._look_s = look_s
        self._timeout_s = timeout_s

    async def keep_looking(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(self._look_s)
            if self._link.ready.is_set() and (channel := await self._sign_of_life()) is not None:
                await self._look(channel)

    async def _sign_of_life(self) -> Channel | None:
        """A new channel; where the broker does not open one, the connection is given up."""
        try:
            with answers_or_gone():
                return await self._link.open_channel(is_confirmed=False, on_end=_not_looked_after)
        except TimeoutError:
            self._link.end(f"no answer within {self._timeout_s:g} s")
        except AMQP_FAILURES:
            pass  # it has ended, and the link knows
        return None

    async def _look(self, channel: Channel) -> None:
        for watched in tuple(self._watched()):
            for consumer in watched.consumers:
                try:
                    with answers_or_gone():
                        depth = await self._depth(channel, consumer.queue)
                except AMQP_FAILURES:
                    return  # one that cannot tell now is not dead; there will be another look
                if consumer.is_dead(depth):
                    watched.dead(consumer)
                if depth is None:
                    return  # the broker closed the channel with this answer
        await self._link.close_channel(channel)

    async def _depth(self, channel: Channel, queue: str) -> Depth | None:
        try:
            declared = await channel.queue_declare(queue, passive=True, timeout=self._timeout_s)
        except ChannelNotFoundEntity:
            return None
        return Depth(declared.message_count or 0, declared.consumer_count or 0)


def _not_looked_after(channel: Channel, reason: str) -> None:
    """A look's channel may end: there will be another."""
