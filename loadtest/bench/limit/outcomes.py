"""What came of a cell (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.bench.limit.cells import Cell
from loadtest.bench.limit.changes import ChangesFigures
from loadtest.bench.limit.figures import CellFigures
from loadtest.bench.limit.idle import IdleFigures
from loadtest.bench.limit.options import Part
from loadtest.bench.limit.targets import missed, missed_in_changes

Figures = CellFigures | IdleFigures | ChangesFigures


@dataclass(frozen=True, slots=True)
class Outcome:
    """Figures and the targets that they miss, or, when there are none, why not."""

    part: Part
    cell: Cell
    figures: Figures | None
    missed: tuple[str, ...] = ()
    why_not: str = ""

    @property
    def verdict(self) -> str:
        """For people, in a few characters."""
        if self.figures is None:
            return "not measured"
        return f"misses {', '.join(self.missed)}" if self.missed else "holds"


def outcome(part: Part, cell: Cell, figures: Figures) -> Outcome:
    """Judge what was measured."""
    match figures:
        case CellFigures():
            misses = missed(cell, figures)
        case IdleFigures():
            misses = missed(cell, figures.burst)
        case ChangesFigures():
            misses = missed_in_changes(
                last_429_after_s=figures.reaction.last_429_after_s, recovered_after_s=figures.recovered_after_s
            )
    return Outcome(part, cell, figures, misses)


@dataclass(frozen=True, slots=True)
class Count:
    """Of some cells: how many hold, were measured, and there are."""

    held: int
    measured: int
    cells: int


def count(outcomes: Sequence[Outcome]) -> Count:
    """Sum up."""
    measured = [one for one in outcomes if one.figures is not None]
    return Count(sum(not one.missed for one in measured), len(measured), len(outcomes))
