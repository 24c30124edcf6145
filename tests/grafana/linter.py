"""The rules of grafana/dashboard-linter, read from its source, over a dashboard's JSON: what it finds, in sentences.

Of its rules those about logs are left out: there are no such queries. Exceptions stand in `EXCEPT`, with why.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import promql_parser as promql

Json = dict[str, Any]

WITH_TEXT = ("stat", "table", "timeseries", "gauge")
WITH_QUERIES = (*WITH_TEXT, "state-timeline", "heatmap")
#: Those of Grafana's units that are used here.
UNITS = {"none", "short", "percentunit", "bytes", "s", "cps", "cpm", "reqps"}
RATE_INTERVAL_S, RANGE_S, FROM = 61, 3607, "1700000000000"

#: Metrics that have neither `job` nor `instance` of ours: recording rules, alerts, and the simulator's, which is a job
#: of its own and not among those chosen.
EXCEPT = re.compile(r"(mms(_\w+)?:.*|ALERTS|mms_simulator_.*)")


def findings(board: Json) -> Iterator[str]:
    variables = board["templating"]["list"]
    yield from template_datasource(variables)
    for name in ("job", "instance"):
        yield from template_required(variables, name)
    yield from template_labels(variables)
    if board["editable"]:
        yield "uneditable-dashboard"
    for panel in board["panels"]:
        if panel["type"] != "row":
            yield from (f"{panel['title']}: {found}" for found in panel_findings(panel))


def template_datasource(variables: list[Json]) -> Iterator[str]:
    sources = [variable for variable in variables if variable["type"] == "datasource"]
    if [(each["name"], each["label"], each["query"]) for each in sources] != [
        ("datasource", "Data source", "prometheus")
    ]:
        yield "template-datasource-rule"


def template_required(variables: list[Json], name: str) -> Iterator[str]:
    found = [variable for variable in variables if variable["name"] == name]
    as_wanted = [
        variable["type"] == "query"
        and variable["datasource"]["uid"] in ("$datasource", "${datasource}")
        and variable["label"] == name.capitalize()
        and variable["multi"]
        and variable["allValue"] == ".+"
        for variable in found
    ]
    if as_wanted != [True]:
        yield f"template-{name}-rule"


def template_labels(variables: list[Json]) -> Iterator[str]:
    for variable in variables:
        if variable["type"] != "query":
            continue
        if variable["refresh"] != 2:
            yield f"template-on-time-change-reload-rule: {variable['name']}"
        match = re.match(r"([a-z_]+)\((.+), \w+\)$", variable["query"])
        if match is None or match[1] != "label_values" or not is_promql(match[2]):
            yield f"template-label-promql-rule: {variable['name']}"


def panel_findings(panel: Json) -> Iterator[str]:
    kind, defaults = panel["type"], panel["fieldConfig"]["defaults"]
    if kind not in WITH_QUERIES:
        yield f"a kind of panel that is not known here: {kind}"
    if panel["datasource"]["uid"] not in ("$datasource", "${datasource}"):
        yield "panel-datasource-rule"
    if not panel["title"] or not panel["description"]:
        yield "panel-title-description-rule"
    if not defaults["mappings"] and defaults["unit"] not in UNITS:
        yield f"panel-units-rule: {defaults['unit']}"
    if not panel["targets"]:
        yield "panel-no-targets-rule"
    for target in panel["targets"]:
        if target["datasource"]["uid"] not in ("$datasource", "${datasource}"):
            yield "panel-datasource-rule (target)"
        yield from (f"{target['refId']} {found}" for found in target_findings(target["expr"]))


def target_findings(expression: str) -> Iterator[str]:
    filled = fill(expression)
    if not is_promql(filled):
        yield "target-promql-rule"
        return
    for selector, parents in selectors(promql.parse(filled)):
        name = selector.name
        if not EXCEPT.fullmatch(name):
            matchers = {(each.name, str(each.op), each.value) for each in selector.matchers.matchers}
            for label in ("job", "instance"):
                if (label, "MatchOp.Re", f"${label}") not in matchers:
                    yield f"target-{label}-rule: {name}"
        functions = [parent.func.name for parent in parents if isinstance(parent, promql.Call)]
        ranges = [parent.range for parent in parents if isinstance(parent, promql.MatrixSelector)]
        if name.endswith("_total") and not (ranges and functions and functions[-1] in ("rate", "irate", "increase")):
            yield f"target-counter-agg-rule: {name}"
        is_rate = bool(functions) and functions[-1] in ("rate", "irate")
        if ranges and is_rate and ranges[-1].total_seconds() != RATE_INTERVAL_S:
            yield f"target-rate-interval-rule: {name}"


def fill(expression: str) -> str:
    """The linter's own stand-ins, which are not to be mistaken for anything."""
    stand_ins = {"$__rate_interval": f"{RATE_INTERVAL_S}s", "$__range": f"{RANGE_S}s", "$__from": FROM}
    for name, value in stand_ins.items():
        expression = expression.replace(name, value)
    return expression


def is_promql(expression: str) -> bool:
    try:
        promql.parse(expression)
    except ValueError:
        return False
    return True


def selectors(node: Any, parents: tuple[Any, ...] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Each selector with what it stands in, outermost first."""
    inside = (*parents, node)
    match node:
        case promql.VectorSelector():
            yield node, parents
        case promql.MatrixSelector():
            yield node.vector_selector, inside
        case promql.Call():
            for argument in node.args:
                yield from selectors(argument, inside)
        case promql.BinaryExpr():
            yield from selectors(node.lhs, inside)
            yield from selectors(node.rhs, inside)
        case promql.NumberLiteral() | promql.StringLiteral():
            pass
        case _:
            yield from selectors(node.expr, inside)
