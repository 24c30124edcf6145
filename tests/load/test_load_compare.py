"""What changed from one result to another, and which of it is worse."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from loadtest.load.compare import Verdict, changes, differences, draw_changes, worse
from loadtest.load.result import Claim, Result
from tests.load.results import BOOKS, CALL, FAULT, FIGURES, RESULT, SERIES, WORKER, small_result


def verdicts(before: Result, after: Result) -> dict[str, Verdict]:
    return {one.name: one.verdict for one in changes(before, after) if one.verdict is not Verdict.SAME}


def test_a_result_is_the_same_as_itself() -> None:
    assert verdicts(RESULT, RESULT) == {}
    assert differences(RESULT, RESULT) == []
    assert not worse(changes(RESULT, RESULT), RESULT, RESULT)


def accounts(**other: Any) -> Result:
    return small_result(accounts=(replace(FIGURES, **other),))


def times(**other: Any) -> Result:
    return small_result(latencies=(replace(CALL, **other),))


def books(**other: Any) -> Result:
    return small_result(correctness=replace(BOOKS, **other))


def memory(*memory_mb: float) -> Result:
    worker = replace(WORKER, memory_mb=memory_mb)
    return small_result(series=replace(SERIES, processes={**SERIES.processes, "worker 1": worker}))


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (accounts(share_of_limit=0.98), {"share of the limit": Verdict.WORSE}),
        (accounts(share_of_limit=1.0), {"share of the limit": Verdict.BETTER}),
        (accounts(share_of_limit=0.988), {}),
        (accounts(share_of_limit=None), {"share of the limit": Verdict.CHANGED}),
        (accounts(worst_rolling_second=16), {}),
        (accounts(worst_rolling_second=17), {"worst rolling second": Verdict.WORSE}),
        (accounts(throttled_calls=3), {"answers 429": Verdict.WORSE}),
        (accounts(calls_per_s=20.0), {"calls": Verdict.BETTER}),
        (times(p99_ms=90.0), {"publish to call, p99": Verdict.WORSE}),
        (times(p99_ms=44.0), {}),
        (times(p50_ms=10.0), {"publish to call, p50": Verdict.BETTER}),
        (small_result(faults=(replace(FAULT, recovered_s=9.0),)), {"1. Redis restarted: back after": Verdict.WORSE}),
        (small_result(faults=()), {"1. Redis restarted: back after": Verdict.CHANGED}),
        (books(lost=1), {"lost": Verdict.WORSE}),
        (books(duplicated=1), {"sent twice": Verdict.WORSE}),
        (books(published=80), {"published": Verdict.CHANGED}),
        (memory(60.0, 90.0, 62.0), {"worker 1: most memory": Verdict.WORSE}),
        (memory(60.0, 61.0, 62.1), {}),
    ],
)
def test_what_changed_and_which_way(after: Result, told: dict[str, Verdict]) -> None:
    assert verdicts(RESULT, after) == told
    assert worse(changes(RESULT, after), RESULT, after) is (Verdict.WORSE in told.values())


def test_changes_the_other_way_round_are_told_the_other_way_round() -> None:
    after = times(p99_ms=90.0)
    assert verdicts(after, RESULT) == {"publish to call, p99": Verdict.BETTER}


def test_a_claim_that_held_and_does_not_any_more_is_worse() -> None:
    after = small_result(claims=(Claim("no job is lost", "1 of 44", holds=False),))
    assert worse([], RESULT, after)
    assert not worse([], after, RESULT)


def test_results_that_were_not_made_alike_are_told_to_be_so() -> None:
    told = differences(RESULT, small_result(workers=2, seed=7, scenario="other"))
    assert told == [
        "The scenario is not the same: small and other.",
        "The number of workers is not the same: 1 and 2.",
        "The seed is not the same: 1 and 7.",
    ]


def test_the_table_shows_before_and_after_in_per_cent_and_what_is_worse() -> None:
    console = Console(file=StringIO(), width=100, force_terminal=True, color_system="standard")
    with console.capture() as capture:
        draw_changes(console, RESULT, times(p99_ms=90.0))
    row = next(line for line in capture.get().splitlines() if "publish to call, p99" in line)
    assert "40.00 ms" in row
    assert "90.00 ms" in row
    assert "\x1b[1;31m+125.0%" in row
    assert "worse" in row
