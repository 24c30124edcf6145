"""Numbers and axes, as people read them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.dashboards.figures import ticks, written


@pytest.mark.parametrize(
    ("value", "unit", "decimals", "text"),
    [
        (0.0, "none", None, "0"),
        (3.0, "none", None, "3"),
        (3.14159, "none", None, "3.14"),
        (31.4159, "none", None, "31.4"),
        (314.159, "none", None, "314"),
        (3.14159, "none", 1, "3.1"),
        (1_234.0, "short", None, "1.23 K"),
        (5_000_000.0, "short", None, "5 Mil"),
        (0.9912, "percentunit", None, "99.1%"),
        (1.0, "percentunit", 0, "100%"),
        (0.0, "s", None, "0 s"),
        (0.0123, "s", None, "12.3 ms"),
        (90.0, "s", None, "1.5 min"),
        (7_200.0, "s", 0, "2 h"),
        (200_000.0, "s", None, "2.31 d"),
        (12.5, "reqps", 1, "12.5 req/s"),
        (2.0, "cpm", None, "2 c/m"),
        (512.0, "bytes", None, "512 B"),
        (150 * 2.0**20, "bytes", None, "150 MiB"),
        (-2.5, "short", None, "-2.5"),
        (float("inf"), "s", 0, "∞"),
    ],
)
def test_numbers(value: float, unit: str, decimals: int | None, text: str) -> None:
    assert written(value, unit, decimals) == text


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(2, 8))
def test_marks_cover_what_is_shown_evenly_and_are_few(low: float, span: float, count: int) -> None:
    high = low + span
    marks = ticks(low, high, count)
    slack = 1e-6 * max(abs(low), abs(high), span)
    assert marks[0] <= low + slack
    assert marks[-1] >= high - slack
    assert 2 <= len(marks) <= count + 3
    steps = [later - sooner for sooner, later in pairwise(marks)]
    assert max(steps) - min(steps) <= slack


def test_marks_of_one_value() -> None:
    assert ticks(5.0, 5.0, 4)[0] <= 5.0 < ticks(5.0, 5.0, 4)[-1]
    assert ticks(0.0, 0.0, 4)[-1] > 0
