"""What goes out of the broker and back into it, as plain data (pure)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

#: What the names of our own headers begin with.
OUR_HEADERS = "x-mms-"
#: Attempts that the job has used up so far; ours, carried from copy to copy.
ATTEMPTS_HEADER = "x-mms-attempts"
WAS_IN_HAND_HEADER = "x-mms-was-in-hand"
#: The broker's count of how often a message came back without an ack, since it was published.
COMEBACKS_HEADER = "x-delivery-count"
#: How often a job was taken out of ``mms.dead`` to be tried again, and how often it was resolved when in doubt.
REDRIVES_HEADER, RESOLUTIONS_HEADER = f"{OUR_HEADERS}redrives", f"{OUR_HEADERS}resolutions"
_COUNTS_BELIEVED_MAX = 1_000_000
#: What is carried of a producer's headers to a copy. A frame holds 128 KB, and a copy adds headers of ours.
CARRIED_BYTES_MAX = 32_768
#: What the broker wrote on a message's earlier way, which would grow without end on a copy and mislead; and what
#: names further queues to route to (RabbitMQ's sender-selected distribution), which would multiply the job.
_BROKER_HEADERS = frozenset(
    {"x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason", "x-last-death-exchange",
     "x-last-death-queue", "x-last-death-reason", COMEBACKS_HEADER, "x-acquired-count", "CC", "BCC"}
)  # fmt: skip


class Lane(enum.StrEnum):
    """An account's urgent or bulk queue."""

    URGENT = "urgent"
    BULK = "bulk"


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """A job as handed over by the broker.

    ``receipt`` is what the broker's adapter needs to acknowledge it, and means nothing to anybody else.
    ``received_at_s`` is on the monotonic clock.
    """

    account: str
    lane: Lane
    body: bytes = field(repr=False)
    headers: Mapping[str, Any] = field(repr=False)
    redelivered: bool
    published_at: datetime | None
    received_at_s: float
    receipt: object = field(repr=False)

    @property
    def attempts(self) -> int:
        """Attempts used up before this delivery."""
        return count_in(self.headers, ATTEMPTS_HEADER)

    @property
    def resolutions(self) -> int:
        """How often it was in doubt, and was resolved, before this delivery."""
        return count_in(self.headers, RESOLUTIONS_HEADER)

    @property
    def returns(self) -> int:
        """How often it was held before this delivery, and let go again: resent when in doubt, retried when dead."""
        return self.resolutions + count_in(self.headers, REDRIVES_HEADER)

    @property
    def comebacks(self) -> int:
        """How often the broker had handed it out, and had it back without an end, before this delivery."""
        return count_in(self.headers, COMEBACKS_HEADER)

    @property
    def was_in_hand(self) -> bool:
        """Whether somebody may have had the job in hand before, this message of it or the one that it is a copy of."""
        return self.redelivered or self.headers.get(WAS_IN_HAND_HEADER) is True


@dataclass(frozen=True, slots=True)
class Publication:
    """A message to publish: persistent, confirmed, and mandatory where ``is_mandatory``."""

    exchange: str
    routing_key: str
    body: bytes = field(repr=False)
    headers: Mapping[str, Any] = field(repr=False)
    content_type: str = "application/json"
    published_at: datetime | None = None


def count_in(headers: Mapping[str, Any], name: str) -> int:
    """The count that a header holds; anything else counts as 0."""
    value = headers.get(name)
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _COUNTS_BELIEVED_MAX
    return value if is_count and isinstance(value, int) else 0


def carried_headers(delivery: Delivery, **more: object) -> dict[str, Any]:
    """The headers for a copy of ``delivery``: the producer's own, without the broker's, with ``more``.

    Names in ``more`` are written with underscores and without the ``x-mms-`` that all of ours begin with.
    """
    kept = {name: value for name, value in delivery.headers.items() if name not in _BROKER_HEADERS}
    if _size_bytes(kept) > CARRIED_BYTES_MAX:
        # Whole or not at all: nobody can tell which of a producer's headers matter.
        counts = {name: count_in(kept, name) for name in (REDRIVES_HEADER, RESOLUTIONS_HEADER) if name in kept}
        kept = {"x-mms-headers-dropped": len(kept) - len(counts)} | counts
    return kept | {f"{OUR_HEADERS}{name.replace('_', '-')}": value for name, value in more.items()}


def _size_bytes(value: object) -> int:
    """About how many bytes ``value`` takes as an AMQP field; never much less."""
    if isinstance(value, Mapping):
        return 5 + sum(2 + len(str(name).encode()) + _size_bytes(inner) for name, inner in value.items())
    if isinstance(value, list | tuple):
        return 5 + sum(_size_bytes(inner) for inner in value)
    if isinstance(value, bytes | bytearray):
        return 5 + len(value)
    return 9 + len(str(value).encode(errors="replace"))
