"""`python -m loadtest.demo`: see the package."""

import argparse
import asyncio
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from deploy.local import RabbitMQ, Redis, ServerError
from loadtest.command_line import EXIT_CANNOT_RUN, EXIT_INTERRUPTED, OneSentenceParser, unwind_on_signals
from loadtest.demo.callbacks import API_KEY, make_address
from loadtest.demo.jobs import make_jobs
from loadtest.demo.live import Screen
from loadtest.demo.pictures import sample_pictures
from loadtest.demo.run import JOBS_USUAL, Finished, Plan, run
from loadtest.demo.table import draw
from loadtest.failure import LoadTestError
from loadtest.simulator.control_client import SimulatorControlError
from loadtest.simulator.process import SimulatorProcess, SimulatorProcessError
from loadtest.terminal import step
from loadtest.worker_process import WorkerProcess

LIMIT_PER_S = 50
WORKERS = 2
JOBS_MIN, JOBS_MAX = 50, 5_000
EXIT_NOT_WELL = 1
FAILURES = (LoadTestError, ServerError, SimulatorProcessError, SimulatorControlError, OSError)

CALL_TIMES = {"MMS_CONNECT_TIMEOUT_S": "3", "MMS_READ_TIMEOUT_S": "5"}
"""Shorter than usual: for 40 s more than a call may take a report of a job in doubt waits for a better explanation."""

DESCRIPTION = """\
The main job in one command: RabbitMQ, Redis, a simulator of the API, two workers and a receiver, all private to the
demo; jobs with real pictures, delivery reports and replies; and a table of what became of them. It takes about a
minute, and leaves nothing running and nothing behind.
"""
EXAMPLES = """\
examples:
  python -m loadtest.demo
  python -m loadtest.demo --kill-worker

exit code: 0 when nothing was lost, nothing was sent twice and the books balance; 1 when not; 2 when it could not
run; 130 when it was interrupted. With --kill-worker, a duplicate is allowed where the kill explains it.
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    jobs: int
    is_killing: bool


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; the exit code."""
    options = _options(arguments)
    console = Console(highlight=False)
    unwind_on_signals()
    try:
        with ExitStack() as stack:
            finished = _run(options, console, stack)
    except KeyboardInterrupt:
        console.print("Interrupted: everything was stopped and removed.")
        return EXIT_INTERRUPTED
    except FAILURES as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(str(error), markup=False)
        return EXIT_CANNOT_RUN
    draw(console, finished.result)
    console.print("The servers were stopped, and their data removed.", style="dim")
    return 0 if finished.result.is_well and finished.why_not is None else EXIT_NOT_WELL


def _run(options: Options, console: Console, stack: ExitStack) -> Finished:
    """Set everything up, which `stack` puts away again, and run."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mms-demo-")))
    pictures = sample_pictures()
    with step(console, "RabbitMQ, a private one"):
        broker = stack.enter_context(RabbitMQ())
    with step(console, "Redis, a private one"):
        store = stack.enter_context(Redis(append_only=True))
    with step(console, f"The API's simulator, at {LIMIT_PER_S} calls a second"):
        simulator = stack.enter_context(SimulatorProcess(rate_per_s=LIMIT_PER_S, directory=folder))
    settings = {
        "MMS_AMQP_URL": broker.url,
        "MMS_REDIS_URL": store.url,
        "MMS_API_URL": simulator.api_url,
        "MMS_API_CA_FILE": str(simulator.ca_file),
        "MMS_APP_KEY": API_KEY,
        "MMS_RATE_PER_S": str(LIMIT_PER_S),
        **CALL_TIMES,
    }
    address = make_address(folder)
    with step(console, f"{WORKERS} workers, and a receiver of reports and replies"):
        workers = [
            stack.enter_context(WorkerProcess(f"worker {number}", folder=folder, settings=settings))
            for number in range(1, WORKERS + 1)
        ]
        receiver = stack.enter_context(
            WorkerProcess("receiver", folder=folder, settings={**settings, **address.settings}, command="receive")
        )
        for process in (*workers, receiver):
            process.wait_until_ready()
    jobs = make_jobs(options.jobs, pictures, datetime.now(UTC))
    plan = Plan(
        jobs=jobs,
        workers=workers,
        receiver=receiver,
        address=address,
        limit_per_s=LIMIT_PER_S,
        is_killing=options.is_killing,
    )
    finished = asyncio.run(run(plan, amqp_url=broker.url, control=simulator.control, screen=Screen(console, len(jobs))))
    if finished.why_not is not None or not finished.result.is_well:
        if finished.why_not is not None:
            console.print(finished.why_not, style="bold red", markup=False)
        for process in (*workers, receiver):
            console.print(
                f"The end of {process.name}'s log:\n{process.log_tail()}", markup=False, style="dim", soft_wrap=True
            )
    return finished


def _options(arguments: list[str] | None) -> Options:
    parser = OneSentenceParser(
        prog="python -m loadtest.demo",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kill-worker", action="store_true", help="kill -9 one of the workers in the middle")
    parser.add_argument("--jobs", type=int, default=JOBS_USUAL, help=f"how many to publish (default {JOBS_USUAL})")
    told = parser.parse_args(arguments)
    if not JOBS_MIN <= told.jobs <= JOBS_MAX:
        parser.error(f"--jobs must be from {JOBS_MIN} to {JOBS_MAX}, not {told.jobs}")
    return Options(jobs=told.jobs, is_killing=told.kill_worker)


if __name__ == "__main__":
    sys.exit(main())
