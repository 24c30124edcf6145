"""`python -m loadtest run|compare|page|list`: the load test."""

import logging
import sys
import warnings
from pathlib import Path

import redis
from pydantic import ValidationError
from rich.console import Console

from deploy.local import ServerError
from loadtest.bench.circumstances import circumstances
from loadtest.bench.processes import require_proc
from loadtest.command_line import EXIT_CANNOT_RUN, EXIT_INTERRUPTED, unwind_on_signals
from loadtest.failure import LoadTestError
from loadtest.load.compare import draw_changes, worse
from loadtest.load.measuring import Asked, measure
from loadtest.load.options import (
    RESULTS,
    CompareOptions,
    ListOptions,
    PageOptions,
    RunOptions,
    read_options,
)
from loadtest.load.result import Result
from loadtest.load.result_files import read_result, write_result
from loadtest.load.scenario_files import read_scenarios, words_of
from loadtest.load.table import draw, draw_list
from loadtest.report.page import write_page
from loadtest.simulator.control_client import SimulatorControlError
from loadtest.simulator.process import SimulatorProcessError

EXIT_DOES_NOT_HOLD = 1
FAILURES = (LoadTestError, ServerError, SimulatorProcessError, SimulatorControlError, redis.RedisError, OSError)


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; the exit code."""
    told = sys.argv[1:] if arguments is None else arguments
    options = read_options(told)
    # Paths, names and sentences are shown as they are.
    console = Console(highlight=False, markup=False)
    unwind_on_signals()
    try:
        match options:
            case RunOptions():
                return _run(options, told, console)
            case CompareOptions():
                return _compare(options, console)
            case PageOptions():
                _write_page(read_result(options.result), options.page, console)
            case ListOptions():
                draw_list(console, read_scenarios(options.file))
    except KeyboardInterrupt:
        console.print("Interrupted: everything was stopped and removed.")
        return EXIT_INTERRUPTED
    except FAILURES as error:
        Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(str(error))
        return EXIT_CANNOT_RUN
    return 0


def _run(options: RunOptions, told: list[str], console: Console) -> int:
    require_proc()
    # The broker is away at times: what its client says of that is expected here.
    logging.getLogger().addHandler(logging.NullHandler())
    warnings.filterwarnings("ignore", "coroutine 'Connection.close' was never awaited", RuntimeWarning)
    asked = _asked(options, told)
    result = measure(asked, circumstances(told, seed=options.seed), console)
    draw(console, result)
    json_file = options.json_file or _usual_place(options.scenario, console)
    write_result(json_file, result)
    console.print(f"Result: {json_file}", soft_wrap=True)
    _write_page(result, options.page or json_file.with_suffix(".html"), console)
    return 0 if result.holds else EXIT_DOES_NOT_HOLD


def _usual_place(scenario: str, console: Console) -> Path:
    """What is there already is kept as the previous result, to be compared with."""
    place = RESULTS / f"{scenario}.json"
    previous = place.with_suffix(".previous.json")
    if place.exists():
        place.replace(previous)
        console.print(f"What changed: python -m loadtest compare {previous} {place}", soft_wrap=True)
    return place


def _asked(options: RunOptions, told: list[str]) -> Asked:
    scenarios = read_scenarios(options.file)
    if options.scenario not in scenarios:
        raise LoadTestError(f"There is no scenario {options.scenario!r}: use one of {', '.join(scenarios)}.")
    try:
        scenario = scenarios[options.scenario].scaled(
            seconds=options.seconds, workers=options.workers, before=options.jobs
        )
    except ValueError as error:
        words = words_of(error) if isinstance(error, ValidationError) else [str(error)]
        raise LoadTestError(f"As that, {options.scenario} cannot be carried out: {' '.join(words)}") from None
    return Asked(options.scenario, scenario, options.seed, told, options.is_capacity_wanted)


def _compare(options: CompareOptions, console: Console) -> int:
    before, after = read_result(options.before), read_result(options.after)
    found = draw_changes(console, before, after)
    return EXIT_DOES_NOT_HOLD if worse(found, before, after) else 0


def _write_page(result: Result, path: Path, console: Console) -> None:
    write_page(result, path)
    console.print(f"Page: {path}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
