"""The table at the end: its rows are plain data (pure), which then are drawn."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadtest.demo.books import US_PER_S, Death, Reckoning
from loadtest.demo.inbound import InboundReckoning
from loadtest.demo.jobs import End
from loadtest.percentile import percentile
from loadtest.simulator.records import Summary

NAMES_SHOWN_MAX = 5
PROBLEMS_SHOWN_MAX = 8
ON_THE_WAY, DELIVERED = "dispatched", "delivered"


class Mood(enum.Enum):
    """How a row is meant; the value is its style."""

    PLAIN = ""
    GOOD = "green"
    BAD = "bold red"
    NOTABLE = "yellow"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table."""

    name: str
    value: str
    note: str = ""
    mood: Mood = Mood.PLAIN


@dataclass(frozen=True, slots=True)
class Result:
    """All that the table tells of. `published_at_us`: wall clock, by job; `deaths`: of workers, unasked."""

    reckoning: Reckoning
    inbound: InboundReckoning
    summary: Summary
    limit_per_s: int
    bursts: int
    deaths: tuple[Death, ...]
    is_kill_asked: bool
    published_at_us: dict[str, int]

    @property
    def unexplained(self) -> int:
        """Duplicates that no death of a worker explains."""
        duplicates = self.reckoning.duplicates
        explained = sum(any(death.explains(duplicate) for death in self.deaths) for duplicate in duplicates)
        return max(self.summary.duplicates, len(duplicates)) - explained

    @property
    def are_duplicates_allowed(self) -> bool:
        """Whether there are none, or a worker was killed on purpose and that explains all of them."""
        count = max(self.summary.duplicates, len(self.reckoning.duplicates))
        return count == 0 or (self.is_kill_asked and self.unexplained == 0)

    @property
    def is_well(self) -> bool:
        """The rule of the exit code: nothing lost, nothing sent twice, and the books balance."""
        return self.reckoning.is_balanced and self.are_duplicates_allowed and not self.inbound.problems

    def latencies_s(self) -> list[float]:
        """From publish to the first acceptance, of every job that has one."""
        return [
            (at_us - self.published_at_us[name]) / US_PER_S
            for name, at_us in self.reckoning.first_accepted_at_us.items()
        ]


def rows(result: Result) -> list[Row]:
    """Make the table's rows."""
    books, summary = result.reckoning, result.summary

    def end(kind: End, note: str = "", mood: Mood = Mood.PLAIN) -> Row:
        count = books.ends.get(kind, 0)
        return Row(kind.value, str(count), note if count else "", mood if count else Mood.PLAIN)

    recipients = f"to {books.recipients_told} recipients; the API accepted {books.recipients_accepted}"
    return [
        Row("published", str(books.published)),
        end(End.SENT, recipients),
        end(End.REFUSED, "all recipients had opted out"),
        end(End.EXPIRED, "published after their expires_at"),
        end(End.DEAD, "wrong on purpose; kept in mms.dead"),
        end(End.UNROUTABLE, "account unknown; kept in mms.unroutable"),
        _in_doubt(books),
        Row("lost", str(len(books.lost)), _names(books.lost), Mood.BAD if books.lost else Mood.GOOD),
        _duplicated(result),
        *_inbound_rows(result.inbound),
        Row("429s", str(summary.throttled_calls), _bursts(result.bursts)),
        Row(
            "worst rolling second",
            str(summary.worst_rolling_second),
            f"calls, of {result.limit_per_s} allowed",
            Mood.BAD if summary.worst_rolling_second > result.limit_per_s else Mood.GOOD,
        ),
        *_latency_rows(result),
    ]


def _in_doubt(books: Reckoning) -> Row:
    count = books.ends.get(End.IN_DOUBT, 0)
    notes = ["nobody knows; kept in mms.in_doubt"] if count else []
    if books.resolved:
        was = "1 was: its report proved it" if books.resolved == 1 else f"{books.resolved} were: reports proved them"
        notes.append(f"{was} sent")
    return Row(End.IN_DOUBT.value, str(count), "; ".join(notes), Mood.NOTABLE if count else Mood.PLAIN)


