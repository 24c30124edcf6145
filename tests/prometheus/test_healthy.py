"""Nothing but the watchdog fires while all is well: a start, a quiet night, an upgrade, an account that leaves."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from tests.prometheus.conftest import FOLDER
from worker.adapters.prometheus import Metrics
from worker.adapters.prometheus_series import Does
from worker.core.delivery import Lane
from worker.core.status import AccountState, DrainResult
from worker.core.topology import jobs_queue
from worker.flow.observations import (
    BacklogSeen,
    BrokerConnected,
    Consuming,
    DoubtsCounted,
    DrainsCounted,
    HeldJobsCounted,
    Role,
)

#: Scrapes, every 15 s: more than the longest time until an alert fires.
SCRAPES, RUN = 160, "40m"
SCRAPE_S = 15
LIMIT_PER_S = 15.0
#: A series' values as promtool reads them, by its value at the start.
Course = Callable[[str, float], str]


def resting(_series: str, value: float) -> str:
    """As it is at the start, all the time."""
    return f"{value}x{SCRAPES}"


def worker(accounts: list[str]) -> CollectorRegistry:
    """A worker that has just begun, and has looked around once: there are old dead letters, and nothing to do."""
    metrics = Metrics(accounts=dict.fromkeys(accounts, LIMIT_PER_S), version="1", calls_max=64)
    for stage in ("preparing", "waiting", "calling", "settling"):
        metrics.watch_stage(stage, lambda: 0)
    for role in Role:
        metrics.observe(BrokerConnected(role))
    metrics.observe(HeldJobsCounted(12, 0))
    metrics.observe(DrainsCounted({DrainResult.WHOLE: 7, DrainResult.TIMED_OUT: 2}))
    for account in accounts:
        metrics.observe(DoubtsCounted(account, 0, 0))
        metrics.observe(BacklogSeen(account, dict.fromkeys(Lane, 0), 0, AccountState.OPEN, 15, 0))
        for lane in Lane:
            metrics.observe(Consuming(jobs_queue(account, lane), is_active=True))
    return metrics.registry


def receiver(accounts: list[str]) -> CollectorRegistry:
    return Metrics(accounts=dict.fromkeys(accounts, LIMIT_PER_S), version="1", calls_max=64, does=Does.RECEIVE).registry


def scraped(registry: CollectorRegistry, instance: str, course: Course = resting) -> Iterator[dict[str, str]]:
    """All that a process exports, as promtool reads it."""
    for family in registry.collect():
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in {**sample.labels, "instance": instance}.items())
            series = f"{sample.name}{{{labels}}}"
            yield {"series": series, "values": course(series, sample.value)}


def busy(account: str) -> Course:
    """The account sends 98 % of its limit all the time, with a backlog of an hour, and its jobs end as planned."""
    per_scrape = 0.98 * LIMIT_PER_S * SCRAPE_S
    grows = {
        f'mms_jobs_received_total{{account="{account}",redelivered="false"': per_scrape,
        f'mms_jobs_finished_total{{account="{account}",outcome="sent"': per_scrape,
        f'mms_api_requests_total{{account="{account}",operation="send_mms",result="sent"': per_scrape,
        f'mms_recipients_total{{account="{account}",result="sent"': per_scrape,
        f'mms_job_overdue_seconds_count{{account="{account}",lane="bulk"': per_scrape,
        f'mms_job_overdue_seconds_bucket{{account="{account}",lane="bulk",le="60.0"': per_scrape,
        f'mms_reports_total{{account="{account}",status="delivered"': per_scrape,
        f'mms_last_sent_timestamp_seconds{{account="{account}"': SCRAPE_S,
    }
    stands = {
        f'mms_backlog_jobs{{account="{account}",lane="bulk"': 3600 * LIMIT_PER_S,
        f'mms_backlog_drain_seconds{{account="{account}"': 3600.0,
    }

    def course(series: str, value: float) -> str:
        for head, by in grows.items():
            if series.startswith(head):
                return f"{value}+{by}x{SCRAPES}"
        return resting(series, next((stood for head, stood in stands.items() if series.startswith(head)), value))

    return course


def until(scrapes: int, course: Course = resting) -> Course:
    """It ends then."""

    def ended(series: str, value: float) -> str:
        return course(series, value).replace(f"x{SCRAPES}", f"x{scrapes}") + " stale"

    return ended


def since(scrapes: int, course: Course = resting) -> Course:
    """It begins then."""

    def begun(series: str, value: float) -> str:
        if series.startswith("mms_last_sent") and course is not resting:
            value += scrapes * SCRAPE_S
        return f"_x{scrapes} " + course(series, value).replace(f"x{SCRAPES}", f"x{SCRAPES - scrapes}")

    return begun


MANY = [f"shop-{n}" for n in range(5)]
DAYS = {
    "started, and nothing to do": [
        *scraped(worker(["shop"]), "a"),
        *scraped(worker(["shop"]), "b"),
        *scraped(receiver(["shop"]), "r"),
    ],
    "one account of many is busy": [
        *scraped(worker(MANY), "a", busy("shop-3")),
        *scraped(receiver(MANY), "r", busy("shop-3")),
    ],
    "an upgrade, one worker after the other": [
        *scraped(worker(["shop"]), "a", until(70, busy("shop"))),
        *scraped(worker(["shop"]), "b", until(74)),
        *scraped(worker(["shop"]), "c", since(70, busy("shop"))),
        *scraped(worker(["shop"]), "d", since(76)),
        *scraped(receiver(["shop"]), "r", until(68, busy("shop"))),
        *scraped(receiver(["shop"]), "s", since(70, busy("shop"))),
    ],
    "the only worker is started again, and is gone for a minute": [
        *scraped(worker(["shop"]), "a", until(70, busy("shop"))),
        *scraped(worker(["shop"]), "b", since(74, busy("shop"))),
    ],
    "an account is taken out": [
        *scraped(worker(["shop"]), "a", busy("shop")),
        *(each for each in scraped(worker(["gone"]), "a", until(70, busy("gone"))) if "gone" in each["series"]),
    ],
}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("day", DAYS)
def test_nothing_fires_while_all_is_well(promtool: str, tmp_path: Path, day: str) -> None:
    suite = {
        "rule_files": [str(FOLDER / "rules" / name) for name in ("recording.yaml", "alerts.yaml")],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": DAYS[day],
                "promql_expr_test": [
                    {
                        "expr": f'count by (alertname) (count_over_time(ALERTS{{alertstate="firing"}}[{RUN}]))',
                        "eval_time": RUN,
                        "exp_samples": [{"labels": '{alertname="Watchdog"}', "value": 1}],
                    }
                ],
            }
        ],
    }
    (tmp_path / "healthy.yaml").write_text(yaml.safe_dump(suite))
    done = subprocess.run(
        [promtool, "test", "rules", str(tmp_path / "healthy.yaml")],
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert done.returncode == 0, done.stdout + done.stderr
