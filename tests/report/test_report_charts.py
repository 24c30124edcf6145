"""What the charts draw, without a browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.load.result import Latency, Preload, Result
from loadtest.report.charts import told
from tests.report.results import LATENCIES, STORIES, million, steady, twenty_accounts, with_faults

Story = Callable[[], Result]


def chart(result: Result, name: str) -> dict[str, Any]:
    return next(each for each in told(result)["charts"] if each["id"] == name)


def lines(result: Result, name: str, choice: int = 0) -> dict[str, dict[str, Any]]:
    """By name; of the pace, those of one account."""
    found = chart(result, name)
    drawn = found["choices"][choice]["lines"] if "choices" in found else found["lines"]
    return {line["name"]: line for line in drawn}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_each_line_has_a_value_for_each_moment(story: Story) -> None:
    drawn = told(story())
    for each in drawn["charts"]:
        for line in [line for choice in each.get("choices", [each]) for line in choice["lines"]]:
            moments = line.get("x", drawn["t_ms"])
            assert len(line["y"]) == len(moments), (each["id"], line["name"])


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_a_browser_can_read_it(story: Story) -> None:
    """JSON has neither infinity nor NaN."""
    json.dumps(told(story()), allow_nan=False)


def test_what_is_allowed_is_the_same_line_everywhere() -> None:
    limit = lines(steady(), "pace")["limit"]
    ideal = lines(steady(), "backlog")["ideal: the whole limit used"]
    assert {line["colour"] for line in (limit, ideal)} == {"allowed"}
    assert limit["dashed"]
    assert ideal["dashed"]
    others = [line["colour"] for each in told(steady())["charts"] if each["id"] != "pace" for line in each["lines"]]
    assert others.count("allowed") == 1


def test_without_a_limit_there_is_no_line_of_one() -> None:
    assert "limit" not in lines(million(), "pace")
    assert list(lines(million(), "backlog")) == ["backlog"]


def test_refused_calls_are_a_line_where_there_were_any() -> None:
    assert "answered 429" not in lines(steady(), "pace")
    assert "answered 429" in lines(with_faults(), "pace")


def test_each_account_can_be_chosen_and_all_together_come_first() -> None:
    result = twenty_accounts()
    choices = [choice["name"] for choice in chart(result, "pace")["choices"]]
    assert choices == ["all", *(f"account-{number:02}" for number in range(1, 21))]
    assert set(lines(result, "pace", choices.index("account-07"))["limit"]["y"]) == {5 + 7 * 7}


def test_a_process_has_one_colour_and_of_many_workers_none_is_like_another() -> None:
    names = [*(f"worker {number}" for number in range(1, 13)), "rabbitmq", "redis", "simulator", "producer"]
    result = steady()
    one = next(iter(result.series.processes.values()))
    result = replace(result, series=replace(result.series, processes=dict.fromkeys(names, one)))
    cpu, memory = lines(result, "cpu"), lines(result, "memory")
    assert list(cpu) == list(memory) == names
    assert [cpu[name]["colour"] for name in names] == [memory[name]["colour"] for name in names]
    assert len({(line["colour"], line["strength"]) for line in cpu.values()}) == len(names)


def test_a_process_that_was_away_uses_no_cpu_and_has_no_memory() -> None:
    result = with_faults()
    away = [place for place, cores in enumerate(result.series.processes["worker 2"].cpu_cores) if cores is None]
    assert away
    assert {lines(result, "cpu")["worker 2"]["y"][place + 1] for place in away} == {0}
    assert {lines(result, "memory")["worker 2"]["y"][place + 1] for place in away} == {None}


def test_faults_are_where_they_were() -> None:
    faults = told(with_faults())["faults"]
    assert [fault["number"] for fault in faults] == [1, 2, 3, 4]
    assert (faults[1]["from_ms"], faults[1]["to_ms"], faults[1]["recovered_ms"]) == (45_000, 49_000, 51_300)
    assert faults[3]["recovered_ms"] is None


def test_a_line_begins_where_its_first_step_does_and_a_bar_stands_for_its_step_alone() -> None:
    result = with_faults()
    account = result.series.accounts["shop"]
    drawn = lines(result, "pace")
    assert told(result)["t_ms"][:3] == [0, 1_000, 2_000]
    assert drawn["arrivals"]["y"] == [account.arrivals_per_s[0], *account.arrivals_per_s]
    assert drawn["answered 429"]["y"] == [None, *account.throttled_per_s]


def test_all_of_the_run_is_shown_from_its_first_step_to_its_last() -> None:
    assert told(steady())["whole_ms"] == [0, 120_000]
    assert told(million())["whole_ms"] == [0, 5_400_000]
    assert (told(steady())["has_hours"], told(million())["has_hours"]) == (False, True)


def test_the_spectrum_is_hdrhistograms() -> None:
    """1 / (1 - percentile), to the longest, which is one in `count`."""
    latency = Latency("a", "b", 1_000, 2, 1, 5, 9, 12, 20, ((0, 0.5), (50, 1), (90, 5), (99, 9), (100, 20)))
    line = lines(replace(steady(), latencies=(latency,)), "latency")["a"]
    assert line["x"] == [1, 2, 10, 100, 1_000]
    assert line["y"] == [0.5, 1, 5, 9, 20]
    assert line["told"][-1] == "100 %"


def test_its_axis_is_marked_with_nines() -> None:
    spectrum = chart(replace(steady(), latencies=(replace(LATENCIES[0], count=99_999),)), "latency")
    assert spectrum["ticks"] == [
        [1, "0 %"], [10, "90 %"], [100, "99 %"], [1_000, "99.9 %"], [10_000, "99.99 %"], [100_000, "99.999 %"],
    ]  # fmt: skip


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1e7)), max_size=20), st.integers(1, 10**9))
def test_any_spectrum_goes_to_the_right_and_ends_somewhere(points: list[tuple[float, float]], count: int) -> None:
    spectrum = tuple(zip(sorted(x for x, _ in points), sorted(y for _, y in points), strict=True))
    longest = max((y for _, y in spectrum), default=1.0)
    latency = Latency("a", "b", count, 1, 1, 1, 1, 1, longest, spectrum)
    drawn = chart(replace(steady(), latencies=(latency,)), "latency")
    json.dumps(drawn, allow_nan=False)
    found = drawn["lines"][0]["x"]
    assert found == sorted(found)
    assert drawn["nines"] > 0


def test_long_times_are_in_seconds_and_what_spreads_far_is_logarithmic() -> None:
    short, long = chart(steady(), "latency"), chart(with_faults(), "latency")
    assert (short["y_title"], long["y_title"]) == ("milliseconds", "seconds")
    assert long["lines"][0]["y"][-1] == pytest.approx(with_faults().latencies[0].max_ms / 1_000, rel=1e-3)
    assert (short["is_log"], long["is_log"]) == (False, True)


def test_what_hardly_took_time_does_not_fill_a_logarithmic_axis() -> None:
    wide = replace(LATENCIES[0], spectrum=((0, 1e-3), (50, 40), (100, 60_000)), max_ms=60_000)
    low, high = chart(replace(steady(), latencies=(wide,)), "latency")["decades"]
    assert (low, high) == pytest.approx((-3.1, 1.88), abs=0.01)


def test_what_lay_there_before_the_start_is_no_publication_of_the_schedule() -> None:
    assert list(lines(million(), "jobs")) == ["ended"]
    both = replace(steady(), preload=Preload(1_000, 1, 1_000))
    assert lines(both, "jobs")["published, as intended"]["y"][:3] == [None, None, 21]


def test_a_kind_of_time_that_never_was_is_not_drawn() -> None:
    assert list(lines(with_faults(), "latency")) == ["publish to API"]
    assert "latency" not in [each["id"] for each in told(STORIES["broken"]())["charts"]]
