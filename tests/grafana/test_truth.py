"""What would mislead: values of what is gone, colours that contradict alerts, marks and links that lose something."""

from __future__ import annotations

import json
import re

import pytest

from deploy.grafana.catalogue import DASHBOARDS
from deploy.grafana.dashboard import LINKED, Dashboard, marks
from deploy.grafana.panels import TimeSeries
from deploy.grafana.parts import Query
from tests.grafana.known import alerts, known_series, rules
from tests.grafana.promql_labels import OPEN, Series

BY_NAME = pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.name)


@pytest.fixture(scope="module")
def known() -> Series:
    return known_series()


#: Panel, the alert of which its colours speak, and how many times the alert's number they are.
COLOURS = [
    ("Overview", "Least use of a limit", "ThroughputBelowLimit", 1),
    ("Overview", "Answered 429, per 1,000", "OverLimit", 1_000),
    ("Overview", "Refused, per 1,000", "ApiErrorRatio", 1_000),
    ("Overview", "Oldest doubt", "InDoubtAgeing", 1),
    ("Overview", "Burn rate over one hour", "ErrorBudgetBurnFast", 1),
    ("Overview", "Burn rate over six hours", "ErrorBudgetBurnFast", 1),
    ("Account", "Oldest doubt", "InDoubtAgeing", 1),
    ("Internals", "Oldest job in hand", "AckTimeoutRisk", 1),
    ("Internals", "Answer time of the API", "ApiSlow", 1),
    ("Internals", "Late event loop", "EventLoopLag", 1),
]


@pytest.mark.parametrize(("title", "panel", "alert", "times"), COLOURS)
def test_colours_change_where_the_alert_begins(title: str, panel: str, alert: str, times: int) -> None:
    (board,) = [board for board in DASHBOARDS if board.title == title]
    (found,) = [each for each in board.panels if each.title == panel]
    asked = {round(times * float(number), 6) for number in re.findall(r"[<>] ([\d.]+)", alerts()[alert]["expr"])}
    assert asked & {step.value for step in found.steps}
    assert alert in found.alerts


def test_a_backlog_is_red_from_the_deadline_on() -> None:
    (deadline,) = [
        rule["expr"] for rule in rules("recording.yaml") if rule.get("record", "").endswith("deadline:seconds")
    ]
    (found,) = [each for each in DASHBOARDS[0].panels if each.title == "All is sent in"]
    assert found.steps[-1].value == float(deadline.rpartition("+ ")[2])


@BY_NAME
def test_numbers_and_tables_are_of_now(board: Dashboard) -> None:
    """Of a range Grafana shows the last value that there was, even when the process that told it is long gone."""
    for panel in board.json()["panels"]:
        for target in panel.get("targets", []):
            is_of_now = panel["type"] in ("stat", "table")
            assert (target["instant"], target["range"]) == (is_of_now, not is_of_now), panel["title"]


@BY_NAME
def test_links_lead_to_all_others_and_take_no_account_along(board: Dashboard) -> None:
    assert tuple((other.name, other.title) for other in DASHBOARDS) == LINKED
    addresses = [link["url"] for link in board.json()["links"]]
    assert [re.findall(r"/d/mms-([\w-]+)\?", each) for each in addresses] == [
        [other.name] for other in DASHBOARDS if other is not board
    ]
    names = {variable["name"] for variable in board.json()["templating"]["list"]}
    taken = {name for each in addresses for name in re.findall(r"\{(\w+):", each)}
    assert taken == names - {"account"}, "one account that is chosen would hide the others"


def test_marks_ask_the_same_of_old_and_new_versions() -> None:
    asked = [mark for mark in marks() if "expr" in mark]
    assert len(asked) == 2
    for mark in asked:
        assert mark["target"]["expr"] == mark["expr"]
        assert mark["target"]["interval"] == mark["step"]


@BY_NAME
def test_what_is_named_in_the_text_of_a_value_is_a_value(board: Dashboard) -> None:
    """Grafana looks a value up by what it is called as text: "Infinity", not "inf"."""
    text = json.dumps(board.json())
    for options in re.findall(r'"type": "value", "options": (\{.*?\}\})', text):
        for value in json.loads(options):
            assert re.fullmatch(r"-?\d+|Infinity", value)


@BY_NAME
def test_what_every_program_has_is_asked_of_ours_alone(board: Dashboard) -> None:
    """With all jobs chosen, a Prometheus that others use as well would show their processes."""
    marked = [mark["expr"] for mark in marks() if "expr" in mark]
    for expression in [query.expression for panel in board.panels for query in panel.queries] + marked:
        if re.search(r"\b(up|process_\w+|python_\w+)\{", expression):
            assert re.search(r"and on \(job(, instance)?\) .*mms_build_info\{", expression), expression


@BY_NAME
def test_lines_of_one_panel_have_colours_of_their_own(board: Dashboard, known: Series) -> None:
    """Whoever gives a line a colour gives all their own: Grafana's palette begins with the same ones."""
    for panel in board.panels:
        looks = panel.looks if isinstance(panel, TimeSeries) else ()
        names = [name for query in panel.queries for name in names_of(query, known)]
        if not looks or any("{{" in name for name in names):
            continue
        coloured = {name: look.colour for name in names for look in looks if re.fullmatch(look.legend, name)}
        assert set(coloured) == set(names), panel.title
        assert len(set(coloured.values())) == len(coloured), panel.title


def names_of(query: Query, known: Series) -> list[str]:
    """What its lines are called; of labels that are no closed sets the name of the label stays."""
    label = re.search(r"\{\{(\w+)\}\}", query.legend)
    metric = re.search(r"mms_\w+(?=\{)", query.expression)
    values = known.values.get(metric[0], {}).get(label[1], set()) if metric and label else set()
    if label is None or label[1] in OPEN or not values:
        return [query.legend]
    return [query.legend.replace(label[0], value) for value in sorted(values)]


@BY_NAME
def test_what_each_process_tells_alike_is_not_added_up_and_what_is_no_counter_has_no_rate(board: Dashboard) -> None:
    for expression in [query.expression for panel in board.panels for query in panel.queries]:
        added_up = re.findall(r"\bsum(?: by \([^)]*\))? ?\((mms_\w+)\{", expression)
        assert set(added_up) <= {"mms_jobs_in_flight"}, expression
        for metric in re.findall(r"\b(?:rate|increase)\((\w+)\{", expression):
            assert metric.endswith(("_total", "_bucket", "_sum", "_count")), expression
