"""The cards and tables: what is good, what is bad, and that the books are shown as they are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtest.load.result import ALL, Capacity, Preload, Producer, Result
from loadtest.report.cards import Card, cards
from loadtest.report.figures import account_rows, book_rows, fault_rows, latency_rows, other_rows, tools
from loadtest.report.wording import NOTHING
from tests.report.results import NO_LATENCY, STORIES, books, figures, million, steady, twenty_accounts, with_faults


def card(result: Result, name: str) -> Card:
    return next(each for each in cards(result) if each.name == name)


@pytest.mark.parametrize("story", STORIES)
def test_there_are_six_big_numbers(story: str) -> None:
    assert len(cards(STORIES[story]())) == 6


def test_all_is_well() -> None:
    shown = [(each.name, each.value, each.unit, each.state) for each in cards(steady())]
    assert shown == [
        ("of the limit used", "99.42", "%", ""),
        ("busiest second", "15", "of 15", "good"),
        ("99 % within", "65.6", "ms", ""),
        ("lost", "0", "", "good"),
        ("sent twice", "0", "", "good"),
        ("recipients", "14.9", "/s", ""),
    ]


@pytest.mark.parametrize(("name", "wrong"), [("lost", {"lost": 1}), ("sent twice", {"duplicated": 1})])
def test_one_is_one_too_many(name: str, wrong: dict[str, int]) -> None:
    assert card(replace(steady(), correctness=books(**wrong)), name).state == "bad"


@pytest.mark.parametrize(
    ("throttled", "is_limit_kept", "state"), [(1, True, "noted"), (0, True, "bad"), (1, False, "bad"), (1, None, "bad")]
)
def test_one_call_over_the_limit_is_bad_unless_it_was_refused_and_so_few_may_be(
    throttled: int, state: str, *, is_limit_kept: bool | None
) -> None:
    over = figures("shop", 15, worst_rolling_second=16, throttled_calls=throttled)
    result = replace(steady(), accounts=(over,), is_limit_kept=is_limit_kept)
    assert card(result, "busiest second").state == account_rows(result)[0].worst_state == state


def test_the_account_furthest_over_its_limit_is_named_and_a_bad_one_first() -> None:
    refused = figures("refused", 1, worst_rolling_second=2, throttled_calls=1)
    admitted = figures("admitted", 15, worst_rolling_second=16)
    both = replace(steady(), accounts=(figures(ALL, 16), refused, admitted), is_limit_kept=True)
    assert "admitted" in card(both, "busiest second").note
    accounts = (figures(ALL, 1_015), figures("large", 1_000), figures("small", 15, worst_rolling_second=17))
    worst = card(replace(steady(), accounts=accounts), "busiest second")
    assert (worst.value, worst.unit, worst.state) == ("17", "of 15", "bad")
    assert "small" in worst.note


def test_the_sum_over_all_accounts_is_held_to_no_limit() -> None:
    """Their seconds need not end together."""
    accounts = (figures(ALL, 30, worst_rolling_second=31), figures("a", 15), figures("b", 15))
    result = replace(steady(), accounts=accounts)
    assert [row.worst_state for row in account_rows(result)] == ["", "", ""]
    assert card(result, "busiest second").state == "good"


def test_without_a_limit_nothing_is_said_of_a_share_but_of_memory() -> None:
    result = million()
    most_mb = max(mb for each in ("worker 1", "worker 2") for mb in result.series.processes[each].memory_mb if mb)
    memory = cards(result)[0]
    assert (memory.name, memory.value, memory.unit) == ("memory of a worker", f"{most_mb:.1f}", "MB")
    row = account_rows(result)[0]
    assert (row.limit, row.share, row.bar) == ("none", NOTHING, 0)


def test_without_a_schedule_there_are_no_times_but_calls() -> None:
    """All jobs lay there before: how long each waited says nothing."""
    result = replace(million(), accounts=(figures("shop", None, recipients=900_000, calls=1_000, calls_per_s=52.0),))
    calls = card(result, "calls")
    assert (calls.value, calls.unit, calls.note) == ("52", "/s", "with 900 recipients each")


def test_a_limit_that_never_bound_is_said_so() -> None:
    idle = replace(steady(), accounts=(figures("shop", 15, share_of_limit=None),))
    assert card(idle, "of the limit used").note == "no job ever had to wait"


def test_each_account_has_a_row_and_their_sum_comes_first() -> None:
    rows = account_rows(twenty_accounts())
    assert [row.is_sum for row in rows] == [True] + [False] * 20
    assert (rows[0].name, rows[1].name, rows[1].limit) == ("all together", "account-01", "12/s")


def test_a_fault_that_was_never_recovered_from_is_bad() -> None:
    rows = fault_rows(with_faults())
    assert [(row.number, row.began, row.state) for row in rows] == [
        (1, "0:20", "good"), (2, "0:45", "good"), (3, "1:10", "good"), (4, "1:52", "bad"),
    ]  # fmt: skip
    assert rows[3].recovered == "not before the end"


def test_times_that_never_were_have_no_figures() -> None:
    assert set(latency_rows((NO_LATENCY,))[0].times) == {NOTHING}


def test_the_books_balance_or_it_is_told_by_how_much_they_do_not() -> None:
    assert book_rows(books())[-1].state == "good"
    off = book_rows(books(sent=1_785))[-1]
    assert (off.number, off.note, off.state) == ("1,790", "5 differ from the lines above", "bad")


def test_a_doubt_without_a_fault_is_bad() -> None:
    def doubts(explained: int) -> str:
        rows = book_rows(books(sent=1_783, in_doubt=7, in_doubt_explained=explained))
        return next(row.state for row in rows if row.name == "in doubt")

    assert (doubts(7), doubts(6)) == ("", "bad")


@pytest.mark.parametrize("field", ["duplicated", "foreign", "left"])
def test_what_must_not_happen_is_bad_when_it_does(field: str) -> None:
    assert [row.state for row in other_rows(books())].count("good") == 3
    assert [row.state for row in other_rows(books(**{field: 1}))].count("bad") == 1


def test_a_simulator_near_its_own_end_may_have_held_things_up() -> None:
    needed = max(steady().series.accounts[ALL].arrivals_per_s)
    spare, near = (replace(steady(), capacity=Capacity(needed * times, 10_000)) for times in (2, 1.1))
    assert [tool.state for tool in tools(spare)] == ["good", "good", "good"]
    assert [tool.state for tool in tools(near)] == ["bad", "good", "good"]
    assert "50.0" in tools(spare)[0].words


def test_a_producer_behind_its_schedule_is_told() -> None:
    behind = replace(steady(), producer=Producer(1_790, 1_500, 2_000, 3))
    told = tools(behind)[-1]
    assert told.state == "bad"
    assert "2\u202fs after its time" in told.words
    assert "3 jobs had to be published again" in told.words


def test_a_capacity_that_was_not_measured_is_not_judged() -> None:
    assert [(tool.name, tool.state) for tool in tools(replace(steady(), capacity=None))] == [
        ("Schedule", "good"),
        ("Capacity", ""),
    ]


def test_what_lay_there_before_the_start_kept_no_schedule() -> None:
    told = tools(replace(million(), capacity=Capacity(4_180, 9_240)))
    assert [tool.name for tool in told] == ["Simulator", "Backlog"]
    assert "1,000,000 jobs" in told[1].words


def test_a_producer_is_not_held_to_what_lay_there_before() -> None:
    before = replace(steady(), preload=Preload(50_000, 10, 5_000))
    series = replace(before.series, published_per_s=(50_000, *before.series.published_per_s[1:]))
    producer = next(tool for tool in tools(replace(before, series=series)) if tool.name == "Producer")
    assert producer.state == "good"
    assert "In the busiest step 21 jobs/s" in producer.words
