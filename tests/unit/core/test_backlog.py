"""What waits, how long that takes, and what was planned for a job that was published then."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.backlog import BIN_S, BINS_MAX, PlannedWait, PlannedWaits, backlog_of
from worker.core.delivery import Lane
from worker.core.status import AccountState, AccountStatus

NOON_S = 1_800_000_000.0
STATUS = AccountStatus(
    account="acme",
    limit_per_s=10.0,
    state=AccountState.OPEN,
    why="",
    pace_per_s=8.0,
    guard_s=0.01,
    share_used=0.5,
    worst_second=10,
    jobs_per_call=2.0,
    backlog_urgent=40,
    backlog_bulk=120,
    drain_s=None,
    workers=2,
    in_doubt=0,
    in_doubt_oldest_s=None,
)


@pytest.mark.parametrize(
    ("status", "drain_s"),
    [
        (STATUS, 10.0),
        (replace(STATUS, state=AccountState.LOWERED), 10.0),
        (replace(STATUS, state=AccountState.CLOSED), 10.0),
        (replace(STATUS, pace_per_s=None, jobs_per_call=None), 16.0),  # nothing sent yet
        (replace(STATUS, state=AccountState.SUSPENDED), math.inf),
        (replace(STATUS, state=AccountState.UNKNOWN, pace_per_s=None), math.inf),
        (replace(STATUS, state=AccountState.SUSPENDED, backlog_urgent=0, backlog_bulk=0), 0.0),
    ],
)
def test_how_long_the_backlog_takes(status: AccountStatus, drain_s: float) -> None:
    backlog = backlog_of(status)
    assert backlog is not None
    assert backlog.drain_s == pytest.approx(drain_s)


@pytest.mark.parametrize("lacking", [replace(STATUS, backlog_urgent=None), replace(STATUS, backlog_bulk=None)])
def test_without_the_broker_there_is_no_backlog_to_tell(lacking: AccountStatus) -> None:
    assert backlog_of(lacking) is None


def test_the_plan_is_made_with_the_whole_limit_and_urgent_jobs_pass_the_others() -> None:
    backlog = backlog_of(replace(STATUS, pace_per_s=0.1, state=AccountState.SUSPENDED))
    assert backlog is not None
    assert backlog.jobs == {Lane.URGENT: 40, Lane.BULK: 120}
    assert backlog.planned_s == {Lane.URGENT: pytest.approx(2.5), Lane.BULK: pytest.approx(8.0)}
    alone = backlog_of(replace(STATUS, backlog_bulk=0))
    assert alone is not None
    assert alone.planned_s[Lane.URGENT] == pytest.approx(2.0)


def planned(urgent_s: float, bulk_s: float) -> dict[Lane, float]:
    return {Lane.URGENT: urgent_s, Lane.BULK: bulk_s}


def test_a_job_is_planned_by_the_longest_look_of_its_five_minutes_or_the_next() -> None:
    waits = PlannedWaits()
    for at_s, wait_s in ((10, 5.0), (20, 9.0), (30, 7.0), (BIN_S + 10, 2.0), (3 * BIN_S, 1.0)):
        waits.note(NOON_S + at_s, planned(wait_s / 10, wait_s))
    assert waits.at(NOON_S, Lane.BULK) == 9.0
    assert waits.at(NOON_S, Lane.URGENT) == pytest.approx(0.9)
    assert waits.at(NOON_S + BIN_S, Lane.BULK) == 2.0
    assert waits.at(NOON_S + 2 * BIN_S, Lane.BULK) == 1.0


def test_when_nobody_looked_the_first_look_after_that_counts_and_none_before() -> None:
    waits = PlannedWaits()
    assert waits.at(NOON_S, Lane.BULK) is None
    waits.note(NOON_S, planned(1.0, 100.0))
    waits.note(NOON_S + 50 * BIN_S, planned(1.0, 8.0))
    waits.note(NOON_S + 60 * BIN_S, planned(1.0, 900.0))
    assert waits.at(NOON_S + 5 * BIN_S, Lane.BULK) == 8.0
    assert waits.at(NOON_S - 9 * BIN_S, Lane.BULK) == 100.0
    assert waits.at(NOON_S + 61 * BIN_S, Lane.BULK) is None


def test_what_others_have_found_counts_as_well() -> None:
    waits, number = PlannedWaits(), int(NOON_S // BIN_S)
    waits.note(NOON_S, planned(3.0, 4.0))
    waits.recall([PlannedWait(number, 1.0, 50.0), PlannedWait(number - 7, 6.0, 6.0)])
    assert waits.at(NOON_S, Lane.BULK) == 50.0
    assert waits.at(NOON_S, Lane.URGENT) == 3.0
    assert waits.at(NOON_S - 7 * BIN_S, Lane.URGENT) == 6.0


@given(st.lists(st.tuples(st.integers(0, 3 * BINS_MAX), st.floats(0, 1e6)), min_size=1))
def test_news_is_told_once_and_no_more_than_a_day_is_kept(looks: list[tuple[int, float]]) -> None:
    waits = PlannedWaits()
    longest: dict[int, float] = {}
    for number, wait_s in looks:
        is_news = number not in longest or wait_s > longest[number]
        told = waits.note(number * BIN_S, planned(0.0, wait_s))
        if is_news:
            longest[number] = wait_s
        kept = sorted(longest)[-BINS_MAX:]
        longest = {each: longest[each] for each in kept}
        if number in longest:
            assert told == (PlannedWait(number, 0.0, wait_s) if is_news else None)
    for number in longest:
        near = [longest[each] for each in (number, number + 1) if each in longest]
        assert waits.at(number * BIN_S, Lane.BULK) == max(near)
    assert len(waits._bins) <= BINS_MAX
