"""Percentiles, and what happens when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.demo.script import LOWERED_S, Script, Step
from loadtest.percentile import percentile


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.5, None),
        ([3.0], 0.99, 3.0),
        ([4.0, 1.0, 3.0, 2.0], 0.5, 2.0),
        ([4.0, 1.0, 3.0, 2.0], 0.51, 3.0),
        ([4.0, 1.0, 3.0, 2.0], 0.0, 1.0),
        ([float(n) for n in range(1, 101)], 0.99, 99.0),
        ([float(n) for n in range(1, 26)], 0.56, 14.0),
    ],
)
def test_percentiles_are_of_the_nearest_rank(values: list[float], share: float, expected: float | None) -> None:
    assert percentile(values, share) == expected


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.integers(0, 100))
def test_a_percentile_is_the_least_value_that_enough_do_not_exceed(values: list[float], percent: int) -> None:
    found = percentile(values, percent / 100)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    assert sum(value < found for value in values) * 100 < max(1, percent * len(values))


def test_a_share_outside_of_0_to_1_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        percentile([1.0], 50)


def told(*, is_killing: bool, seconds: int = 20) -> list[tuple[float, Step]]:
    script = Script(is_killing=is_killing)
    moments = [tick / 10 for tick in range(seconds * 10)]
    return [(now_s, step) for now_s in moments for step in script.due(min(1.0, now_s / 12), now_s)]


def test_the_limit_is_lowered_twice_and_restored_each_time() -> None:
    steps = told(is_killing=False)
    lowered = [Step.LOWER_LIMIT, Step.RESTORE_LIMIT]
    assert [step for _, step in steps] == [*lowered, Step.HAVE_REPLIES, *lowered]
    limits = [step for step in steps if step[1] is not Step.HAVE_REPLIES]
    for (lowered_s, _), (restored_s, _) in zip(limits[::2], limits[1::2], strict=True):
        assert restored_s - lowered_s == pytest.approx(LOWERED_S, abs=0.11)


def test_a_worker_is_killed_once_while_the_limit_is_not_lowered_and_only_when_asked_for() -> None:
    assert [step for _, step in told(is_killing=True)] == [
        Step.LOWER_LIMIT,
        Step.RESTORE_LIMIT,
        Step.HAVE_REPLIES,
        Step.KILL_WORKER,
        Step.LOWER_LIMIT,
        Step.RESTORE_LIMIT,
    ]


def test_a_run_that_is_over_at_once_still_keeps_the_order() -> None:
    script = Script(is_killing=True)
    assert script.due(1.0, 0.0) == [Step.LOWER_LIMIT]
    assert script.due(1.0, LOWERED_S - 0.1) == []
    assert script.due(1.0, LOWERED_S) == [Step.RESTORE_LIMIT, Step.HAVE_REPLIES]
    assert script.due(1.0, LOWERED_S) == [Step.KILL_WORKER]
