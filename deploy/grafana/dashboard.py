"""A dashboard: rows of panels in a grid, the variables at the top, and the links to the others."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.grafana.panels import SOURCE, Panel
from deploy.grafana.parts import Json
from deploy.grafana.promql import firing, of_ours, series

COLUMNS = 24
#: Of each dashboard its name and title, as links name them.
LINKED = (("overview", "Overview"), ("account", "Account"), ("internals", "Internals"), ("load-test", "Load test"))
#: Grafana 10.0's. Later ones bring it up to date while loading, earlier ones would not know it.
SCHEMA_VERSION = 38
TAG = "mms"
#: A mark is looked for every so often, and the first look at a process is at most so late.
MARK_EVERY_S, SEEN_AFTER_S = 60, 30
#: What leads from one dashboard to another takes along. No account: of one account all may be well, and of others not.
TAKEN_ALONG = "${datasource:queryparam}&${job:queryparam}&${instance:queryparam}"
ONLY_ASKED = "For panels that ask processes. What rules tell (limit, pace, backlog, doubts) is of all processes."
_START = "process_start_time_seconds"
STARTED = of_ours(_START, series(_START))


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading, left to right, broken into lines where a line is full."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """`name` is part of its address and of its file's name. Of accounts one is chosen, or several."""

    name: str
    title: str
    about: str
    rows: Sequence[Row]
    has_one_account: bool = False
    refresh: str = "30s"
    shown: str = "now-3h"

    @property
    def panels(self) -> list[Panel]:
        """All of them, in reading order."""
        return [panel for row in self.rows for panel in row.panels]

    def text(self) -> str:
        """The file's content."""
        return json.dumps(self.json(), indent=2, ensure_ascii=False) + "\n"

    def json(self) -> Json:
        """As Grafana imports it."""
        return {
            "uid": f"mms-{self.name}",
            "title": f"MMS / {self.title}",
            "description": self.about,
            "tags": [TAG],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "refresh": self.refresh,
            "time": {"from": self.shown, "to": "now"},
            "timepicker": {},
            "timezone": "browser",
            "fiscalYearStartMonth": 0,
            "liveNow": False,
            "weekStart": "",
            "links": [_link(name, title) for name, title in LINKED if name != self.name],
            "templating": {"list": self._variables()},
            "annotations": {"list": marks()},
            "panels": self._placed(),
        }

    def _placed(self) -> list[Json]:
        placed: list[Json] = []
        y = 0
        for row in self.rows:
            placed.append(_heading(row.title, number=len(placed) + 1, y=y))
            y += 1
            x = line_height = 0
            for panel in row.panels:
                if x + panel.width > COLUMNS:
                    x, y, line_height = 0, y + line_height, 0
                placed.append(panel.json(len(placed) + 1, x, y))
                x += panel.width
                line_height = max(line_height, panel.height)
            y += line_height
        return placed

    def _variables(self) -> list[Json]:
        account = _variable(
            "account", 'label_values(mms_ratelimit_limit{job=~"$job"}, account)', "Those that processes know of."
        )
        if self.has_one_account:
            account |= {"multi": False, "includeAll": False, "allValue": None, "current": {}}
        return [
            {
                "name": "datasource",
                "label": "Data source",
                "type": "datasource",
                "query": "prometheus",
                "regex": "",
                "refresh": 1,
                "hide": 0,
                "multi": False,
                "includeAll": False,
                "skipUrlSync": False,
                "options": [],
                "current": {},
            },
            _variable("job", "label_values(mms_build_info, job)", ONLY_ASKED),
            _variable("instance", 'label_values(mms_build_info{job=~"$job"}, instance)', ONLY_ASKED),
            account,
        ]


def marks() -> list[Json]:
    """Marks over all panels: critical alerts, and processes that started."""
    return [
        {
            "builtIn": 1,
            "name": "Annotations & Alerts",
            "type": "dashboard",
            "datasource": {"type": "grafana", "uid": "-- Grafana --"},
            "enable": True,
            "hide": True,
            "iconColor": "rgba(0, 211, 255, 1)",
        },
        _mark(
            "Critical alerts",
            "red",
            firing('severity="critical"'),
            title="{{alertname}}",
            text="{{account}} {{instance}}",
        ),
        _mark(
            "Starts of a process",
            "blue",
            f"time() - ({STARTED}) < {MARK_EVERY_S + SEEN_AFTER_S}",
            title="started",
            text="{{job}} {{instance}}",
        ),
    ]


def _mark(name: str, colour: str, expression: str, *, title: str, text: str) -> Json:
    every = f"{MARK_EVERY_S}s"
    return {
        "name": name,
        "datasource": SOURCE,
        "enable": True,
        "hide": False,
        "iconColor": colour,
        # Grafana 10 asks what stands here, later ones what is in the target.
        "expr": expression,
        "step": every,
        "target": {"refId": "Anno", "datasource": SOURCE, "expr": expression, "interval": every, "range": True},
        "titleFormat": title,
        "textFormat": text,
    }


def _variable(name: str, query: str, about: str) -> Json:
    return {
        "name": name,
        "label": name.capitalize(),
        "description": about,
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": query,
        "refresh": 2,
        "sort": 1,
        "regex": "",
        "hide": 0,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "skipUrlSync": False,
        "options": [],
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _link(name: str, title: str) -> Json:
    return {
        "title": title,
        "type": "link",
        "url": f"/d/mms-{name}?{TAKEN_ALONG}",
        "icon": "dashboard",
        "includeVars": False,
        "keepTime": True,
        "targetBlank": False,
        "tooltip": "",
        "tags": [],
        "asDropdown": False,
    }


def _heading(title: str, *, number: int, y: int) -> Json:
    return {
        "id": number,
        "type": "row",
        "title": title,
        "collapsed": False,
        "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": y},
        "panels": [],
    }
