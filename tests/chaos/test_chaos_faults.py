"""The faults of a run are drawn from its seed, within their bounds, and all kinds have their turn."""

from __future__ import annotations

import pytest

from loadtest.chaos.faults import ALONE_S, CALM_S, LASTS_S, MAY_FORGET, WARM_S, Kind, schedule

SEEDS = range(20)


def test_the_same_seed_has_the_same_faults() -> None:
    assert schedule(7, 300) == schedule(7, 300)
    assert schedule(7, 300) != schedule(8, 300)


@pytest.mark.parametrize("seed", SEEDS)
def test_they_are_in_order_and_within_bounds(seed: int) -> None:
    planned = schedule(seed, 300)
    assert planned == sorted(planned, key=lambda one: one.at_s)
    assert len(planned) >= 8
    for one in planned:
        assert WARM_S <= one.at_s < 300 - CALM_S
        least_s, most_s = LASTS_S.get(one.kind, (0.0, 0.0))
        assert least_s <= one.lasts_s <= most_s


@pytest.mark.parametrize("seed", SEEDS)
def test_no_more_than_two_at_a_time_and_then_of_two_parts(seed: int) -> None:
    planned = schedule(seed, 600)
    for one in planned:
        beside = [
            other for other in planned if other is not one and other.at_s <= one.until_s and other.until_s >= one.at_s
        ]
        assert len(beside) <= 1
        assert all(other.kind.family is not one.kind.family for other in beside)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_store_that_forgets_is_alone(seed: int) -> None:
    planned = schedule(seed, 3_000)
    forgetting = [one for one in planned if one.kind in MAY_FORGET]
    assert forgetting
    for one in forgetting:
        for other in planned:
            is_apart = other.until_s <= one.at_s - ALONE_S / 2 or other.at_s >= one.until_s + ALONE_S / 2
            assert other is one or is_apart


def test_all_kinds_have_their_turn() -> None:
    assert {one.kind for one in schedule(1, 900)} == set(Kind)


@pytest.mark.parametrize("seed", SEEDS)
def test_all_of_them_are_over_at_the_end(seed: int) -> None:
    assert all(one.until_s <= 60 for one in schedule(seed, 60))


def test_only_what_was_asked_for_goes_wrong() -> None:
    kinds = (Kind.KILL_ONE, Kind.API_502)
    assert {one.kind for one in schedule(1, 200, kinds)} == set(kinds)
