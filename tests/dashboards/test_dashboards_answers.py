"""What counts as a panel that shows nothing."""

from __future__ import annotations

import pytest

from deploy.grafana.parts import Query
from loadtest.dashboards.asking import Answer, Line

EMPTY = Line({"account": "shop"}, [])
FLAT = Line({"account": "shop"}, [(0.0, 0.0), (1.0, 0.0)])
MOVES = Line({"account": "shop"}, [(0.0, 0.0), (1.0, 0.5)])
PLAIN, STILL, SILENT = Query("a"), Query("a", zero_because="it must"), Query("a", silent_because="it may")


@pytest.mark.parametrize(
    ("query", "lines", "fault"),
    [
        (PLAIN, [], "no data"),
        (PLAIN, [EMPTY], "no data"),
        (PLAIN, [FLAT], "0 all the time"),
        (PLAIN, [FLAT, MOVES], None),
        (STILL, [FLAT], None),
        (STILL, [], "no data"),
        (STILL, [FLAT, MOVES], "not 0, although it must"),
        (SILENT, [], None),
        (SILENT, [FLAT], "0 all the time"),
        (SILENT, [MOVES], None),
    ],
)
def test_faults(query: Query, lines: list[Line], fault: str | None) -> None:
    assert Answer(query, lines).fault == fault
