"""The options of `capacity`, `latency` and `memory`."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from loadtest.bench.option_types import several, whole

CONNECTIONS_MAX = 400
SECONDS_MAX = 600
LATENCY_JOBS_MAX = 10_000
STARTS_MAX = 100
WAITING_MAX = 2_000_000


@dataclass(frozen=True, slots=True)
class CapacityOptions:
    """What `capacity` was asked for; `seconds` of each kind of call, and of publishing."""

    seconds: int
    connections: int
    seed: int
    json_file: Path | None


@dataclass(frozen=True, slots=True)
class LatencyOptions:
    """What `latency` was asked for; 0 jobs or 0 starts leave that part out."""

    jobs: int
    starts: int
    seed: int
    json_file: Path | None


@dataclass(frozen=True, slots=True)
class MemoryOptions:
    """What `memory` was asked for: the numbers of jobs that wait, one after the other, and how long to look on."""

    waiting: tuple[int, ...]
    seconds: int
    pictures: int
    seed: int
    json_file: Path | None


def add_capacity(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `capacity`."""
    add = parser.add_argument
    add("--seconds", type=whole(1, SECONDS_MAX), default=3, help="how long to measure each (default 3)")
    add("--connections", type=whole(1, CONNECTIONS_MAX), default=64, help="each with a call under way (default 64)")


def add_latency(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `latency`."""
    add = parser.add_argument
    add("--jobs", type=whole(0, LATENCY_JOBS_MAX), default=100, help="with each limit; 0: none (default 100)")
    add("--starts", type=whole(0, STARTS_MAX), default=10, help="of a worker; 0: none (default 10)")


def add_memory(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `memory`."""
    add = parser.add_argument
    sizes = (10_000, 100_000, 1_000_000)
    told = ",".join(str(size) for size in sizes)
    add(
        "--waiting",
        type=several(whole(0, WAITING_MAX)),
        default=sizes,
        metavar="N,N",
        help=f"jobs that wait, small ones with a picture by an address; 0: none (default {told})",
    )
    add("--seconds", type=whole(5, SECONDS_MAX), default=30, help="how long to look on in each case (default 30)")
    add(
        "--pictures",
        type=whole(0, WAITING_MAX),
        default=20_000,
        help="jobs that wait with 20 KB of picture in each; 0: none (default 20000)",
    )


def capacity_options(told: argparse.Namespace) -> CapacityOptions:
    """Out of what was parsed."""
    return CapacityOptions(told.seconds, told.connections, told.seed, told.json)


def latency_options(told: argparse.Namespace) -> LatencyOptions:
    """Out of what was parsed."""
    return LatencyOptions(told.jobs, told.starts, told.seed, told.json)


def memory_options(told: argparse.Namespace) -> MemoryOptions:
    """Out of what was parsed."""
    return MemoryOptions(
        tuple(size for size in told.waiting if size), told.seconds, told.pictures, told.seed, told.json
    )
