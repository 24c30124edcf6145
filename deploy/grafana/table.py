"""Tables: a row for each account or process, with what is true of it now."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from string import ascii_uppercase

from deploy.grafana.panels import Panel, mappings, thresholds
from deploy.grafana.parts import BLUE, GREY, NEUTRAL, Json, Query, Step, Texts

_ACCOUNT = "/d/mms-account?var-account=${__value.raw}&${datasource:queryparam}&${job:queryparam}&${__url_time_range}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table: what its query asks, and how its cells look. Labels are columns of their own."""

    title: str
    query: Query
    unit: str
    steps: Sequence[Step] = NEUTRAL
    decimals: int | None = None
    texts: Texts = field(default_factory=dict)

    @property
    def is_coloured(self) -> bool:
        """Whether the colour of a cell says something."""
        return len(self.steps) > 1 or any(colour not in (BLUE, GREY) for _, colour in self.texts.values())

    def override(self) -> Json:
        """How its cells look, as Grafana has it."""
        properties: list[Json] = [
            {"id": "unit", "value": self.unit},
            {"id": "thresholds", "value": thresholds(self.steps)},
        ]
        if self.decimals is not None:
            properties.append({"id": "decimals", "value": self.decimals})
        if self.texts:
            properties.append({"id": "mappings", "value": mappings(self.texts)})
        if self.is_coloured:
            properties.append({"id": "custom.cellOptions", "value": {"type": "color-background", "mode": "basic"}})
        return {"matcher": {"id": "byName", "options": self.title}, "properties": properties}


@dataclass(frozen=True, kw_only=True)
class Table(Panel):
    """A row for each value of the `labels`, of what is true now. The queries are those of the columns.

    `worst_first` is the title of the column that the rows are sorted by, the highest first; else they are by label.
    """

    kind = "table"
    width: int = 24
    columns: Sequence[Column]
    labels: Sequence[str]
    worst_first: str = ""
    to_account: bool = False
    """A click on its name leads to the account's own dashboard."""
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
        overrides = [column.override() for column in self.columns]
        if self.to_account:
            link = {"title": "Account", "url": _ACCOUNT, "targetBlank": False}
            properties = [{"id": "links", "value": [link]}]
            overrides.append({"matcher": {"id": "byName", "options": "account"}, "properties": properties})
        return overrides

    def _more(self) -> Json:
        values = {self._value(place): column.title for place, column in enumerate(self.columns)}
        order = {name: place for place, name in enumerate((*self.labels, *values))}
        # Named first: rows become one only when all that they share is equal; a metric's name and the time may differ.
        wanted = {"include": {"names": [*self.labels, *values]}}
        shown = {"excludeByName": {}, "indexByName": order, "renameByName": values}
        return {
            "transformations": [
                {"id": "filterFieldsByName", "options": wanted},
                {"id": "merge", "options": {}},
                {"id": "organize", "options": shown},
            ]
        }

    def _options(self) -> Json:
        return {
            "showHeader": True,
            "cellHeight": "sm",
            "sortBy": [{"displayName": self.worst_first or self.labels[0], "desc": bool(self.worst_first)}],
            "footer": {"show": False, "reducer": ["sum"], "fields": ""},
        }
