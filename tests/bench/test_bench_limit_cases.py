"""What the parts with cases of their own make of what they saw: batches, urgent jobs, neighbours."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtest.bench.batches import BatchFigures
from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.limit.batch_cells import CASES, batch_cells, missed_in_batches
from loadtest.bench.limit.neighbours import B_JOBS, IDLE, missed_in_neighbours, neighbour_figures
from loadtest.bench.limit.open_loop import poisson_offsets, waits_ms
from loadtest.bench.limit.outcomes import outcome
from loadtest.bench.limit.urgent import UrgentFigures, missed_in_urgent, urgent_figures, urgent_plan
from loadtest.simulator.records import Accepted, CallRecord
from tests.bench.options import LIMIT

BATCH = BatchFigures(
    calls=40,
    throttled_calls=0,
    span_s=2.6,
    recipients_accepted=20_000,
    recipients_per_s=4_000,
    steady_per_s=4_000,
    share_of_rate=0.99,
    jobs_per_call=500,
    duplicates=0,
    lost=0,
    cpu_us_per_job={"worker": 170.0},
    cores={"worker": 0.8},
    confirm_ms=10,
    call_ms=25,
    peak_resident_bytes=1,
)


def call(index: int, at_us: int) -> CallRecord:
    return CallRecord(index, "key", "send-mms", at_us, "SUCCESS", 200, 1)


def accepted(text: str, at_us: int, of_call: int) -> Accepted:
    return Accepted(0, "key", "+61400000001", text, "", "", "id", at_us, of_call)


@pytest.mark.parametrize(
    ("changes", "misses"),
    [
        ({}, ()),
        ({"steady_per_s": 2_999.0}, ("recipients/s",)),
        ({"lost": 1}, ("lost",)),
        ({"lost": None}, ("lost",)),
        ({"duplicates": 1}, ("twice",)),
    ],
)
def test_a_batch_case_holds_with_enough_recipients_each_exactly_once(
    changes: dict[str, int | float | None], misses: tuple[str, ...]
) -> None:
    (cell, *_) = batch_cells(LIMIT)
    assert missed_in_batches(cell, replace(BATCH, **changes)) == misses  # type: ignore[arg-type] # fields by name


def test_cases_run_alone_and_every_one_has_its_cell() -> None:
    cells = batch_cells(LIMIT)
    assert [cell.case for cell in cells] == list(CASES)
    assert not any(cell.is_quiet for cell in cells)


def test_an_urgent_jobs_slots_are_the_calls_from_its_publishing_to_its_own() -> None:
    calls = [call(n, 1_000_000 + n * 66_000) for n in range(10)]
    published_us = {"first": calls[2].at_us + 1, "second": calls[5].at_us - 1}
    done = {"first": accepted("", calls[3].at_us + 500, 3), "second": accepted("", calls[8].at_us + 500, 8)}
    figures = urgent_figures(calls, done, published_us, bulk_waiting=7)
    assert (figures.slots_most, figures.slots_mean, figures.bulk_waiting) == (4, 2.5, 7)
    assert figures.wait_most_ms == pytest.approx(3 * 66 + 0.501)
    assert missed_in_urgent(figures) == ("slots",)
    assert missed_in_urgent(UrgentFigures(2, 7, 3, 2.0, 1.0)) == ()


def test_urgent_jobs_are_urgent_and_spread() -> None:
    plan = urgent_plan(seed=1)
    assert {planned.job.routing_key for planned in plan} == {"default.urgent"}
    assert [planned.after_s for planned in plan] == sorted(planned.after_s for planned in plan)


def test_a_neighbour_that_moves_by_a_fifth_is_missed_either_way() -> None:
    def times(p99_ms: float) -> dict[str, float]:
        return {str(n): p99_ms for n in range(B_JOBS)}

    waits = {IDLE: times(100), "busy": times(119), "throttled": times(121), "suspended": times(79)}
    figures = neighbour_figures(waits)
    assert figures.moved == pytest.approx({"busy": 0.19, "throttled": 0.21, "suspended": -0.21})
    assert missed_in_neighbours(figures) == ("throttled", "suspended")
    assert outcome("neighbours", batch_cells(LIMIT)[0], figures).missed == ("throttled", "suspended")


def test_a_neighbours_job_that_was_never_accepted_is_lost() -> None:
    figures = neighbour_figures({IDLE: {"one": 1.0}, "busy": {"one": 1.0}})
    assert figures.not_accepted == 2 * (B_JOBS - 1)
    assert missed_in_neighbours(figures) == ("lost",)
    with pytest.raises(NotMeasuredError):
        neighbour_figures({IDLE: {}})


def test_waits_are_from_the_intended_publishing_to_the_acceptance() -> None:
    waits = waits_ms({"a": 1_000, "b": 2_000}, {"a": "ta", "b": "tb"}, [accepted("ta", 51_000, 0)])
    assert waits == {"a": 50.0}


def test_a_poisson_schedule_has_its_rate_and_is_the_same_for_a_seed() -> None:
    offsets = poisson_offsets(2_000, 10.0, seed=3)
    assert offsets == poisson_offsets(2_000, 10.0, seed=3)
    assert offsets[-1] == pytest.approx(200, rel=0.1)
