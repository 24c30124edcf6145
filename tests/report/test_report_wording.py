"""Numbers as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.report.wording import NOTHING, clock, lasting, latency, moment, percent, rounded, several


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (0.01234, "0.0123"), (4.5, "4.5"), (78.94, "78.9"), (99.96, "100"), (1234.5, "1,234"),
        (1e6, "1,000,000"), (1e-7, "0.0000001"),
    ],
)  # fmt: skip
def test_three_digits_count(value: float, text: str) -> None:
    assert rounded(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(None, NOTHING), (0, "0.00\u202f%"), (0.9942, "99.42\u202f%"), (1, "100.00\u202f%"), (0.29, "29.00\u202f%")],
)
def test_a_share_is_per_cent(share: float | None, text: str) -> None:
    assert percent(share, 2) == text


@given(st.floats(min_value=0, max_value=1 - 1e-8))
def test_nothing_but_all_of_it_is_called_100_percent(share: float) -> None:
    assert float(percent(share, 2).split("\u202f")[0]) < 100


@pytest.mark.parametrize(
    ("value_ms", "text"),
    [(0.42, "0.42 ms"), (999, "999 ms"), (1_540, "1.54 s"), (599_000, "599 s"), (1_410_000, "23.5 min")],
)
def test_a_time_has_the_unit_that_keeps_it_short(value_ms: float, text: str) -> None:
    assert latency(value_ms) == text.replace(" ", "\u202f")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (0.84, "0.8 s"), (59.5, "59.5 s"), (60, "1 min"), (150, "2 min 30 s"), (5_400, "1 h 30 min"),
        (7_200, "2 h"), (7_205, "2 h"),
    ],
)  # fmt: skip
def test_how_long_it_lasts(seconds: float, text: str) -> None:
    assert lasting(seconds).replace("\u202f", " ") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (8.4, "0:08"), (59.6, "1:00"), (750, "12:30"), (3_900, "1:05:00"), (-5, "-0:05"), (-0.2, "0:00")],
)
def test_a_moment_reads_as_on_the_axis(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_what_cannot_be_read_as_a_moment_stays_as_it_is() -> None:
    assert moment("2026-11-06T03:04:05+00:00") == "6 November 2026, 03:04:05 UTC"
    assert moment("yesterday") == "yesterday"


def test_a_number_has_its_noun() -> None:
    assert [several(number, "worker") for number in (0, 1, 2_000)] == ["0 workers", "1 worker", "2,000 workers"]
