"""``make simulate``: thousands of seeded runs, and the seeds that failed; exit code 1 when there are any."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.simulation.story import Books, play
from tests.virtual_time import run_virtual

TOGETHER = 25
SHOWN_MAX = 20


def main() -> int:
    """Run them on all cores."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (default: %(default)s)")
    told = parser.parse_args()
    console = Console()
    starts = range(told.first, told.first + told.seeds, TOGETHER)
    totals: Counter[str] = Counter()
    failed: list[Books] = []
    columns = (TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress, ProcessPoolExecutor(os.cpu_count()) as pool:
        bar = progress.add_task("", total=told.seeds)
        running = [pool.submit(_play_some, first, min(first + TOGETHER, starts.stop)) for first in starts]
        for done in as_completed(running):
            for books in done.result():
                totals.update(jobs=books.jobs, crashes=books.crashes, sent=books.sent, in_doubt=books.in_doubt)
                if books.problems:
                    failed.append(books)
                progress.advance(bar)
    _show(console, told.seeds, totals, sorted(failed, key=lambda books: books.seed))
    return 1 if failed else 0


def _play_some(first: int, end: int) -> list[Books]:
    return [run_virtual(play(seed)) for seed in range(first, end)]


def _show(console: Console, seeds: int, totals: Counter[str], failed: list[Books]) -> None:
    table = Table(title=f"{seeds:,} simulated runs", title_justify="left", show_header=False)
    for name in ("jobs", "crashes", "sent", "in_doubt"):
        table.add_row(name.replace("_", " "), f"{totals[name]:,}")
    table.add_row("runs in which something did not hold", f"{len(failed):,}")
    console.print(table)
    for books in failed[:SHOWN_MAX]:
        console.print(f"seed {books.seed}: " + "; ".join(books.problems), highlight=False)


if __name__ == "__main__":
    sys.exit(main())
