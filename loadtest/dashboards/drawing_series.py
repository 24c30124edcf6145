"""Draws lines over time: with bands behind them, stacked or not, and their legend."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

from deploy.grafana.panels import TimeSeries
from deploy.grafana.parts import CLEAR, Step
from loadtest.dashboards.asking import Line
from loadtest.dashboards.drawn import GAP_S, TITLE_HEIGHT, Named, Span, time_axis
from loadtest.dashboards.figures import ticks, written
from loadtest.dashboards.svg import FAINT, GRID, TEXT, Box, Drawing, Point, colour_of

LEGEND_LINE = 15.0
LEGEND_LINES_MAX = 6
POINTS_MAX = 120


def time_series(drawing: Drawing, panel: TimeSeries, named: Sequence[Named], box: Box, span: Span) -> None:
    named = [replace(each, line=_finite(each.line)) for each in named]
    named = [each for each in named if each.line.points]
    largest = sorted(named, key=lambda each: -max(value for _, value in each.line.points))
    legend = largest[:LEGEND_LINES_MAX]
    plot = box.inside(56, TITLE_HEIGHT + 4, 12, 24 + LEGEND_LINE * max(1, len(legend)))
    layers = _stacked(named) if panel.is_stacked else [(each, _thin(each.line.points), None) for each in named]
    values = [value for _, points, _ in layers for _, value in points] or [0.0, 1.0]
    low = min(values) if panel.minimum is None else min(panel.minimum, *values)
    high = max(values) if panel.maximum is None else max(panel.maximum, *values)
    marks = ticks(low, high if high > low else low + 1, 4, panel.unit)
    low, high = marks[0], marks[-1]

    def y(value: float) -> float:
        return plot.bottom - plot.height * (min(max(value, low), high) - low) / (high - low)

    for mark in marks:
        drawing.rectangle(Box(plot.x, y(mark), plot.width, 0.6), GRID)
        drawing.write(plot.x - 5, y(mark) + 3, written(mark, panel.unit), size=9, fill=FAINT, anchor="end")
    if panel.has_bands:
        _bands(drawing, panel, plot, (low, high), y)
    for each, points, base in layers:
        pieces = _pieces([(span.x(plot, moment), y(value)) for moment, value in points], points)
        if base is not None:
            lower = [(span.x(plot, moment), y(value)) for moment, value in base]
            drawing.area([*(point for piece in pieces for point in piece), *reversed(lower)], each.colour, 0.55)
        elif each.is_filled:
            for piece in pieces:
                feet: list[Point] = [(piece[-1][0], y(max(low, 0))), (piece[0][0], y(max(low, 0)))]
                drawing.area([*piece, *feet], each.colour, 0.08)
        drawing.line(pieces, each.colour, dashed=each.is_dashed)
    if not named:
        drawing.write(plot.x + plot.width / 2, plot.y + plot.height / 2, panel.none_text, fill=FAINT, anchor="middle")
    time_axis(drawing, plot, span)
    _legend(drawing, panel, legend, len(named), box)


def _finite(line: Line) -> Line:
    """Where it is infinite, Grafana draws nothing."""
    return Line(line.labels, [point for point in line.points if math.isfinite(point[1])])


def _bands(
    drawing: Drawing, panel: TimeSeries, plot: Box, bounds: tuple[float, float], y: Callable[[float], float]
) -> None:
    low, high = bounds
    steps = panel.steps
    edges = [*steps, Step(high, CLEAR)]
    for step, following in pairwise(edges):
        bottom = low if step.value is None else step.value
        top = high if following.value is None else min(following.value, high)
        if step.colour in ("green", "blue", CLEAR) or bottom >= high or top <= bottom:
            continue
        box = Box(plot.x, y(top), plot.width, y(bottom) - y(top))
        drawing.rectangle(box, colour_of(step.colour), opacity=0.12)


def _legend(drawing: Drawing, panel: TimeSeries, legend: Sequence[Named], count: int, box: Box) -> None:
    y = box.bottom - LEGEND_LINE * max(1, len(legend)) + 5
    for each in legend:
        values = [value for _, value in each.line.points]
        drawing.rectangle(Box(box.x + 10, y - 4, 12, 3), each.colour)
        more = f" (and {count - len(legend)} more)" if each is legend[-1] and count > len(legend) else ""
        drawing.write(box.x + 27, y, each.name + more, size=10, room=box.width - 175)
        for at, value in ((88, values[-1]), (10, max(values))):
            drawing.write(
                box.right - at, y, written(value, panel.unit, panel.decimals), size=10, fill=TEXT, anchor="end"
            )
        y += LEGEND_LINE


def _stacked(
    named: Sequence[Named],
) -> list[tuple[Named, list[tuple[float, float]], list[tuple[float, float]] | None]]:
    moments = _thin_moments(sorted({moment for each in named for moment, _ in each.line.points}))
    base = dict.fromkeys(moments, 0.0)
    layers: list[tuple[Named, list[tuple[float, float]], list[tuple[float, float]] | None]] = []
    for each in named:
        own = dict(each.line.points)
        if not each.is_filled:
            layers.append((each, [(moment, own[moment]) for moment in moments if moment in own], None))
            continue
        lower = list(base.items())
        base = {moment: below + own.get(moment, 0.0) for moment, below in lower}
        layers.append((each, list(base.items()), lower))
    return layers


def _thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Fewer points, the first moment of each group with its highest value: a short peak stays."""
    size = max(1, -(-len(points) // POINTS_MAX))
    groups = (points[at : at + size] for at in range(0, len(points), size))
    return [(group[0][0], max(value for _, value in group)) for group in groups]


def _thin_moments(moments: Sequence[float]) -> list[float]:
    return list(moments[:: max(1, -(-len(moments) // POINTS_MAX))])


def _pieces(places: Sequence[Point], points: Sequence[tuple[float, float]]) -> list[list[Point]]:
    """The line, broken where values are missing."""
    pieces: list[list[Point]] = []
    usual_s = min((later[0] - sooner[0] for sooner, later in pairwise(points)), default=0.0)
    for number, place in enumerate(places):
        if number == 0 or points[number][0] - points[number - 1][0] > max(GAP_S, 1.9 * usual_s):
            pieces.append([])
        pieces[-1].append(place)
    return pieces
