"""The counting of calls, against tables and against an oracle that counts by brute force."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.simulator.limit import SECOND_US, LimitUse, Window, WorstSecond, limit_for

S = SECOND_US

# (window, rate, burst, refused count, [(moment in µs, admitted)])
TABLE = [
    pytest.param("rolling", 2, None, False, [(0, 1), (0, 1), (0, 0), (S - 1, 0), (S, 1), (S, 1), (S, 0)], id="edge"),
    pytest.param("rolling", 1, None, False, [(0, 1), (999_999, 0), (1_000_000, 1), (1_999_999, 0)], id="refused-free"),
    pytest.param("rolling", 1, None, True, [(0, 1), (S // 2, 0), (S, 0), (2 * S, 1)], id="refused-count"),
    pytest.param("calendar", 2, None, False, [(S - 1, 1), (S - 1, 1), (S - 1, 0), (S, 1), (S, 1), (S, 0)], id="second"),
    pytest.param("calendar", 1, None, False, [(S // 2, 1), (S - 1, 0), (S, 1)], id="calendar-not-rolling"),
    pytest.param("bucket", 2, 3, False, [(0, 1), (0, 1), (0, 1), (0, 0), (S // 2, 1), (S // 2, 0)], id="burst"),
    pytest.param("bucket", 2, None, False, [(0, 1), (0, 1), (0, 0), (499_999, 0), (500_000, 1)], id="refill"),
    pytest.param("bucket", 1, 1, True, [(0, 1), (S - 1, 0), (S, 0), (2 * S, 1)], id="bucket-refused-count"),
    pytest.param("bucket", 1, 2, False, [(0, 1), (100 * S, 1), (100 * S, 1), (100 * S, 0)], id="never-over-capacity"),
]


@pytest.mark.parametrize(("window", "rate", "burst", "refused_count", "steps"), TABLE)
def test_each_window_admits_exactly_as_the_table_says(
    window: Window, rate: int, burst: int | None, *, refused_count: bool, steps: list[tuple[int, int]]
) -> None:
    limit = limit_for(window, rate, burst=burst, refused_count=refused_count)
    assert [(at_us, int(limit.admits(at_us))) for at_us, _ in steps] == steps


moments = st.lists(st.integers(0, 3 * S) | st.sampled_from([0, 1, S - 1, S, S + 1, 2 * S]), max_size=80).map(sorted)


@given(arrivals=moments, rate=st.integers(1, 6), refused_count=st.booleans())
def test_rolling_admits_what_a_count_by_brute_force_admits(
    arrivals: list[int], rate: int, *, refused_count: bool
) -> None:
    limit = limit_for("rolling", rate, burst=None, refused_count=refused_count)
    counted: list[int] = []
    for at_us in arrivals:
        room = sum(1 for before in counted if at_us - S < before <= at_us) < rate
        assert limit.admits(at_us) is room
        if room or refused_count:
            counted.append(at_us)


@given(arrivals=moments, rate=st.integers(1, 6))
def test_calendar_admits_what_a_count_by_brute_force_admits(arrivals: list[int], rate: int) -> None:
    limit = limit_for("calendar", rate, burst=None, refused_count=False)
    admitted: list[int] = []
    for at_us in arrivals:
        room = sum(1 for before in admitted if before // S == at_us // S) < rate
        assert limit.admits(at_us) is room
        if room:
            admitted.append(at_us)


@given(arrivals=moments, rate=st.integers(1, 6), burst=st.integers(1, 6))
def test_bucket_never_admits_more_than_its_burst_and_the_refill_of_any_stretch(
    arrivals: list[int], rate: int, burst: int
) -> None:
    limit = limit_for("bucket", rate, burst=burst, refused_count=False)
    admitted: list[int] = []
    for at_us in arrivals:
        # The tightest of all stretches that end now says whether there is room.
        stretches = [(at_us - first) * rate + (burst - len(admitted[i:])) * S for i, first in enumerate(admitted)]
        room = min(stretches, default=burst * S) >= S
        assert limit.admits(at_us) is room
        if room:
            admitted.append(at_us)


@given(arrivals=moments, rates=st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_a_rate_changed_live_counts_the_calls_of_the_last_second(arrivals: list[int], rates: list[int]) -> None:
    limit = limit_for("rolling", rates[0], burst=None, refused_count=False)
    admitted: list[int] = []
    for place, at_us in enumerate(arrivals):
        rate = rates[place % len(rates)]
        limit.set_rate(rate, at_us)
        room = sum(1 for before in admitted if at_us - S < before) < rate
        assert limit.admits(at_us) is room
        if room:
            admitted.append(at_us)


@given(arrivals=moments)
def test_worst_second_is_the_most_that_any_half_open_second_holds(arrivals: list[int]) -> None:
    worst = WorstSecond()
    for at_us in arrivals:
        worst.observe(at_us)
    counts = [sum(1 for other in arrivals if start <= other < start + S) for start in arrivals]
    assert worst.worst == max(counts, default=0)


def test_use_of_the_limit_adds_up_what_each_rate_permitted() -> None:
    use = LimitUse(10)
    use.admit(0)
    use.admit(S)
    use.set_rate(20, S + S // 2)
    use.admit(2 * S)
    use.set_rate(1_000, 3 * S)  # after the last admitted call: it does not count
    assert (use.admitted, use.permitted_micro) == (3, (10 + 5 + 10) * S)
