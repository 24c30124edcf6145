"""Metrics and logs: every observation is taken in, closed sets start at 0, and nothing personal gets out."""

from __future__ import annotations

import io
import logging
import math
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import redirect_stderr
from dataclasses import replace

import httpx
import orjson
import pytest
import structlog
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.jobs import an_account
from worker.adapters.admin_http import AdminServer
from worker.adapters.logs import LogObserver, configure
from worker.adapters.prometheus import Metrics
from worker.app import observer_of
from worker.core.accounts import AccountChanged, AccountsChange
from worker.core.delivery import Lane
from worker.core.events import ResolvedAs
from worker.core.outcome import SuspendedBecause
from worker.core.settlement import End, RequeueReason
from worker.core.status import AccountState, DrainResult
from worker.flow.observations import (
    AccountLeft,
    AccountNotStarted,
    AccountResumed,
    AccountsChanged,
    AccountServed,
    AccountSuspended,
    BacklogSeen,
    BrokerBlocked,
    BrokerConnected,
    BrokerLost,
    CallFinished,
    CallResult,
    Consuming,
    DoubtResolved,
    DoubtsCounted,
    DrainEnded,
    DrainsCounted,
    DrainStarted,
    DuplicateSendDetected,
    HeldJobsCounted,
    JobFinished,
    JobReceived,
    JobRequeued,
    JobTimed,
    LimiterAnswered,
    Observation,
    Operation,
    Published,
    ReloadApplied,
    ReloadRefused,
    Role,
    SlotTaken,
    Surprise,
    SuspectNoted,
)
from worker.flow.ports import CannotStart, LimiterState

