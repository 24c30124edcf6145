"""The options of `peers`."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from loadtest.bench.option_types import milliseconds, one_of, several, whole
from loadtest.bench.peers.rows import row_names

JOBS_MIN, JOBS_MAX = 2_000, 1_000_000
ROUNDS_MAX = 9
PROCESSES_MAX = 2
IN_FLIGHT_MAX = 1_024


@dataclass(frozen=True, slots=True)
class PeersOptions:
    """What `peers` was asked for; None: as usual. `jobs`: of one of our workers; the others get their part of it."""

    only: tuple[str, ...] | None
    processes: tuple[int, ...]
    in_flight: tuple[int, ...] | None
    jobs: int
    rounds: int
    latency_ms: float
    seed: int
    json_file: Path | None


def add_peers(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--only", type=several(one_of(row_names())), help=f"of {','.join(row_names())} (default all)")
    add("--processes", type=several(whole(1, PROCESSES_MAX)), default=(1, 2), help="default 1,2")
    add("--in-flight", type=several(whole(1, IN_FLIGHT_MAX)), help="calls at a time of a peer's process, to try some")
    add("--jobs", type=whole(JOBS_MIN, JOBS_MAX), default=20_000, help="of one worker of ours (default 20000)")
    add("--rounds", type=whole(1, ROUNDS_MAX), default=1, help="the median of so many is told (default 1)")
    add("--latency-ms", type=milliseconds, default=5.0, help="of an answer, half as much either way (default 5)")


def peers_options(told: argparse.Namespace) -> PeersOptions:
    """Out of what was parsed."""
    return PeersOptions(
        only=told.only,
        processes=told.processes,
        in_flight=told.in_flight,
        jobs=told.jobs,
        rounds=told.rounds,
        latency_ms=told.latency_ms,
        seed=told.seed,
        json_file=told.json,
    )
