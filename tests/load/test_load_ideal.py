"""What a system without faults and delays would have done; when jobs waited, and how much of the limit was used."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.load.ideal import US_PER_S, LimitLine, ideal_calls_us
from loadtest.load.recovery import recovered_us
from loadtest.load.waiting import use_of_limit, waiting

TEN = LimitLine(((0, 10),))
STEP_US = 100_000
MOMENTS = st.lists(st.integers(0, 5_000_000), max_size=60).map(sorted)


def ideal(moments: list[int], *, urgent: Collection[int] = (), together: int = 1) -> list[int]:
    flags = [place in urgent for place in range(len(moments))]
    return list(ideal_calls_us(moments, flags, TEN, jobs_of_a_call=together))


def test_jobs_leave_at_once_below_the_limit_and_at_its_distance_above() -> None:
    assert ideal([0, 500_000, 500_001, 500_002]) == [0, 500_000, 600_000, 700_000]


def test_jobs_leave_at_its_distance_after_a_pause_too() -> None:
    """A rolling second lets all ten through at once: the ideal is of a system that spaces its calls."""
    assert ideal([0, *[5_000_000] * 10]) == [0, *range(5_000_000, 6_000_000, STEP_US)]


def test_jobs_that_may_share_a_call_leave_with_the_next_slot() -> None:
    assert ideal([0, 1, 2, 3], together=2) == [0, 100_000, 100_000, 200_000]


def test_urgent_jobs_go_first() -> None:
    assert ideal([0, 1, 2], urgent={2}) == [0, 200_000, 100_000]


@given(MOMENTS, st.integers(1, 3), st.sets(st.integers(0, 59)))
def test_no_ideal_call_is_early_or_over_the_limit_and_no_slot_is_wasted(
    moments: list[int], together: int, urgent: set[int]
) -> None:
    called = ideal(moments, together=together, urgent=urgent)
    assert all(call >= came for call, came in zip(called, moments, strict=True))
    slots = sorted(set(called))
    assert all(later - sooner >= STEP_US for sooner, later in itertools.pairwise(slots))
    assert all(called.count(slot) <= together for slot in slots)
    for sooner, later in itertools.pairwise(slots):
        if later - sooner > STEP_US:
            came_by = sum(came <= sooner + STEP_US for came in moments)
            assert sum(call <= sooner for call in called) >= came_by - (came_by and moments[came_by - 1] == later)


def test_a_limit_changes_when_it_does() -> None:
    line = LimitLine(((-US_PER_S, 50), (2 * US_PER_S, 15), (4 * US_PER_S, 50)))
    assert [line.at(second * US_PER_S) for second in (0, 2, 3, 4)] == [50, 15, 15, 50]
    assert line.permitted(0, 5 * US_PER_S) == pytest.approx(50 * 2 + 15 * 2 + 50)
    assert line.permitted(US_PER_S, US_PER_S) == 0


@given(MOMENTS, st.data())
def test_waiting_is_counted_as_one_would_by_hand(published: list[int], data: st.DataObject) -> None:
    called = sorted(at_us + data.draw(st.integers(0, 2_000_000)) for at_us in published)
    found = waiting(published, called, 8)

    def standing(at_us: int) -> int:
        return sum(one <= at_us for one in published) - sum(one <= at_us for one in called)

    for second in range(8):
        since_us, until_us = second * US_PER_S, (second + 1) * US_PER_S
        moments = [since_us - 1, *(one for one in (*published, *called) if since_us <= one < until_us)]
        least = min(standing(at_us) for at_us in moments)
        assert found.fewest[second] == least
    assert all(standing(at_us) == 0 for at_us in found.empty_us if called.count(at_us) == 1)


def even(since_s: float, until_s: float, per_s: float) -> list[int]:
    count = round((until_s - since_s) * per_s)
    return [round((since_s + number / per_s) * US_PER_S) for number in range(count)]


def test_the_share_of_the_limit_counts_while_a_backlog_waits_and_not_at_the_start() -> None:
    admitted = [*even(0.9, 1.9, 10), *even(2, 6, 5), *even(6, 10, 10)]
    use = use_of_limit([5] * 10, admitted, TEN, backlog_min=1)
    assert use.busy_s == 9
    assert use.permitted == pytest.approx(90)
    assert use.share == pytest.approx((9 + 20 + 40) / 90, abs=0.02)


def test_seconds_without_a_backlog_do_not_count() -> None:
    admitted = [*even(1, 4, 10), *even(4, 8, 2), *even(8, 12, 10)]
    use = use_of_limit([9] * 4 + [1] * 4 + [9] * 3, admitted, TEN, backlog_min=4)
    assert use.busy_s == 5
    assert use.share == pytest.approx(1.0)
    assert use_of_limit([1] * 11, admitted, TEN, backlog_min=4).share is None


def with_stall(limit_per_s: int, since_s: int, until_s: int, seconds: int) -> list[int]:
    return [*even(0, since_s, limit_per_s), *even(until_s, seconds, limit_per_s)]


@pytest.mark.parametrize(
    ("published", "called", "seconds", "share"),
    [
        pytest.param([0] * 2_000, with_stall(50, 30, 40, 50), 50, 39 / 49, id="in the midst of it"),
        pytest.param([0] * 5_000, with_stall(50, 10, 100, 100), 100, 9 / 99, id="until the end"),
        # What came from 30 s on is worked off at 50 a second from 60 s to 108 s.
        pytest.param(
            even(0, 90, 40), [*even(0, 30, 40), *even(60, 108, 50)], 120, 47 / 77, id="where a backlog begins by it"
        ),
        pytest.param([0] * 5_000, [], 100, 0.0, id="from the beginning on, for ever"),
        pytest.param([0] * 5_000, even(50, 100, 50), 100, 50 / 90, id="until long after the start"),
        pytest.param([0] * 5_000, [0], 3, 0.0, id="after the only call"),
    ],
)
def test_a_stall_costs_its_share_wherever_it_lies(
    published: list[int], called: list[int], seconds: int, share: float
) -> None:
    fewest = waiting(published, called, seconds).fewest
    use = use_of_limit(fewest, called, LimitLine(((0, 50),)), backlog_min=4)
    assert use.share == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("limit_per_s", [1, 2, 15, 50])
@pytest.mark.parametrize("began_s", [0.0, 0.31, 0.7])
@pytest.mark.parametrize("stretches", [[9] * 62, [9] * 12 + [0] * 50, [0, 0, 9] * 20 + [0] * 2], ids=len)
def test_a_healthy_pace_loses_nothing_at_the_edges(limit_per_s: int, began_s: float, stretches: list[int]) -> None:
    """A guard of 7.5 ms a second leaves 99.26 % of any limit."""
    admitted = even(began_s, 70, limit_per_s / 1.0075)
    use = use_of_limit(stretches, admitted, LimitLine(((0, limit_per_s),)), backlog_min=4)
    assert use.share == pytest.approx(1 / 1.0075, abs=1e-4)


BACK = even(0, 10, 10) + even(14, 20, 4) + even(20, 40, 10)


@pytest.mark.parametrize(
    ("ended_s", "until_s", "empty_s", "after_s"),
    [
        (3, 40, [], 0.0),
        (12, 40, [], 7.75),
        (12, 40, [15], 3.0),
        (12, 18, [], None),
        (12, 18, [19], None),
        (39, 60, [], None),
    ],
)
def test_the_pace_is_back_when_it_is(ended_s: int, until_s: int, empty_s: list[int], after_s: float | None) -> None:
    found = recovered_us(
        ended_s * US_PER_S,
        until_s * US_PER_S,
        array("q", BACK),
        limit_per_s=10,
        empty_us=array("q", (second * US_PER_S for second in empty_s)),
    )
    if after_s is None:
        assert found is None
    else:
        assert found is not None
        assert (found - ended_s * US_PER_S) / US_PER_S == pytest.approx(after_s, abs=0.3)
