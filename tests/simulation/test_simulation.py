"""Many seeded runs of the real flow with faults: nothing lost, nothing sent twice. ``make simulate`` runs thousands."""

from __future__ import annotations

import pytest

from tests.simulation.story import play
from tests.virtual_time import run_virtual

SEEDS = 200
TOGETHER = 20
#: Further ones that once failed.
KEPT: tuple[int, ...] = ()
ALL = (*range(SEEDS), *KEPT)


@pytest.mark.parametrize("first", range(0, len(ALL), TOGETHER))
def test_nothing_is_lost_and_nothing_sent_twice(first: int) -> None:
    found = [run_virtual(play(seed)) for seed in ALL[first : first + TOGETHER]]
    assert {books.seed: books.problems for books in found if books.problems} == {}
