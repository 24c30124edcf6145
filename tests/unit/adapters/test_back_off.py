"""Waits between tries grow to a bound, differ, and are short again once something has held."""

from __future__ import annotations

from worker.adapters.rabbitmq_link import AGAIN_S_MAX, AGAIN_S_MIN, STEADY_S, BackOff

#: After whatever outage, jobs are to flow again within so many seconds of the broker's return.
BACK_WITHIN_S = 5.0


def test_waits_grow_and_stay_below_what_a_return_may_take() -> None:
    back_off = BackOff()
    waits_s = [back_off.next_s(0.0) for _ in range(200)]
    assert AGAIN_S_MIN * 0.5 <= waits_s[0] <= AGAIN_S_MIN * 1.5
    assert min(waits_s[5:]) >= AGAIN_S_MAX * 0.5
    assert max(waits_s) <= AGAIN_S_MAX * 1.5 < BACK_WITHIN_S - 1
    assert len(set(waits_s)) == 200, "workers that lost the broker together come back apart"


def test_what_ends_again_and_again_is_waited_for_longer_each_time_and_what_has_held_is_not() -> None:
    back_off = BackOff()
    for n in range(8):
        back_off.up(n * STEADY_S)
        wait_s = back_off.next_s(n * STEADY_S + STEADY_S / 2)
    assert wait_s >= AGAIN_S_MAX * 0.5
    back_off.up(100.0)
    assert back_off.next_s(100.0 + STEADY_S * 1.01) <= AGAIN_S_MIN * 1.5
