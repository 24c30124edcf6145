"""The metrics of a receiver: every observation is taken in, closed sets start at 0, and each process has its own."""

from __future__ import annotations

import pytest

from tests.unit.adapters.test_watchers import metrics as worker_metrics
from tests.unit.adapters.test_watchers import samples
from worker.adapters.prometheus import Metrics
from worker.adapters.prometheus_series import Does
from worker.core.events import ResolvedAs
from worker.core.reports import ReportStatus
from worker.flow.observations import (
    AccountLeft,
    AccountServed,
    BalanceSeen,
    CallbackAnswered,
    CallbackResult,
    CallFinished,
    CallResult,
    DoubtResolved,
    DuplicateSendDetected,
    LimiterAnswered,
    Observation,
    Operation,
    RepliesPolled,
    ReplyRepeated,
    ReplyTold,
    ReplyWay,
    ReportPutAside,
    ReportRepeated,
    ReportTold,
)
from worker.flow.ports import LimiterState

DELIVERED = ReportTold("acme", ReportStatus.DELIVERED, 42.0, is_of_known_job=True)
EFFECTS: list[tuple[Observation, str, float]] = [
    (DELIVERED, 'mms_reports_total{account="acme",status="delivered"}', 1),
    (DELIVERED, "mms_report_delay_seconds_sum", 42),
    (DELIVERED, 'mms_reports_unmatched_total{account="acme"}', 0),
    (
        ReportTold("acme", ReportStatus.OTHER, None, is_of_known_job=False),
        'mms_reports_unmatched_total{account="acme"}',
        1,
    ),
    (ReportTold("acme", ReportStatus.OTHER, None, is_of_known_job=False), "mms_report_delay_seconds_count", 0),
    (ReportRepeated("acme"), 'mms_reports_repeated_total{account="acme"}', 1),
    (ReportPutAside("acme"), 'mms_reports_put_aside_total{account="acme"}', 1),
    (ReplyTold("acme", ReplyWay.POLL), 'mms_replies_total{account="acme",way="poll"}', 1),
    (ReplyRepeated("acme", ReplyWay.CALLBACK), 'mms_replies_repeated_total{account="acme",way="callback"}', 1),
    (CallbackAnswered(CallbackResult.TAKEN, "acme", 0.02), 'mms_callback_requests_total{result="taken"}', 1),
    (CallbackAnswered(CallbackResult.TAKEN, "acme", 0.02), "mms_callback_duration_seconds_count", 1),
    (
        CallbackAnswered(CallbackResult.UNKNOWN_ADDRESS, None, 0.1),
        'mms_callback_requests_total{result="unknown_address"}',
        1,
    ),
    # Those wait on purpose, which says nothing of how long ours take.
    (CallbackAnswered(CallbackResult.UNKNOWN_ADDRESS, None, 0.1), "mms_callback_duration_seconds_count", 0),
    (RepliesPolled("acme", 7, None), 'mms_replies_polled_total{account="acme"}', 7),
    (RepliesPolled("acme", 7, None), 'mms_reply_polls_total{account="acme",result="whole"}', 1),
    (RepliesPolled("acme", 7, "no slot"), 'mms_reply_polls_total{account="acme",result="ended_early"}', 1),
    (BalanceSeen("acme", 1006.5, is_low=False), 'mms_account_balance{account="acme"}', 1006.5),
    (BalanceSeen("acme", 99.0, is_low=True), 'mms_account_balance_low{account="acme"}', 1),
    (
        CallFinished("acme", Operation.REPLIES, CallResult.THROTTLED, 0.3, 0, low_balance=False),
        'mms_api_requests_total{account="acme",operation="get_responses",result="throttled"}',
        1,
    ),
    (
        DoubtResolved("acme", ResolvedAs.SENT, "job-1"),
        'mms_in_doubt_resolved_total{account="acme",resolution="sent"}',
        1,
    ),
    (DuplicateSendDetected("acme", "job-1"), 'mms_duplicate_sends_detected_total{account="acme"}', 1),
]
#: Exists from when it is known: a credit of 0 is another thing than one that nobody knows.
BALANCE = 'mms_account_balance{account="acme"}'


def metrics() -> Metrics:
    return Metrics(accounts={"acme": 15.0}, version="1.2.3", calls_max=64, does=Does.RECEIVE)


@pytest.mark.parametrize(("seen", "sample", "value"), EFFECTS, ids=[f"{type(e[0]).__name__} {e[1]}" for e in EFFECTS])
def test_each_observation_changes_its_metric(seen: Observation, sample: str, value: float) -> None:
    observed = metrics()
    observed.observe(seen)
    assert samples(observed)[sample] == value


def test_closed_sets_are_there_before_anything_happened_and_stay_the_same() -> None:
    observed = metrics()
    before = set(samples(observed))
    for status in ReportStatus:
        assert f'mms_reports_total{{account="acme",status="{status}"}}' in before
    for result in CallbackResult:
        assert f'mms_callback_requests_total{{result="{result}"}}' in before
    for seen, _, _ in EFFECTS:
        observed.observe(seen)
    new = {name for name in set(samples(observed)) - before if "_bucket{" not in name}
    assert {name for name in new if "api_request_duration" not in name} == {BALANCE}


def test_what_only_a_sending_worker_knows_is_none_of_a_receivers_series() -> None:
    ours = {name for name in samples(metrics()) if "{account=" in name or "{queue=" in name}
    workers = {name for name in samples(worker_metrics()) if "{account=" in name or "{queue=" in name}
    assert [name for name in ours if name.startswith("mms_consumer_active")] == [
        'mms_consumer_active{queue="mms.reports"}'
    ]
    for sending in ("mms_jobs_", "mms_account_suspended", "mms_recipients", "mms_last_sent"):
        assert [name for name in workers if name.startswith(sending)]
        assert not [name for name in ours if name.startswith(sending)]
    for receiving in ("mms_reports_", "mms_replies_", "mms_reply_polls", "mms_account_balance_low"):
        assert [name for name in ours if name.startswith(receiving)]
        assert not [name for name in workers if name.startswith(receiving)]


def test_what_a_receiver_hears_of_the_pace_is_not_told_since_it_is_old_soon() -> None:
    observed = metrics()
    before = set(samples(observed))
    observed.observe(LimiterAnswered("acme", 0.001, None, LimiterState(4.5, 0.005, 5.0, 30.0, 15, "")))
    assert {name for name in set(samples(observed)) - before if "ratelimit" in name} == set()


def test_the_series_of_one_account_stay_within_their_budget() -> None:
    assert len(samples(metrics())) < 300


def test_an_account_that_comes_is_at_0_and_one_that_left_has_no_series() -> None:
    observed = metrics()
    before = set(samples(observed))
    observed.observe(AccountServed("new", 5.0))
    come = {name.replace('"new"', '"acme"') for name in set(samples(observed)) - before}
    assert come == {name for name in before if '"acme"' in name}
    for seen, _, _ in EFFECTS:
        observed.observe(seen)
    observed.observe(AccountLeft("acme"))
    observed.observe(BalanceSeen("acme", 5.0, is_low=True))
    assert not [name for name in samples(observed) if '"acme"' in name]
    assert 'mms_reports_total{account="new",status="delivered"}' in samples(observed)