#: What each observation changes: a sample's name and labels, and its value afterwards.
OPEN = LimiterState(14.9, 0.005, None, 0.0, 15, "")
LOWERED = LimiterState(4.5, 0.005, 5.0, 30.0, 15, "")
BACKLOG = BacklogSeen("acme", {Lane.URGENT: 2, Lane.BULK: 300}, 20.5, AccountState.OPEN, 14.8, 15)
#: What is counted elsewhere, and has no series before it was looked at.
FOUND_LATER = {
    "mms_backlog_jobs",
    "mms_backlog_drain_seconds",
    "mms_dead_letters",
    "mms_unroutable_jobs",
    "mms_drains_total",
    "mms_in_doubt_jobs",
    "mms_in_doubt_oldest_timestamp_seconds",
}
EFFECTS: list[tuple[Observation, str, float]] = [
    (BACKLOG, 'mms_backlog_jobs{account="acme",lane="bulk"}', 300),
    (BACKLOG, 'mms_backlog_jobs{account="acme",lane="urgent"}', 2),
    (BACKLOG, 'mms_backlog_drain_seconds{account="acme"}', 20.5),
    (BACKLOG, 'mms_ratelimit_pace{account="acme"}', 14.8),
    (BACKLOG, 'mms_ratelimit_rolling_max{account="acme"}', 15),
    (replace(BACKLOG, state=AccountState.LOWERED), 'mms_ratelimit_lowered{account="acme"}', 1),
    (HeldJobsCounted(7, 3), "mms_dead_letters", 7),
    (HeldJobsCounted(7, 3), "mms_unroutable_jobs", 3),
    (DrainsCounted({DrainResult.WHOLE: 5, DrainResult.TIMED_OUT: 1}), 'mms_drains_total{result="timed_out"}', 1),
    (
        JobTimed("acme", Lane.URGENT, 61.0),
        'mms_job_overdue_seconds_bucket{account="acme",lane="urgent",le="60.0"}',
        0,
    ),
    (
        JobTimed("acme", Lane.URGENT, 60.0),
        'mms_job_overdue_seconds_bucket{account="acme",lane="urgent",le="60.0"}',
        1,
    ),
    (SlotTaken("acme", 2.0, 0.001, 0.25), 'mms_ratelimit_wait_seconds_sum{account="acme"}', 0.25),
    (
        CallFinished("acme", Operation.SEND, CallResult.REFUSED, 0.3, 2, low_balance=False, code="FIELD_INVALID"),
        'mms_api_refusals_total{account="acme",code="FIELD_INVALID"}',
        1,
    ),
    (
        CallFinished("acme", Operation.SEND, CallResult.REFUSED, 0.3, 2, low_balance=False, code="NEW_ONE"),
        'mms_api_refusals_total{account="acme",code="other"}',
        1,
    ),
    (JobReceived("acme", redelivered=True), 'mms_jobs_received_total{account="acme",redelivered="true"}', 1),
    (
        JobFinished("acme", End.SENT, 1, 2.5, 3, 1, "job-1", None),
        'mms_jobs_finished_total{account="acme",outcome="sent"}',
        1,
    ),
    (JobFinished("acme", End.SENT, 1, 2.5, 3, 1, "j", None), 'mms_recipients_total{account="acme",result="sent"}', 3),
    (
        JobFinished("acme", End.SENT, 1, 2.5, 3, 1, "j", None),
        'mms_recipients_total{account="acme",result="refused"}',
        1,
    ),
    (
        JobRequeued("acme", RequeueReason.THROTTLED, 1, "job-1", None),
        'mms_jobs_requeued_total{account="acme",reason="throttled"}',
        1,
    ),
    (
        CallFinished("acme", Operation.SEND, CallResult.IN_DOUBT, 0.3, 2, low_balance=True),
        'mms_api_requests_total{account="acme",operation="send_mms",result="in_doubt"}',
        1,
    ),
    (
        CallFinished("acme", Operation.SEND, CallResult.SENT, 0.3, 2, low_balance=True),
        'mms_low_balance_warnings_total{account="acme"}',
        1,
    ),
    (
        CallFinished("acme", Operation.SEND, CallResult.SENT, 0.3, 2, low_balance=False, jobs=7),
        "mms_jobs_per_call_sum",
        7,
    ),
    (SlotTaken("acme", 2.0, 0.001), 'mms_job_queue_wait_seconds_count{account="acme"}', 1),
    (LimiterAnswered("acme", 0.001, "refused", None), 'mms_ratelimit_mode{mode="stopped"}', 1),
    (LimiterAnswered("acme", 0.001, None, OPEN), 'mms_ratelimit_mode{mode="shared"}', 1),
    (LimiterAnswered("acme", 0.001, None, OPEN), 'mms_ratelimit_pace{account="acme"}', 14.9),
    (LimiterAnswered("acme", 0.001, None, OPEN), 'mms_ratelimit_guard_seconds{account="acme"}', 0.005),
    (LimiterAnswered("acme", 0.001, None, OPEN), 'mms_ratelimit_rolling_max{account="acme"}', 15),
    (LimiterAnswered("acme", 0.001, None, OPEN), 'mms_ratelimit_closed{account="acme"}', 0),
    (LimiterAnswered("acme", 0.001, None, LOWERED), 'mms_ratelimit_lowered{account="acme"}', 1),
    (LimiterAnswered("acme", 0.001, None, LOWERED), 'mms_ratelimit_closed{account="acme"}', 1),
    (
        AccountSuspended("acme", SuspendedBecause.CREDIT, "no credit"),
        'mms_account_suspended{account="acme",reason="credit"}',
        1,
    ),
    (AccountResumed("acme", SuspendedBecause.CREDIT), 'mms_account_suspended{account="acme",reason="credit"}', 0),
    (DoubtsCounted("acme", 3, 1.5e9), 'mms_in_doubt_jobs{account="acme"}', 3),
    (DoubtsCounted("acme", 3, 1.5e9), 'mms_in_doubt_oldest_timestamp_seconds{account="acme"}', 1.5e9),
    (
        DoubtResolved("acme", ResolvedAs.RESENT, "job-1"),
        'mms_in_doubt_resolved_total{account="acme",resolution="resent"}',
        1,
    ),
    (DuplicateSendDetected("acme", "job-1"), 'mms_duplicate_sends_detected_total{account="acme"}', 1),
    (AccountServed("acme", 50.0), 'mms_ratelimit_limit{account="acme"}', 50),
    (ReloadApplied(("MMS_AMQP_URL",)), 'mms_reloads_total{result="applied"}', 1),
    (ReloadRefused(("One thing.",)), 'mms_reloads_total{result="refused"}', 1),
    (BrokerConnected(Role.PUBLISH), 'mms_broker_connected{role="publish"}', 1),
    (BrokerLost(Role.PUBLISH, "reset"), 'mms_broker_losses_total{role="publish"}', 1),
    (BrokerBlocked(Role.PUBLISH, is_blocked=True), 'mms_broker_blocked{role="publish"}', 1),
    (Published(0.002, "unroutable"), 'mms_publish_failures_total{reason="unroutable"}', 1),
    (Published(0.002, "SomethingNew"), 'mms_publish_failures_total{reason="other"}', 1),
    (Consuming("mms.jobs.acme", is_active=True), 'mms_consumer_active{queue="mms.jobs.acme"}', 1),
    (DrainStarted(3), "mms_draining", 1),
    (DrainEnded(1.0, 0, 0), "mms_draining", 0),
    (Surprise("call", KeyError("x")), "mms_surprises_total", 1),
]


