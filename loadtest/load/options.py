"""The command line of the load test."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest.bench.option_types import new_file, whole
from loadtest.command_line import OneSentenceParser
from loadtest.load.scenario import FAULT_S_MIN, JOBS_MAX, SECONDS_MAX, WORKERS_MAX
from loadtest.load.scenario_files import SCENARIOS

PROGRAM = "python -m loadtest"
SEED_MAX = 2**31 - 1
RESULTS = Path(".run/loadtest")

PROPORTIONS = f"its phases and faults keep their proportions, but no fault gets shorter than {FAULT_S_MIN:g} s"

DESCRIPTION = """\
Carry out a scenario against the whole system: private RabbitMQ and Redis, the simulator of the API, workers, and a
producer that publishes on a schedule and waits for nobody. Then close the books: nothing lost, nothing sent twice.
"""
EXAMPLES = f"""\
examples:
  {PROGRAM} list
  {PROGRAM} run steady
  {PROGRAM} run spike --seconds 30 --seed 7
  {PROGRAM} run million --jobs 50000
  {PROGRAM} compare before.json after.json
  {PROGRAM} page .run/loadtest/steady.json

exit code: 0 when all that has to hold holds; 1 when something does not; 2 when it could not be set up or read; 130 when
it was interrupted. `compare` ends with 1 when something became worse.
"""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """None: as the scenario has it, or its usual place."""

    scenario: str
    file: Path
    seconds: int | None
    workers: int | None
    jobs: int | None
    seed: int
    json_file: Path | None
    page: Path | None
    is_capacity_wanted: bool


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """Two results: before and after."""

    before: Path
    after: Path


@dataclass(frozen=True, slots=True)
class PageOptions:
    """A result, and where its page goes."""

    result: Path
    page: Path


@dataclass(frozen=True, slots=True)
class ListOptions:
    """The scenarios of a file."""

    file: Path


Options = RunOptions | CompareOptions | PageOptions | ListOptions


def read_options(arguments: Sequence[str]) -> Options:
    """Read the command line; leaves with exit code 2 and one sentence when it is wrong."""
    parser = OneSentenceParser(
        prog=PROGRAM,
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="run|compare|page|list")
    file = OneSentenceParser(add_help=False)
    file.add_argument("--file", type=Path, default=SCENARIOS, help="the scenarios (default: the project's own)")
    _add_run(commands.add_parser("run", parents=[file], help="carry out a scenario"))
    compare = commands.add_parser("compare", help="what changed from one result to another")
    compare.add_argument("before", type=Path, metavar="A.json")
    compare.add_argument("after", type=Path, metavar="B.json")
    page = commands.add_parser("page", help="a result as one page of HTML")
    page.add_argument("result", type=Path, metavar="RESULT.json")
    page.add_argument("--page", type=new_file, metavar="FILE", help="where to (default: beside the result)")
    commands.add_parser("list", parents=[file], help="the scenarios and what they are for")
    return _options(parser.parse_args(arguments))


def _options(told: argparse.Namespace) -> Options:
    match told.command:
        case "compare":
            return CompareOptions(told.before, told.after)
        case "page":
            return PageOptions(told.result, told.page or told.result.with_suffix(".html"))
        case "list":
            return ListOptions(told.file)
    return RunOptions(
        scenario=told.scenario,
        file=told.file,
        seconds=told.seconds,
        workers=told.workers,
        jobs=told.jobs,
        seed=told.seed,
        json_file=told.json,
        page=told.page,
        is_capacity_wanted=not told.no_capacity,
    )


def _add_run(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("scenario", metavar="SCENARIO", help=f"its name: see `{PROGRAM} list`")
    add("--seconds", type=whole(1, SECONDS_MAX), help=f"of the schedule; {PROPORTIONS}")
    add("--workers", type=whole(1, WORKERS_MAX), help="worker processes")
    add("--jobs", type=whole(1, JOBS_MAX), help="that wait when the workers start")
    add("--seed", type=whole(0, SEED_MAX), default=1, help="of the schedule and the simulator (default 1)")
    add("--json", type=new_file, metavar="FILE", help=f"the result (default: {RESULTS}/SCENARIO.json)")
    add("--page", type=new_file, metavar="FILE", help="the page (default: the same as .html)")
    add("--no-capacity", action="store_true", help="leave out what simulator and producer can do alone")
