"""Durations as people say them."""

from __future__ import annotations

import pytest

from worker.commands.status import duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "-"), (0, "0 s"), (99, "99 s"), (100, "2 min"), (5_400, "90 min"), (7_200, "2 h"), (400_000, "4 d")],
)
def test_a_duration_has_the_unit_that_says_enough(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words
