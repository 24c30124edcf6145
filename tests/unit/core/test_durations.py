"""Durations as people type them."""

from __future__ import annotations

import pytest

from worker.core.durations import seconds_of


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [("90s", 90), ("15m", 900), ("2h", 7_200), ("3d", 259_200), ("1d12h", 129_600), (" 1H30M ", 5_400), ("0s", 0)],
)
def test_a_duration_is_numbers_with_units(typed: str, seconds: int) -> None:
    assert seconds_of(typed) == seconds


@pytest.mark.parametrize("typed", ["", " ", "90", "h", "1.5h", "-1h", "30m1h", "1h 30m", "1w", "٣h", "9999999s"])
def test_anything_else_is_none(typed: str) -> None:
    assert seconds_of(typed) is None
