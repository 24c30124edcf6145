"""The intended moments: in order, in their pieces, at the rate that was asked for, and the same for a seed."""

from __future__ import annotations

import itertools
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.load.schedule import US_PER_S, Arrivals, Intended, Piece, constant, merged, moments_us, spike, step

RATES = st.floats(min_value=0.5, max_value=500)
ARRIVALS = st.sampled_from(["even", "poisson"])
PIECES = st.lists(st.tuples(st.integers(0, 3_000_000), RATES | st.just(0.0), ARRIVALS), max_size=5)


def pieces_of(parts: list[tuple[int, float, Arrivals]]) -> list[Piece]:
    edges = [0, *itertools.accumulate(lasts_us for lasts_us, _, _ in parts)]
    return [
        Piece(began_us, ended_us, per_s, arrivals)
        for (began_us, ended_us), (_, per_s, arrivals) in zip(itertools.pairwise(edges), parts, strict=True)
    ]


@given(PIECES, st.text(max_size=5))
def test_moments_rise_and_lie_in_pieces_that_publish(parts: list[tuple[int, float, Arrivals]], seed: str) -> None:
    pieces = pieces_of(parts)
    moments = list(moments_us(pieces, seed=seed))
    assert moments == sorted(moments)
    for at_us in moments:
        assert any(piece.per_s > 0 and piece.began_us <= at_us < piece.ended_us for piece in pieces)
    assert moments == list(moments_us(pieces, seed=seed))


@given(st.integers(1, 5_000_000), RATES)
def test_even_moments_are_as_many_as_the_rate_says_at_equal_distances(lasts_us: int, per_s: float) -> None:
    moments = list(moments_us(constant(0, lasts_us, per_s, "even"), seed=""))
    assert abs(len(moments) - per_s * lasts_us / US_PER_S) <= 1
    assert moments[0] == 0
    distance_us = US_PER_S / per_s
    assert all(abs(later - sooner - distance_us) <= 1 for sooner, later in itertools.pairwise(moments))


@pytest.mark.parametrize("per_s", [3.0, 40.0])
def test_poisson_moments_have_the_mean_and_the_spread_of_such_a_process(per_s: float) -> None:
    counts = [len(list(moments_us(constant(0, US_PER_S, per_s, "poisson"), seed=f"{n}"))) for n in range(2_000)]
    mean = sum(counts) / len(counts)
    variance = sum((count - mean) ** 2 for count in counts) / len(counts)
    assert mean == pytest.approx(per_s, rel=0.05)
    assert variance == pytest.approx(per_s, rel=0.15)


def test_other_seeds_have_other_moments() -> None:
    pieces = constant(0, 10 * US_PER_S, 10.0, "poisson")
    assert list(moments_us(pieces, seed="1")) != list(moments_us(pieces, seed="2"))


@given(st.integers(10, 10_000_000), st.lists(RATES, min_size=1, max_size=6), ARRIVALS)
def test_steps_share_the_time_without_gaps(lasts_us: int, rates: list[float], arrivals: Arrivals) -> None:
    pieces = step(5, lasts_us, rates, arrivals)
    assert [piece.per_s for piece in pieces] == rates
    assert (pieces[0].began_us, pieces[-1].ended_us) == (5, 5 + lasts_us)
    assert all(sooner.ended_us == later.began_us for sooner, later in itertools.pairwise(pieces))
    lengths = [piece.ended_us - piece.began_us for piece in pieces]
    assert max(lengths) - min(lengths) <= 1


@given(st.integers(2, 10_000_000), RATES, RATES, st.data())
def test_a_spike_is_in_the_middle(lasts_us: int, per_s: float, peak_per_s: float, data: st.DataObject) -> None:
    peak_us = data.draw(st.integers(1, lasts_us - 1))
    before, peak, after = spike(0, lasts_us, per_s, peak_per_s=peak_per_s, peak_us=peak_us, arrivals="even")
    assert (before.per_s, peak.per_s, after.per_s) == (per_s, peak_per_s, per_s)
    assert peak.ended_us - peak.began_us == peak_us
    assert abs((peak.began_us - before.began_us) - (after.ended_us - peak.ended_us)) <= 1
    assert (before.ended_us, peak.ended_us, after.ended_us) == (peak.began_us, after.began_us, lasts_us)


@given(st.lists(st.lists(st.integers(0, 1_000)).map(sorted), max_size=5))
def test_accounts_are_merged_in_order_and_none_is_left_out(schedules: list[list[int]]) -> None:
    together = list(merged(schedules))
    assert [one.at_us for one in together] == sorted(itertools.chain.from_iterable(schedules))
    for account, moments in enumerate(schedules):
        assert [one.at_us for one in together if one.account == account] == moments
    assert together == sorted(together, key=lambda one: (one.at_us, one.account))


def test_a_million_moments_take_no_memory() -> None:
    plan = merged([moments_us(constant(0, 100 * US_PER_S, 10_000.0, "poisson"), seed="x")])
    tracemalloc.start()
    count = sum(isinstance(one, Intended) for one in itertools.islice(plan, 100_000))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 100_000
    assert peak_bytes < 1_000_000
