"""`python -m loadtest.bench MEASUREMENT`: see the package."""

import sys
from dataclasses import asdict
from pathlib import Path

import redis
from rich.console import Console

from deploy.local import ServerError
from loadtest.bench.circumstances import Circumstances, Versions, circumstances
from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.limit.options import LimitOptions
from loadtest.bench.limit.report import draw_limit, limit_result
from loadtest.bench.limit.run import measure_limit
from loadtest.bench.options import Options, PaceOptions, SpeedOptions, read_options
from loadtest.bench.pace import measure_pace
from loadtest.bench.peers.options import PeersOptions
from loadtest.bench.peers.report import draw_peers, peers_result
from loadtest.bench.peers.run import measure_peers
from loadtest.bench.probe_options import CapacityOptions, LatencyOptions, MemoryOptions
from loadtest.bench.probes import measure_probe
from loadtest.bench.processes import require_proc
from loadtest.bench.receive.callbacks import measure_callbacks
from loadtest.bench.receive.flood import measure_flood
from loadtest.bench.receive.options import ReceiveOptions
from loadtest.bench.receive.report import draw_callbacks, draw_flood
from loadtest.bench.report import draw_circumstances, draw_pace, draw_speed, result, write_json
from loadtest.bench.rivals_environment import rival_versions
from loadtest.bench.speed import SpeedFigures, measure_speed
from loadtest.command_line import EXIT_CANNOT_RUN, EXIT_INTERRUPTED, unwind_on_signals
from loadtest.failure import LoadTestError
from loadtest.simulator.control_client import SimulatorControlError
from loadtest.simulator.process import SimulatorProcessError

EXIT_NOT_MEASURED = 1
FAILURES = (
    LoadTestError,
    ServerError,
    SimulatorProcessError,
    SimulatorControlError,
    redis.RedisError,
    OSError,
)


def main(arguments: list[str] | None = None) -> int:
    """Measure; the exit code."""
    told = sys.argv[1:] if arguments is None else arguments
    options = read_options(told)
    console = Console(highlight=False)
    unwind_on_signals()
    try:
        require_proc()
        is_complete = _measure(options, circumstances(told, seed=options.seed), console)
    except KeyboardInterrupt:
        console.print("Interrupted: everything was stopped and removed.")
        return EXIT_INTERRUPTED
    except FAILURES as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(str(error), markup=False)
        return EXIT_NOT_MEASURED if isinstance(error, NotMeasuredError) else EXIT_CANNOT_RUN
    return 0 if is_complete else EXIT_NOT_MEASURED


def _measure(
    options: Options,
    seen: Circumstances,
    console: Console,
) -> bool:
    """Whether all that was asked for was measured."""
    told: object
    is_complete = True
    match options:
        case PaceOptions():
            figures, versions = measure_pace(options, console)
            draw_pace(console, options, figures)
            told = asdict(figures)
        case LimitOptions():
            outcomes, versions = measure_limit(options, console)
            draw_limit(console, outcomes)
            told = limit_result(outcomes, rival_versions())
            is_complete = all(one.figures is not None for one in outcomes)
        case SpeedOptions():
            rows, versions = _measure_speeds(options, console)
            draw_speed(console, options, rows)
            told = [asdict(row) for row in rows]
        case ReceiveOptions():
            told, versions = _measure_receiving(options, console)
        case PeersOptions():
            beside, versions = measure_peers(options, console)
            draw_peers(console, options, beside)
            told = peers_result(beside)
            is_complete = all(one.rounds for one in beside.outcomes)
        case CapacityOptions() | LatencyOptions() | MemoryOptions():
            told, versions = measure_probe(options, console)
    draw_circumstances(console, seen, versions)
    if options.json_file is not None:
        _write(options.json_file, result(options, seen, versions, told))
    return is_complete


def _measure_speeds(options: SpeedOptions, console: Console) -> tuple[list[SpeedFigures], Versions]:
    measured = [measure_speed(options, picture, console) for picture in options.pictures]
    return [figures for figures, _ in measured], measured[-1][1]


def _measure_receiving(options: ReceiveOptions, console: Console) -> tuple[dict[str, object], Versions]:
    told: dict[str, object] = {}
    for part in options.parts:
        if part == "callbacks":
            callbacks, versions = measure_callbacks(options, console)
            draw_callbacks(console, options, callbacks)
            told[part] = asdict(callbacks)
        else:
            flood, versions = measure_flood(options, console)
            draw_flood(console, flood)
            told[part] = asdict(flood) | {"moved_by": flood.moved_by}
    return told, versions


def _write(path: Path, told: dict[str, object]) -> None:
    try:
        write_json(path, told)
    except OSError as error:
        raise LoadTestError(f"The result cannot be written to {path}: {error.strerror}.") from error


if __name__ == "__main__":
    sys.exit(main())
