"""`python -m loadtest.outage`: see the package."""

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
from loadtest.outage.books import IN_DOUBT_MAX, Case
from loadtest.outage.scenario import Site, Verdict, run_outages
from loadtest.outage.table import draw
from loadtest.simulator.control_client import SimulatorControlError
from loadtest.simulator.process import SimulatorProcessError
from loadtest.terminal import CountedStep, step

EXIT_NOT_WELL = 1
WORKERS_MAX, PARALLEL_MAX, LASTS_S_MAX = 20, 12, 600.0
FAILURES = (LoadTestError, ServerError, SimulatorProcessError, SimulatorControlError, OSError)

DESCRIPTION = """\
Let the API fall ill under load and be well again, and see how many jobs that leaves in doubt and how soon sending is
back. RabbitMQ, Redis and the simulators are private, and leave nothing behind.
"""
EXAMPLES = """\
examples:
  python -m loadtest.outage
  python -m loadtest.outage --kinds hang --workers 1 --seconds 60

exit code: 0 when all is well; 1 when not; 2 when it could not run; 130 when it was interrupted.
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    cases: list[Case]
    lasts_s: float
    parallel: int


def main(arguments: list[str] | None = None) -> int:
    """Measure and tell; the exit code."""
    options = options_of(arguments)
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
    draw(console, verdicts, lasts_s=options.lasts_s)
    return EXIT_NOT_WELL if any(verdict.problems for verdict in verdicts) else 0


def _run(options: Options, console: Console, stack: ExitStack) -> list[Verdict]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mms-outage-")))
    with step(console, "RabbitMQ, a private one"):
        rabbitmq = stack.enter_context(RabbitMQ(management=True))
    with step(console, "Redis, a private one"):
        redis = stack.enter_context(Redis(append_only=True))
    site = Site(rabbitmq, redis, folder, itertools.count(1))
    with CountedStep(console, "Outages", len(options.cases)) as counted:
        done = itertools.count(1)
        return asyncio.run(
            run_outages(
                site,
                options.cases,
                lasts_s=options.lasts_s,
                parallel=options.parallel,
                on_verdict=lambda _: counted.show(next(done)),
            )
        )


def options_of(arguments: list[str] | None) -> Options:
    """Read the arguments; ends the process with one sentence when they are wrong."""
    parser = OneSentenceParser(
        prog="python -m loadtest.outage",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kinds", default=",".join(IN_DOUBT_MAX), help="which, with commas between (default all)")
    parser.add_argument("--workers", default="1,3", help="how many workers meet it (default 1,3)")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long the API is out (default 30)")
    parser.add_argument("--parallel", type=int, default=3, help="outages under way at a time (default 3)")
    told = parser.parse_args(arguments)
    kinds = [kind.strip() for kind in told.kinds.split(",") if kind.strip()]
    if unknown := [kind for kind in kinds if kind not in IN_DOUBT_MAX]:
        parser.error(f"--kinds knows no {', '.join(unknown)}: there are {', '.join(IN_DOUBT_MAX)}")
    numbers = [number.strip() for number in told.workers.split(",") if number.strip()]
    if wrong := [number for number in numbers if not number.isdecimal() or not 1 <= int(number) <= WORKERS_MAX]:
        parser.error(f"--workers must be numbers from 1 to {WORKERS_MAX}, not {', '.join(wrong)}")
    if not kinds or not numbers:
        parser.error("--kinds and --workers must name at least one each")
    if not 0 < told.seconds <= LASTS_S_MAX:
        parser.error(f"--seconds must be above 0 and at most {LASTS_S_MAX:g}, not {told.seconds:g}")
    if not 1 <= told.parallel <= PARALLEL_MAX:
        parser.error(f"--parallel must be from 1 to {PARALLEL_MAX}, not {told.parallel}")
    cases = [Case(kind, int(number)) for kind in IN_DOUBT_MAX if kind in kinds for number in numbers]
    return Options(cases, told.seconds, told.parallel)


if __name__ == "__main__":
    sys.exit(main())
