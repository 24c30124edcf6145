"""What there is to ask for: the metrics of our processes, of the simulator and of Prometheus, and the rules' series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry

from loadtest.simulator.metrics import counts
from loadtest.simulator.records import CallbackSummary, Tally
from tests.grafana.promql_labels import Series
from worker.adapters.prometheus import Metrics
from worker.adapters.prometheus_series import Does
from worker.core.delivery import Lane
from worker.core.status import AccountState, DrainResult
from worker.flow.observations import BacklogSeen, DoubtsCounted, DrainsCounted, HeldJobsCounted

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy/prometheus/rules"
#: What is exported as soon as somebody has looked.
LOOKS = (
    BacklogSeen("shop", dict.fromkeys(Lane, 0), 0.0, AccountState.OPEN, 15.0, 0),
    HeldJobsCounted(0, 0),
    DrainsCounted(dict.fromkeys(DrainResult, 0)),
    DoubtsCounted("shop", 0, 0.0),
)
ALERT_LABELS = {"alertname", "alertstate", "severity", "service", "account", "instance", "slo", "job"}


def rules(*names: str) -> list[dict[str, Any]]:
    """All rules of the files, in order."""
    groups = [group for name in names for group in yaml.safe_load((RULES / name).read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules("alerts.yaml") if "alert" in rule}


def known_series() -> Series:
    known = Series()
    for does in Does:
        metrics = Metrics(accounts={"shop": 15.0}, version="0", calls_max=1, does=does)
        if metrics.sends:
            for seen in LOOKS:
                metrics.observe(seen)
        known.add_registry(metrics.registry)
    known.add_registry(simulator_registry())
    known.add("up", {"job", "instance"})
    known.add("ALERTS", ALERT_LABELS)
    for rule in rules("recording.yaml"):
        labels = known.labels_of(rule["expr"])
        own = rule.get("labels", {})
        known.add(rule["record"], {*(labels or ()), *own}, {label: [value] for label, value in own.items()})
    return known


def simulator_registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(counts([Tally("key", 1, 0, 1, 1, 0, 1, 1)], [15], CallbackSummary(*[0] * 9)))
    return registry
