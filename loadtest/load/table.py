"""A result as tables for people. What a file holds is shown as it is: in a `str` rich would look for markup."""

from collections.abc import Iterator, Mapping

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadtest.load.figures import throttled_per_1000
from loadtest.load.result import ALL, AccountFigures, Latency, Result
from loadtest.load.scenario import Scenario

ACCOUNTS_SHOWN_MAX = 25


def draw(console: Console, result: Result) -> None:
    """Print all of it."""
    console.print(Text(f"{result.title}: {result.purpose}", style="bold"))
    console.print(_accounts(result))
    if result.latencies:
        console.print(_latencies(result))
    if result.faults:
        console.print(_faults(result))
    console.print(_books(result))
    console.print(_claims(result))
    for sentence in result.correctness.problems:
        console.print(Text(sentence, style="red"))
    for line in _circumstances(result):
        console.print(Text(line, style="dim"))


def draw_list(console: Console, scenarios: Mapping[str, Scenario]) -> None:
    """What there is."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("scenario", no_wrap=True, style="bold")
    for name in ("workers", "accounts", "seconds", "jobs"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("purpose")
    for name, one in scenarios.items():
        seconds = f"{one.seconds:,.0f}" if one.phases else "-"
        jobs = f"{one.expected_jobs():,.0f}"
        table.add_row(Text(name), str(one.workers), str(len(one.limits)), seconds, jobs, Text(one.purpose))
    console.print(table)


def percent(share: float | None) -> str:
    """With two digits, or a dash."""
    return "-" if share is None else f"{share:.2%}"


def milliseconds(value: float) -> str:
    """As exact as somebody wants to know it."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"  # noqa: PLR2004 - three digits


def _accounts(result: Result) -> Table:
    table = _table("The limit, by the API's ledger")
    table.add_column("account", no_wrap=True)
    for name in (
        "limit\n/s",
        "calls\n/s",
        "recipients\n/s",
        "share\nused",
        "most\npossible",
        "worst\nsecond",
        "429 per\n1,000",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for one in result.accounts[:ACCOUNTS_SHOWN_MAX]:
        table.add_row(*_account(result, one))
    if any(one.excess and one.name != ALL for one in result.accounts):
        table.caption = "Worst second: arrivals, those that were answered 429 included."
        table.caption_justify = "left"
    return table


def _account(result: Result, one: AccountFigures) -> Iterator[str | Text]:
    yield Text(one.name)
    yield "-" if one.limit_per_s is None else f"{one.limit_per_s:,}"
    yield f"{one.calls_per_s:,.1f}"
    yield f"{one.recipients_per_s:,.1f}"
    yield percent(one.share_of_limit)
    yield percent(one.best_share)
    yield Text(f"{one.worst_rolling_second:,}", style=_worst_style(result, one))
    yield f"{throttled_per_1000(one):.2f}"


def _worst_style(result: Result, one: AccountFigures) -> str:
    """The seconds of all together need not end together: they are held to no limit."""
    if not one.excess or one.name == ALL:
        return ""
    return "yellow" if result.is_excess_refused(one) else "red"


def _latencies(result: Result) -> Table:
    table = _table("Times from the intended publication, in ms")
    table.add_column("")
    for name in ("jobs", "p50", "p90", "p99", "p99.9", "max"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in result.latencies:
        table.add_row(Text(one.name), f"{one.count:,}", *(milliseconds(value) for value in _times(one)))
    return table


def _times(one: Latency) -> tuple[float, ...]:
    return one.p50_ms, one.p90_ms, one.p99_ms, one.p999_ms, one.max_ms


def _faults(result: Result) -> Table:
    table = _table("Faults")
    table.caption = Text(f"Back: {result.faults[0].recovery}.", style="table.caption")
    table.caption_justify = "left"
    table.add_column("at s", justify="right")
    table.add_column("fault")
    table.add_column("back after s", justify="right")
    table.add_column("in doubt", justify="right")
    for one in result.faults:
        back = Text(result.not_back(one), style="red") if one.recovered_s is None else Text(f"{one.recovered_s:.1f}")
        table.add_row(f"{one.began_s:.1f}", Text(one.what), back, f"{one.in_doubt:,}")
    return table


def _books(result: Result) -> Table:
    books = result.correctness
    table = _table("The books, in jobs")
    table.show_header = False
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    note = f"{books.in_doubt_explained:,} of them explained by a fault" if books.in_doubt else ""
    rows = (
        ("published", books.published, f"{result.producer.republished:,} of them again, not confirmed in time"),
        ("sent", books.sent, f"{books.resolved:,} of them were in doubt" if books.resolved else ""),
        ("refused", books.refused, ""),
        ("expired", books.expired, ""),
        ("dead", books.dead, ""),
        ("in doubt", books.in_doubt, note),
        ("lost", books.lost, ""),
        ("sent twice (recipients)", books.duplicated, ""),
    )
    for name, count, words in rows:
        is_bad = name in ("lost", "sent twice (recipients)") and count
        shown = words if name != "published" or result.producer.republished else ""
        table.add_row(name, Text(f"{count:,}", style="bold red" if is_bad else ""), Text(shown, style="dim"))
    return table


def _claims(result: Result) -> Table:
    table = _table("What has to hold")
    table.show_header = False
    table.add_column(no_wrap=True)
    table.add_column()
    table.add_column(justify="right")
    for one in result.claims:
        word = Text("holds", style="green") if one.holds else Text("does not", style="bold red")
        table.add_row(word, Text(one.claim), Text(one.seen))
    return table


def _circumstances(result: Result) -> Iterator[str]:
    machine, versions, producer = result.machine, result.versions, result.producer
    if result.preload is not None:
        preload = result.preload
        yield (
            f"{preload.jobs:,} jobs were published before, in {preload.seconds:.1f} s "
            f"({preload.jobs_per_s:,.0f} a second, each confirmed)."
        )
    if result.phases:
        yield f"The producer was behind its schedule by at most {producer.behind_ms_max:,.1f} ms."
    if result.capacity is not None:
        capacity, each = result.capacity, result.capacity.recipients_per_call
        yield (
            f"Alone, per core, the simulator takes {capacity.simulator_calls_per_s:,.0f} calls/s "
            f"({'1 recipient' if each == 1 else f'{each:,} recipients'} each), "
            f"the producer publishes {capacity.producer_jobs_per_s:,.0f} jobs/s."
        )
    peaks = (
        (name, max((mb for mb in one.memory_mb if mb is not None), default=0.0))
        for name, one in result.series.processes.items()
    )
    yield "Most memory, MB: " + ", ".join(f"{name} {mb:,.0f}" for name, mb in peaks) + "."
    loads = ", ".join(f"{load:.2f}" for load in machine.load_averages)
    yield (
        f"{machine.cores} cores, load average {loads} at the start; Python {machine.python}, worker {versions.worker}, "
        f"RabbitMQ {versions.rabbitmq}, Redis {versions.redis}."
    )
    yield f"The same again: {result.command}"


def _table(title: str) -> Table:
    return Table(
        title=title, title_justify="left", title_style="", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True
    )
