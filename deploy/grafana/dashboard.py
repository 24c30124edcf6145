"""A dashboard: rows of panels in a grid, the variables at the top, and the links to the others."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.grafana.panels import SOURCE, Panel
from deploy.grafana.parts import Json
from deploy.grafana.promql import firing, series

COLUMNS = 24
#: Grafana 10.0's. Later ones bring it up to date while loading, earlier ones would not know it.
SCHEMA_VERSION = 38
TAG = "mms"


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
            "links": [_links()],
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
        account = _variable("account", 'label_values(mms_ratelimit_limit{job=~"$job"}, account)')
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
            _variable("job", "label_values(mms_build_info, job)"),
            _variable("instance", 'label_values(mms_build_info{job=~"$job"}, instance)'),
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
        {
            "name": "Critical alerts",
            "datasource": SOURCE,
            "enable": True,
            "hide": False,
            "iconColor": "red",
            "expr": firing('severity="critical"'),
            "titleFormat": "{{alertname}}",
            "textFormat": "{{account}} {{instance}}",
            "step": "60s",
        },
        {
            "name": "Starts of a process",
            "datasource": SOURCE,
            "enable": True,
            "hide": False,
            "iconColor": "blue",
            "expr": f"time() - {series('process_start_time_seconds')} < 60",
            "titleFormat": "started",
            "textFormat": "{{job}} {{instance}}",
            "step": "60s",
        },
    ]


def _variable(name: str, query: str) -> Json:
    return {
        "name": name,
        "label": name.capitalize(),
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


def _links() -> Json:
    return {
        "title": "MMS",
        "type": "dashboards",
        "tags": [TAG],
        "asDropdown": False,
        "icon": "external link",
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "tooltip": "",
        "url": "",
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
