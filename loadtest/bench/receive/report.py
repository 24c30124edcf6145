"""The result as tables for people."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadtest.bench.receive.callbacks import CallbackFigures
from loadtest.bench.receive.flood import FloodFigures
from loadtest.bench.receive.options import ReceiveOptions

TITLES = {"receiver": "receiver", "rabbitmq": "RabbitMQ", "redis": "Redis", "vendor": "who posts"}


def callback_rows(figures: CallbackFigures) -> list[tuple[str, str, str]]:
    """Name, value and note of each row."""
    latencies = f"{figures.p50_ms:.1f} {figures.p99_ms:.1f} {figures.most_ms:.1f}"
    return [
        ("callbacks a second", f"{figures.per_s:,.0f}", f"{figures.callbacks:,} in {figures.seconds:.1f} s"),
        ("answered after", latencies, "p50 p99 max, ms"),
        *(
            (f"CPU of {TITLES[name]}", f"{cost.cpu_us_per_job:,.0f} µs", f"per callback; {cost.cores:.0%} of a core")
            for name, cost in figures.costs.items()
        ),
    ]


def flood_rows(figures: FloodFigures) -> list[tuple[str, str, str]]:
    """Name, value and note of each row."""
    return [
        ("share of the limit used", f"{figures.quiet.share_of_limit:.2%}", "without the flood"),
        ("", f"{figures.flooded.share_of_limit:.2%}", "with it"),
        ("moved by", f"{figures.moved_by:.2%}", ""),
        ("answers 429", f"{figures.quiet.throttled_calls} {figures.flooded.throttled_calls}", "without, with"),
        ("guesses a second", f"{figures.guesses_per_s:,.0f}", f"and {figures.handshakes_per_s:,.0f} handshakes"),
        ("CPU of the receiver", f"{figures.receiver_cores:.0%}", "of a core"),
    ]


def draw_callbacks(console: Console, options: ReceiveOptions, figures: CallbackFigures) -> None:
    """Print the table."""
    title = f"Report callbacks over TLS, one report each: 1 receiver, {options.connections} connections"
    _draw(console, title, callback_rows(figures))


def draw_flood(console: Console, figures: FloodFigures) -> None:
    """Print the table."""
    _draw(
        console, f"A flood of guesses beside {figures.rate_per_s:,} calls/s: 1 receiver, 1 worker", flood_rows(figures)
    )


def _draw(console: Console, title: str, rows: list[tuple[str, str, str]]) -> None:
    console.print(title, style="bold")
    table = Table(show_header=False, box=box.SQUARE)
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    table.add_column()
    for name, value, note in rows:
        table.add_row(name, value, Text(note, style="dim"))
    console.print(table)
