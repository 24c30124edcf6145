"""Tables: what becomes of the answers to a table's queries on their way through Grafana's transformations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from deploy.grafana.catalogue import DASHBOARDS
from deploy.grafana.table import Table

Row = dict[str, Any]
TABLES = [
    pytest.param(panel, id=f"{board.name}: {panel.title}")
    for board in DASHBOARDS
    for panel in board.panels
    if isinstance(panel, Table)
]


def keep(frames: Sequence[Sequence[Row]], options: Row) -> list[list[Row]]:
    """filterFieldsByName: the named fields of each frame."""
    names = options["include"]["names"]
    return [[{name: value for name, value in row.items() if name in names} for row in frame] for frame in frames]


def merge(frames: Sequence[Sequence[Row]], _: Row) -> list[list[Row]]:
    """Rows of different frames become one when nothing that both have differs."""
    merged: list[Row] = []
    for frame in frames:
        for row in frame:
            same = [one for one in merged if all(one.get(name, value) == value for name, value in row.items())]
            if same:
                same[0].update(row)
            else:
                merged.append(dict(row))
    return [merged]


def organize(frames: Sequence[Sequence[Row]], options: Row) -> list[list[Row]]:
    """Names and places of the columns."""
    renamed, order = options["renameByName"], options["indexByName"]
    return [
        [{renamed.get(name, name): row[name] for name in sorted(row, key=lambda name: order[name])} for row in frame]
        for frame in frames
    ]


STEPS: dict[str, Callable[[Sequence[Sequence[Row]], Row], list[list[Row]]]] = {
    "filterFieldsByName": keep,
    "merge": merge,
    "organize": organize,
}


@pytest.mark.parametrize("panel", TABLES)
def test_each_thing_has_one_row_with_all_columns_in_their_order(panel: Table) -> None:
    """Each answer has its metric's name, as raw series do, and comes at its own moment."""
    value = "Value #{}" if len(panel.columns) > 1 else "Value"
    things = [{label: f"{label} {number}" for label in panel.labels} for number in range(2)]
    frames = [
        [
            {"Time": place, "__name__": f"metric_{place}", **thing, value.format(chr(ord("A") + place)): place}
            for thing in things
        ]
        for place in range(len(panel.columns))
    ]
    made = panel.json(1, 0, 0)
    for step in made["transformations"]:
        frames = STEPS[step["id"]](frames, step["options"])
    columns = {column.title: place for place, column in enumerate(panel.columns)}
    assert frames == [[{**thing, **columns} for thing in things]]
    assert list(frames[0][0]) == [*panel.labels, *columns]
    assert all(target["format"] == "table" for target in made["targets"])


@pytest.mark.parametrize("panel", TABLES)
def test_overrides_and_the_order_name_columns_that_there_are(panel: Table) -> None:
    made = panel.json(1, 0, 0)
    titles = {*panel.labels, *(column.title for column in panel.columns)}
    assert {each["matcher"]["options"] for each in made["fieldConfig"]["overrides"]} <= titles
    assert {each["displayName"] for each in made["options"]["sortBy"]} <= titles
