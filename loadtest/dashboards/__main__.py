"""`python -m loadtest.dashboards`: see the package."""

import logging
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from deploy.grafana.catalogue import DASHBOARDS
from deploy.local import ServerError
from loadtest.command_line import EXIT_CANNOT_RUN, EXIT_INTERRUPTED, OneSentenceParser, unwind_on_signals
from loadtest.dashboards.asking import ask, faults
from loadtest.dashboards.jobs import SHOP
from loadtest.dashboards.pictures import picture
from loadtest.dashboards.run import recorded
from loadtest.failure import LoadTestError
from loadtest.simulator.control_client import SimulatorControlError
from loadtest.simulator.process import SimulatorProcessError
from loadtest.terminal import step

EXIT_EMPTY = 1
HELD_S = 5.0
"""In pictures people want to see what happens."""
FAILURES = (LoadTestError, ServerError, SimulatorProcessError, SimulatorControlError, OSError)

DESCRIPTION = """\
Plays a run with faults on private servers, has a real Prometheus look on with the real rules, and asks every expression
of every panel of the dashboards: each must show something. It takes two to three minutes and leaves nothing running.
"""
EXAMPLES = """\
examples:
  python -m loadtest.dashboards
  python -m loadtest.dashboards --pictures deploy/grafana/pictures

exit code: 0 when every panel has data; 1 when not; 2 when it could not run; 130 when it was interrupted.
"""


def check(folder: Path, say: Callable[[str], None], pictures: Path | None = None) -> list[str]:
    """Play the run; a sentence for each query of a panel that shows nothing. `pictures`: where to draw them."""
    found: list[str] = []
    with recorded(folder, say, held_s=HELD_S if pictures else 0.0) as run:
        for dashboard in DASHBOARDS:
            shown = ask(run.prometheus, dashboard, SHOP, run.start_s, run.end_s)
            found += faults(dashboard, shown)
            if pictures is not None:
                pictures.mkdir(parents=True, exist_ok=True)
                text = picture(dashboard, shown, run.start_s, run.end_s)
                (pictures / f"{dashboard.name}.svg").write_text(text, encoding="utf-8")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the check; the exit code."""
    parser = OneSentenceParser(prog="python -m loadtest.dashboards", description=DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument("--pictures", type=Path, help="a folder to draw the dashboards in, with what was found")
    options = parser.parse_args(arguments)
    console = Console(highlight=False)
    # The client's own words about connections that are cut on purpose.
    logging.getLogger().addHandler(logging.NullHandler())
    warnings.filterwarnings("ignore", "coroutine 'Connection.close' was never awaited", RuntimeWarning)
    unwind_on_signals()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="mms-dashboards-") as folder,
            step(console, "A run with faults, and what Prometheus saw of it"),
        ):
            empty = check(Path(folder), lambda said: console.print(f"  {said}"), options.pictures)
    except KeyboardInterrupt:
        console.print("Interrupted: everything was stopped and removed.")
        return EXIT_INTERRUPTED
    except FAILURES as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(str(error), markup=False)
        return EXIT_CANNOT_RUN
    for sentence in empty:
        console.print(sentence, markup=False, soft_wrap=True)
    queries = sum(len(panel.queries) for dashboard in DASHBOARDS for panel in dashboard.panels)
    console.print(f"{queries - len(empty)} of {queries} queries of {len(DASHBOARDS)} dashboards are as they should be.")
    return EXIT_EMPTY if empty else 0


if __name__ == "__main__":
    sys.exit(main())
