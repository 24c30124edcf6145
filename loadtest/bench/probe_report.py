"""The figures of `capacity`, `latency` and `memory` as tables for people, and as JSON where they are worked out."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from loadtest.bench.capacity import CallKind, Capacity, Load
from loadtest.bench.latency import LatencyResult
from loadtest.bench.memory import MemoryFigures
from loadtest.bench.probe_options import CapacityOptions
from loadtest.bench.speed import NO_LIMIT_PER_S

BYTES_PER_MB, BYTES_PER_KB = 1_000_000, 1_000


def draw_capacity(console: Console, options: CapacityOptions, capacity: Capacity) -> None:
    """Print one table, with a row for each kind of call and one for the producer."""
    console.print(
        f"What simulator and producer do alone: {options.seconds} s each, {options.connections} calls under way",
        style="bold",
    )
    table = _table("", "per s", "of a core\nper s", "CPU\nµs", "cores", "other side\ncores")
    for one in capacity.calls:
        table.add_row(_call_title(one.kind, one.picture_bytes), *_load_cells(one.load))
    table.add_row("producer: confirmed jobs", *_load_cells(capacity.jobs))
    console.print(table)
    console.print(
        "CPU: of the simulator or the producer, each. The other side: who calls, or RabbitMQ; near 1 core that was "
        "the bottleneck.",
        style="dim",
    )


def capacity_result(capacity: Capacity) -> dict[str, Any]:
    """As JSON has it."""
    return {
        "calls": [
            asdict(one.kind) | {"picture_bytes": one.picture_bytes} | load_result(one.load) for one in capacity.calls
        ],
        "jobs": load_result(capacity.jobs),
    }


def load_result(load: Load) -> dict[str, float]:
    """What was counted, and what follows from it."""
    names = ("per_s", "cpu_us", "per_s_of_core", "cores", "other_cores")
    return asdict(load) | {name: getattr(load, name) for name in names}


def draw_latency(console: Console, result: LatencyResult) -> None:
    """Print a table for the idle system, and one for the starts."""
    if result.idle:
        console.print("An idle system, one job now and then: from publishing to the call's arrival, ms", style="bold")
        table = _table("limit", "until", "jobs", "p50", "p90", "p99", "max")
        for one in result.idle:
            for name, times in (("call", one.call), ("bare delivery", one.delivery)):
                each_ms = (times.p50_ms, times.p90_ms, times.p99_ms, times.max_ms)
                table.add_row(_limit(one.rate_per_s), name, f"{one.jobs:,}", *(f"{ms:.1f}" for ms in each_ms))
        console.print(table)
    if (starts := result.starts) is not None:
        console.print(
            f"A worker's start with jobs waiting, {starts.starts} times: seconds from its making", style="bold"
        )
        table = _table("", "s")
        for name, at_s in starts.said_s.items():
            table.add_row(f"log: {name}", f"{at_s:.3f}")
        table.add_row("first call arrives", f"{starts.median_s:.3f}")
        table.add_row("… the slowest", f"{starts.worst_s:.3f}")
        console.print(table)


def draw_memory(console: Console, rows: Sequence[MemoryFigures]) -> None:
    """Print one table, with a row for each case."""
    console.print("Memory of one worker while jobs wait, MB", style="bold")
    table = _table("jobs", "waiting", "limit", "sent", "ready", "settled", "least", "most", "spread", "peak")
    for row in rows:
        sizes = (row.first_bytes, row.settled_bytes, row.least_bytes, row.most_bytes)
        table.add_row(
            "20 KB in each" if row.has_picture else "small",
            f"{row.waiting:,}",
            _limit(row.rate_per_s),
            f"{row.sent:,}",
            *(f"{size / BYTES_PER_MB:.1f}" for size in sizes),
            f"{row.spread:.1%}",
            f"{row.peak_bytes / BYTES_PER_MB:.1f}",
        )
    console.print(table)
    console.print("Settled: the median after the first seconds; least and most from then on.", style="dim")


def _call_title(kind: CallKind, picture_bytes: int) -> str:
    numbers = "1 number" if kind.numbers == 1 else f"{kind.numbers:,} numbers"
    size = f"{picture_bytes} bytes" if picture_bytes < BYTES_PER_KB else f"{picture_bytes / BYTES_PER_KB:.0f} KB"
    return f"simulator: {numbers}, {size}"


def _load_cells(load: Load) -> Iterable[str]:
    return (
        f"{load.per_s:,.0f}",
        f"{load.per_s_of_core:,.0f}",
        f"{load.cpu_us:,.0f}",
        f"{load.cores:.2f}",
        f"{load.other_cores:.2f}",
    )


def _limit(rate_per_s: int) -> str:
    return "none" if rate_per_s == NO_LIMIT_PER_S else f"{rate_per_s:,}/s"


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column(first, no_wrap=True)
    for title in others:
        table.add_column(title, justify="right", no_wrap=True)
    return table
