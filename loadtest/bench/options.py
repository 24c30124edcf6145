"""The measurements' options."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from loadtest.bench.limit.options import LimitOptions, add_limit, limit_options
from loadtest.bench.option_types import milliseconds, new_file, whole
from loadtest.bench.peers.options import PeersOptions, add_peers, peers_options
from loadtest.bench.probe_options import (
    CapacityOptions,
    LatencyOptions,
    MemoryOptions,
    add_capacity,
    add_latency,
    add_memory,
    capacity_options,
    latency_options,
    memory_options,
)
from loadtest.bench.receive.options import ReceiveOptions, add_receive, receive_options
from loadtest.command_line import OneSentenceParser
from loadtest.simulator.limit import Window

PictureBy = Literal["url", "data"]

PROGRAM = "python -m loadtest.bench"
PROBES: dict[str, Callable[[argparse.Namespace], CapacityOptions | LatencyOptions | MemoryOptions]] = {
    "capacity": capacity_options,
    "latency": latency_options,
    "memory": memory_options,
}
MEASUREMENTS = ("pace", "limit", "speed", "receive", "peers", *PROBES)
RATE_PER_S_MAX = 10_000
WORKERS_MAX = 64
SECONDS_MAX = 3_600
JOBS_MIN, JOBS_MAX = 1_000, 1_000_000
RECIPIENTS_MAX = 1_000
SEED_MAX = 2**31 - 1

DESCRIPTION = """\
Measurements on this machine, with private servers and the simulator of the API: `pace`, how well workers with a
backlog use the limit and keep it; `limit`, the same for every way to count, rate and jitter, and for what others use;
`speed`, what a worker does when no limit holds it up, and what a job costs; `receive`, how many report callbacks a
receiver takes, and what a flood of guesses does to the pace of sending; `peers`, our worker beside what others would
pick instead, and beside the least that a job can cost; `capacity`, what the simulator and the producer do alone;
`latency`, how soon a job becomes a call, and a new process sends; `memory`, what a worker holds while many jobs wait.
"""
EXAMPLES = f"""\
examples:
  {PROGRAM} pace
  {PROGRAM} pace --rate 150 --window calendar --spread-ms 10 --json pace.json
  {PROGRAM} limit --rates 15 --windows rolling --no-rivals --json limit.json
  {PROGRAM} speed --jobs 10000 --picture url
  {PROGRAM} receive --parts callbacks --connections 32
  {PROGRAM} peers --only mms-worker,celery-prefork,floor --processes 1 --json peers.json
  {PROGRAM} capacity --seconds 5 --json capacity.json
  {PROGRAM} latency --jobs 50 --starts 5
  {PROGRAM} memory --waiting 10000,100000 --pictures 0

exit code: 0 when it was measured, whatever the figures; 1 when it could not be measured; 2 when it could not be set
up; 130 when it was interrupted.
"""


@dataclass(frozen=True, slots=True)
class PaceOptions:
    """What `pace` was asked for; `spread_ms` is the jitter on the way to the API."""

    rate_per_s: int
    workers: int
    seconds: int
    window: Window
    spread_ms: float
    latency_ms: float
    seed: int
    json_file: Path | None


@dataclass(frozen=True, slots=True)
class SpeedOptions:
    """What `speed` was asked for; `pictures` are measured one after the other."""

    jobs: int
    pictures: tuple[PictureBy, ...]
    workers: int
    recipients: int
    latency_ms: float
    seed: int
    json_file: Path | None


Options = (
    PaceOptions
    | LimitOptions
    | SpeedOptions
    | ReceiveOptions
    | PeersOptions
    | CapacityOptions
    | LatencyOptions
    | MemoryOptions
)
"""What any of the measurements was asked for."""


def read_options(arguments: Sequence[str]) -> Options:
    """Read the command line; leaves with exit code 2 and one sentence when it is wrong."""
    parser = OneSentenceParser(
        prog=PROGRAM,
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    shared = OneSentenceParser(add_help=False)
    shared.add_argument("--seed", type=whole(0, SEED_MAX), default=1, help="of the picture and the latency (default 1)")
    shared.add_argument("--json", type=new_file, metavar="FILE", help="write the result there, too")
    measurements = parser.add_subparsers(dest="measurement", required=True, metavar="|".join(MEASUREMENTS))
    _add_pace(measurements.add_parser("pace", parents=[shared], help="how well the limit is used and kept"))
    add_limit(measurements.add_parser("limit", parents=[shared], help="the same for all kinds, and for others"))
    _add_speed(measurements.add_parser("speed", parents=[shared], help="how fast without a limit, at what cost"))
    add_receive(measurements.add_parser("receive", parents=[shared], help="what a receiver takes, and bears"))
    add_peers(measurements.add_parser("peers", parents=[shared], help="ours beside others, and the floor"))
    add_capacity(measurements.add_parser("capacity", parents=[shared], help="what simulator and producer do alone"))
    add_latency(measurements.add_parser("latency", parents=[shared], help="from a job to its call; a worker's start"))
    add_memory(measurements.add_parser("memory", parents=[shared], help="of a worker while many jobs wait"))
    told = parser.parse_args(arguments)
    if told.measurement in PROBES:
        return PROBES[told.measurement](told)
    if told.measurement == "peers":
        return peers_options(told)
    if told.measurement == "receive":
        return receive_options(told)
    if told.measurement == "pace":
        return PaceOptions(
            rate_per_s=told.rate,
            workers=told.workers,
            seconds=told.seconds,
            window=told.window,
            spread_ms=told.spread_ms,
            latency_ms=told.latency_ms,
            seed=told.seed,
            json_file=told.json,
        )
    if told.measurement == "limit":
        options = limit_options(told)
        if not options.parts:
            parser.error("--no-rivals leaves nothing of --parts to be measured")
        return options
    return SpeedOptions(
        jobs=told.jobs,
        pictures=get_args(PictureBy) if told.picture == "both" else (told.picture,),
        workers=told.workers,
        recipients=told.recipients,
        latency_ms=told.latency_ms,
        seed=told.seed,
        json_file=told.json,
    )


def _add_pace(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--rate", type=whole(1, RATE_PER_S_MAX), default=15, help="calls a second that the API allows (default 15)")
    add("--workers", type=whole(1, WORKERS_MAX), default=4, help="worker processes (default 4)")
    add("--seconds", type=whole(1, SECONDS_MAX), default=60, help="how long to measure (default 60)")
    add("--window", choices=get_args(Window), default="rolling", help="how the API counts (default rolling)")
    add("--spread-ms", type=milliseconds, default=0.0, help="jitter on the way to the API, 0 to this (default 0)")
    add("--latency-ms", type=milliseconds, default=20.0, help="of an answer, half as much either way (default 20)")


def _add_speed(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--jobs", type=whole(JOBS_MIN, JOBS_MAX), default=20_000, help="how many to publish (default 20000)")
    add(
        "--picture",
        choices=(*get_args(PictureBy), "both"),
        default="both",
        help="20 KB by an address, in the job, or one after the other (default both)",
    )
    add("--workers", type=whole(1, WORKERS_MAX), default=1, help="worker processes (default 1)")
    add("--recipients", type=whole(1, RECIPIENTS_MAX), default=1, help="of each job (default 1)")
    add("--latency-ms", type=milliseconds, default=5.0, help="of an answer, half as much either way (default 5)")
