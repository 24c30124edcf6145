"""What one channel has handed over, and its acks, which go to the broker in groups.

A confirm comes for many messages at once, and so does the answer to a call that carried many jobs: what is acknowledged
in one turn of the event loop is written together at its end. Everything that was handed over up to a tag, and is done
with, takes one frame however much it is. What has been handed over before and is still in hand is never covered by it.
"""

from __future__ import annotations

import struct

from aiormq.channel import Channel

from worker.adapters.rabbitmq_connection import is_ending
from worker.adapters.rabbitmq_writing import Writing

#: Frame type, channel, length, class and method (Basic.Ack), delivery tag, multiple, end (AMQP 0-9-1, sections 2.3.5
#: and 1.8.3.13).
_ACK = struct.Struct(">BHLHHQBB")
_METHOD_FRAME, _LENGTH_BYTES, _BASIC, _BASIC_ACK, _FRAME_END = 1, 13, 60, 80, 0xCE


class Acks:
    """The deliveries of ``channel`` without an ack, in the order in which they came, and the acks to be written."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._is_over = False
        self._newest = 0
        self._in_hand: dict[int, float] = {}
        self._done: list[int] = []
        self._writing = Writing(channel, self._take_frames)

    @property
    def reach_the_broker(self) -> bool:
        """Whether an ack still counts; if not, the broker hands out again what had none."""
        return not self._is_over and not is_ending(self.channel)

    @property
    def oldest_since_s(self) -> float | None:
        """Since when (monotonic) the delivery is in hand that is so for longest; None: there is none."""
        return next(iter(self._in_hand.values()), None)

    def took(self, delivery_tag: int, at_s: float) -> None:
        """A delivery came, at that moment (monotonic).

        Tags count up by one: what was left out came, and was lost between the client library and us. For the broker it
        is in hand, so that no ack may cover it; it comes again when the channel ends.
        """
        if delivery_tag != self._newest + 1:
            self._in_hand.update(dict.fromkeys(range(self._newest + 1, delivery_tag), at_s))
        self._newest = max(self._newest, delivery_tag)
        self._in_hand[delivery_tag] = at_s

    def ack(self, delivery_tag: int) -> None:
        """A delivery is done with; the broker is told at the end of this turn of the event loop."""
        self._in_hand.pop(delivery_tag, None)
        self._done.append(delivery_tag)
        self._writing.soon()

    def end(self) -> None:
        """Tell the broker of all acks so far, and of none that come later: the channel is about to be closed."""
        self.write()
        self._is_over = True

    def write(self) -> None:
        """Tell the broker now. When the channel is gone, nothing happens: it hands out again what had no ack."""
        self._writing.now()

    def _take_frames(self) -> bytes:
        done, self._done = self._done, []
        if not done or self._is_over:
            return b""
        return b"".join(
            _ACK.pack(
                _METHOD_FRAME, self.channel.number, _LENGTH_BYTES, _BASIC, _BASIC_ACK, tag, is_multiple, _FRAME_END
            )
            for tag, is_multiple in grouped(done, oldest_in_hand=next(iter(self._in_hand), None))
        )


def grouped(done: list[int], *, oldest_in_hand: int | None) -> list[tuple[int, bool]]:
    """The acks for the tags in ``done``: each a tag, and whether it is for everything up to that tag.

    Tags count up as deliveries come, so nothing is in hand before ``oldest_in_hand``, and everything that is not in
    ``done`` up to there has had its ack.
    """
    covered = done if oldest_in_hand is None else [tag for tag in done if tag < oldest_in_hand]
    if len(covered) < 2:  # noqa: PLR2004 - one needs no group
        return [(tag, False) for tag in done]
    last = max(covered)
    return [(last, True), *((tag, False) for tag in done if tag > last)]