def metrics() -> Metrics:
    return Metrics(accounts={"acme": 15.0}, version="1.2.3", calls_max=64)


def samples(of: Metrics) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(generate_latest(of.registry).decode()):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


@pytest.mark.parametrize(("seen", "sample", "value"), EFFECTS, ids=[f"{type(e[0]).__name__} {e[1]}" for e in EFFECTS])
def test_each_observation_changes_its_metric(seen: Observation, sample: str, value: float) -> None:
    observed = metrics()
    observed.observe(seen)
    assert samples(observed)[sample] == value


def test_closed_sets_are_there_before_anything_happened_and_stay_the_same() -> None:
    observed = metrics()
    before = set(samples(observed))
    for end in End:
        assert f'mms_jobs_finished_total{{account="acme",outcome="{end}"}}' in before
    assert 'mms_ratelimit_limit{account="acme"}' in before
    for seen, _, _ in EFFECTS:
        observed.observe(seen)
    assert {re.sub(r"\{.*", "", name) for name in set(samples(observed)) - before} == FOUND_LATER


def test_series_stay_within_their_budget() -> None:
    """A hundred accounts and ten workers are a quarter of a million series, which one Prometheus bears."""
    observed = metrics()
    for seen, _, _ in EFFECTS:
        observed.observe(seen)
    one = len(samples(observed))
    observed.serve("second", 5.0)
    assert one <= 400
    assert len(samples(observed)) - one <= 210


def test_nothing_is_told_of_what_was_not_found_yet() -> None:
    """A 0 would be taken for news when the first look finds more."""
    assert not [name for name in samples(metrics()) if name.startswith(tuple(FOUND_LATER))]


def test_what_could_not_be_looked_at_for_a_minute_is_told_no_more() -> None:
    """Workers tell alike, and the largest is believed: one that is cut off would have the last word for ever."""
    now_s = 1_000.0
    observed = Metrics(accounts={"acme": 15.0}, version="1.2.3", calls_max=64, monotonic=lambda: now_s)
    looks = (
        BACKLOG,
        HeldJobsCounted(7, 3),
        DrainsCounted({DrainResult.WHOLE: 5, DrainResult.TIMED_OUT: 1}),
        DoubtsCounted("acme", 3, 1.5e9),
    )
    for seen in looks:
        observed.observe(seen)
    found = {name for name in samples(observed) if name.startswith(tuple(FOUND_LATER))}
    assert {name.split("{")[0] for name in found} == FOUND_LATER
    now_s += 59
    observed.observe(looks[1])
    assert found <= samples(observed).keys()
    now_s += 2
    assert {name for name in samples(observed) if name in found} == {"mms_dead_letters", "mms_unroutable_jobs"}
    observed.observe(BACKLOG)
    assert 'mms_backlog_jobs{account="acme",lane="bulk"}' in samples(observed)


def test_an_account_that_left_takes_nothing_of_others_with_it_whatever_it_is_called() -> None:
    observed = metrics()
    observed.serve("bulk", 5.0)
    observed.observe(BACKLOG)
    observed.observe(AccountLeft("bulk"))
    assert samples(observed)['mms_backlog_jobs{account="acme",lane="bulk"}'] == 300


