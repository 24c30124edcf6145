"""The table for people, what it says about the targets, and what goes into the JSON."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from loadtest.bench.peers.floor import PARTS, Spent
from loadtest.bench.peers.options import PeersOptions
from loadtest.bench.peers.rows import FLOOR, OURS, Row
from loadtest.bench.peers.run import Outcome, PeersFigures
from loadtest.bench.report import BYTES_PER_MB
from loadtest.bench.rivals_environment import rival_versions

US_PER_S = 1_000_000
PERCENT = 100
CORES_OF = ("sender", "simulator", "rabbitmq", "redis")
DISTURBED_SHOWN = 4
OTHERS_CORES_MAX = 0.15
"""The bench itself is one of them, and needs some 0.05."""
FRAMEWORKS_MIN, LOOP_MIN, FLOOR_MIN, CPU_S_MAX = 3.0, 1.2, 0.85, 0.6
PART_TITLES = {
    "consume": "take a job, 50 acknowledgements in one",
    "publish": "publish an event, confirmed",
    "store": "two Redis commands, 32 in a pipeline",
    "call": "call, body made beforehand",
    "bare": "the same without an HTTP library",
}
CONDITIONS = """\
Jobs are counted by the simulator's ledger, from 10 to 85 % of them. CPU and memory: all of a contender's processes.
Procs, calls: processes, and calls at a time of each. Ours/this: our jobs a second with as many processes, over these.
MB all: what they hold, shared pages once; MB one: the peak of the largest. Cores: 100 is one that is always busy; of
the contender, the simulator of the API, RabbitMQ and Redis.
All: persistent jobs, TLS, keep-alive, a 20 KB PNG in a form; the result published and confirmed, then the ack.
Only mms-worker fetches the picture (once), checks jobs, keeps a limit (far away here), a journal, metrics, CloudEvents.
Its queues, taskiq's and the floor's are quorum queues, the others' classic ones, as each declares them by itself.
Celery: task_acks_late, confirm_publish. Dramatiq: confirm_delivery. No log below warnings; uvloop where it is used.
The floor: the same transport and servers, each part as its library does it, no checks, no limit, and the same bytes for
each call. It publishes one by one, as the worker does not.
""".splitlines()


@dataclass(frozen=True, slots=True)
class Claim:
    """What is aimed at, and what was seen."""

    words: str
    seen: float
    holds: bool


def draw_peers(console: Console, options: PeersOptions, told: PeersFigures) -> None:
    """Print all of it."""
    console.print(
        f"Beside others, no limit: {options.jobs:,} jobs of one recipient (others fewer), latency "
        f"{options.latency_ms:g} ms, {options.rounds} round{'s' if options.rounds > 1 else ''}",
        style="bold",
    )
    console.print(_table(told.outcomes))
    if told.parts:
        console.print(_parts_table(told.parts))
    for claim in claims(told.outcomes):
        console.print(f"{'holds ' if claim.holds else 'MISSED'} {claim.words}: {claim.seen:.2f}", markup=False)
    if disturbed := disturbances(told.outcomes):
        shown, more = disturbed[:DISTURBED_SHOWN], len(disturbed) - DISTURBED_SHOWN
        told_more = f" and {more} more" if more > 0 else ""
        console.print(
            f"Other programs used over {OTHERS_CORES_MAX} cores: {', '.join(shown)}{told_more}.", markup=False
        )
    for line in twice(told.outcomes):
        console.print(line, markup=False)
    for line in (*CONDITIONS, *_tried(told.outcomes), _versions()):
        console.print(line, style="dim", markup=False)


def _table(outcomes: Sequence[Outcome]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("\n", no_wrap=True)
    columns = ("procs\ncalls", "jobs\n/s", "ours\n/this", "CPU s\n/1000", "MB\nall", "MB\none")
    for name in (*columns, "cores, %:\nits API  MQ  Re"):
        table.add_column(name, justify="right", no_wrap=True)
    for outcome in outcomes:
        table.add_row(outcome.row.short_title, *_cells(outcome, outcomes))
    return table


def _cells(outcome: Outcome, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    row, figures = outcome.row, outcome.figures
    if figures is None:
        return (row.shape, "-")
    ratio = ours_over(row, outcomes)
    return (
        row.shape,
        f"{figures.jobs_per_s:,.0f}",
        "" if ratio is None or row.kind == "ours" else f"{ratio:.2f}",
        f"{figures.cpu_s_per_1000_jobs:.2f}",
        f"{figures.total_bytes / BYTES_PER_MB:.0f}",
        f"{figures.largest_peak_bytes / BYTES_PER_MB:.0f}",
        " ".join(f"{figures.cores[name] * PERCENT:3.0f}" for name in CORES_OF),
    )


def _parts_table(parts: dict[str, Spent]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("parts of the floor, each alone", no_wrap=True)
    for name in ("per s", "CPU µs"):
        table.add_column(name, justify="right")
    for part, spent in parts.items():
        table.add_row(PART_TITLES[part], f"{spent.count / spent.seconds:,.0f}", f"{cpu_us(spent):.0f}")
    table.add_row("all but the last", "", f"{sum(cpu_us(parts[part]) for part in PARTS if part in parts):.0f}")
    return table


def cpu_us(spent: Spent) -> float:
    """Of each."""
    return spent.cpu_s * US_PER_S / spent.count


def ours_over(row: Row, outcomes: Sequence[Outcome]) -> float | None:
    """Our jobs a second with as many processes, one recipient a call, over this row's; None when one is unknown."""
    ours = _jobs_per_s(outcomes, lambda other: _is_ours(other, row.processes))
    this = _jobs_per_s(outcomes, lambda other: other == row)
    return ours / this if ours and this else None


