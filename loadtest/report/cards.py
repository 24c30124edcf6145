"""The page's big numbers (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.load.result import AccountFigures, Latency, Result, Series
from loadtest.report.figures import State, accounts_alone, over
from loadtest.report.wording import NOTHING, lasting, latency, measure, milliseconds, percent, rounded, several

WORKER = "worker "
"""How the names of workers begin."""


@dataclass(frozen=True, slots=True)
class Card:
    """One of the big numbers."""

    name: str
    value: str
    unit: str
    note: str
    state: State = ""


def cards(result: Result) -> list[Card]:
    """The six that say most."""
    whole = result.accounts[0]
    books = result.correctness
    return [
        _share_card(whole) if whole.limit_per_s is not None else _memory_card(result.series),
        _second_card(result),
        _latency_card(result.latencies) or _calls_card(whole),
        _none_card("lost", books.lost, f"of {several(books.published, 'job')}"),
        _none_card("sent twice", books.duplicated, "recipients who got a message again"),
        _recipients_card(whole),
    ]


def _share_card(whole: AccountFigures) -> Card:
    name = "of the limit used"
    if whole.share_of_limit is None:
        return Card(name, NOTHING, "", "no job ever had to wait")
    best = "" if whole.best_share is None else f"; {percent(whole.best_share, 2)} is the most possible here"
    value, unit = percent(whole.share_of_limit, 2).split()
    return Card(name, value, unit, f"in {lasting(whole.busy_s)} with a backlog{best}")


def _memory_card(series: Series) -> Card:
    """Without a limit: what the workers had in hand is what can grow."""
    peaks = [mb for name, one in series.processes.items() if name.startswith(WORKER) for mb in one.memory_mb]
    measured = [mb for mb in peaks if mb is not None]
    if not measured:
        return Card("memory of a worker", NOTHING, "", "it was not measured")
    value, unit = measure(max(measured), "MB")
    return Card("memory of a worker", value, unit, "resident, at its most")


def _second_card(result: Result) -> Card:
    """Of the account that came nearest to its limit, or went furthest over it; first what is bad."""
    name = "busiest second"
    limited = [(account, account.limit_per_s) for account in accounts_alone(result) if account.limit_per_s]
    if not limited:
        calls = result.accounts[0].worst_rolling_second
        return Card(name, f"{calls:,}", "", "calls in a rolling second; there was no limit")
    worst, limit = max(
        limited, key=lambda pair: (over(result, pair[0]) == "bad", pair[0].worst_rolling_second / pair[1])
    )
    of_whom = f" of {worst.name}" if len(limited) > 1 else ""
    refused = f"{worst.throttled_calls:,} of {worst.calls:,} calls were answered 429"
    note = f"arrivals{of_whom} in a rolling second, refused ones too; {refused}"
    return Card(name, f"{worst.worst_rolling_second:,}", f"of {limit:,}", note, over(result, worst) or "good")


def _latency_card(latencies: Sequence[Latency]) -> Card | None:
    first = next((latency for latency in latencies if latency.count), None)
    if first is None:
        return None
    value, unit = milliseconds(first.p99_ms)
    return Card("99 % within", value, unit, f"{first.name}; half within {latency(first.p50_ms)}")


def _calls_card(whole: AccountFigures) -> Card:
    value, unit = measure(whole.calls_per_s, "/s")
    each = rounded(whole.recipients / max(1, whole.calls))
    return Card("calls", value, unit, f"with {each} {'recipient' if each == '1' else 'recipients'} each")


def _recipients_card(whole: AccountFigures) -> Card:
    value, unit = measure(whole.recipients_per_s, "/s")
    return Card("recipients", value, unit, f"{whole.recipients:,} in {several(whole.calls, 'call')}")


def _none_card(name: str, number: int, note: str) -> Card:
    return Card(name, f"{number:,}", "", note, "good" if number == 0 else "bad")
