"""Figures over time add up to what they were made of, whatever the steps."""

from __future__ import annotations

from array import array
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.bench.ledger_figures import worst_second
from loadtest.load.ideal import LimitLine
from loadtest.load.latency import histogram, latency, spectrum_percentiles
from loadtest.load.ledger import Calls
from loadtest.load.result import ALL, POINTS_MAX
from loadtest.load.sampling import Sample
from loadtest.load.series import US_PER_S, Seen, build_series, rolling_maxima, thinned

SECONDS = 6
MOMENTS = st.lists(st.integers(0, SECONDS * US_PER_S - 1), max_size=40).map(sorted)


def calls(moments: list[int], over: int = 0) -> Calls:
    return Calls(array("q", moments), bytearray(number < over for number in range(len(moments))))


def seen(a: list[int], b: list[int], *, samples: list[Sample] | None = None) -> Seen:
    return Seen(
        calls={"a": calls(a, over=1), "b": calls(b)},
        limits={"a": LimitLine(((0, 10), (2 * US_PER_S, 3))), "b": LimitLine(((0, 5),))},
        published_us=[*a, *b],
        ended_us=[at_us + 100 for at_us in a],
        ideal_us=[*a, *b],
        samples={"worker 1": samples or []},
    )


@given(MOMENTS)
def test_the_rolling_maximum_is_the_most_of_any_rolling_second_that_ended_there(moments: list[int]) -> None:
    found = rolling_maxima(moments, SECONDS)
    assert max(found, default=0) == worst_second(moments)
    for second in range(SECONDS):
        ends = [second * US_PER_S, *(at_us for at_us in moments if at_us // US_PER_S == second)]
        assert found[second] == max(sum(end - US_PER_S < at_us <= end for at_us in moments) for end in ends)


@given(MOMENTS, MOMENTS, st.integers(1, 7))
def test_thinner_series_keep_sums_and_maxima(a: list[int], b: list[int], factor: int) -> None:
    whole = build_series(seen(a, b), SECONDS)
    thin = thinned(whole, factor)
    for name, one in thin.accounts.items():
        assert max(one.rolling_max) == max(whole.accounts[name].rolling_max)
    assert max(thin.backlog) == max(whole.backlog)
    if SECONDS % factor == 0:
        arrivals = sum(rate * thin.step_s for rate in thin.accounts[ALL].arrivals_per_s)
        assert arrivals == pytest.approx(len(a) + len(b))
    assert thin.t_s[-1] == SECONDS
    assert len({len(thin.t_s), len(thin.backlog), len(thin.accounts["a"].limit_per_s)}) == 1


def test_limits_and_throttled_calls_are_told_by_account_and_together() -> None:
    series = build_series(seen([0, 10, 20], [30]), SECONDS)
    assert series.accounts["a"].limit_per_s == (10, 10, 3, 3, 3, 3)
    assert series.accounts[ALL].limit_per_s == (15, 15, 8, 8, 8, 8)
    assert series.accounts["a"].throttled_per_s[0] == series.accounts[ALL].throttled_per_s[0] == 1
    assert series.accounts[ALL].arrivals_per_s[0] == 4
    assert series.backlog == (1, 1, 1, 1, 1, 1)
    assert series.ideal_backlog == (0,) * SECONDS


def test_what_ends_before_its_second_is_no_negative_backlog() -> None:
    early = Seen({"a": calls([])}, {"a": None}, [US_PER_S], [0], None, {})
    assert build_series(early, 2).backlog == (0, 0)
    assert build_series(early, 2).ideal_backlog is None
    assert build_series(early, 2).accounts[ALL].limit_per_s == (None, None)


def test_processes_have_gaps_where_they_were_away_and_none_where_a_look_came_late() -> None:
    looks = [Sample(-500_000, 0.1, 50.0), Sample(1_500_000, 0.3, 60.0), Sample(2_500_000, None, None)]
    worker = build_series(seen([], [], samples=looks), SECONDS).processes["worker 1"]
    assert worker.cpu_cores[:3] == (0.1, 0.3, None)
    assert worker.memory_mb[:3] == (50.0, 60.0, None)


def test_a_long_run_has_no_more_points_than_can_be_drawn() -> None:
    series = build_series(seen([0], [7_199 * US_PER_S]), 7_200)
    assert len(series.t_s) <= POINTS_MAX
    assert series.step_s == 4
    assert max(series.accounts[ALL].rolling_max) == 1


@settings(max_examples=25, deadline=None)  # each looks through a histogram of a day in microseconds 150 times
@given(st.lists(st.integers(1, 10_000_000), min_size=1, max_size=200))
def test_percentiles_are_those_of_the_times_to_a_thousandth(times_us: list[int]) -> None:
    times = histogram()
    for time_us in times_us:
        times.record_value(time_us)
    told = latency("x", "y", times)
    ordered = sorted(times_us)
    assert told.count == len(times_us)
    assert told.max_ms == pytest.approx(ordered[-1] / 1_000, rel=2e-3, abs=2e-3)
    assert ordered[0] / 1_000 * 0.998 - 2e-3 <= told.p50_ms <= told.p90_ms <= told.p99_ms <= told.p999_ms <= told.max_ms
    assert all(sooner <= later for sooner, later in pairwise(told.spectrum))
    assert told.spectrum[-1] == (100.0, told.max_ms)


def test_each_percentile_is_the_one_that_its_name_says() -> None:
    times = histogram()
    for time_us in range(1_000, 10_001_000, 1_000):
        times.record_value(time_us)
    told = latency("x", "y", times)
    assert told.mean_ms == pytest.approx(5_000.5, rel=2e-3)
    assert told.p50_ms == pytest.approx(5_000, rel=1e-3)
    assert told.p90_ms == pytest.approx(9_000, rel=1e-3)
    assert told.p99_ms == pytest.approx(9_900, rel=5e-4)
    assert told.p999_ms == pytest.approx(9_990, rel=5e-4)


def test_no_times_are_told_as_none() -> None:
    assert latency("x", "y", histogram()).count == 0


@given(st.integers(1, 2_000_000))
def test_the_spectrum_reaches_the_last_of_all_times(count: int) -> None:
    percentiles = spectrum_percentiles(count)
    assert percentiles[0] == 0
    assert percentiles[-2] >= 100 * (1 - 1 / count)
    assert len(percentiles) < 200
