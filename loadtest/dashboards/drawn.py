"""What all kinds of drawn panels share: the time that is shown, its axis, and lines with their names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.grafana.panels import Panel
from deploy.grafana.parts import Step
from deploy.grafana.table import Column
from loadtest.dashboards.asking import Line, Shown
from loadtest.dashboards.figures import ticks, written
from loadtest.dashboards.svg import FAINT, PALETTE, Box, Drawing, colour_of

#: A gap in a series is one when so many seconds are missing.
GAP_S = 3.0
TITLE_HEIGHT = 26.0


@dataclass(frozen=True, slots=True)
class Span:
    """The time that is shown (seconds since 1970)."""

    start_s: float
    end_s: float

    def x(self, box: Box, moment_s: float) -> float:
        """Where a moment is in the box."""
        return box.x + box.width * (moment_s - self.start_s) / (self.end_s - self.start_s)


@dataclass(frozen=True, slots=True)
class Named:
    """A line with its legend, and how it is drawn."""

    name: str
    line: Line
    colour: str
    is_dashed: bool
    is_filled: bool


def named_lines(shown: Shown) -> list[Named]:
    looks = getattr(shown.panel, "looks", ())
    found: list[Named] = []
    for answer in shown.answers:
        for line in sorted(answer.lines, key=lambda one: sorted(one.labels.items())):
            if not line.points:
                continue
            name = re.sub(r"\{\{(\w+)\}\}", lambda match, at=line.labels: at.get(match[1], ""), answer.query.legend)  # type: ignore[misc]
            look = next((each for each in looks if re.fullmatch(each.legend, name)), None)
            colour = colour_of(look.colour) if look else PALETTE[len(found) % len(PALETTE)]
            found.append(
                Named(
                    name,
                    line,
                    colour,
                    is_dashed=look is not None and look.is_dashed,
                    is_filled=look is None or (look.is_filled and not look.is_dashed),
                )
            )
    return found


def step_colour(steps: Sequence[Step], value: float) -> str:
    reached = [step for step in steps if step.value is None or value >= step.value]
    return colour_of(reached[-1].colour)


def time_axis(drawing: Drawing, plot: Box, span: Span) -> None:
    """In minutes and seconds from the start."""
    for mark in ticks(0, span.end_s - span.start_s, 5, "s"):
        if mark <= span.end_s - span.start_s:
            x = span.x(plot, span.start_s + mark)
            text = f"{int(mark) // 60}:{int(mark) % 60:02}"
            drawing.write(x, plot.bottom + 13, text, size=9, fill=FAINT, anchor="middle")


def told(value: float, panel: Panel | Column) -> tuple[str, str]:
    """What stands there for the value, and its colour."""
    if value in panel.texts:
        text, colour = panel.texts[value]
        return text, colour_of(colour)
    return written(value, panel.unit, panel.decimals), step_colour(panel.steps, value)