def _inbound_rows(inbound: InboundReckoning) -> list[Row]:
    def is_whole(told: int, made: int) -> Mood:
        return Mood.GOOD if told == made else Mood.BAD

    finals = {status: count for status, count in inbound.statuses.items() if status != ON_THE_WAY}
    delivered = finals.pop(DELIVERED, 0)
    others = "".join(f", {count} {status}" for status, count in sorted(finals.items()))
    return [
        Row(
            "reports",
            str(inbound.reports),
            f"of {inbound.reports_made}; {inbound.again} came again, {inbound.early} too early",
            is_whole(inbound.reports, inbound.reports_made),
        ),
        Row("messages delivered", str(delivered), others.removeprefix(", ")),
        Row(
            "replies",
            str(inbound.replies),
            f"of {inbound.replies_made}; {inbound.both_ways} came two ways",
            is_whole(inbound.replies, inbound.replies_made),
        ),
    ]


def _duplicated(result: Result) -> Row:
    count = max(result.summary.duplicates, len(result.reckoning.duplicates))
    explained = count - result.unexplained
    notes = []
    if explained:
        notes.append(f"{explained} explained: under way in the killed worker")
    if result.unexplained:
        notes.append(f"{result.unexplained} without an explanation")
    mood = Mood.GOOD if count == 0 else Mood.NOTABLE if result.are_duplicates_allowed else Mood.BAD
    return Row("duplicated", str(count), "; ".join(notes), mood)


def _bursts(count: int) -> str:
    times = {0: "never", 1: "once"}.get(count, f"{count} times")
    return f"the limit was lowered {times}"


def _latency_rows(result: Result) -> list[Row]:
    latencies_s = result.latencies_s()
    least_s = result.reckoning.published / result.limit_per_s
    notes = ("from publish to acceptance", f"at the limit, all take {least_s:.0f} s")
    found = ((f"p{share:.0%}".rstrip("%"), percentile(latencies_s, share)) for share in (0.5, 0.99))
    return [
        Row(name, "-" if value is None else f"{value:.2f} s", note)
        for (name, value), note in zip(found, notes, strict=True)
    ]


def verdict(result: Result) -> list[str]:
    """Say how it went: one sentence when all is well, else one for each thing that is wrong."""
    books = result.reckoning
    ends = " + ".join(f"{books.ends.get(kind, 0)} {kind}" for kind in End)
    if result.is_well:
        twice = "nothing was sent twice" if not result.summary.duplicates else "every duplicate is explained"
        back = f"{result.inbound.reports} reports and {result.inbound.replies} replies were told once each."
        return [f"All is well: nothing was lost, {twice}, and the books balance: {books.published} = {ends}. {back}"]
    told = list(books.problems[:PROBLEMS_SHOWN_MAX])
    if len(books.problems) > len(told):
        told.append(f"And {len(books.problems) - len(told)} more such sentences.")
    told += result.inbound.problems
    if books.lost:
        told.insert(0, f"{len(books.lost)} of {books.published} jobs have no end: {_names(books.lost)}.")
    if not result.are_duplicates_allowed:
        told.append("Recipients got a message twice.")
    return [f"Not well. {books.published} published; {ends}.", *told]


def draw(console: Console, result: Result) -> None:
    """Print the table and the verdict."""
    table = Table(title=f"What became of {result.reckoning.published} jobs", title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for row in rows(result):
        table.add_row(row.name, Text(row.value, style=row.mood.value), Text(row.note, style="dim"))
    console.print(table)
    style = "green" if result.is_well else "bold red"
    for sentence in verdict(result):
        console.print(Text(sentence, style=style))


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN_MAX])
    return f"{shown} and {len(names) - NAMES_SHOWN_MAX} more" if len(names) > NAMES_SHOWN_MAX else shown
