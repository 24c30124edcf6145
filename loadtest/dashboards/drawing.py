"""Draws each kind of panel with the data that were found, much as Grafana does."""

import math
from collections.abc import Sequence

from deploy.grafana.panels import Heatmap, Panel, Stat, StateTimeline, TimeSeries
from deploy.grafana.table import Table
from loadtest.dashboards.asking import Answer, Line, Shown
from loadtest.dashboards.drawing_series import time_series
from loadtest.dashboards.drawn import GAP_S, TITLE_HEIGHT, Named, Span, named_lines, time_axis, told
from loadtest.dashboards.figures import written
from loadtest.dashboards.svg import (
    EDGE,
    FAINT,
    GRID,
    PANEL,
    Box,
    Drawing,
)

ROW_HEIGHT = 22.0


def draw(drawing: Drawing, shown: Shown, box: Box, span: Span) -> None:
    """Draw the panel into the box."""
    panel = shown.panel
    drawing.rectangle(box, PANEL, edge=EDGE, radius=2)
    named = named_lines(shown)
    match panel:
        case Stat():
            _stat(drawing, panel, [each for each in named if _is_now(each.line, span)], box)
        case Table():
            _title(drawing, panel, box)
            _table(drawing, panel, shown, box.inside(8, TITLE_HEIGHT, 8, 4), span)
        case StateTimeline():
            _title(drawing, panel, box)
            _timeline(drawing, panel, named, box.inside(8, TITLE_HEIGHT, 8, 20), span)
        case Heatmap():
            _title(drawing, panel, box)
            _heatmap(drawing, panel, shown.answers[0].lines, box.inside(48, TITLE_HEIGHT, 10, 20), span)
        case TimeSeries():
            _title(drawing, panel, box)
            time_series(drawing, panel, named, box, span)


def _title(drawing: Drawing, panel: Panel, box: Box) -> None:
    drawing.write(box.x + 8, box.y + 17, panel.title, size=12, bold=True, room=box.width - 16)


# --- Stat --------------------------------------------------------------------------------------------------


def _stat(drawing: Drawing, panel: Stat, named: Sequence[Named], box: Box) -> None:
    cells: list[Named | None] = [*named] or [None]
    width = box.width / len(cells)
    for place, each in enumerate(cells):
        cell = Box(box.x + place * width, box.y, width, box.height)
        if each is None:
            drawing.write(cell.x + cell.width / 2, cell.y + cell.height * 0.65, panel.none_text, anchor="middle")
            continue
        value = each.line.points[-1][1]
        text, colour = told(value, panel)
        drawing.rectangle(cell.inside(1, 1, 1, 1), colour, opacity=0.75)
        size = min(30.0, 1.5 * width / max(3, len(text)))
        middle = cell.x + width / 2
        drawing.write(middle, cell.y + box.height * 0.68, text, size=size, fill="#ffffff", anchor="middle", bold=True)
        if panel.has_names:
            drawing.write(middle, cell.bottom - 8, each.name, size=10, fill="#ffffff", anchor="middle", room=width - 8)
    drawing.write(box.x + 8, box.y + 17, panel.title, size=11, fill="#ffffff", bold=True, room=box.width - 12)


# --- Table -------------------------------------------------------------------------------------------------


def _table(drawing: Drawing, panel: Table, shown: Shown, box: Box, span: Span) -> None:
    now = [Answer(each.query, [line for line in each.lines if _is_now(line, span)]) for each in shown.answers]
    rows = sorted({_row_of(panel, line) for answer in now for line in answer.lines})
    if panel.worst_first:
        worst = now[[column.title for column in panel.columns].index(panel.worst_first)]
        rows.sort(key=lambda row: -max(_values(panel, worst, row), default=-math.inf))
    titles = [*panel.labels, *(column.title for column in panel.columns)]
    cells = [_cells(panel, now, row) for row in rows[: int(box.height / ROW_HEIGHT) - 1]]
    places = _columns(titles, cells, box)
    for place, title in zip(places, titles, strict=True):
        drawing.write(place.x + 4, box.y + 12, title, size=10.5, fill="#6e9fff", room=place.width - 4)
    for number, row_cells in enumerate(cells):
        y = box.y + 20 + number * ROW_HEIGHT
        drawing.rectangle(Box(box.x, y, box.width, 0.6), GRID)
        for place, (text, colour) in zip(places, row_cells, strict=True):
            if colour:
                drawing.rectangle(Box(place.x, y + 1, place.width - 3, ROW_HEIGHT - 2), colour, opacity=0.7)
            drawing.write(place.x + 4, y + 15, text, room=place.width - 4)