def _is_ours(row: Row, processes: int) -> bool:
    return row.name == OURS and row.processes == processes and row.recipients_per_call == 1


def _jobs_per_s(outcomes: Sequence[Outcome], wanted: Callable[[Row], bool]) -> float | None:
    """Of the fastest of them."""
    found = (outcome.figures for outcome in outcomes if wanted(outcome.row))
    return max((figures.jobs_per_s for figures in found if figures), default=None)


def claims(outcomes: Sequence[Outcome]) -> list[Claim]:
    """Those that something was measured for; all with one process and one recipient a call."""
    told = []
    ours = _jobs_per_s(outcomes, lambda row: _is_ours(row, 1))
    limits: tuple[tuple[str, float, Callable[[Row], bool]], ...] = (
        (f"at least {FRAMEWORKS_MIN} x the best framework", FRAMEWORKS_MIN, lambda row: _is_peer(row, "framework")),
        (f"at least {LOOP_MIN} x the leanest loop", LOOP_MIN, lambda row: _is_peer(row, "loop")),
        (f"at least {FLOOR_MIN} of the floor", FLOOR_MIN, lambda row: row.name == FLOOR),
    )
    for words, least, is_it in limits:
        other = _jobs_per_s(outcomes, lambda row, is_it=is_it: row.processes == 1 and is_it(row))  # type: ignore[misc]
        if ours and other:
            told.append(Claim(words, ours / other, ours / other >= least))
    for outcome in outcomes:
        if outcome.figures and _is_ours(outcome.row, 1):
            spent_s = outcome.figures.cpu_s_per_1000_jobs
            told.append(Claim(f"at most {CPU_S_MAX} CPU s per 1,000 jobs", spent_s, spent_s <= CPU_S_MAX))
    return told


def disturbances(outcomes: Sequence[Outcome]) -> list[str]:
    """The rows during which the machine was busy with something else, and how many cores that took."""
    return [
        f"{outcome.row.short_title} {outcome.row.shape} ({figures.others_cores:.2f})"
        for outcome in outcomes
        if (figures := outcome.figures) and figures.others_cores > OTHERS_CORES_MAX
    ]


def twice(outcomes: Sequence[Outcome]) -> list[str]:
    """A line for each row whose jobs were not sent once; the floor repeats one call by its nature."""
    return [
        f"{outcome.row.short_title} {outcome.row.shape} sent {most} jobs twice."
        for outcome in outcomes
        if outcome.row.kind != "floor" and (most := max((one.sent_twice for one in outcome.rounds), default=0))
    ]


def _is_peer(row: Row, compared: str) -> bool:
    return row.kind == "peer" and row.peer.compared == compared


def _tried(outcomes: Sequence[Outcome]) -> list[str]:
    peers = {outcome.row.name: outcome.row.peer for outcome in outcomes if outcome.row.kind == "peer"}
    if not peers:
        return []
    told = "; ".join(f"{peer.title} {peer.http} {peer.tried}" for peer in peers.values())
    return [f"Calls at a time that were tried, of which the best is taken: {told}."]


def _versions() -> str:
    return "Versions: " + ", ".join(f"{name} {number}" for name, number in rival_versions().items()) + "."


def peers_result(told: PeersFigures) -> dict[str, Any]:
    """As JSON has it."""
    return {
        "rows": [
            {
                "name": outcome.row.name,
                "title": outcome.row.title,
                "processes": outcome.row.processes,
                "in_flight": outcome.row.in_flight or None,
                "recipients_per_call_max": outcome.row.recipients_per_call,
                "ours_over_this": ours_over(outcome.row, told.outcomes),
                "figures": None if outcome.figures is None else asdict(outcome.figures),
                "rounds": [asdict(one) for one in outcome.rounds],
                "why_not": outcome.why_not or None,
            }
            for outcome in told.outcomes
        ],
        "floor_parts": {part: asdict(spent) | {"cpu_us": cpu_us(spent)} for part, spent in told.parts.items()},
        "claims": [asdict(claim) for claim in claims(told.outcomes)],
        "conditions": [*CONDITIONS, *_tried(told.outcomes)],
        "rivals": rival_versions(),
    }
