"""Pictures of dashboards: well-formed, everything in its place, and drawn as the data are."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from deploy.grafana.catalogue import DASHBOARDS
from deploy.grafana.dashboard import Dashboard
from deploy.grafana.panels import Heatmap, Panel, Stat, StateTimeline, TimeSeries
from deploy.grafana.parts import GREEN, NEUTRAL, RED, Look, Query, bad_from, rising
from deploy.grafana.table import Column, Table
from loadtest.dashboards.asking import Answer, Line, Shown
from loadtest.dashboards.drawing import draw
from loadtest.dashboards.drawn import Span
from loadtest.dashboards.pictures import picture
from loadtest.dashboards.svg import Box, Drawing, colour_of

START_S, LASTS_S = 1_700_000_000.0, 100
SVG = "{http://www.w3.org/2000/svg}"
BOX, SPAN = Box(0, 0, 400, 300), Span(START_S, START_S + LASTS_S)
WORDS: dict[str, Any] = {"title": "A title", "shows": "It.", "healthy": "Yes.", "otherwise": "No.", "unit": "none"}


def line(*values: float, until: float = 1.0, **labels: str) -> Line:
    """Evenly over the time that is shown, or a share of it; one value is of its end."""
    step_s = until * LASTS_S / max(1, len(values) - 1)
    start_s = START_S if len(values) > 1 else START_S + LASTS_S
    return Line(labels, [(start_s + place * step_s, value) for place, value in enumerate(values)])


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 - our own


def drawn(panel: Panel, *answers: Sequence[Line]) -> ET.Element:
    drawing = Drawing(BOX.width, BOX.height)
    shown = Shown(panel, [Answer(query, lines) for query, lines in zip(panel.queries, answers, strict=True)])
    draw(drawing, shown, BOX, SPAN)
    return parsed(drawing.text)


def texts(tree: ET.Element) -> list[str]:
    return [element.text or "" for element in tree.iter(f"{SVG}text")]


def paths(tree: ET.Element, colour: str) -> list[list[tuple[float, float]]]:
    """The lines of a colour, as points."""
    found = [
        element.attrib["d"]
        for element in tree.iter(f"{SVG}path")
        if element.attrib.get("stroke") == colour_of(colour) and element.attrib["fill"] == "none"
    ]
    return [[(float(x), float(y)) for x, y in re.findall(r"([\d.-]+) ([\d.-]+)", path)] for path in found]


def rectangles(tree: ET.Element, colour: str) -> list[Box]:
    return [
        Box(*(float(element.attrib[name]) for name in ("x", "y", "width", "height")))
        for element in tree.iter(f"{SVG}rect")
        if element.attrib["fill"] == colour_of(colour)
    ]


@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.name)
@pytest.mark.parametrize("lines", [[], [line(0, 1, 2, account="a<b&c", le="+Inf")], [line(5, account="x", le="1")]])
def test_every_dashboard_can_be_drawn_with_any_data(board: Dashboard, lines: list[Line]) -> None:
    shown = [Shown(panel, [Answer(query, lines) for query in panel.queries]) for panel in board.panels]
    tree = parsed(picture(board, shown, START_S, START_S + LASTS_S))
    found = " ".join(texts(tree))
    for panel in board.panels:
        assert panel.title[:12] in found
    for row in board.rows:
        assert row.title in found


def test_a_line_rises_with_its_values() -> None:
    panel = TimeSeries(**WORDS, queries=(Query("a", "it"),), steps=NEUTRAL, looks=(Look("it", RED),))
    ((first, middle, last),) = paths(drawn(panel, [line(0, 5, 10)]), RED)
    assert first[0] < middle[0] < last[0]
    assert first[1] > middle[1] > last[1], "up is less in a picture"
    assert middle[1] == pytest.approx((first[1] + last[1]) / 2, abs=0.2)


def test_a_gap_stays_a_gap() -> None:
    panel = TimeSeries(**WORDS, queries=(Query("a", "it"),), steps=NEUTRAL, looks=(Look("it", RED),))
    points = [(START_S + at, 1.0) for at in (*range(10), *range(50, 60))]
    tree = drawn(panel, [Line({}, points)])
    (path,) = [e.attrib["d"] for e in tree.iter(f"{SVG}path") if e.attrib.get("stroke") == colour_of(RED)]
    assert path.count("M") == 2


def test_stacked_values_lie_upon_each_other() -> None:
    queries = (Query("a", "low"), Query("b", "high"))
    panel = TimeSeries(
        **WORDS, queries=queries, steps=NEUTRAL, is_stacked=True, looks=(Look("low", GREEN), Look("high", RED))
    )
    tree = drawn(panel, [line(4, 4, 4)], [line(4, 4, 4)])
    (low,), (high,) = paths(tree, GREEN), paths(tree, RED)
    floor = next(float(e.attrib["y"]) for e in tree.iter(f"{SVG}text") if e.text == "0") - 3
    assert floor - high[0][1] == pytest.approx(2 * (floor - low[0][1]), abs=0.5)


def test_bands_are_where_the_values_are_bad() -> None:
    panel = TimeSeries(**WORDS, queries=(Query("a", "it"),), steps=rising(5, 8), looks=(Look("it", "#123456"),))
    tree = drawn(panel, [line(0, 10)])
    (orange,) = [box for box in rectangles(tree, "orange") if box.width > 100]
    (red,) = [box for box in rectangles(tree, RED) if box.width > 100]
    assert red.bottom == pytest.approx(orange.y, abs=0.2)
    assert orange.height == pytest.approx(1.5 * red.height, abs=0.3)


def test_a_number_stands_on_the_colour_of_its_step() -> None:
    panel = Stat(**WORDS, queries=(Query("a"),), steps=bad_from(3))
    assert rectangles(drawn(panel, [line(9, 2)]), GREEN)
    assert rectangles(drawn(panel, [line(0, 3)]), RED)
    assert "3" in texts(drawn(panel, [line(0, 3)]))
    assert "no data" in texts(drawn(panel, []))


def test_a_state_lasts_as_long_as_it_did() -> None:
    panel = StateTimeline(
        **WORDS, queries=(Query("a", "{{name}}"),), steps=bad_from(1), texts={0: ("no", GREEN), 1: ("yes", RED)}
    )
    values = [0.0] * 25 + [1.0] * 50 + [0.0] * 26
    tree = drawn(panel, [line(*values, name="shop")])
    bad, (before, after) = rectangles(tree, RED), rectangles(tree, GREEN)
    assert len(bad) == 1
    assert bad[0].width == pytest.approx(2 * before.width, rel=0.05)
    assert before.right <= bad[0].right <= after.right
    assert "shop" in texts(tree)


def test_cells_of_a_heatmap_are_what_lies_between_two_buckets() -> None:
    panel = Heatmap(**WORDS, queries=(Query("a"),), steps=NEUTRAL)
    lines = [line(1, 1, le="1"), line(1, 1, le="5"), line(4, 4, le="+Inf")]
    cells = rectangles(drawn(panel, lines), "#ff9830")
    assert len({cell.y for cell in cells}) == 2, "between 1 and 5 there is nothing"


def test_a_long_line_is_one_piece_and_keeps_its_peak() -> None:
    panel = TimeSeries(**WORDS, queries=(Query("a", "it"),), steps=NEUTRAL, looks=(Look("it", RED),))
    rough = [float(place * 7919 % 13) for place in range(1_000)]
    rough[501] = 100.0
    tree = drawn(panel, [Line({}, [(START_S + place / 10, value) for place, value in enumerate(rough)])])
    (path,) = [e.attrib["d"] for e in tree.iter(f"{SVG}path") if e.attrib.get("stroke") == colour_of(RED)]
    assert path.count("M") == 1
    assert len(path) < 3_000, "a thousand points would be as many in the file"
    ((*points,),) = paths(tree, RED)
    (peak,) = [at for at, y in points if y == min(y for _, y in points)]
    assert peak == pytest.approx(56 + 0.501 * (BOX.width - 68), abs=4)


def test_a_number_that_is_gone_is_not_shown() -> None:
    panel = Stat(**WORDS, queries=(Query("a"),), steps=bad_from(3))
    gone = Line({}, [(START_S + at, 9.0) for at in range(50)])
    assert "no data" in texts(drawn(panel, [gone]))
    assert "9" not in texts(drawn(panel, [gone]))


def test_what_never_ends_has_words_in_a_number_and_no_line() -> None:
    endless = [line(1, math.inf)]
    number = Stat(**WORDS, queries=(Query("a"),), steps=bad_from(3), texts={math.inf: ("never", RED)})
    tree = drawn(number, endless)
    assert "never" in texts(tree)
    assert rectangles(tree, RED)
    lines = TimeSeries(**WORDS, queries=(Query("a", "it"),), steps=NEUTRAL, looks=(Look("it", RED),))
    assert paths(drawn(lines, [line(1, 2, math.inf)]), RED) == paths(drawn(lines, [line(1, 2, until=0.5)]), RED)


def test_the_worst_row_of_a_table_is_its_first() -> None:
    words = {name: word for name, word in WORDS.items() if name != "unit"}
    column = Column(title="Wait", query=Query("a"), unit="none", steps=rising(3))
    panel = Table(**words, labels=("account",), columns=(column,), worst_first="Wait")
    gone = Line({"account": "gone"}, [(START_S, 9.0)])
    tree = drawn(panel, [line(1, account="good"), line(5, account="bad"), line(3, account="fair"), gone])
    assert [text for text in texts(tree) if text in ("good", "fair", "bad", "gone")] == ["bad", "fair", "good"]
