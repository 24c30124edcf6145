"""The result as a table for people and as JSON for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadtest.bench.circumstances import Circumstances, Versions
from loadtest.bench.limit.options import LimitOptions
from loadtest.bench.options import Options, PaceOptions, SpeedOptions
from loadtest.bench.pace import PaceFigures, best_share
from loadtest.bench.peers.options import PeersOptions
from loadtest.bench.probe_options import CapacityOptions, LatencyOptions, MemoryOptions
from loadtest.bench.receive.options import ReceiveOptions
from loadtest.bench.speed import SpeedFigures

MEASUREMENTS: dict[type, str] = {
    PaceOptions: "pace",
    LimitOptions: "limit",
    SpeedOptions: "speed",
    ReceiveOptions: "receive",
    PeersOptions: "peers",
    CapacityOptions: "capacity",
    LatencyOptions: "latency",
    MemoryOptions: "memory",
}
BYTES_PER_MB = 1_000_000
COST_TITLES = {"worker": "worker", "simulator": "simulator", "rabbitmq": "RabbitMQ", "redis": "Redis"}


def pace_rows(options: PaceOptions, figures: PaceFigures) -> list[tuple[str, str, str]]:
    """Name, value and note of each row."""
    ledger = figures.ledger
    throttled_per_1000 = ledger.throttled_calls * 1_000 / ledger.calls
    best = f"with this jitter, {best_share(options.spread_ms):.1%} is the most" if options.spread_ms else ""
    gaps_ms = (ledger.gap_p1_ms, ledger.gap_p50_ms, ledger.gap_p99_ms, ledger.gap_max_ms)
    shares = " ".join(f"{share:.1%}" for share in figures.shares)
    return [
        ("share of the limit used", f"{ledger.share_of_limit:.2%}", best),
        ("calls", f"{ledger.calls:,}", f"in {ledger.span_s:.1f} s"),
        ("answers 429", f"{ledger.throttled_calls:,}", f"{throttled_per_1000:.1f} per 1,000 calls"),
        ("worst rolling second", f"{ledger.worst_second_calls:,}", f"arrivals, of {options.rate_per_s:,} allowed"),
        ("gaps between arrivals", " ".join(f"{gap:.1f}" for gap in gaps_ms), "p1 p50 p99 max, ms"),
        ("shares of the workers", shares, ""),
        ("workers' CPU", f"{figures.cpu_s_per_1000_jobs:.2f} s", "per 1,000 jobs"),
        ("Redis scripts", f"{figures.redis_scripts_per_call:.2f}", "per call"),
        ("Redis commands", f"{figures.redis_commands_per_call:.2f}", "per call, in scripts too"),
    ]


def draw_pace(console: Console, options: PaceOptions, figures: PaceFigures) -> None:
    """Print the table."""
    console.print(
        f"Pace: {options.rate_per_s:,} calls/s allowed ({options.window}), {_workers(options.workers)}, "
        f"{options.seconds} s, latency {options.latency_ms:g} ms, jitter {options.spread_ms:g} ms",
        style="bold",
    )
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    table.add_column()
    for name, value, note in pace_rows(options, figures):
        table.add_row(name, value, Text(note, style="dim"))
    console.print(table)


def draw_speed(console: Console, options: SpeedOptions, rows: Sequence[SpeedFigures]) -> None:
    """Print one table, with a row for each kind of picture."""
    console.print(
        f"Speed without a limit: {options.jobs:,} jobs, {_recipients(options.recipients)} each, "
        f"{_workers(options.workers)}, latency {options.latency_ms:g} ms",
        style="bold",
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("picture\n", no_wrap=True)
    for name in ("calls\nper s", *COST_TITLES.values(), "confirm\nms", "call\nms", "peak\nMB"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        costs = (row.costs[name] for name in COST_TITLES)
        table.add_row(
            f"by {row.picture}" if row.picture == "url" else "in job",
            f"{row.calls_per_s:,.0f}",
            *(f"{cost.cpu_us_per_job:,.0f}\n{cost.cores:.0%}" for cost in costs),
            f"{row.confirm_ms:.1f}",
            f"{row.call_ms:.1f}",
            f"{row.peak_resident_bytes / BYTES_PER_MB:.0f}",
        )
    console.print(table)
    console.print("Steady state only. By process: CPU µs per job, share of a core. Mean times.", style="dim")


def _workers(number: int) -> str:
    return "1 worker" if number == 1 else f"{number} workers"


def _recipients(number: int) -> str:
    return "1 recipient" if number == 1 else f"{number:,} recipients"


def draw_circumstances(console: Console, seen: Circumstances, versions: Versions) -> None:
    """Print where and with what it was measured."""
    loads = ", ".join(f"{load:.2f}" for load in seen.load_averages)
    console.print(
        f"{seen.cores} cores, load average {loads} at the start; Python {seen.python}, worker {versions.worker}, "
        f"RabbitMQ {versions.rabbitmq}, Redis {versions.redis}; seed {seen.seed}.",
        style="dim",
        markup=False,
    )


def result(
    options: Options,
    seen: Circumstances,
    versions: Versions,
    figures: object,
) -> dict[str, Any]:
    """The whole result, as JSON has it. `figures` is a dictionary, or a list of them."""
    return {
        "measurement": MEASUREMENTS[type(options)],
        "circumstances": asdict(seen) | {"versions": asdict(versions)},
        "options": {name: value for name, value in asdict(options).items() if name != "json_file"},
        "figures": figures,
    }


def write_json(path: Path, told: dict[str, Any]) -> None:
    """Write the result. Raises OSError."""
    path.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
