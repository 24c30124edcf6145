"""`python -m loadtest.kills`: see the package."""

import argparse
import asyncio
import itertools
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from deploy.local import RabbitMQ, Redis, ServerError
from loadtest.command_line import EXIT_CANNOT_RUN, EXIT_INTERRUPTED, OneSentenceParser, unwind_on_signals
from loadtest.failure import LoadTestError
from loadtest.kills.points import POINTS, Point
from loadtest.kills.run import Verdict, plans_of, run_kills
from loadtest.kills.scenario import LATENCY_MS, LATENCY_SPREAD_MS, Site
from loadtest.kills.table import draw
from loadtest.simulator.control_client import SimulatorControlError
from loadtest.simulator.process import SimulatorProcess, SimulatorProcessError
from loadtest.terminal import CountedStep, step

EXIT_NOT_WELL = 1
TIMES_MAX, PARALLEL_MAX = 1_000, 50
FAILURES = (LoadTestError, ServerError, SimulatorProcessError, SimulatorControlError, OSError)

DESCRIPTION = """\
Kill a worker at each step of a job's way, with another one to go on, and close the books: nothing lost, nothing sent
twice, in doubt only what was under way. RabbitMQ, Redis and the simulator are private, and leave nothing behind.
"""
EXAMPLES = """\
examples:
  python -m loadtest.kills
  python -m loadtest.kills --times 20 --points after_claim,before_ack

exit code: 0 when all books balance; 1 when not; 2 when it could not run; 130 when it was interrupted.
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    times: int
    points: tuple[Point, ...]
    parallel: int


def main(arguments: list[str] | None = None) -> int:
    """Kill and tell; the exit code."""
    options = _options(arguments)
    console = Console(highlight=False)
    unwind_on_signals()
    try:
        with ExitStack() as stack:
            verdicts = _run(options, console, stack)
    except KeyboardInterrupt:
        console.print("Interrupted: everything was stopped and removed.")
        return EXIT_INTERRUPTED
    except FAILURES as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(str(error), markup=False)
        return EXIT_CANNOT_RUN
    draw(console, verdicts)
    return EXIT_NOT_WELL if any(verdict.problems for verdict in verdicts) else 0


def _run(options: Options, console: Console, stack: ExitStack) -> list[Verdict]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mms-kills-")))
    with step(console, "RabbitMQ, a private one"):
        rabbitmq = stack.enter_context(RabbitMQ(management=True))
    with step(console, "Redis, a private one"):
        redis = stack.enter_context(Redis(append_only=True))
    with step(console, "The API's simulator"):
        simulator = stack.enter_context(
            SimulatorProcess(
                unlimited=True, latency_ms=LATENCY_MS, latency_spread_ms=LATENCY_SPREAD_MS, directory=folder
            )
        )
    site = Site(rabbitmq, redis, simulator, folder, itertools.count(1))
    plans = plans_of(options.points, options.times)
    with CountedStep(console, "Kills", len(plans)) as counted:
        done = itertools.count(1)
        return asyncio.run(
            run_kills(site, plans, parallel=options.parallel, on_verdict=lambda _: counted.show(next(done)))
        )


def _options(arguments: list[str] | None) -> Options:
    parser = OneSentenceParser(
        prog="python -m loadtest.kills",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = {point.name: point for point in POINTS}
    parser.add_argument(
        "--times", type=int, default=2, help="kills at each point, by turns quiet and loaded (default 2)"
    )
    parser.add_argument("--points", default=",".join(known), help="which, with commas between (default all)")
    parser.add_argument("--parallel", type=int, default=10, help="kills under way at a time (default 10)")
    told = parser.parse_args(arguments)
    names = [name.strip() for name in told.points.split(",") if name.strip()]
    if unknown := [name for name in names if name not in known]:
        parser.error(f"--points knows no {', '.join(unknown)}: there are {', '.join(known)}")
    for option, value, most in (("--times", told.times, TIMES_MAX), ("--parallel", told.parallel, PARALLEL_MAX)):
        if not 1 <= value <= most:
            parser.error(f"{option} must be from 1 to {most}, not {value}")
    return Options(told.times, tuple(known[name] for name in names), told.parallel)


if __name__ == "__main__":
    sys.exit(main())
