"""What came of a cell (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.bench.batches import BatchFigures
from loadtest.bench.limit.batch_cells import missed_in_batches
from loadtest.bench.limit.cells import Cell
from loadtest.bench.limit.changes import ChangesFigures
from loadtest.bench.limit.figures import CellFigures
from loadtest.bench.limit.idle import IdleFigures
from loadtest.bench.limit.neighbours import NeighbourFigures, missed_in_neighbours
from loadtest.bench.limit.options import Part
from loadtest.bench.limit.targets import missed, missed_in_changes
from loadtest.bench.limit.urgent import UrgentFigures, missed_in_urgent

Figures = CellFigures | IdleFigures | ChangesFigures | BatchFigures | UrgentFigures | NeighbourFigures


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
        case BatchFigures():
            misses = missed_in_batches(cell, figures)
        case UrgentFigures():
            misses = missed_in_urgent(figures)
        case NeighbourFigures():
            misses = missed_in_neighbours(figures)
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
