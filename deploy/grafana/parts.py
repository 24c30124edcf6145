"""What panels are made of: questions, colours, and from where on a value is bad."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
Texts = Mapping[float, tuple[str, str]]
"""What values are called, and their colours; of math.inf as well."""

GREEN, YELLOW, ORANGE, RED, BLUE, PURPLE, GREY = "green", "yellow", "orange", "red", "blue", "purple", "#8e8e8e"
CLEAR = "transparent"


@dataclass(frozen=True, slots=True)
class Query:
    """One question. `legend` names its series, `{{label}}` being replaced.

    `zero_because`: why it is 0 even in a run with faults (the check of the dashboards wants everything else to move).
    `silent_because`: why it may have no series at all there.
    """

    expression: str
    legend: str = ""
    zero_because: str = ""
    silent_because: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """From `value` on (None: from the very bottom) a value has this colour."""

    value: float | None
    colour: str


def rising(warn: float, bad: float | None = None) -> tuple[Step, ...]:
    """More is worse."""
    steps = (Step(None, GREEN), Step(warn, ORANGE))
    return steps if bad is None else (*steps, Step(bad, RED))


def bad_from(bad: float) -> tuple[Step, ...]:
    """All is well below, nothing from there on."""
    return (Step(None, GREEN), Step(bad, RED))


def falling(bad: float, warn: float | None = None) -> tuple[Step, ...]:
    """Less is worse: bad below `bad`, and not good below `warn`."""
    steps = (Step(None, RED), Step(bad, GREEN if warn is None else ORANGE))
    return steps if warn is None else (*steps, Step(warn, GREEN))


#: Neither good nor bad, however much it is.
NEUTRAL = (Step(None, BLUE),)


@dataclass(frozen=True, slots=True)
class Look:
    """How one series is drawn, by its legend."""

    legend: str
    colour: str
    is_dashed: bool = False
    is_filled: bool = True

    def override(self) -> Json:
        """As Grafana has it."""
        properties: list[Json] = [{"id": "color", "value": {"mode": "fixed", "fixedColor": self.colour}}]
        if self.is_dashed:
            properties.append({"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 6]}})
        if self.is_dashed or not self.is_filled:
            properties.append({"id": "custom.fillOpacity", "value": 0})
            properties.append({"id": "custom.stacking", "value": {"mode": "none", "group": "A"}})
        return {"matcher": {"id": "byRegexp", "options": f"/^{self.legend}$/"}, "properties": properties}
