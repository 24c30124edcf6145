"""Panels, and how each becomes the JSON that Grafana 10 to 13 reads.

A panel knows its questions (PromQL), its unit, from where on a value is bad, and in words what it shows, what is
healthy, and what to do otherwise: these are its description.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from string import ascii_uppercase
from typing import ClassVar

from deploy.grafana.parts import CLEAR, ORANGE, RED, Json, Look, Query, Step, Texts

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
    texts: Texts = field(default_factory=dict)
    """What a value is called, and its colour."""

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
            "thresholds": thresholds(self.steps),
            "mappings": mappings(self.texts),
            "custom": self._custom(),
        }
        bounds = {"min": self.minimum, "max": self.maximum, "decimals": self.decimals}
        return defaults | {name: value for name, value in bounds.items() if value is not None}


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
            # "never" would hide a value that stands alone between two gaps.
            "showPoints": "auto",
            "pointSize": 5,
            "stacking": {"mode": "normal" if self.is_stacked else "none", "group": "A"},
            "axisPlacement": "auto",
            "axisLabel": "",
            "scaleDistribution": {"type": "log", "log": 10} if self.is_logarithmic else {"type": "linear"},
            "thresholdsStyle": {"mode": "area" if has_bands else "off"},
        }

    def _defaults(self) -> Json:
        # What is well is no band: a panel that is green all over would hide its lines.
        bands = [step if step.colour in (RED, ORANGE) else replace(step, colour=CLEAR) for step in self.steps]
        shown = {"color": {"mode": "palette-classic"}, "thresholds": thresholds(bands)}
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
                "sortBy": "Max",
                "sortDesc": True,
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

    def _target(self, place: int, query: Query) -> Json:
        # Of a range Grafana shows the last value that there was: that of processes which are long gone, too.
        return super()._target(place, query) | {"instant": True, "range": False}

    def _options(self) -> Json:
        return {
            "reduceOptions": {"values": False, "calcs": ["lastNotNull"], "fields": ""},
            "orientation": "auto",
            "textMode": "value_and_name" if self.has_names else "value",
            "colorMode": "background",
            "graphMode": "none",
            "justifyMode": "auto",
        }


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
            "cellValues": {"unit": "cps"},
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


def thresholds(steps: Sequence[Step]) -> Json:
    """From where on which colour."""
    return {"mode": "absolute", "steps": [{"color": step.colour, "value": step.value} for step in steps]}


def mappings(texts: Texts) -> list[Json]:
    """Words in the place of values."""
    options = {
        "Infinity" if value == math.inf else f"{value:g}": {"text": text, "color": colour, "index": place}
        for place, (value, (text, colour)) in enumerate(texts.items())
    }
    return [{"type": "value", "options": options}] if options else []
