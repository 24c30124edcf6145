"""What the times of calls tell: what is usual, and what is not."""

from __future__ import annotations

import random

import pytest

from worker.flow.call_times import CALLS_MAX, CALLS_MIN, CallTimes


def evenly(least_s: float, most_s: float, *, count: int = CALLS_MAX) -> CallTimes:
    times, chance = CallTimes(), random.Random(1)  # noqa: S311 - not for secrets
    for _ in range(count):
        times.note(chance.uniform(least_s, most_s))
    return times


def test_the_spread_is_four_fifths_of_what_varies_evenly() -> None:
    assert evenly(0.02, 0.06).spread_s() == pytest.approx(0.032, rel=0.1)


@pytest.mark.parametrize("count", [0, 1, CALLS_MIN - 1])
def test_of_a_few_calls_nothing_is_known(count: int) -> None:
    times = evenly(0.02, 0.06, count=count)
    assert times.spread_s() == 0
    assert not times.is_unusual(60)


@pytest.mark.parametrize(("took_s", "is_unusual"), [(0.02, False), (0.06, False), (0.072, True), (5, True)])
def test_what_even_variation_can_explain_is_usual(took_s: float, is_unusual: bool) -> None:  # noqa: FBT001 - of a table
    assert evenly(0.02, 0.06).is_unusual(took_s) is is_unusual


def test_only_the_latest_calls_count() -> None:
    times = evenly(0.02, 0.06)
    for _ in range(CALLS_MAX):
        times.note(1.0)
    assert times.usual_s() == 1
    assert times.spread_s() == 0
