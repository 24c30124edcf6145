"""The dashboards pass the rules of grafana/dashboard-linter."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from deploy.grafana.catalogue import DASHBOARDS
from deploy.grafana.dashboard import Dashboard
from tests.grafana.linter import findings

YOUNG = "of a process that is too young for an increase, it is the increase"
EXCEPTIONS = {
    "Messages that went out twice: A target-counter-agg-rule: mms_duplicate_sends_detected_total": YOUNG,
    "Processes: G target-counter-agg-rule: mms_surprises_total": YOUNG,
    "Drains: A target-counter-agg-rule: mms_drains_total": "kept in Redis, and the same in every worker, however young",
}


@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.name)
def test_the_linter_finds_nothing(board: Dashboard) -> None:
    assert [found for found in findings(board.json()) if found not in EXCEPTIONS] == []


def test_every_exception_is_needed() -> None:
    found = {each for board in DASHBOARDS for each in findings(board.json())}
    assert set(EXCEPTIONS) <= found


def first_panel(board: dict[str, Any]) -> dict[str, Any]:
    return next(panel for panel in board["panels"] if panel["type"] == "timeseries")


def set_expression(expression: str) -> Callable[[dict[str, Any]], object]:
    return lambda board: first_panel(board)["targets"][0].update(expr=expression)


CHOSEN = 'job=~"$job", instance=~"$instance"'


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (lambda board: board.update(editable=True), "uneditable-dashboard"),
        (lambda board: board["templating"]["list"].pop(0), "template-datasource-rule"),
        (lambda board: board["templating"]["list"].pop(1), "template-job-rule"),
        (lambda board: board["templating"]["list"][2].update(allValue=".*"), "template-instance-rule"),
        (lambda board: board["templating"]["list"][3].update(refresh=1), "template-on-time-change-reload-rule"),
        (
            lambda board: board["templating"]["list"][3].update(query="label_values(((), x)"),
            "template-label-promql-rule",
        ),
        (lambda board: first_panel(board).update(title=""), "panel-title-description-rule"),
        (lambda board: first_panel(board).update(description=""), "panel-title-description-rule"),
        (lambda board: first_panel(board).update(datasource={"uid": "prom"}), "panel-datasource-rule"),
        (lambda board: first_panel(board)["fieldConfig"]["defaults"].update(unit="seconds"), "panel-units-rule"),
        (lambda board: first_panel(board).update(targets=[]), "panel-no-targets-rule"),
        (set_expression("sum by (account) (mms_in_doubt_jobs"), "target-promql-rule"),
        (set_expression('mms_in_doubt_jobs{instance=~"$instance"}'), "target-job-rule"),
        (set_expression('mms_in_doubt_jobs{job=~"$job"}'), "target-instance-rule"),
        (set_expression(f"mms_reloads_total{{{CHOSEN}}}"), "target-counter-agg-rule"),
        (set_expression(f"rate(mms_reloads_total{{{CHOSEN}}}[5m])"), "target-rate-interval-rule"),
    ],
)
def test_each_rule_is_at_work(spoil: Callable[[dict[str, Any]], object], rule: str) -> None:
    board = copy.deepcopy(DASHBOARDS[0].json())
    spoil(board)
    assert any(rule in found for found in findings(board))