def test_a_backlog_that_cannot_leave_is_infinite() -> None:
    observed = metrics()
    observed.observe(replace(BACKLOG, drain_s=math.inf))
    assert samples(observed)['mms_backlog_drain_seconds{account="acme"}'] == math.inf


def test_what_this_worker_did_not_hear_of_the_pace_it_sees() -> None:
    observed = metrics()
    lowered = 'mms_ratelimit_lowered{account="acme"}'
    observed.observe(LimiterAnswered("acme", 0.001, None, LOWERED))
    for state, shown in ((AccountState.CLOSED, 1), (AccountState.OPEN, 0), (AccountState.LOWERED, 1)):
        observed.observe(replace(BACKLOG, state=state))
        assert samples(observed)[lowered] == shown
    observed.observe(replace(BACKLOG, pace_per_s=None, worst_second=None, state=AccountState.UNKNOWN))
    assert samples(observed)[lowered] == 1
    assert samples(observed)['mms_ratelimit_pace{account="acme"}'] == BACKLOG.pace_per_s


def test_promtool_finds_nothing_wrong_with_names_types_and_help() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool here: install prometheus")
    observed = metrics()
    for seen, _, _ in EFFECTS:
        observed.observe(seen)
    told = subprocess.run(
        [promtool, "check", "metrics"], input=generate_latest(observed.registry), capture_output=True, check=False
    )
    assert (told.returncode, told.stdout.decode(), told.stderr.decode()) == (0, "", "")


def test_an_account_that_comes_is_at_0_and_one_that_left_has_no_series() -> None:
    observed = metrics()
    before = set(samples(observed))
    observed.observe(AccountServed("new", 5.0))
    come = {
        name.replace('"new"', '"acme"').replace("jobs.new", "jobs.acme") for name in set(samples(observed)) - before
    }
    assert come == {name for name in before if '"acme"' in name or "jobs.acme" in name}
    assert samples(observed)['mms_ratelimit_pace{account="new"}'] == 5
    for seen, _, _ in EFFECTS:
        observed.observe(seen)
    observed.observe(AccountLeft("acme"))
    assert not [name for name in samples(observed) if '"acme"' in name or "jobs.acme" in name]
    assert 'mms_jobs_finished_total{account="new",outcome="sent"}' in samples(observed)


@pytest.mark.parametrize(("seen", "sample", "value"), [effect for effect in EFFECTS if "acme" in effect[1]])
def test_an_account_that_comes_back_is_counted_from_0_again(seen: Observation, sample: str, value: float) -> None:
    observed = metrics()
    for what in (seen, AccountLeft("acme"), AccountServed("acme", 5.0), seen):
        observed.observe(what)
    assert samples(observed)[sample] == value


def test_what_is_counted_of_an_account_that_left_meanwhile_makes_no_series() -> None:
    observed = metrics()
    observed.observe(AccountLeft("acme"))
    observed.observe(DoubtsCounted("acme", 3, 1.5e9))
    observed.observe(BACKLOG)
    assert not [name for name in samples(observed) if '"acme"' in name]


def test_accounts_that_are_missing_are_counted() -> None:
    observed = metrics()
    observed.watch_lacking(lambda: 2)
    assert samples(observed)["mms_accounts_not_started"] == 2


def test_no_created_series() -> None:
    assert not any("_created" in name for name in samples(metrics()))


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    written = io.StringIO()
    with redirect_stderr(written):
        configure(level="debug", style="json")
        yield written
    structlog.reset_defaults()
    logging.getLogger().handlers.clear()


def test_each_line_is_json_with_its_event_and_level(log: io.StringIO) -> None:
    observer = LogObserver()
    for seen, _, _ in EFFECTS:
        observer.observe(seen)
    lines = [orjson.loads(line) for line in log.getvalue().splitlines()]
    assert {line["event"] for line in lines} >= {
        "job_ended",
        "job_requeued",
        "account_suspended",
        "broker_lost",
        "surprise",
    }
    assert all({"event", "level", "timestamp"} <= set(line) for line in lines)


