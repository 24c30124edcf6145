"""The arithmetic of the measurements."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.ledger_figures import ledger_figures, worst_second
from loadtest.bench.pace import Edge, RedisUse, best_share, jobs_for, pace_figures
from loadtest.bench.processes import cpu_ticks_in, peak_resident_bytes_in
from loadtest.bench.readings import Reading, WorkerReading, total
from loadtest.bench.speed import speed_figures
from loadtest.bench.watching import STALL_S_MAX, StallWatch, require_all_sent
from loadtest.simulator.records import CallRecord
from tests.bench.options import PACE

SECOND_US = 1_000_000


def ledger(*arrivals: tuple[int, int]) -> list[CallRecord]:
    """Calls by moment in ms and HTTP status."""
    return [
        CallRecord(index, "key", "send-mms", at_ms * 1_000, "SUCCESS", status, 1)
        for index, (at_ms, status) in enumerate(arrivals)
    ]


def test_the_share_is_of_admitted_calls_and_the_worst_second_of_all() -> None:
    figures = ledger_figures(ledger((0, 200), (250, 200), (400, 429), (600, 200), (1_000, 200)), rate_per_s=4)
    assert figures is not None
    assert (figures.calls, figures.throttled_calls) == (5, 1)
    assert figures.share_of_limit == pytest.approx(3 / 4)  # four in a second, the first of which opens it
    assert figures.worst_second_calls == 4  # the second is half-open
    assert figures.span_s == 1.0
    assert (figures.gap_p1_ms, figures.gap_p50_ms, figures.gap_p99_ms, figures.gap_max_ms) == (150, 200, 400, 400)


@pytest.mark.parametrize("arrivals", [(), ((0, 200),), ((0, 200), (500, 429)), ((7, 200), (7, 200))])
def test_without_two_moments_of_admitted_calls_there_is_no_pace(arrivals: tuple[tuple[int, int], ...]) -> None:
    assert ledger_figures(ledger(*arrivals), rate_per_s=15) is None


@given(st.lists(st.integers(0, 5 * SECOND_US), max_size=40).map(sorted))
def test_the_worst_second_is_that_of_a_search_through_all_of_them(arrivals_us: list[int]) -> None:
    def within(start_us: int, moments_us: Sequence[int]) -> int:
        return sum(start_us <= at_us < start_us + SECOND_US for at_us in moments_us)

    assert worst_second(arrivals_us) == max((within(start_us, arrivals_us) for start_us in arrivals_us), default=0)


def test_evenly_paced_calls_use_the_whole_limit_and_never_exceed_it() -> None:
    figures = ledger_figures(ledger(*((number * 100, 200) for number in range(100))), rate_per_s=10)
    assert figures is not None
    assert figures.share_of_limit == pytest.approx(1)
    assert figures.worst_second_calls == 10


@pytest.mark.parametrize(("spread_ms", "share"), [(0, 1.0), (100, 1 / 1.1), (1_000, 0.5)])
def test_jitter_bounds_what_can_be_had(spread_ms: float, share: float) -> None:
    assert best_share(spread_ms) == pytest.approx(share)


@pytest.mark.parametrize(("rate_per_s", "seconds", "jobs"), [(15, 60, 1_050), (15, 1, 165), (150, 600, 99_000)])
def test_there_are_more_jobs_than_the_limit_lets_through(rate_per_s: int, seconds: int, jobs: int) -> None:
    assert jobs_for(replace(PACE, rate_per_s=rate_per_s, seconds=seconds)) == jobs


METRICS = """\
# TYPE mms_jobs_finished_total counter
mms_jobs_finished_total{account="default",outcome="sent"} 40.0
mms_jobs_finished_total{account="default",outcome="dead"} 2.0
mms_jobs_finished_total{account="other",outcome="sent"} 1.0
# TYPE mms_api_request_duration_seconds histogram
mms_api_request_duration_seconds_bucket{le="0.01",operation="send_mms"} 3.0
mms_api_request_duration_seconds_count{operation="send_mms"} 41.0
mms_api_request_duration_seconds_sum{operation="send_mms"} 0.82
mms_api_request_duration_seconds_count{operation="account"} 5.0
mms_api_request_duration_seconds_sum{operation="account"} 9.0
# TYPE mms_publish_confirm_duration_seconds histogram
mms_publish_confirm_duration_seconds_count 43.0
mms_publish_confirm_duration_seconds_sum 0.043
"""


def test_a_worker_is_read_out_of_its_metrics() -> None:
    read = WorkerReading.of(METRICS, cpu_s=1.5)
    assert read == WorkerReading(finished=43, sent=41, calls=41, call_s=0.82, publishes=43, confirm_s=0.043, cpu_s=1.5)


def test_a_metric_that_is_not_there_counts_nothing() -> None:
    samples = [sample for family in text_string_to_metric_families(METRICS) for sample in family.samples]
    assert total(samples, "mms_jobs_finished_total", {"outcome": "expired"}) == 0
    assert total(samples, "mms_nothing_total") == 0


NONE_YET = WorkerReading(finished=0, sent=0, calls=0, call_s=0, publishes=0, confirm_s=0, cpu_s=1)


def worker(jobs: int, cpu_s: float) -> WorkerReading:
    return WorkerReading(
        finished=jobs, sent=jobs, calls=jobs, call_s=jobs * 0.02, publishes=jobs, confirm_s=jobs * 0.003, cpu_s=cpu_s
    )


def reading(at_s: float, *workers: WorkerReading, servers_cpu_s: float = 0.0) -> Reading:
    return Reading(at_s, workers, {"redis": servers_cpu_s})


def test_speed_is_a_difference_of_two_readings_over_all_workers() -> None:
    first = reading(10, worker(100, 2), worker(50, 3), servers_cpu_s=1)
    last = reading(20, worker(1_100, 4), worker(2_050, 8), servers_cpu_s=4)
    figures = speed_figures("data", first, last, peak_bytes=7)
    assert (figures.seconds, figures.jobs, figures.calls_per_s) == (10, 3_000, 300)
    assert figures.costs["worker"].cpu_us_per_job == pytest.approx(7e6 / 3_000)
    assert figures.costs["worker"].cores == pytest.approx(0.7)
    assert figures.costs["redis"].cpu_us_per_job == pytest.approx(1_000)
    assert figures.call_ms == pytest.approx(20)
    assert figures.confirm_ms == pytest.approx(3)


@pytest.mark.parametrize("last", [reading(11, worker(1_000, 2)), reading(20, NONE_YET)])
def test_too_short_a_steady_state_is_not_measured(last: Reading) -> None:
    with pytest.raises(NotMeasuredError, match="too short"):
        speed_figures("url", reading(10, NONE_YET), last, peak_bytes=0)


def test_pace_counts_only_what_happened_between_the_edges() -> None:
    figures = ledger_figures(ledger((0, 200), (1_000, 200)), rate_per_s=1)
    assert figures is not None
    first = Edge(reading(0, worker(5, 1), worker(5, 1)), RedisUse(scripts=4, commands=10), calls=10, at_us=0)
    last = Edge(reading(60, worker(305, 2), worker(105, 3)), RedisUse(scripts=104, commands=810), calls=410, at_us=9)
    pace = pace_figures(figures, first, last)
    assert pace.shares == (0.75, 0.25)
    assert pace.cpu_s_per_1000_jobs == pytest.approx(7.5)
    assert pace.redis_scripts_per_call == pytest.approx(0.25)
    assert pace.redis_commands_per_call == pytest.approx(2)
    with pytest.raises(NotMeasuredError, match="Nothing was sent"):
        pace_figures(figures, first, first)


def test_a_stall_is_noticed_only_when_nothing_was_done_for_long() -> None:
    watch = StallWatch(now_s=100)
    watch.note(0, 100 + STALL_S_MAX)
    watch.note(5, 101 + STALL_S_MAX)
    watch.note(5, 101 + 2 * STALL_S_MAX)
    with pytest.raises(NotMeasuredError, match="after 5 jobs"):
        watch.note(5, 102 + 2 * STALL_S_MAX)


def test_jobs_that_ended_otherwise_than_sent_spoil_the_measurement() -> None:
    fine = reading(1, worker(10, 1))
    assert require_all_sent(fine) is fine
    with pytest.raises(NotMeasuredError, match="2 of 12 jobs"):
        require_all_sent(reading(1, replace(worker(10, 1), finished=12)))


def test_scripts_are_told_from_other_commands() -> None:
    stats = {"cmdstat_evalsha": {"calls": 3}, "cmdstat_eval": {"calls": 1}, "cmdstat_time": {"calls": 4}}
    assert RedisUse.of(stats) == RedisUse(scripts=4, commands=8)


def test_processor_time_is_read_behind_any_name() -> None:
    assert cpu_ticks_in("42 (a) b (c) S 1 42 42 0 -1 4194560 9 0 0 0 1200 34 0 0 20 0 1 0 5 6 7") == 1_234


def test_peak_memory_is_in_bytes() -> None:
    assert peak_resident_bytes_in("Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t 1 kB\n") == 2_097_152
    assert peak_resident_bytes_in("Name:\tx\n") == 0
