"""Metrics and logs: every observation is taken in, closed sets start at 0, and nothing personal gets out."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import redirect_stderr

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
from worker.core.events import ResolvedAs
from worker.core.outcome import SuspendedBecause
from worker.core.settlement import End, RequeueReason
from worker.flow.observations import (
    AccountLeft,
    AccountNotStarted,
    AccountResumed,
    AccountsChanged,
    AccountServed,
    AccountSuspended,
    BrokerBlocked,
    BrokerConnected,
    BrokerLost,
    CallFinished,
    CallResult,
    Consuming,
    DoubtResolved,
    DoubtsCounted,
    DrainEnded,
    DrainStarted,
    DuplicateSendDetected,
    JobFinished,
    JobReceived,
    JobRequeued,
    LimiterAnswered,
    Observation,
    Operation,
    Published,
    ReloadApplied,
    ReloadRefused,
    Role,
    SlotTaken,
    Surprise,
)
from worker.flow.ports import CannotStart, LimiterState

#: What each observation changes: a sample's name and labels, and its value afterwards.
OPEN = LimiterState(14.9, 0.005, None, 0.0, 15, "")
LOWERED = LimiterState(4.5, 0.005, 5.0, 30.0, 15, "")
EFFECTS: list[tuple[Observation, str, float]] = [
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
    new = {
        name for name in set(samples(observed)) - before if not name.startswith(("mms_job_end_to_end", "mms_job_queue"))
    }
    assert {name for name in new if "_bucket" not in name and "_sum" not in name and "_count" not in name} == set()


def test_the_series_of_one_account_stay_within_their_budget() -> None:
    assert len(samples(metrics())) < 350


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
