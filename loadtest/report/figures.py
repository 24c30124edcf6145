"""The numbers and words of the page's tables (pure)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from loadtest.load.result import ALL, AccountFigures, Correctness, Latency, Result
from loadtest.report.charts import scheduled
from loadtest.report.wording import (
    NARROW_SPACE,
    NOTHING,
    clock,
    lasting,
    latency,
    percent,
    rounded,
    several,
)

State = Literal["good", "noted", "bad", ""]
SPARE_SHARE_MAX = 0.8
"""Above it a tool of the test is too near to its own end to say that it was not what was measured."""
BEHIND_MS_MAX = 100.0
"""A schedule that 99 % of publications kept less well than this was another schedule."""

LATENCY_COLUMNS = ("mean", "50 %", "90 %", "99 %", "99.9 %", "longest")


@dataclass(frozen=True, slots=True)
class AccountRow:
    """One account; `bar`: the share of its limit in per cent, 0 without one."""

    name: str
    limit: str
    share: str
    best: str
    bar: float
    worst_second: str
    worst_state: State
    calls: str
    throttled: str
    recipients: str
    recipients_per_s: str
    is_sum: bool


@dataclass(frozen=True, slots=True)
class FaultRow:
    """One fault; `number` is its mark in the charts."""

    number: int
    name: str
    what: str
    began: str
    lasted: str
    recovered: str
    state: State
    recovery: str
    in_doubt: str


@dataclass(frozen=True, slots=True)
class LatencyRow:
    """One kind of times."""

    name: str
    definition: str
    count: str
    times: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BookRow:
    """One line of the books; `state` colours it."""

    name: str
    number: str
    note: str
    state: State = ""
    is_sum: bool = False


@dataclass(frozen=True, slots=True)
class Tool:
    """A part of the test itself, and whether it can have been in the way."""

    name: str
    words: str
    state: State


def accounts_alone(result: Result) -> list[AccountFigures]:
    """Without the sum of all."""
    return [account for account in result.accounts if account.name != ALL] or list(result.accounts)


def over(result: Result, account: AccountFigures) -> State:
    """When more calls than the limit arrived in a rolling second: noted while only what is allowed for was refused."""
    if not account.excess:
        return ""
    return "noted" if result.is_excess_refused(account) else "bad"


def account_rows(result: Result) -> list[AccountRow]:
    """As in the result: the sum first when there are several."""
    return [_account_row(result, account) for account in result.accounts]


def _account_row(result: Result, account: AccountFigures) -> AccountRow:
    limit, is_sum = account.limit_per_s, account.name == ALL
    return AccountRow(
        name="all together" if is_sum else account.name,
        limit="none" if limit is None else f"{limit:,}/s",
        share=percent(account.share_of_limit, 2),
        best=percent(account.best_share, 2),
        bar=round(min(1.0, account.share_of_limit or 0.0) * 100, 2),
        worst_second=f"{account.worst_rolling_second:,}",
        worst_state="" if is_sum else over(result, account),
        calls=f"{account.calls:,}",
        throttled=f"{account.throttled_calls:,}",
        recipients=f"{account.recipients:,}",
        recipients_per_s=rounded(account.recipients_per_s),
        is_sum=is_sum,
    )


def latency_rows(latencies: Sequence[Latency]) -> list[LatencyRow]:
    """The times of each in the order of LATENCY_COLUMNS."""
    return [
        LatencyRow(
            name=one.name,
            definition=one.definition,
            count=f"{one.count:,}",
            times=tuple(
                latency(value_ms) if one.count else NOTHING
                for value_ms in (one.mean_ms, one.p50_ms, one.p90_ms, one.p99_ms, one.p999_ms, one.max_ms)
            ),
        )
        for one in latencies
    ]


def fault_rows(result: Result) -> list[FaultRow]:
    """In the order of time, numbered as in the charts."""
    return [
        FaultRow(
            number=number,
            name=fault.name,
            what=fault.what,
            began=clock(fault.began_s),
            lasted=lasting(fault.ended_s - fault.began_s),
            recovered=result.not_back(fault) if fault.recovered_s is None else lasting(fault.recovered_s),
            state="bad" if fault.recovered_s is None else "good",
            recovery=fault.recovery,
            in_doubt=f"{fault.in_doubt:,}",
        )
        for number, fault in enumerate(result.faults, 1)
    ]


def book_rows(books: Correctness) -> list[BookRow]:
    """What became of the published, and that it adds up."""
    ends = books.sent + books.refused + books.expired + books.dead + books.in_doubt + books.unroutable + books.lost
    difference = books.published - ends
    is_explained = books.in_doubt_explained >= books.in_doubt
    explained = f"; {books.in_doubt_explained:,} of them by a fault" if books.in_doubt else ""
    return [
        BookRow("sent", f"{books.sent:,}", "the API accepted at least one recipient"),
        BookRow("refused", f"{books.refused:,}", "the API takes none of it"),
        BookRow("expired", f"{books.expired:,}", "its time was over before it could leave"),
        BookRow("dead", f"{books.dead:,}", "it could not be processed"),
        BookRow(
            "in doubt",
            f"{books.in_doubt:,}",
            f"whether it was sent is unknown{explained}",
            "" if is_explained else "bad",
        ),
        BookRow("unroutable", f"{books.unroutable:,}", "for an account that nobody knows"),
        BookRow("lost", f"{books.lost:,}", "nobody ever said what became of it", _none(books.lost)),
        BookRow(
            "published",
            f"{books.published:,}",
            "the sum of the lines above" if not difference else f"{abs(difference):,} differ from the lines above",
            _none(difference),
            is_sum=True,
        ),
    ]


def other_rows(books: Correctness) -> list[BookRow]:
    """What must not have happened besides."""
    return [
        BookRow("sent twice", f"{books.duplicated:,}", "recipients who got a message again", _none(books.duplicated)),
        BookRow("of nobody's job", f"{books.foreign:,}", "sent or told", _none(books.foreign)),
        BookRow("left in the queues", f"{books.left:,}", "messages at the end", _none(books.left)),
        BookRow("told again", f"{books.told_again:,}", "events with the same id, which consumers drop"),
        BookRow("resolved", f"{books.resolved:,}", "were in doubt; counted by what they turned out to be"),
    ]


def _none(number: int) -> State:
    return "good" if number == 0 else "bad"


def tools(result: Result) -> list[Tool]:
    """Why the simulator and the producer are not what was measured, or why they may be."""
    return [*_tools(result)]


def _tools(result: Result) -> Iterator[Tool]:
    capacity, producer = result.capacity, result.producer
    if capacity is not None:
        calls_per_s = max(result.series.accounts[ALL].arrivals_per_s, default=0.0)
        each = f" of {several(capacity.recipients_per_call, 'recipient')}"
        yield _tool("Simulator", calls_per_s, capacity.simulator_calls_per_s, "calls/s", "arrived", each=each)
        jobs_per_s = max((each for each in scheduled(result) if each is not None), default=0.0)
        if result.phases:
            yield _tool("Producer", jobs_per_s, capacity.producer_jobs_per_s, "jobs/s", "were to be published")
    if result.phases:
        behind = f"A publication left at most {latency(producer.behind_ms_max)} after its time, "
        usually = f"99{NARROW_SPACE}% of them within {latency(producer.behind_ms_p99)}."
        again = f" {several(producer.republished, 'job')} had to be published again." if producer.republished else ""
        words = f"{behind}{usually}{again} All latencies count from the intended time."
        yield Tool("Schedule", words, "good" if producer.behind_ms_p99 <= BEHIND_MS_MAX else "bad")
    if result.preload is not None:
        before = f"{several(result.preload.jobs, 'job')} lay in the queue before the workers started, published at "
        yield Tool("Backlog", f"{before}{rounded(result.preload.jobs_per_s)} a second.", "good")
    if capacity is None:
        yield Tool("Capacity", "What simulator and producer can do alone was not measured in this run.", "")


def _tool(name: str, needed: float, able: float, unit: str, what: str, *, each: str = "") -> Tool:
    share = needed / able if able > 0 else 1.0
    is_spare = share <= SPARE_SHARE_MAX
    verdict = "so it was not what held things up" if is_spare else "so it may itself have held things up"
    per_core = f"Alone it does {rounded(able)} {unit}{each} for each core that it keeps busy."
    words = f"{per_core} In the busiest step {rounded(needed)} {unit} {what}: "
    return Tool(name, f"{words}{percent(share)} of that, {verdict}.", "good" if is_spare else "bad")
