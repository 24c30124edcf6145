"""What can be wrong with a line; each is put on one stream of a proxy, or on both."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal


class Stream(enum.Enum):
    """A direction of a connection."""

    UPSTREAM = "from the client to the server"
    DOWNSTREAM = "from the server to the client"


@dataclass(frozen=True, slots=True, eq=False)
class Latency:
    """Everything takes ``latency_ms`` ± ``jitter_ms`` longer, and stays in order."""

    latency_ms: float
    jitter_ms: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Bandwidth:
    """A slow line: ``kb_per_s`` thousand bytes a second."""

    kb_per_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Slicer:
    """Pieces of at most ``bytes_max``, with ``delay_ms`` after each."""

    bytes_max: int
    delay_ms: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class LimitData:
    """Of each connection ``bytes_max`` more pass, from when this was added or it was opened; ``then`` it ends.

    ``hang``: it does not end, but nothing more passes.
    """

    bytes_max: int
    then: Literal["close", "reset", "hang"] = "close"


@dataclass(frozen=True, slots=True, eq=False)
class Timeout:
    """A black hole: what comes is taken and dropped; the connection is closed ``timeout_ms`` later (0: never).

    On one stream alone the connection is half-open. One that lost bytes is of no use when this is taken away: it is
    reset as soon as something comes.
    """

    timeout_ms: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class ResetPeer:
    """Connections, also those to come, are reset (RST, on both ends) after ``after_ms``."""

    after_ms: float = 0.0


Toxic = Latency | Bandwidth | Slicer | LimitData | Timeout | ResetPeer
