"""The bucket never lets more than the limit into any window, never starves, and survives its clock."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.bucket import (
    AHEAD_US_MAX,
    FRESH_WAIT_US,
    LOWERED_CLOSE_US,
    STALL_TELLS_US,
    SUSPENDED_ASK_US,
    Bucket,
    Grant,
    Reaction,
    Row,
    Wish,
    give_back,
    refuse,
    reserve,
    suspend,
    worst_second,
)
from worker.core.pace import CONFIRMED_WITHIN_US, GUARD_NS_MIN, Pace, micro

SECOND_US = 1_000_000
NOW_US = 10**15


def slots_of(grant: Grant) -> list[int]:
    return [grant.row.slot_us(n) for n in range(grant.row.count)]


def wish(count: int = 1, span_us: int = SECOND_US, **more: Any) -> Wish:
    return Wish(count, span_us, **more)


def old_bucket(**changes: Any) -> Bucket:
    """One that was used a while ago, with the least guard."""
    pace = Pace(GUARD_NS_MIN, GUARD_NS_MIN)
    bucket = Bucket(next_us=NOW_US - 10 * SECOND_US, seen_us=NOW_US, worst_from_us=NOW_US, pace=pace)
    return replace(bucket, **changes)


questions = st.lists(
    st.tuples(
        st.integers(0, 3 * SECOND_US),  # time since the last question
        st.integers(1, 50),  # slots wanted
        st.sampled_from([0, 25_000, 100_000]),  # span
        st.integers(0, 5),  # of them given back
        st.booleans(),  # whether the first of them is refused
    ),
    min_size=1,
    max_size=60,
)


@given(rate=st.sampled_from([0.5, 3, 14.7, 15, 147, 980]), asked=questions)
def test_no_rolling_second_holds_more_slots_than_the_limit_whatever_happens(
    rate: float, asked: list[tuple[int, int, int, int, bool]]
) -> None:
    now_us, bucket, slots = NOW_US, None, []
    for waited_us, count, span_us, unused, is_refused in asked:
        now_us += waited_us
        bucket, grant = reserve(bucket, wish(count, span_us), now_us=now_us, limit_micro=micro(rate))
        kept = max(0, grant.row.count - unused)
        if kept < grant.row.count:
            given_back = give_back(bucket, used=kept, next_us=grant.next_us)
            assert given_back is not None
            bucket = given_back
        assert grant.row.count <= count
        assert all(slot >= now_us for slot in slots_of(grant))
        slots += slots_of(grant)[:kept]
        if is_refused and kept:
            bucket, reaction = refuse(
                bucket, slot_us=slots[-1], spread_ns=0, retry_after_us=-1, now_us=now_us, limit_micro=micro(rate)
            )
            if reaction is Reaction.PACE_LOWERED:  # everyone drops what he was promised
                slots = [slot for slot in slots if slot <= now_us]
    assert slots == sorted(slots)
    most = max(1, math.ceil(rate))
    assert all(late - early >= SECOND_US for early, late in zip(slots, slots[most:], strict=False))
    assert bucket is not None
    assert worst_second(bucket) <= most
    assert bucket.slots == len(slots)


@given(asked=questions)
def test_who_asks_is_never_kept_waiting_longer_than_what_was_reserved_before(
    asked: list[tuple[int, int, int, int, bool]],
) -> None:
    now_us, bucket = NOW_US, None
    for waited_us, count, span_us, *_ in asked:
        now_us += waited_us
        bucket, grant = reserve(bucket, wish(count, span_us), now_us=now_us, limit_micro=micro(15))
        if grant.row.count == 0:
            assert grant.row.first_us - now_us <= 60 * SECOND_US
            now_us = grant.row.first_us
            bucket, grant = reserve(bucket, wish(span_us=0), now_us=now_us, limit_micro=micro(15))
        assert grant.row.count >= 1
        assert grant.row.first_us <= now_us + AHEAD_US_MAX


def test_idle_time_is_not_saved_up() -> None:
    _, grant = reserve(old_bucket(), wish(100), now_us=NOW_US, limit_micro=micro(10))
    assert [slot - NOW_US for slot in slots_of(grant)] == [math.floor(n * 100_200) for n in range(10)]


def test_the_next_question_continues_where_the_last_ended() -> None:
    bucket, first = reserve(old_bucket(), wish(3), now_us=NOW_US, limit_micro=micro(10))
    _, second = reserve(bucket, wish(), now_us=NOW_US, limit_micro=micro(10))
    assert second.row.first_us == first.next_us
    assert slots_of(first)[-1] < second.row.first_us


@pytest.mark.parametrize("rate", [0.1, 15, 1000])
def test_a_store_that_lost_its_memory_grants_nothing_for_a_second_and_is_told_the_guard(rate: float) -> None:
    bucket, grant = reserve(None, wish(guard_ns=40_000_000), now_us=0, limit_micro=micro(rate))
    assert (grant.row.count, grant.next_us) == (0, FRESH_WAIT_US)
    assert bucket.pace.guard_ns == pytest.approx(40_000_000, rel=0.1)


def test_what_may_have_been_promised_is_waited_out() -> None:
    _, grant = reserve(old_bucket(), wish(wait_us=FRESH_WAIT_US), now_us=NOW_US, limit_micro=micro(15))
    assert (grant.row.count, grant.next_us) == (0, NOW_US + FRESH_WAIT_US)


def test_slots_come_no_sooner_than_the_answer() -> None:
    _, grant = reserve(old_bucket(), wish(lead_us=300_000), now_us=NOW_US, limit_micro=micro(15))
    assert grant.row.first_us == NOW_US + 300_000


def test_a_retry_after_holds_for_everyone_and_says_when_to_ask_again_instead_of_promising() -> None:
    bucket, _ = refuse(
        old_bucket(), slot_us=NOW_US, spread_ns=0, retry_after_us=60 * SECOND_US, now_us=NOW_US, limit_micro=micro(15)
    )
    _, grant = reserve(bucket, wish(), now_us=NOW_US, limit_micro=micro(15))
    assert (grant.row.count, grant.row.first_us) == (0, NOW_US + 60 * SECOND_US - AHEAD_US_MAX)


def test_a_closure_is_never_shortened() -> None:
    bucket = old_bucket(closed_until_us=NOW_US + 3 * SECOND_US)
    bucket, _ = refuse(
        bucket, slot_us=NOW_US, spread_ns=0, retry_after_us=SECOND_US, now_us=NOW_US, limit_micro=micro(15)
    )
    assert bucket.closed_until_us == NOW_US + 3 * SECOND_US


def test_unused_slots_come_back_only_while_nobody_reserved_behind_them() -> None:
    bucket, grant = reserve(old_bucket(), wish(5), now_us=NOW_US, limit_micro=micro(10))
    back = give_back(bucket, used=2, next_us=grant.next_us)
    assert back is not None
    assert (back.next_us, back.slots) == (slots_of(grant)[2], 2)
    later, _ = reserve(bucket, wish(), now_us=NOW_US, limit_micro=micro(10))
    assert give_back(later, used=0, next_us=grant.next_us) == later
    assert give_back(None, used=0, next_us=1) is None


def test_a_clock_set_back_by_an_hour_neither_closes_the_account_nor_bursts() -> None:
    hour_us = 3600 * SECOND_US
    bucket, before = reserve(old_bucket(), wish(), now_us=NOW_US, limit_micro=micro(10))
    _, after = reserve(bucket, wish(), now_us=NOW_US - hour_us, limit_micro=micro(10))
    assert after.row.first_us == before.next_us - hour_us


def test_a_clock_set_forward_grants_one_slot_at_once_and_then_the_pace() -> None:
    bucket, _ = reserve(old_bucket(), wish(10), now_us=NOW_US, limit_micro=micro(10))
    _, grant = reserve(bucket, wish(10, 250_000), now_us=NOW_US + 3600 * SECOND_US, limit_micro=micro(10))
    assert [slot - NOW_US - 3600 * SECOND_US for slot in slots_of(grant)] == [0, 100_200, 200_400]


def test_late_departures_move_the_slots_to_come_once_however_many_tell_of_it() -> None:
    bucket, grant = reserve(old_bucket(), wish(), now_us=NOW_US, limit_micro=micro(10))
    late = wish(late_us=30_000, late_shift_us=grant.shift_us)
    bucket, moved = reserve(bucket, late, now_us=NOW_US, limit_micro=micro(10))
    assert moved.row.first_us == grant.next_us + 30_000
    _, again = reserve(bucket, late, now_us=NOW_US, limit_micro=micro(10))
    assert again.row.first_us == moved.next_us


def test_lateness_of_long_ago_does_not_hold_up_a_store_that_lost_its_memory() -> None:
    late = wish(late_us=5_000, late_shift_us=60 * SECOND_US)
    _, grant = reserve(old_bucket(shift_us=0), late, now_us=NOW_US, limit_micro=micro(15))
    assert grant.row.first_us == NOW_US


def test_a_store_that_remembers_less_than_it_told_waits_what_it_promised_out() -> None:
    bucket = old_bucket(seen_us=NOW_US - 500_000)
    _, grant = reserve(bucket, wish(seen_us=NOW_US - 100_000), now_us=NOW_US, limit_micro=micro(15))
    assert grant.next_us == NOW_US + FRESH_WAIT_US
    _, grant = reserve(bucket, wish(seen_us=NOW_US - 500_000), now_us=NOW_US, limit_micro=micro(15))
    assert grant.row.first_us == NOW_US


def test_a_suspended_account_has_slots_for_probes_alone_until_it_is_resumed() -> None:
    bucket = suspend(old_bucket(), "credit", now_us=NOW_US)
    bucket, none = reserve(bucket, wish(), now_us=NOW_US, limit_micro=micro(15))
    assert (none.row.count, none.row.first_us) == (0, NOW_US + SUSPENDED_ASK_US)
    bucket, probe = reserve(bucket, wish(is_probe=True), now_us=NOW_US, limit_micro=micro(15))
    assert probe.row.count == 1
    _, grant = reserve(suspend(bucket, "", now_us=NOW_US), wish(), now_us=NOW_US, limit_micro=micro(15))
    assert grant.row.count == 1


# --- Refusals --------------------------------------------------------------------------------------------


def busy(rate: float, *, seconds: float = 3) -> tuple[Bucket, list[int], int]:
    """An account with a backlog: its bucket, its slots, and the moment of the last."""
    bucket, slots, now_us = old_bucket(), [], NOW_US
    while now_us < NOW_US + seconds * SECOND_US:
        bucket, grant = reserve(bucket, wish(span_us=0), now_us=now_us, limit_micro=micro(rate))
        slots += slots_of(grant)
        now_us = slots[-1]
    return bucket, slots, now_us


def refused(bucket: Bucket, slot_us: int, now_us: int, rate: float = 15) -> tuple[Bucket, Reaction]:
    return refuse(bucket, slot_us=slot_us, spread_ns=0, retry_after_us=-1, now_us=now_us, limit_micro=micro(rate))


def test_a_refusal_behind_a_full_second_is_jitter_and_raises_the_guard_once() -> None:
    bucket, slots, now_us = busy(15)
    bucket, reaction = refused(bucket, slots[-2], now_us)
    assert (reaction, bucket.pace.is_lowered) == (Reaction.GUARD_RAISED, False)
    assert bucket.pace.guard_ns > GUARD_NS_MIN
    assert now_us < bucket.closed_until_us <= now_us + 67_000
    again, reaction = refused(bucket, slots[-1], now_us)
    assert (reaction, again.pace) == (Reaction.NONE, bucket.pace)


@pytest.mark.parametrize(
    ("has_stalled", "told_before_us", "is_proven"),
    [(False, 0, True), (True, STALL_TELLS_US - 1, False), (True, STALL_TELLS_US, True)],
)
def test_a_refusal_soon_after_something_stood_still_proves_no_jitter(
    has_stalled: bool,  # noqa: FBT001 - of a table
    told_before_us: int,
    is_proven: bool,  # noqa: FBT001 - of a table
) -> None:
    bucket, slots, now_us = busy(15)
    bucket, _ = refused(bucket, slots[-1], now_us)
    bucket = replace(bucket, pace=replace(bucket.pace, raised_us=now_us - CONFIRMED_WITHIN_US), reacted_us=0)
    told, _ = reserve(bucket, wish(has_stalled=has_stalled), now_us=now_us, limit_micro=micro(15))
    again, reaction = refused(replace(told, rows=bucket.rows), slots[-1] + 1, now_us + told_before_us)
    assert reaction is Reaction.GUARD_RAISED
    assert (again.pace.proven_guard_ns == again.pace.guard_ns) is is_proven


def test_a_refusal_behind_a_second_that_was_not_full_shows_a_lower_limit() -> None:
    bucket, slots, now_us = busy(15)
    limits = set()
    for slot_us in slots[-11:]:  # each tells before the next leaves, so that each may be reacted to
        bucket, _ = refused(replace(bucket, reacted_us=0), slot_us, now_us)
        limits.add(bucket.pace.peak_micro)
    # 14 or 15 slots in the second before the last one, and ten of them refused.
    assert bucket.pace.peak_micro in {4_000_000, 5_000_000}
    assert limits > {0, 12_000_000}
    assert bucket.closed_until_us == now_us + LOWERED_CLOSE_US
    assert bucket.pace.guard_ns == GUARD_NS_MIN


def test_refusals_of_all_that_was_under_way_lower_the_pace_once() -> None:
    bucket, grant = reserve(old_bucket(), wish(20), now_us=NOW_US, limit_micro=micro(1000))
    for slot_us in slots_of(grant):
        bucket, _ = refused(bucket, slot_us, NOW_US, rate=1000)
    assert bucket.pace.peak_micro == micro(400)


def test_one_refusal_of_a_quiet_account_lowers_its_pace_so_far_and_no_further() -> None:
    bucket, grant = reserve(old_bucket(), wish(), now_us=NOW_US, limit_micro=micro(15))
    bucket, _ = refused(bucket, grant.row.first_us, NOW_US)
    assert bucket.pace.peak_micro == 6_000_000


def test_a_vendor_who_refuses_everything_is_asked_now_and_then() -> None:
    bucket, now_us = old_bucket(), NOW_US
    for _ in range(50):
        bucket, grant = reserve(bucket, wish(span_us=0), now_us=now_us, limit_micro=micro(15))
        now_us = grant.row.first_us
        if grant.row.count:
            bucket, _ = refused(bucket, now_us, now_us)
    assert bucket.pace.peak_micro == 750_000
    assert bucket.next_us - now_us < 2 * SECOND_US


def test_the_worst_second_of_long_ago_is_forgotten() -> None:
    bucket, _, now_us = busy(15)
    assert worst_second(bucket) == 15
    for _ in range(2):
        now_us += 61 * SECOND_US
        bucket, _ = reserve(bucket, wish(), now_us=now_us, limit_micro=micro(15))
    assert worst_second(bucket) == 1


@pytest.mark.parametrize(("after_us", "before_us", "count"), [(0, 50, 4), (-1, 50, 5), (0, 40, 3), (100, 200, 0)])
def test_slots_within_a_stretch_are_counted_exactly(after_us: int, before_us: int, count: int) -> None:
    assert Row(0, 5, 10_000).within(after_us, before_us) == count
