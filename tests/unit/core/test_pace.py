"""The guard settles where jitter hardly ever refuses a call; a lowered limit is found, kept, and left again."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.pace import (
    BUDGET_SLOTS,
    CONFIRMED_WITHIN_US,
    GUARD_NS_FIRST,
    GUARD_NS_MAX,
    GUARD_NS_MIN,
    GUARD_UP_MIN,
    PLATEAU_S,
    SPREAD_NS_MAX,
    SPREAD_SHARE,
    Pace,
    after_slots,
    cut,
    interval_ns,
    is_jitter,
    micro,
    raise_guard,
    rate_micro,
)

LIMIT = micro(15)
SECOND_US = 1_000_000
NOW_US = 10**15


def lowered(peak_per_s: float) -> Pace:
    return replace(Pace(), peak_micro=micro(peak_per_s), cut_us=NOW_US)


def rate(pace: Pace, after_s: float) -> float:
    return rate_micro(pace, limit_micro=LIMIT, now_us=NOW_US + int(after_s * SECOND_US)) / 1e6


def slots(pace: Pace, count: int) -> Pace:
    for _ in range(count):
        pace = after_slots(pace, 1, limit_micro=LIMIT, now_us=NOW_US)
    return pace


def test_the_limit_takes_a_second_and_the_guard() -> None:
    assert 15 * interval_ns(Pace(), limit_micro=LIMIT, now_us=0) == pytest.approx(1e9 + GUARD_NS_FIRST, abs=15)


@pytest.mark.parametrize(("after_s", "per_s"), [(0, 4.5), (8, 4.9375), (PLATEAU_S, 5.0), (PLATEAU_S + 10, 8.0)])
def test_a_lowered_pace_goes_back_to_the_peak_waits_there_and_then_beyond(after_s: float, per_s: float) -> None:
    assert rate(lowered(5), after_s) == pytest.approx(per_s, abs=1e-5)


def test_a_limit_that_was_raised_again_is_found_within_a_minute() -> None:
    assert rate(lowered(5), 32) == 15
    pace = after_slots(lowered(5), 1, limit_micro=LIMIT, now_us=NOW_US + 32 * SECOND_US)
    assert not pace.is_lowered


@given(peak=st.floats(0.01, 15), one_s=st.floats(0, 100), more_s=st.floats(0, 100))
def test_a_lowered_pace_never_sinks_by_itself_and_never_passes_the_configured_limit(
    peak: float, one_s: float, more_s: float
) -> None:
    pace = lowered(peak)
    assert 0 < rate(pace, one_s) <= rate(pace, one_s + more_s) <= 15


@pytest.mark.parametrize(
    ("limit", "admitted", "is_it"), [(15, 15, True), (15, 13, True), (15, 12, False), (1000, 899, True), (5, 3, False)]
)
def test_jitter_refuses_a_call_only_behind_a_full_second(limit: float, admitted: int, *, is_it: bool) -> None:
    assert is_jitter(Pace(), admitted, limit_micro=micro(limit)) is is_it


def test_nothing_is_jitter_once_the_guard_cannot_grow_any_more() -> None:
    assert is_jitter(Pace(guard_ns=90_000_000), 15, limit_micro=LIMIT)
    assert not is_jitter(Pace(guard_ns=91_000_000), 15, limit_micro=LIMIT)


def test_a_refusal_while_the_pace_is_lowered_is_never_taken_for_jitter() -> None:
    assert not is_jitter(lowered(14), 14, limit_micro=LIMIT)


@pytest.mark.parametrize(
    ("spread_ns", "guard_ms"),
    [
        (0, 9),  # not known: by half
        (1_000_000, 6.6),  # no less than a tenth
        (8_000_000, 8),  # half of the way to 10 ms of even jitter
        (32_000_000, 23),
        (10**10, (6 + SPREAD_NS_MAX / SPREAD_SHARE / 1e6) / 2),  # an API that is slow at times proves no jitter
    ],
)
def test_a_refusal_brings_the_guard_half_of_the_way_to_the_spread(spread_ns: int, guard_ms: float) -> None:
    raised = raise_guard(Pace(guard_ns=6_000_000), spread_ns=spread_ns, has_stalled=False, now_us=NOW_US)
    assert raised.guard_ns == pytest.approx(guard_ms * 1e6, abs=1)


def test_one_refusal_raises_it_on_trial() -> None:
    pace = slots(raise_guard(Pace(), spread_ns=32_000_000, has_stalled=False, now_us=NOW_US), 1_000)
    assert pace.guard_ns == pytest.approx(GUARD_UP_MIN * GUARD_NS_FIRST, rel=0.03)
    assert slots(pace, 1_000).guard_ns == pytest.approx(pace.guard_ns, rel=0.05)


def test_a_second_one_soon_and_within_the_budget_confirms_it() -> None:
    once = slots(raise_guard(Pace(), spread_ns=32_000_000, has_stalled=False, now_us=NOW_US), BUDGET_SLOTS - 1)
    # So soon, it does not matter what else might explain it.
    twice = raise_guard(once, spread_ns=32_000_000, has_stalled=True, now_us=NOW_US + CONFIRMED_WITHIN_US - 1)
    assert slots(twice, 1_000).guard_ns == pytest.approx(twice.guard_ns, rel=0.05)


def test_a_second_one_within_the_budget_confirms_it_at_any_time_when_nobody_was_late() -> None:
    once = slots(raise_guard(Pace(), spread_ns=32_000_000, has_stalled=False, now_us=NOW_US), BUDGET_SLOTS - 1)
    twice = raise_guard(once, spread_ns=32_000_000, has_stalled=False, now_us=NOW_US + 10 * CONFIRMED_WITHIN_US)
    assert slots(twice, 1_000).guard_ns == pytest.approx(twice.guard_ns, rel=0.05)


@pytest.mark.parametrize(
    ("slots_later", "us_later", "has_stalled"), [(BUDGET_SLOTS, 1, False), (1, CONFIRMED_WITHIN_US, True)]
)
def test_a_second_one_much_later_is_on_trial_again(slots_later: int, us_later: int, has_stalled: bool) -> None:  # noqa: FBT001 - of a table
    once = slots(raise_guard(Pace(), spread_ns=32_000_000, has_stalled=False, now_us=NOW_US), slots_later)
    twice = raise_guard(once, spread_ns=32_000_000, has_stalled=has_stalled, now_us=NOW_US + us_later)
    assert twice.proven_guard_ns == pytest.approx(GUARD_UP_MIN * once.guard_ns, abs=1)
    assert twice.proven_guard_ns < slots(twice, 1).guard_ns < twice.guard_ns


@pytest.mark.parametrize("jitter_ms", [3, 5, 10, 20, 40])
@pytest.mark.parametrize("seed", range(3))
def test_even_jitter_is_learned_within_its_bounds(jitter_ms: float, seed: int) -> None:
    """Calls at 15 a second; a refusal as likely as theory has it."""
    chance, pace, refused_late = random.Random(seed), Pace(), 0  # noqa: S311 - not for secrets
    for n in range(20_000):
        pace = slots(pace, 1)
        short = max(0.0, 1 - pace.guard_ns / (jitter_ms * 1e6))
        if chance.random() < short * short / 2:
            spread_ns = int(jitter_ms * SPREAD_SHARE * 1e6) + 16_000_000
            pace = raise_guard(pace, spread_ns=spread_ns, has_stalled=False, now_us=NOW_US + n * SECOND_US // 15)
            refused_late += n >= 10_000
    assert 0.85 * jitter_ms < pace.guard_ns / 1e6 < 1.35 * jitter_ms + 1
    assert refused_late <= 7


@given(refusals=st.lists(st.integers(0, 5_000), max_size=50))
def test_the_guard_stays_within_its_bounds(refusals: list[int]) -> None:
    pace = Pace()
    for slots in refusals:
        for _ in range(slots // 25):
            pace = after_slots(pace, 25, limit_micro=LIMIT, now_us=NOW_US)
        pace = raise_guard(pace, spread_ns=40_000_000, has_stalled=False, now_us=NOW_US)
        assert GUARD_NS_MIN <= pace.guard_ns <= GUARD_NS_MAX


def test_a_lowered_limit_takes_back_what_it_raised_the_guard_by() -> None:
    fooled = raise_guard(Pace(), spread_ns=40_000_000, has_stalled=False, now_us=NOW_US)
    pace = cut(fooled, 5, limit_micro=LIMIT, now_us=NOW_US + SECOND_US)
    assert pace.guard_ns == GUARD_NS_FIRST
    long_after = cut(fooled, 5, limit_micro=LIMIT, now_us=NOW_US + 3 * SECOND_US)
    assert long_after.guard_ns == fooled.guard_ns > GUARD_NS_FIRST


@pytest.mark.parametrize(("admitted", "peak"), [(12, 12), (5, 6), (0, 6), (20, 15)])
def test_a_cut_goes_to_what_was_admitted_and_so_far_and_no_further(admitted: int, peak: float) -> None:
    assert cut(Pace(), admitted, limit_micro=LIMIT, now_us=NOW_US).peak_micro == micro(peak)


def test_the_guard_rests_while_the_pace_is_lowered() -> None:
    pace = after_slots(lowered(5), 100, limit_micro=LIMIT, now_us=NOW_US)
    assert (pace.guard_ns, pace.slots_since) == (GUARD_NS_FIRST, 100)
