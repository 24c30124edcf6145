"""Asks Prometheus what every panel asks, over the whole run, and says which of it shows nothing."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deploy.grafana.dashboard import Dashboard
from deploy.grafana.panels import Panel
from deploy.grafana.parts import Query
from deploy.local.prometheus_server import Prometheus

STEP_S = 1.0
#: Ten looks of a Prometheus that looks every second.
RATE_INTERVAL = "10s"


@dataclass(frozen=True, slots=True)
class Line:
    """One series: its labels, and its values by moment (seconds since 1970); infinite ones too, but no NaN."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one query of a panel has found."""

    query: Query
    lines: Sequence[Line]

    @property
    def fault(self) -> str | None:
        """Why a panel with this answer would be of no use, or None."""
        if not any(line.points for line in self.lines):
            return None if self.query.silent_because else "no data"
        moves = any(value for line in self.lines for _, value in line.points)
        if self.query.zero_because:
            return f"not 0, although {self.query.zero_because}" if moves else None
        return None if moves else "0 all the time"


@dataclass(frozen=True, slots=True)
class Shown:
    """A panel with the answers to its queries, in their order."""

    panel: Panel
    answers: Sequence[Answer]


def ask(prometheus: Prometheus, dashboard: Dashboard, account: str, start_s: float, end_s: float) -> list[Shown]:
    """Ask all its panels' queries, a value for each second; `account` is the one that is chosen where one has to be."""
    chosen = account if dashboard.has_one_account else ".+"
    values = {
        "$__rate_interval": RATE_INTERVAL,
        "$__range": f"{math.ceil(end_s - start_s)}s",
        "$__from": str(round(start_s * 1000)),
        "$job": ".+",
        "$instance": ".+",
        "$account": chosen,
    }

    def answer(query: Query) -> Answer:
        found = prometheus.query_range(_filled(query.expression, values), start_s=start_s, end_s=end_s, step_s=STEP_S)
        return Answer(query, [Line(course.labels, _numbers(course.points)) for course in found])

    return [Shown(panel, [answer(query) for query in panel.queries]) for panel in dashboard.panels]


def faults(dashboard: Dashboard, shown: Sequence[Shown]) -> list[str]:
    """A sentence for each query that shows nothing."""
    return [
        f"{dashboard.title} / {each.panel.title}, {_name(each.panel, place)}: {answer.fault}"
        for each in shown
        for place, answer in enumerate(each.answers)
        if answer.fault is not None
    ]


def _name(panel: Panel, place: int) -> str:
    return f"query {place + 1} ({panel.queries[place].legend or panel.queries[place].expression})"


def _filled(expression: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        expression = expression.replace(name, value)
    return expression


def _numbers(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [point for point in points if not math.isnan(point[1])]
