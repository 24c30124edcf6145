"""The bucket never lets more than the limit into any window, never starves, and survives its clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.bucket import AHEAD_US_MAX, Bucket, Grant, close, give_back, interval_ns, reserve

SECOND_US = 1_000_000


def slots_of(grant: Grant, interval: int) -> list[int]:
    return [grant.first_us + n * interval // 1000 for n in range(grant.count)]


questions = st.lists(
    st.tuples(
        st.integers(0, 3 * SECOND_US),  # time since the last question
        st.integers(1, 50),  # slots wanted
        st.sampled_from([0, 25_000, 100_000]),  # span
    ),
    min_size=1,
    max_size=60,
)


@given(rate=st.sampled_from([0.5, 3, 14.7, 15, 147, 980]), asked=questions)
def test_no_rolling_second_holds_more_slots_than_the_rate(rate: float, asked: list[tuple[int, int, int]]) -> None:
    interval, now_us, bucket, slots = interval_ns(rate), 10**15, None, []
    for waited_us, count, span_us in asked:
        now_us += waited_us
        bucket, grant = reserve(bucket, now_us=now_us, interval_ns=interval, count=count, span_us=span_us)
        assert grant.count <= count
        assert all(slot >= now_us for slot in slots_of(grant, interval))
        slots += slots_of(grant, interval)
    assert slots == sorted(slots)
    most = max(1, -(-SECOND_US * 1000 // interval))
    assert all(late - early >= SECOND_US for early, late in zip(slots, slots[most:], strict=False))


@given(asked=questions)
def test_who_asks_is_never_kept_waiting_longer_than_what_was_reserved_before(asked: list[tuple[int, int, int]]) -> None:
    interval, now_us, bucket = interval_ns(15), 10**15, None
    for waited_us, count, span_us in asked:
        now_us += waited_us
        bucket, grant = reserve(bucket, now_us=now_us, interval_ns=interval, count=count, span_us=span_us)
        if grant.count == 0:
            assert grant.first_us - now_us <= 60 * SECOND_US
            now_us = grant.first_us
            bucket, grant = reserve(bucket, now_us=now_us, interval_ns=interval, count=1, span_us=0)
        assert grant.count >= 1
        assert grant.first_us <= now_us + AHEAD_US_MAX


def test_idle_time_is_not_saved_up() -> None:
    bucket = Bucket(next_us=0, closed_until_us=0, seen_us=0)
    _, grant = reserve(bucket, now_us=10 * SECOND_US, interval_ns=interval_ns(10), count=100, span_us=SECOND_US)
    assert slots_of(grant, interval_ns(10)) == [10 * SECOND_US + n * 100_000 for n in range(11)]


def test_the_next_question_continues_where_the_last_ended() -> None:
    bucket, first = reserve(None, now_us=0, interval_ns=interval_ns(10), count=3, span_us=SECOND_US)
    _, second = reserve(bucket, now_us=0, interval_ns=interval_ns(10), count=1, span_us=0)
    assert (first.first_us, first.count) == (SECOND_US, 3)
    assert second.first_us == SECOND_US + 300_000


@pytest.mark.parametrize("rate", [0.1, 15, 1000])
def test_a_store_that_lost_its_memory_grants_nothing_for_a_second(rate: float) -> None:
    _, grant = reserve(None, now_us=0, interval_ns=interval_ns(rate), count=1, span_us=0)
    assert grant.first_us == SECOND_US


def test_a_closure_holds_for_everyone_and_is_never_shortened() -> None:
    bucket = close(Bucket(0, 0, 0), now_us=0, for_us=500_000)
    bucket = close(bucket, now_us=100_000, for_us=100_000)
    _, grant = reserve(bucket, now_us=200_000, interval_ns=interval_ns(15), count=1, span_us=0)
    assert grant.first_us == 500_000


def test_a_long_closure_says_when_to_ask_again_instead_of_promising() -> None:
    bucket = close(None, now_us=0, for_us=60 * SECOND_US)
    _, grant = reserve(bucket, now_us=0, interval_ns=interval_ns(15), count=1, span_us=0)
    assert (grant.count, grant.first_us) == (0, 58 * SECOND_US)


def test_unused_slots_come_back_only_while_nobody_reserved_behind_them() -> None:
    bucket, grant = reserve(None, now_us=0, interval_ns=interval_ns(10), count=5, span_us=SECOND_US)
    back = give_back(bucket, unused_from_us=grant.first_us + 200_000, next_us=grant.next_us)
    assert back is not None
    assert back.next_us == SECOND_US + 200_000
    later, _ = reserve(bucket, now_us=0, interval_ns=interval_ns(10), count=1, span_us=0)
    assert give_back(later, unused_from_us=0, next_us=grant.next_us) == later
    assert give_back(None, unused_from_us=0, next_us=1) is None


def test_a_clock_set_back_by_an_hour_neither_closes_the_account_nor_bursts() -> None:
    hour_us = 3600 * SECOND_US
    interval = interval_ns(10)
    bucket, before = reserve(None, now_us=2 * hour_us, interval_ns=interval, count=1, span_us=0)
    _, after = reserve(bucket, now_us=hour_us, interval_ns=interval, count=1, span_us=0)
    assert after.first_us - hour_us == before.next_us - 2 * hour_us


def test_a_clock_set_forward_grants_one_slot_at_once_and_then_the_pace() -> None:
    interval = interval_ns(10)
    bucket, _ = reserve(None, now_us=0, interval_ns=interval, count=10, span_us=SECOND_US)
    _, grant = reserve(bucket, now_us=3600 * SECOND_US, interval_ns=interval, count=10, span_us=200_000)
    assert [slot - 3600 * SECOND_US for slot in slots_of(grant, interval)] == [0, 100_000, 200_000]
