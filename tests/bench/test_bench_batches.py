"""The figures of batches: what counts, and what would be told of a fault."""

from __future__ import annotations

import json

import pytest

from loadtest.bench.batches import BatchOptions, batch_figures, equal_jobs, opted_out_numbers
from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.readings import Reading, WorkerReading
from loadtest.simulator.records import CallRecord


def call(index: int, at_us: int, recipients: int, http_status: int = 200) -> CallRecord:
    return CallRecord(index, "key", "send-mms", at_us, "SUCCESS", http_status, recipients)


def reading(at_s: float, finished: int, cpu_s: float) -> Reading:
    worker = WorkerReading(finished, finished, finished // 10, 0.2, finished, 0.5, cpu_s)
    return Reading(at_s, (worker,), {"rabbitmq": cpu_s / 2})


#: A first call of one recipient, then full ones of 100 every 100 ms, a refused one, and a rest of 40 at the end.
CALLS = [
    call(0, 0, 1),
    *(call(n, n * 100_000, 100) for n in range(1, 9)),
    call(9, 850_000, 0, 429),
    call(10, 900_000, 40),
]


def test_the_figures_of_a_run() -> None:
    figures = batch_figures(
        BatchOptions(rate_per_s=10),
        CALLS,
        reading(0, 0, 1.0),
        reading(2, 841, 2.0),
        duplicates=0,
        lost=0,
        peak_bytes=5,
    )
    assert (figures.calls, figures.throttled_calls, figures.recipients_accepted) == (11, 1, 841)
    assert figures.span_s == pytest.approx(0.9)
    assert figures.recipients_per_s == pytest.approx(840 / 0.9)
    assert figures.steady_per_s == pytest.approx(1000)
    assert figures.share_of_rate == pytest.approx(1.0)
    assert figures.jobs_per_call == pytest.approx(84.1)
    assert figures.cores == {"worker": 0.5, "rabbitmq": 0.25}
    assert figures.cpu_us_per_job["worker"] == pytest.approx(1e6 / 841)


def test_too_few_calls_are_no_measurement() -> None:
    with pytest.raises(NotMeasuredError, match="too few"):
        batch_figures(BatchOptions(), CALLS[:3], reading(0, 0, 0), reading(1, 9, 1), duplicates=0, lost=0, peak_bytes=0)


def test_the_jobs_are_equal_but_for_their_ids_and_numbers_and_no_number_comes_twice() -> None:
    options = BatchOptions(jobs=50, recipients=10, opted_out=7)
    jobs = [json.loads(job.body) for job in equal_jobs(options, {"url": "https://a.example/b"})]
    numbers = [number for job in jobs for number in job["to"]]
    assert len(set(numbers)) == 500
    assert len({job["id"] for job in jobs}) == 50
    assert len({(job["text"], str(job["media"])) for job in jobs}) == 1
    assert len(set(opted_out_numbers(options)) & set(numbers)) == 7
