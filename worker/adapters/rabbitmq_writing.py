"""What is written to a channel in one turn of the event loop goes to the connection together, at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiormq.abc import ChannelFrame
from aiormq.channel import Channel

from worker.adapters.rabbitmq_connection import is_ending

#: While the connection's queue of frames is full, it is looked at again after this.
FULL_WAIT_S = 0.05


class Writing:
    """Writes to ``channel`` what ``take`` hands over: frames, each of them once, or nothing.

    While the connection takes no more, it is tried again a little later; once the channel is ending, what is taken is
    dropped.
    """

    def __init__(self, channel: Channel, take: Callable[[], bytes]) -> None:
        self._channel = channel
        self._take = take
        self._due: asyncio.Handle | None = None

    def soon(self) -> None:
        """Write at the end of this turn, with all else until then."""
        if self._due is None:
            self._due = asyncio.get_running_loop().call_soon(self.now)

    def now(self) -> None:
        """Write at once, or as soon as the connection takes it."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        is_lost = is_ending(self._channel)
        if self._channel.write_queue.full() and not is_lost:
            self._due = asyncio.get_running_loop().call_later(FULL_WAIT_S, self.now)
        elif (frames := self._take()) and not is_lost:
            self._channel.write_queue.put_nowait(ChannelFrame(payload=frames, should_close=False))
