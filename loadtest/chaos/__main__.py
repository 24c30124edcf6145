"""`python -m loadtest.chaos`: see the package."""

import argparse
import json
import logging
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from deploy.local import ServerError
from loadtest.chaos.books import problems
from loadtest.chaos.faults import Family, Kind
from loadtest.chaos.run import Options, Progress, keep_evidence, run
from loadtest.chaos.table import as_json, draw
from loadtest.command_line import EXIT_CANNOT_RUN, EXIT_INTERRUPTED, OneSentenceParser, unwind_on_signals
from loadtest.failure import LoadTestError
from loadtest.simulator.control_client import SimulatorControlError
from loadtest.simulator.process import SimulatorProcessError
from loadtest.terminal import has_live_view, step

EXIT_NOT_WELL = 1
SECONDS_MIN, SECONDS_MAX = 20, 86_400
WORKERS_MIN, WORKERS_MAX = 2, 8
SEED_MAX = 2**32 - 1
LINE_EVERY_S = 15.0
FAILURES = (LoadTestError, ServerError, SimulatorProcessError, SimulatorControlError, OSError)

DESCRIPTION = """\
Kill, freeze, cut off and mislead everything at random while jobs are sent, let it come to rest, and close the books:
nothing lost, nothing sent twice, in doubt only what a fault explains. RabbitMQ, Redis and the simulator are private.
"""
EXAMPLES = """\
examples:
  python -m loadtest.chaos --seconds 60
  python -m loadtest.chaos --seconds 300 --seed 4711
  python -m loadtest.chaos --seconds 120 --parts RabbitMQ Redis

exit code: 0 when the books balance; 1 when not (what they were made of is kept); 2 when it could not run; 130 when it
was interrupted.
"""


@dataclass(frozen=True, slots=True)
class Told:
    """The command line."""

    options: Options
    parts: tuple[str, ...]
    json: Path | None


def main(arguments: list[str] | None = None) -> int:
    """Do harm and tell; the exit code."""
    told = _told(arguments)
    options = told.options
    command = f"python -m loadtest.chaos --seconds {options.seconds:g} --seed {options.seed}"
    command += f" --workers {options.workers}"
    command += f" --parts {' '.join(told.parts)}" if told.parts else ""
    console = Console(highlight=False)
    # The broker is away at times: what its client says of that is expected here.
    logging.getLogger().addHandler(logging.NullHandler())
    warnings.filterwarnings("ignore", "coroutine 'Connection.close' was never awaited", RuntimeWarning)
    unwind_on_signals()
    console.print(f"Seed {options.seed}, {options.seconds:g} s. The same faults again: {command}", soft_wrap=True)
    folder = Path(tempfile.mkdtemp(prefix="mms-chaos-"))
    is_kept = False
    try:
        with ExitStack() as stack:
            show = stack.enter_context(_Shown(console, options.seconds))
            found = run(options, folder, stack, lambda doing: step(console, doing), show)
        wrong = problems(found)
        draw(console, found, wrong)
        if told.json is not None:
            told.json.write_text(json.dumps(as_json(found, wrong, seed=options.seed, command=command), indent=2) + "\n")
        if wrong:
            is_kept = True
            keep_evidence(found, folder)
            console.print(f"Logs and evidence are in {folder}.", soft_wrap=True)
            return EXIT_NOT_WELL
    except KeyboardInterrupt:
        console.print("Interrupted: everything was stopped and removed.")
        return EXIT_INTERRUPTED
    except FAILURES as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(str(error), markup=False)
        return EXIT_CANNOT_RUN
    finally:
        if not is_kept:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


class _Shown(ExitStack):
    """Shows how it stands: on one line that is drawn again on a terminal, else in a line now and then."""

    def __init__(self, console: Console, seconds: float) -> None:
        super().__init__()
        self._console = console
        self._seconds = seconds
        self._next_line_at_s = 0.0
        self._live = console.status("") if has_live_view(console) else None
        self._is_live = False

    def __enter__(self) -> Callable[[Progress], None]:  # type: ignore[override]
        super().__enter__()
        return self._show

    def _show(self, progress: Progress) -> None:
        line = (
            f"{progress.since_s:.0f} of {self._seconds:g} s, {progress.published:,} published, {progress.ended:,} ended"
        )
        line += f"; now {', '.join(progress.now)}" if progress.now else ""
        if self._live is not None:
            if not self._is_live:
                self.enter_context(self._live)
                self._is_live = True
            self._live.update(line)
        elif time.monotonic() >= self._next_line_at_s:
            self._next_line_at_s = time.monotonic() + LINE_EVERY_S
            self._console.print(f"  {line}", markup=False)


def _told(arguments: list[str] | None) -> Told:
    parser = OneSentenceParser(
        prog="python -m loadtest.chaos",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=300.0, help="how long harm is done (default 300)")
    parser.add_argument("--seed", type=int, help="of faults and jobs (default: another one each time)")
    parser.add_argument("--workers", type=int, help="worker processes (default: 2 to 4, by the seed)")
    parser.add_argument(
        "--parts", nargs="+", choices=[part.value for part in Family], default=[], help="only faults of these"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there, too")
    told = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(SEED_MAX) if told.seed is None else told.seed
    workers = 2 + seed % 3 if told.workers is None else told.workers
    for option, value, least, most in (
        ("--seconds", told.seconds, SECONDS_MIN, SECONDS_MAX),
        ("--seed", seed, 0, SEED_MAX),
        ("--workers", workers, WORKERS_MIN, WORKERS_MAX),
    ):
        if not least <= value <= most:
            parser.error(f"{option} must be from {least} to {most}, not {value:g}")
    kinds = tuple(kind for kind in Kind if not told.parts or kind.family.value in told.parts)
    return Told(Options(told.seconds, seed, workers, kinds), tuple(told.parts), told.json)


if __name__ == "__main__":
    sys.exit(main())