def _cells(panel: Table, now: Sequence[Answer], row: tuple[str, ...]) -> list[tuple[str, str]]:
    """The text of each cell of a row, and its colour."""
    cells = [(label, "") for label in row]
    for column, answer in zip(panel.columns, now, strict=True):
        found = _values(panel, answer, row)
        text, colour = told(found[0], column) if found else ("", "")
        cells.append((text, colour if column.is_coloured else ""))
    return cells


def _values(panel: Table, answer: Answer, row: tuple[str, ...]) -> list[float]:
    return [line.points[-1][1] for line in answer.lines if _row_of(panel, line) == row]


def _columns(titles: Sequence[str], cells: Sequence[Sequence[tuple[str, str]]], box: Box) -> list[Box]:
    """Each as wide as its longest text asks for."""
    wants = [max(len(title), *(len(row[place][0]) for row in cells), 5) for place, title in enumerate(titles)]
    places, x = [], box.x
    for want in wants:
        width = box.width * want / sum(wants)
        places.append(Box(x, box.y, width, box.height))
        x += width
    return places


def _row_of(panel: Table, line: Line) -> tuple[str, ...]:
    return tuple(line.labels.get(label, "") for label in panel.labels)


def _is_now(line: Line, span: Span) -> bool:
    """Whether it is still there at the end: numbers and tables show what is true now."""
    return bool(line.points) and line.points[-1][0] >= span.end_s - GAP_S


# --- State timeline ----------------------------------------------------------------------------------------


def _timeline(drawing: Drawing, panel: StateTimeline, named: Sequence[Named], box: Box, span: Span) -> None:
    if not named:
        drawing.write(box.x + box.width / 2, box.y + box.height / 2, panel.none_text, fill=FAINT, anchor="middle")
        return
    rows = named[: max(1, int(box.height / 15))]
    room = min(box.width * 0.34, 6.2 * max(len(each.name) for each in rows) + 10)
    bars = box.inside(room, 0, 0, 0)
    height = min(30.0, box.height / len(rows))
    for number, each in enumerate(rows):
        y = box.y + number * height
        drawing.write(bars.x - 6, y + height / 2 + 4, each.name, size=10, anchor="end", room=room)
        for start_s, end_s, value in _states(each.line):
            _, colour = told(value, panel)
            x = span.x(bars, start_s)
            width = max(1.5, span.x(bars, end_s) - x)
            drawing.rectangle(Box(x, y + height * 0.1, width, height * 0.8), colour, opacity=0.8)
    time_axis(drawing, bars, span)


def _states(line: Line) -> list[tuple[float, float, float]]:
    states: list[tuple[float, float, float]] = []
    for moment, value in line.points:
        if states and states[-1][2] == value and moment - states[-1][1] < GAP_S:
            states[-1] = (states[-1][0], moment, value)
        else:
            start_s = states[-1][1] if states and moment - states[-1][1] < GAP_S else moment
            states.append((start_s, moment, value))
    return states


# --- Heatmap -----------------------------------------------------------------------------------------------


def _heatmap(drawing: Drawing, panel: Heatmap, lines: Sequence[Line], box: Box, span: Span) -> None:
    bounds = sorted({float(line.labels["le"]) for line in lines})
    by_bound = {float(line.labels["le"]): dict(line.points) for line in lines}
    moments = sorted({moment for line in lines for moment, _ in line.points})
    columns = _groups(moments, 48)
    cells: dict[tuple[int, int], float] = {}
    for x, group in enumerate(columns):
        below = 0.0
        for y, bound in enumerate(bounds):
            up_to = sum(by_bound[bound].get(moment, 0.0) for moment in group)
            cells[x, y] = max(0.0, up_to - below)
            below = max(below, up_to)
    most = max(cells.values(), default=0.0) or 1.0
    height = box.height / max(1, len(bounds))
    for (x, y), value in cells.items():
        if value > 0:
            left = span.x(box, columns[x][0])
            right = span.x(box, columns[x][-1] + 1)
            place = Box(left, box.bottom - (y + 1) * height, right - left, height - 0.5)
            drawing.rectangle(place, "#ff9830", opacity=max(0.08, (value / most) ** 0.5))
    for y, bound in enumerate(bounds):
        text = "+Inf" if bound == float("inf") else written(bound, panel.unit)
        drawing.write(box.x - 5, box.bottom - y * height - height / 2 + 3, text, size=8.5, fill=FAINT, anchor="end")
    time_axis(drawing, box, span)


def _groups(moments: Sequence[float], count: int) -> list[list[float]]:
    size = max(1, -(-len(moments) // count))
    return [list(moments[at : at + size]) for at in range(0, len(moments), size)]
