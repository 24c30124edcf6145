"""The tables for people, a line for each cell as it is done, and what goes into the JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from loadtest.bench.batches import BatchFigures
from loadtest.bench.limit import targets
from loadtest.bench.limit.cells import best_share
from loadtest.bench.limit.changes import ChangesFigures
from loadtest.bench.limit.figures import CellFigures
from loadtest.bench.limit.idle import IdleFigures
from loadtest.bench.limit.neighbours import IDLE, TROUBLES, NeighbourFigures
from loadtest.bench.limit.options import Part
from loadtest.bench.limit.outcomes import Outcome, count
from loadtest.bench.limit.urgent import UrgentFigures
from loadtest.rivals.catalogue import rival_named

TITLES: dict[Part, str] = {
    "grid": "The limit, used and kept",
    "idle": "A burst after 5 s idle",
    "changes": "The limit lowered to a third without notice, and raised again",
    "batches": "Recipients through jobs of equal content, one worker",
    "urgent": "Urgent jobs while 50,000 bulk jobs wait",
    "neighbours": "Account B's p99 from publish to acceptance, ms, by what account A is up to",
    "rivals": "The same through others",
}
CELL_COLUMNS = ("share", "429\n/1000", "429\nlearn", "worst\n1 s", "apart", "Redis\n/call", "CPU\ns")
BATCH_COLUMNS = ("sent\n/s", "jobs\n/call", "calls", "429s", "lost", "2x", "us\n/job")
URGENT_COLUMNS = ("urgent\njobs", "slots\nmost", "slots\nmean", "wait ms\nmost")
NEIGHBOUR_COLUMNS = (IDLE, *TROUBLES, "lost")
CHANGES_COLUMNS = ("last\n429", "429s", "later\n429s", "share\nof 5/s", "back\nafter", "429s\nthen")
CASE_PARTS: tuple[Part, ...] = ("batches", "urgent", "neighbours")
COLUMNS: Mapping[Part, tuple[str, ...]] = MappingProxyType(
    {
        "changes": CHANGES_COLUMNS,
        "batches": BATCH_COLUMNS,
        "urgent": URGENT_COLUMNS,
        "neighbours": NEIGHBOUR_COLUMNS,
    }
)
ROUNDED_FROM = 10
BUSY_SHARE = 0.9
PER_1000_ROUNDED_FROM = 10
NOTES = (
    "J: jitter on the way, ms. Share: of the limit, admitted calls; 1/(1+J) is the most without 429. 429 per 1,000 "
    "calls, and while learning. Worst second: arrivals. Apart: shares of the workers, most less least over the mean. "
    "Redis: commands of clients / with those in scripts. CPU: of the senders, seconds per 1,000 calls."
)


def outcome_line(one: Outcome) -> str:
    """One cell in one line."""
    match one.figures:
        case CellFigures():
            told = f" {_in_short(one.figures)}"
        case IdleFigures(burst, _):
            told = f" {_in_short(burst)}"
        case None:
            told = ""
        case _:
            told = f" {', '.join(_figures_row(one))},"
    return f"{one.part} {one.cell.title}:{told} {one.verdict} {one.why_not}".rstrip()


def _in_short(figures: CellFigures) -> str:
    return f"{figures.share_of_limit:.1%}, {figures.throttled_per_1000:.2f} x 429 per 1,000,"


def draw_limit(console: Console, outcomes: Sequence[Outcome]) -> None:
    """Print a table for each part, and how many cells hold."""
    for part, title in TITLES.items():
        if ours := [one for one in outcomes if one.part == part]:
            _draw_part(console, part, title, ours)
    if any(one.part != "changes" for one in outcomes):
        console.print(NOTES, style="dim")
    if busy := [one.cell.title for one in outcomes if _busy_share(one) > BUSY_SHARE]:
        told = f"The machine was busy for more than {BUSY_SHARE:.0%} of the time, which may have held these up: "
        console.print(told + "; ".join(busy) + ".", markup=False)
    for one in outcomes:
        if one.figures is None:
            console.print(f"Not measured: {one.part} {one.cell.title}: {one.why_not.splitlines()[0]}", markup=False)


def _busy_share(one: Outcome) -> float:
    match one.figures:
        case CellFigures(busy_share=busy_share) | IdleFigures(burst=CellFigures(busy_share=busy_share)):
            return busy_share
        case _:
            return 0.0


def _draw_part(console: Console, part: Part, title: str, outcomes: Sequence[Outcome]) -> None:
    seen = count(outcomes)
    unmeasured = f", {seen.cells - seen.measured} not measured" if seen.measured < seen.cells else ""
    console.print(f"{title}: {seen.held} of {seen.cells} hold{unmeasured}", style="bold")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("who" if part == "rivals" else "case" if part in CASE_PARTS else "window", no_wrap=True)
    for name in () if part in CASE_PARTS else ("/s", "n", "J"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in COLUMNS.get(part, CELL_COLUMNS):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("fails")
    for one in outcomes:
        if one.figures is not None:
            table.add_row(*_cell_row(one), *_figures_row(one), " ".join(one.missed) or "-")
    console.print(table)


def _cell_row(one: Outcome) -> tuple[str, ...]:
    cell = one.cell
    if one.part in CASE_PARTS:
        return (cell.case,)
    return (cell.rival or cell.window, f"{cell.rate_per_s:,}", str(cell.workers), f"{cell.spread_ms:g}")


def _figures_row(one: Outcome) -> tuple[str, ...]:
    match one.figures:
        case CellFigures():
            return _row(one.figures)
        case IdleFigures(burst, _):
            return _row(burst)
        case ChangesFigures():
            return _changes_row(one.figures)
        case BatchFigures():
            return _batch_row(one.figures)
        case UrgentFigures():
            return _urgent_row(one.figures)
        case NeighbourFigures():
            return _neighbour_row(one.figures)
        case None:
            raise AssertionError("only what was measured has a row")


def _row(figures: CellFigures) -> tuple[str, ...]:
    return (
        f"{figures.share_of_limit:.1%}",
        _short(figures.throttled_per_1000),
        f"{figures.learning_throttled_calls:,}",
        f"{figures.worst_second_calls:,}",
        f"{figures.workers_apart:.0%}",
        f"{_short(figures.commands_per_call)}/{_short(figures.commands_per_call_with_scripts)}",
        f"{figures.cpu_s_per_1000_calls:.1f}",
    )


def _short(number: float) -> str:
    """Small numbers exactly, since the targets are small."""
    return f"{number:.2f}" if number < ROUNDED_FROM else f"{number:.0f}"


def _changes_row(figures: ChangesFigures) -> tuple[str, ...]:
    seen = figures.reaction
    return (
        "none" if seen.last_429_after_s is None else f"{seen.last_429_after_s:.1f} s",
        str(seen.throttled_calls),
        str(len(seen.probes_after_s)),
        f"{figures.lowered_share:.1%}",
        "not" if figures.recovered_after_s is None else f"{figures.recovered_after_s:.1f} s",
        str(figures.throttled_in_recovery),
    )


def _batch_row(figures: BatchFigures) -> tuple[str, ...]:
    return (
        f"{figures.steady_per_s:,.0f}",
        f"{figures.jobs_per_call:,.1f}",
        f"{figures.calls:,}",
        f"{figures.throttled_calls:,}",
        "?" if figures.lost is None else f"{figures.lost:,}",
        f"{figures.duplicates:,}",
        f"{figures.cpu_us_per_job['worker']:,.0f}",
    )


def _urgent_row(figures: UrgentFigures) -> tuple[str, ...]:
    return (
        f"{figures.urgent_jobs}",
        f"{figures.slots_most}",
        f"{figures.slots_mean:.1f}",
        f"{figures.wait_most_ms:.0f}",
    )


def _neighbour_row(figures: NeighbourFigures) -> tuple[str, ...]:
    moved = (f"{figures.p99_ms[name]:.0f} ({share:+.0%})" for name, share in figures.moved.items())
    return (f"{figures.p99_ms[IDLE]:.0f}", *moved, f"{figures.not_accepted}")


def limit_result(outcomes: Sequence[Outcome], rival_versions: dict[str, str]) -> dict[str, Any]:
    """All of it, as JSON has it."""
    parts = [part for part in TITLES if any(one.part == part for one in outcomes)]
    told: dict[str, Any] = {part: [_told(one) for one in outcomes if one.part == part] for part in parts}
    summary = {part: asdict(count([one for one in outcomes if one.part == part])) for part in parts}
    return {"summary": summary, "targets": _targets(), **told, "rival_versions": rival_versions}


def _told(one: Outcome) -> dict[str, Any]:
    told: dict[str, Any] = {"cell": asdict(one.cell), "best_share": best_share(one.cell.spread_ms)}
    if one.cell.rival is not None:
        told["title"] = rival_named(one.cell.rival).title
    if one.figures is None:
        return told | {"not_measured": one.why_not}
    return told | {"holds": not one.missed, "misses": one.missed, "figures": asdict(one.figures)}


def _targets() -> dict[str, object]:
    return {
        "share_min_by_spread_ms": dict(targets.SHARE_MIN),
        "throttled_per_1000_max": targets.THROTTLED_PER_1000_MAX,
        "workers_apart_max": targets.WORKERS_APART_MAX,
        "commands_per_call_max_by_rate": dict(targets.COMMANDS_PER_CALL_MAX),
        "last_429_after_s_max": targets.REACTION_S_MAX,
        "recovered_after_s_max": targets.RECOVERY_S_MAX,
    }
