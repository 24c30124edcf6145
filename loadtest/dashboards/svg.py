"""A picture being put together: shapes and texts in the colours of Grafana's dark theme."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

Point = tuple[float, float]

BACKGROUND, PANEL, EDGE, TEXT, FAINT, GRID = "#111217", "#181b1f", "#2c3038", "#d0d3da", "#8e9199", "#2a2d33"
COLOURS = {
    "green": "#73bf69",
    "yellow": "#fade2a",
    "orange": "#ff9830",
    "red": "#f2495c",
    "blue": "#5794f2",
    "purple": "#b877d9",
    "light-blue": "#8ab8ff",
    "light-red": "#ff7383",
    "dark-red": "#c4162a",
    "transparent": "none",
}
PALETTE = ("#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#96d98d", "#ffb357", "#c0d8ff")
LETTER = 0.56
"""The width of a letter, as a share of its size; near enough for cutting a text."""


def colour_of(name: str) -> str:
    """Grafana's name of a colour, or a colour as it is."""
    return COLOURS.get(name, name)


@dataclass(frozen=True, slots=True)
class Box:
    """A place in the picture."""

    x: float
    y: float
    width: float
    height: float

    def inside(self, left: float, top: float, right: float, bottom: float) -> "Box":
        """What is left within margins."""
        return Box(self.x + left, self.y + top, self.width - left - right, self.height - top - bottom)

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.y + self.height


@dataclass(slots=True)
class Drawing:
    """`text` is the whole of it."""

    width: float
    height: float
    _parts: list[str] = field(default_factory=list)

    def rectangle(self, box: Box, fill: str, *, edge: str = "", opacity: float = 1.0, radius: float = 0) -> None:
        """Nothing of it is drawn outside of the box."""
        more = f' stroke="{edge}"' if edge else ""
        more += f' fill-opacity="{opacity:g}"' if opacity < 1 else ""
        more += f' rx="{radius:g}"' if radius else ""
        place = f'x="{_n(box.x)}" y="{_n(box.y)}" width="{_n(max(0, box.width))}" height="{_n(max(0, box.height))}"'
        self._parts.append(f'<rect {place} fill="{fill}"{more}/>')

    def write(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: float = 11,
        fill: str = TEXT,
        anchor: str = "start",
        bold: bool = False,
        room: float = 0,
    ) -> None:
        """`y` is its base line; it is cut to `room`, if that is given."""
        if room and len(words) * size * LETTER > room:
            words = words[: max(1, int(room / (size * LETTER)) - 1)].rstrip() + "…"
        more = ' font-weight="600"' if bold else ""
        more += f' text-anchor="{anchor}"' if anchor != "start" else ""
        self._parts.append(
            f'<text x="{_n(x)}" y="{_n(y)}" font-size="{size:g}" fill="{fill}"{more}>{escape(words)}</text>'
        )

    def line(self, points: Iterable[Sequence[Point]], colour: str, *, dashed: bool = False, width: float = 1.3) -> None:
        """Pieces of one line, each of several points."""
        path = "".join(_path(piece) for piece in points if piece)
        if path:
            more = ' stroke-dasharray="5 4"' if dashed else ""
            self._parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}"{more}/>')

    def area(self, outline: Sequence[Point], colour: str, opacity: float) -> None:
        """A filled outline."""
        if outline:
            self._parts.append(f'<path d="{_path(outline)}Z" fill="{colour}" fill-opacity="{opacity:g}"/>')

    @property
    def text(self) -> str:
        """The file's content."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width:g}" height="{self.height:g}" '
            f'viewBox="0 0 {self.width:g} {self.height:g}" font-family="Inter, Helvetica, Arial, sans-serif">'
        )
        return "\n".join((head, *self._parts, "</svg>", ""))


def _path(points: Sequence[Point]) -> str:
    """Without points between two others of the same height: most lines are level most of the time."""
    last = len(points) - 1
    kept = [
        f"{_n(x)} {_n(y)}"
        for place, (x, y) in enumerate(points)
        if place in (0, last) or not _n(points[place - 1][1]) == _n(y) == _n(points[place + 1][1])
    ]
    return "M" + "L".join(kept)


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
