"""Panels, and how each becomes the JSON that Grafana 10 to 13 reads.

A panel knows its questions (PromQL), its unit, from where on a value is bad, and in words what it shows, what is
healthy, and what to do otherwise: these are its description.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import ClassVar

from deploy.grafana.parts import CLEAR, GREEN, NEUTRAL, ORANGE, RED, Json, Look, Query, Step

SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, kw_only=True)
class Panel(ABC):
    """What all kinds have in common. `alerts`: which alerts speak of what is shown here."""

    kind: ClassVar[str]
    title: str
    shows: str
    healthy: str
    otherwise: str
    queries: Sequence[Query]
    unit: str
    steps: Sequence[Step]
    alerts: Sequence[str] = ()
    width: int = 8
    height: int = 8
    decimals: int | None = None
    minimum: float | None = 0
    maximum: float | None = None
    none_text: str = "no data"
    texts: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    """What a value is called, and its colour."""
    to_account: bool = False
    """A click leads to the account's own dashboard."""

    @property
    def description(self) -> str:
        """Markdown, shown at the panel's ⓘ."""
        told = f"{self.shows}\n\n**Healthy:** {self.healthy}\n\n**Otherwise:** {self.otherwise}"
        if self.alerts:
            told += f"\n\n**Alerts:** {', '.join(self.alerts)} (see the runbook)."
        return told

    def json(self, number: int, x: int, y: int) -> Json:
        """`number` is unique in the dashboard; `x` and `y` are places in the grid of 24 columns."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": SOURCE,
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "fieldConfig": {"defaults": self._defaults(), "overrides": self._overrides()},
            "options": self._options(),
            "targets": [self._target(place, query) for place, query in enumerate(self.queries)],
            **self._more(),
        }

    @abstractmethod
    def _options(self) -> Json: ...

    def _more(self) -> Json:
        return {}

    def _overrides(self) -> list[Json]:
        return []

    def _custom(self) -> Json:
        return {}

    def _target(self, place: int, query: Query) -> Json:
        return {
            "refId": ascii_uppercase[place],
            "datasource": SOURCE,
            "editorMode": "code",
            "expr": query.expression,
            "legendFormat": query.legend or "__auto",
            "range": True,
            "instant": False,
        }

    def _defaults(self) -> Json:
        defaults: Json = {
            "unit": self.unit,
            "noValue": self.none_text,
            "color": {"mode": "thresholds"},
            "thresholds": {
                "mode": "absolute",
                "steps": [{"color": step.colour, "value": step.value} for step in self.steps],
            },
            "mappings": self._mappings(),
            "links": [_ACCOUNT_LINK] if self.to_account else [],
            "custom": self._custom(),
        }
        bounds = {"min": self.minimum, "max": self.maximum, "decimals": self.decimals}
        return defaults | {name: value for name, value in bounds.items() if value is not None}

    def _mappings(self) -> list[Json]:
        if not self.texts:
            return []
        options = {
            str(value): {"text": text, "color": colour, "index": place}
            for place, (value, (text, colour)) in enumerate(self.texts.items())
        }
        return [{"type": "value", "options": options}]


@dataclass(frozen=True, kw_only=True)
class TimeSeries(Panel):
    """Lines over time. The steps are bands behind them."""

    kind = "timeseries"
    looks: Sequence[Look] = ()
    is_stacked: bool = False
    is_logarithmic: bool = False
    has_bands: bool = True

    def _custom(self) -> Json:
        has_bands = self.has_bands and len(self.steps) > 1
        return {
            "drawStyle": "line",
            "lineInterpolation": "linear",
            "lineWidth": 1,
            "fillOpacity": 60 if self.is_stacked else 8,
            "gradientMode": "none",
            "spanNulls": False,
            "showPoints": "never",
            "pointSize": 5,
            "stacking": {"mode": "normal" if self.is_stacked else "none", "group": "A"},
            "axisPlacement": "auto",
            "axisLabel": "",
            "scaleDistribution": {"type": "log", "log": 10} if self.is_logarithmic else {"type": "linear"},
            "thresholdsStyle": {"mode": "area" if has_bands else "off"},
        }

    def _defaults(self) -> Json:
        # The base is no band: a panel that is green all over would hide its lines.
        steps = [{"color": CLEAR, "value": None}, *({"color": s.colour, "value": s.value} for s in self.steps[1:])]
        if self.steps[0].colour in (RED, ORANGE):
            steps = [{"color": s.colour if s.colour != GREEN else CLEAR, "value": s.value} for s in self.steps]
        shown = {"color": {"mode": "palette-classic"}, "thresholds": {"mode": "absolute", "steps": steps}}
        return super()._defaults() | shown

    def _overrides(self) -> list[Json]:
        return [look.override() for look in self.looks]

    def _options(self) -> Json:
        return {
            "legend": {
                "showLegend": True,
                "displayMode": "table",
                "placement": "bottom",
                "calcs": ["lastNotNull", "max"],
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        }


@dataclass(frozen=True, kw_only=True)
class Stat(Panel):
    """The value now, large, on the colour of its step."""

    kind = "stat"
    width: int = 4
    height: int = 4
    has_names: bool = False
    has_graph: bool = True
    is_background: bool = True

    def _options(self) -> Json:
        return {
            "reduceOptions": {"values": False, "calcs": ["lastNotNull"], "fields": ""},
            "orientation": "auto",
            "textMode": "value_and_name" if self.has_names else "value",
            "colorMode": "background" if self.is_background else "value",
            "graphMode": "area" if self.has_graph else "none",
            "justifyMode": "auto",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table: what its query asks, and how its cells look. Labels are columns of their own."""

    title: str
    query: Query
    unit: str
    steps: Sequence[Step] = NEUTRAL
    decimals: int | None = None
    texts: Mapping[int, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Table(Panel):
    """A row for each value of the `labels`, of what is true now. The queries are those of the columns."""

    kind = "table"
    width: int = 24
    columns: Sequence[Column]
    labels: Sequence[str]
    queries: Sequence[Query] = ()
    unit: str = "none"
    steps: Sequence[Step] = NEUTRAL

    def __post_init__(self) -> None:
        object.__setattr__(self, "queries", tuple(column.query for column in self.columns))

    def _target(self, place: int, query: Query) -> Json:
        return super()._target(place, query) | {"format": "table", "instant": True, "range": False}

    def _value(self, place: int) -> str:
        return f"Value #{ascii_uppercase[place]}" if len(self.columns) > 1 else "Value"

    def _custom(self) -> Json:
        return {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": False}

    def _overrides(self) -> list[Json]:
        overrides = []
        for column in self.columns:
            properties: list[Json] = [
                {"id": "unit", "value": column.unit},
                {
                    "id": "thresholds",
                    "value": {
                        "mode": "absolute",
                        "steps": [{"color": step.colour, "value": step.value} for step in column.steps],
                    },
                },
            ]
            if column.decimals is not None:
                properties.append({"id": "decimals", "value": column.decimals})
            if column.texts:
                options = {
                    str(value): {"text": text, "color": colour, "index": place}
                    for place, (value, (text, colour)) in enumerate(column.texts.items())
                }
                properties.append({"id": "mappings", "value": [{"type": "value", "options": options}]})
            if len(column.steps) > 1 or column.texts:
                properties.append({"id": "custom.cellOptions", "value": {"type": "color-background", "mode": "basic"}})
            overrides.append({"matcher": {"id": "byName", "options": column.title}, "properties": properties})
        if self.to_account:
            link = _ACCOUNT_LINK | {"title": "Account", "url": _account_url("${__value.raw}")}
            properties = [{"id": "links", "value": [link]}]
            overrides.append({"matcher": {"id": "byName", "options": "account"}, "properties": properties})
        return overrides

    def _defaults(self) -> Json:
        return super()._defaults() | {"links": []}

    def _more(self) -> Json:
        values = {self._value(place): column.title for place, column in enumerate(self.columns)}
        order = {name: place for place, name in enumerate((*self.labels, *values))}
        wanted = {"include": {"names": [*self.labels, *values]}}
        return {
            "transformations": [
                {"id": "merge", "options": {}},
                {"id": "filterFieldsByName", "options": wanted},
                {"id": "organize", "options": {"excludeByName": {}, "indexByName": order, "renameByName": values}},
            ]
        }

    def _options(self) -> Json:
        return {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": ["sum"], "fields": ""}}


@dataclass(frozen=True, kw_only=True)
class StateTimeline(Panel):
    """A bar for each series: since when it is in which state, by `texts`."""

    kind = "state-timeline"
    width: int = 24

    def _custom(self) -> Json:
        return {"fillOpacity": 80, "lineWidth": 0}

    def _options(self) -> Json:
        return {
            "mergeValues": True,
            "showValue": "never",
            "alignValue": "left",
            "rowHeight": 0.85,
            "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "single", "sort": "none"},
        }


@dataclass(frozen=True, kw_only=True)
class Heatmap(Panel):
    """How often a histogram's buckets are hit, over time."""

    kind = "heatmap"

    def _target(self, place: int, query: Query) -> Json:
        return super()._target(place, query) | {"format": "heatmap", "legendFormat": "{{le}}"}

    def _options(self) -> Json:
        return {
            "calculate": False,
            "cellGap": 1,
            "cellValues": {"unit": "reqps"},
            "color": {
                "mode": "scheme",
                "scheme": "Oranges",
                "steps": 64,
                "exponent": 0.5,
                "fill": "dark-orange",
                "reverse": False,
                "scale": "exponential",
            },
            "exemplars": {"color": "rgba(255,0,255,0.7)"},
            "filterValues": {"le": 1e-9},
            "legend": {"show": True},
            "rowsFrame": {"layout": "auto"},
            "tooltip": {"mode": "single", "show": True, "yHistogram": False},
            "yAxis": {"axisPlacement": "left", "reverse": False, "unit": self.unit},
        }


def _account_url(account: str) -> str:
    return f"/d/mms-account?var-account={account}&${{datasource:queryparam}}&${{job:queryparam}}&${{__url_time_range}}"


_ACCOUNT_LINK: Json = {
    "title": "Account ${__field.labels.account}",
    "url": _account_url("${__field.labels.account}"),
    "targetBlank": False,
}
