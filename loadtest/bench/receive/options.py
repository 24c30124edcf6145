"""The options of `receive`."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from loadtest.bench.option_types import one_of, several, whole

Part = Literal["callbacks", "flood"]

CONNECTIONS_MAX = 400
SECONDS_MAX = 600
RATE_PER_S_MAX = 1_000


@dataclass(frozen=True, slots=True)
class ReceiveOptions:
    """What `receive` was asked for. `seconds`: how long to post, and how long to send with the flood and without."""

    parts: tuple[Part, ...]
    seconds: int
    connections: int
    rate_per_s: int
    seed: int
    json_file: Path | None


def add_receive(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    parts: Sequence[Part] = get_args(Part)
    add("--parts", type=several(one_of(parts)), default=tuple(parts), help=f"of {','.join(parts)} (default all)")
    add("--seconds", type=whole(5, SECONDS_MAX), default=20, help="how long to measure each (default 20)")
    add("--connections", type=whole(1, CONNECTIONS_MAX), default=64, help="that the vendor keeps open (default 64)")
    add("--rate", type=whole(1, RATE_PER_S_MAX), default=15, help="calls a second beside the flood (default 15)")


def receive_options(told: argparse.Namespace) -> ReceiveOptions:
    """Out of what was parsed."""
    return ReceiveOptions(
        parts=told.parts,
        seconds=told.seconds,
        connections=told.connections,
        rate_per_s=told.rate,
        seed=told.seed,
        json_file=told.json,
    )
