"""Another machine's clock is read as well as the best of the recent round trips allows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.core.clock import ForeignClock

AHEAD_S = 1_700_000_000.25


def learn(clock: ForeignClock, asked_at_s: float, out_s: float, back_s: float, ahead_s: float = AHEAD_S) -> float:
    foreign_us = round((asked_at_s + out_s + ahead_s) * 1e6)
    return clock.learn(asked_at_s=asked_at_s, answered_at_s=asked_at_s + out_s + back_s, foreign_us=foreign_us)


@given(st.lists(st.tuples(st.floats(0, 0.3), st.floats(0, 0.3)), min_size=1, max_size=40))
def test_the_error_is_at_most_half_of_the_shortest_recent_round_trip(ways: list[tuple[float, float]]) -> None:
    clock = ForeignClock()
    for n, (out_s, back_s) in enumerate(ways):
        learn(clock, 50.0 + n, out_s, back_s)
    best_s = min(out_s + back_s for out_s, back_s in ways[-16:])
    moment_us = round((70 + AHEAD_S) * 1e6)
    assert abs(clock.own_s(moment_us) - 70) <= best_s / 2 + 2e-6


def test_a_clock_that_was_set_is_believed_at_once() -> None:
    clock = ForeignClock()
    for n in range(10):
        assert learn(clock, 50.0 + n, 0.0001, 0.0001) == 0
    assert abs(learn(clock, 60.0, 0.005, 0.005, AHEAD_S - 3600) + 3600) < 0.006
    assert abs(clock.own_s(round((61 + AHEAD_S - 3600) * 1e6)) - 61) < 0.006
