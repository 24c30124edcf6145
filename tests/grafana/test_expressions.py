"""Every expression of every panel, variable and mark: its metrics, labels and values exist, and its sides match."""

from __future__ import annotations

import re
from typing import Any

import pytest

from deploy.grafana.catalogue import DASHBOARDS
from deploy.grafana.dashboard import Dashboard, marks
from deploy.grafana.parts import Query
from deploy.grafana.table import Table
from tests.grafana.known import alerts, known_series, rules
from tests.grafana.promql_labels import Series, WrongError

GRAFANA = {"$__rate_interval": "1m", "$__range": "1h", "$__from": "1700000000000"}


def filled_in(expression: str) -> str:
    """As Prometheus reads it; the variables inside of matchers stay."""
    for name, value in GRAFANA.items():
        expression = expression.replace(name, value)
    return expression


@pytest.fixture(scope="module")
def known() -> Series:
    return known_series()


QUERIES = [
    pytest.param(query, id=f"{board.name}: {panel.title} {place}")
    for board in DASHBOARDS
    for panel in board.panels
    for place, query in enumerate(panel.queries)
]


@pytest.mark.parametrize("query", QUERIES)
def test_names_labels_and_values_exist(query: Query, known: Series) -> None:
    labels = known.labels_of(filled_in(query.expression))
    wanted = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
    assert labels is not None, "a number without series cannot be drawn"
    assert wanted <= labels, f"the legend names what the series do not have: {sorted(labels)}"


@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.name)
def test_columns_of_tables_are_by_their_labels(board: Dashboard, known: Series) -> None:
    for panel in board.panels:
        if isinstance(panel, Table):
            for column in panel.columns:
                assert known.labels_of(filled_in(column.query.expression)) == frozenset(panel.labels), column.title


@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.name)
def test_variables_ask_for_what_there_is(board: Dashboard, known: Series) -> None:
    for variable in board.json()["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"])
            assert found is not None
            assert found[2] in (known.labels_of(found[1]) or ())


def test_marks_ask_for_what_there_is(known: Series) -> None:
    asked = [mark["expr"] for mark in marks() if "expr" in mark]
    assert len(asked) == 2
    for expression in asked:
        assert known.labels_of(expression)


@pytest.mark.parametrize("rule", alerts().values(), ids=lambda rule: rule["alert"])
def test_alerts_ask_for_what_there_is(rule: dict[str, Any], known: Series) -> None:
    named = set(re.findall(r"\$labels[.](\w+)", f"{rule['annotations']}"))
    assert named <= set(known.labels_of(rule["expr"]) or ()) | set(rule["labels"])


def test_every_metric_of_ours_is_shown_or_is_in_a_rule(known: Series) -> None:
    shown = [query.expression for board in DASHBOARDS for panel in board.panels for query in panel.queries]
    text = " ".join([*shown, *(rule["expr"] for rule in rules("recording.yaml", "alerts.yaml"))])
    ours = {re.sub("_(bucket|count|sum)$", "", name) for name in known.labels if name.startswith("mms_")}
    assert {name for name in ours if ":" not in name and name not in text} == set()


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("mms_no_such_metric", "no such metric"),
        ("sum by (colour) (mms_in_doubt_jobs)", "cannot be kept"),
        ('mms_in_doubt_jobs{outcome="sent"}', "has no label outcome"),
        ('mms_api_requests_total{result="throtled"}', "is never 'throtled'"),
        ('mms_api_requests_total{result=~"sent|refuse"}', "is never 'refuse'"),
        ("mms_in_doubt_jobs / sum by (account) (mms_in_doubt_jobs)", "never match"),
        ("mms_in_doubt_jobs / on (queue) mms_in_doubt_jobs", "not both sides"),
        ("histogram_quantile(0.5, sum(rate(mms_journal_duration_seconds_bucket[1m])))", "le is lost"),
        ("sum(rate(mms_journal_duration_seconds_bucket[1m])", "unclosed left"),
    ],
)
def test_what_is_wrong_is_found(expression: str, why: str, known: Series) -> None:
    with pytest.raises(WrongError, match=why):
        known.labels_of(expression)