def test_a_limiter_that_stays_away_is_told_once(log: io.StringIO) -> None:
    observer = LogObserver()
    for why in (None, "gone", "gone", "gone", None):
        observer.observe(LimiterAnswered("acme", 0.1, why, None if why else OPEN))
    events = [orjson.loads(line)["event"] for line in log.getvalue().splitlines()]
    assert events == ["sending_stopped", "sending_resumed"]


def test_suspects_that_cannot_be_noted_are_told_once_and_so_is_their_end(log: io.StringIO) -> None:
    observer = LogObserver()
    for why in (None, "no permission", "no permission", "gone", None, None):
        observer.observe(SuspectNoted("acme", why))
    lines = [orjson.loads(line) for line in log.getvalue().splitlines()]
    assert [(line["event"], line.get("why")) for line in lines] == [
        ("suspect_not_noted", "no permission"),
        ("suspect_not_noted", "gone"),
        ("suspects_noted_again", None),
    ]


def test_a_limit_that_is_found_to_be_lower_is_told_once_and_so_is_its_end(log: io.StringIO) -> None:
    observer = LogObserver()
    for state in (OPEN, LOWERED, LOWERED, OPEN, OPEN):
        observer.observe(LimiterAnswered("acme", 0.1, None, state))
    lines = [orjson.loads(line) for line in log.getvalue().splitlines()]
    assert [(line["event"], line["to_per_s"]) for line in lines] == [("limit_lowered", 5.0), ("limit_restored", None)]


def test_what_became_of_a_reload_is_told(log: io.StringIO) -> None:
    observer = LogObserver()
    added, changed = an_account("new", app_key="s3cret"), AccountChanged(an_account("acme"), True, True)
    observer.observe(AccountsChanged(AccountsChange((added,), ("old",), (changed,))))
    observer.observe(ReloadApplied(()))
    observer.observe(ReloadApplied(("MMS_AMQP_URL",)))
    observer.observe(ReloadRefused(("One thing.", "Another.")))
    observer.observe(AccountNotStarted("new", "The broker refused."))
    lines = [orjson.loads(line) for line in log.getvalue().splitlines()]
    for line in lines:
        del line["timestamp"]
    assert lines == [
        {"event": "accounts_changed", "level": "info", "added": ["new"], "removed": ["old"], "changed": ["acme"]},
        {
            "event": "settings_changed",
            "level": "warning",
            "settings": ["MMS_AMQP_URL"],
            "takes_effect": "at the next start",
        },
        {
            "event": "reload_refused",
            "level": "error",
            "problems": ["One thing.", "Another."],
            "so": "nothing changed",
        },
        {"event": "account_not_started", "level": "error", "account": "new", "why": "The broker refused."},
    ]


async def test_the_admin_port_serves_metrics_health_and_readiness() -> None:
    reasons: list[str | None] = ["not connected to the broker", None]
    server = AdminServer(
        host="127.0.0.1", port=0, registry=metrics().registry, not_ready_because=lambda: reasons.pop(0)
    )
    await server.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        assert (await client.get("/healthz")).status_code == 200
        not_ready = await client.get("/readyz")
        assert (not_ready.status_code, not_ready.text) == (503, "not connected to the broker\n")
        assert (await client.get("/readyz")).status_code == 200
        scraped = await client.get("/metrics")
        assert scraped.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert "mms_jobs_finished_total" in scraped.text
    second = AdminServer(
        host="127.0.0.1", port=server.port, registry=metrics().registry, not_ready_because=lambda: None
    )
    with pytest.raises(CannotStart, match="MMS_ADMIN_PORT"):
        await second.start()
    await server.close()


def test_a_log_that_cannot_be_written_does_not_stop_the_flow() -> None:
    observed = metrics()

    def broken(_: Observation) -> None:
        raise BrokenPipeError

    observer_of(observed, broken)(DrainStarted(1))
    assert samples(observed)["mms_surprises_total"] == 1
    assert samples(observed)["mms_draining"] == 1
