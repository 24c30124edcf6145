"""What changed from one result to another, and which of it is worse."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from loadtest.load.compare import Verdict, changes, draw_changes, worse
from loadtest.load.differences import SHOWN_MAX, differences
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


def recovered(after_s: float | None) -> Result:
    return small_result(faults=(replace(FAULT, recovered_s=after_s),))


def conditions(**other: Any) -> Result:
    assert RESULT.conditions is not None
    return small_result(conditions=replace(RESULT.conditions, **other))


NO_TIMES = {"count": 0, "p50_ms": 0.0, "p99_ms": 0.0, "max_ms": 0.0}
OF_CALLS = ("publish to call, p50", "publish to call, p99", "publish to call, max")


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (accounts(share_of_limit=0.98), {"share of the limit": Verdict.WORSE}),
        (accounts(share_of_limit=1.0), {"share of the limit": Verdict.BETTER}),
        (accounts(share_of_limit=0.988), {}),
        (accounts(share_of_limit=None), {"share of the limit": Verdict.WORSE}),
        (accounts(share_of_limit=None, limit_per_s=None), {"share of the limit": Verdict.CHANGED}),
        (accounts(worst_rolling_second=16), {}),
        (accounts(worst_rolling_second=17), {"worst rolling second": Verdict.WORSE}),
        (accounts(throttled_calls=3), {"answers 429": Verdict.WORSE}),
        (accounts(calls_per_s=20.0), {"calls": Verdict.BETTER}),
        (times(p99_ms=90.0), {"publish to call, p99": Verdict.WORSE}),
        (times(p99_ms=44.0), {}),
        (times(p50_ms=10.0), {"publish to call, p50": Verdict.BETTER}),
        (times(**NO_TIMES), dict.fromkeys(OF_CALLS, Verdict.WORSE)),
        (small_result(latencies=()), dict.fromkeys(OF_CALLS, Verdict.CHANGED)),
        (recovered(9.0), {"1. Redis restarted: back after": Verdict.WORSE}),
        (recovered(None), {"1. Redis restarted: back after": Verdict.WORSE}),
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
    assert verdicts(recovered(None), RESULT) == {"1. Redis restarted: back after": Verdict.BETTER}
    assert verdicts(times(**NO_TIMES), RESULT) == dict.fromkeys(OF_CALLS, Verdict.BETTER)


def test_a_pace_that_came_back_at_once_and_does_not_any_more_is_worse() -> None:
    before, after = recovered(0.0), recovered(None)
    assert verdicts(before, after) == {"1. Redis restarted: back after": Verdict.WORSE}
    assert worse(changes(before, after), before, after)
    assert verdicts(after, after) == {}


def test_a_claim_that_held_and_does_not_any_more_is_worse() -> None:
    after = small_result(claims=(Claim("no job is lost", "1 of 44", holds=False),))
    assert worse([], RESULT, after)
    assert not worse([], after, RESULT)


MACHINE, VERSIONS = RESULT.machine, RESULT.versions


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (small_result(scenario="other"), "The scenario is not the same: small and other."),
        (small_result(workers=2), "The number of workers is not the same: 1 and 2."),
        (small_result(seed=7), "The seed is not the same: 1 and 7."),
        (small_result(preload=None), "The number of jobs that waited before is not the same: 10 and 0."),
        (small_result(phases=()), "The schedule is not the same: 1.1 x limit and none."),
        (small_result(faults=()), "The list of faults is not the same: Redis restarted and none."),
        (accounts(limit_per_s=500), "The limit of default is not the same: 15/s and 500/s."),
        (accounts(limit_per_s=None), "The limit of default is not the same: 15/s and none."),
        (small_result(settings={}), "The setting MMS_READ_TIMEOUT_S is not the same: 6 and not there."),
        (
            small_result(versions=replace(VERSIONS, rabbitmq="4.1.0")),
            "The version of RabbitMQ is not the same: 3.10.8 and 4.1.0.",
        ),
        (
            small_result(versions=replace(VERSIONS, worker="0.2.0")),
            "The version of the worker is not the same: 0.1.0 and 0.2.0.",
        ),
        (small_result(versions=replace(VERSIONS, redis="8")), "The version of Redis is not the same: 7.0.15 and 8."),
        (
            small_result(machine=replace(MACHINE, python="3.12.1")),
            "The version of Python is not the same: 3.11.7 and 3.12.1.",
        ),
        (small_result(machine=replace(MACHINE, system="Linux 6")), "The system is not the same: Linux and Linux 6."),
        (small_result(machine=replace(MACHINE, cores=8)), "The number of cores is not the same: 2 and 8."),
        (
            small_result(machine=replace(MACHINE, load_averages=(1.7, 0.2, 0.3))),
            "The load of the machine before it began is not the same: 0.10 and 1.70.",
        ),
        (conditions(recipients=10), "The number of recipients of a job is not the same: 1 and 10."),
        (conditions(content="equal"), "The content of the jobs is not the same: own and equal."),
        (conditions(picture="data"), "The way in which jobs have their picture is not the same: url and data."),
        (conditions(urgent_share=0.1), "The share of urgent jobs is not the same: 0.0 and 0.1."),
        (conditions(window="bucket"), "The API's window is not the same: rolling and bucket."),
        (conditions(latency_ms=90.0), "The API's latency in ms is not the same: 20.0 and 90.0."),
        (conditions(spread_ms=5.0), "The jitter on the way to the API in ms is not the same: 0.0 and 5.0."),
        (small_result(conditions=None), "What jobs and API were like is told in the first alone."),
    ],
)
def test_what_was_not_made_alike_is_told(after: Result, told: str) -> None:
    assert differences(RESULT, after) == [told]


def test_all_that_was_not_made_alike_is_told() -> None:
    assert len(differences(RESULT, small_result(workers=2, seed=7, conditions=None))) == 3


def test_a_machine_that_was_hardly_busier_was_as_quiet() -> None:
    assert differences(RESULT, small_result(machine=replace(MACHINE, load_averages=(0.5, 2.0, 2.0)))) == []


def test_of_many_other_limits_some_are_told_and_the_rest_counted() -> None:
    def many(limit_per_s: int) -> Result:
        return small_result(accounts=tuple(replace(FIGURES, name=f"a{n}", limit_per_s=limit_per_s) for n in range(9)))

    told = differences(many(15), many(50))
    assert told[0] == "The limit of a0 is not the same: 15/s and 50/s."
    assert told[SHOWN_MAX:] == [f"{9 - SHOWN_MAX} more limits are not the same."]


@pytest.mark.parametrize("nasty", ["x [/] y", "[/red]", "[bold]x"])
def test_what_looks_like_markup_is_shown_as_it_is(nasty: str) -> None:
    result = small_result(
        title=nasty, faults=(replace(FAULT, name=nasty),), latencies=(replace(CALL, name=nasty),), phases=()
    )
    console = Console(file=StringIO(), width=100)
    with console.capture() as capture:
        draw_changes(console, result, result)
    assert capture.get().count(nasty) == 5


def test_the_table_shows_before_and_after_in_per_cent_and_what_is_worse() -> None:
    console = Console(file=StringIO(), width=100, force_terminal=True, color_system="standard")
    with console.capture() as capture:
        draw_changes(console, RESULT, times(p99_ms=90.0))
    row = next(line for line in capture.get().splitlines() if "publish to call, p99" in line)
    assert "40.00 ms" in row
    assert "90.00 ms" in row
    assert "\x1b[1;31m+125.0%" in row
    assert "worse" in row
