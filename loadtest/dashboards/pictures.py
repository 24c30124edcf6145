"""A whole dashboard as one picture: its panels in their places, with the data of a run."""

from collections.abc import Sequence

from deploy.grafana.dashboard import COLUMNS, Dashboard
from loadtest.dashboards.asking import Shown
from loadtest.dashboards.drawing import draw
from loadtest.dashboards.drawn import Span
from loadtest.dashboards.svg import BACKGROUND, Box, Drawing

WIDTH, LINE_HEIGHT, GAP, HEAD = 1_320.0, 34.0, 6.0, 44.0


def picture(dashboard: Dashboard, shown: Sequence[Shown], start_s: float, end_s: float) -> str:
    """SVG. `shown` are the dashboard's panels with what was found, in their order."""
    placed = dashboard.json()["panels"]
    height = HEAD + LINE_HEIGHT * max(each["gridPos"]["y"] + each["gridPos"]["h"] for each in placed) + GAP
    drawing = Drawing(WIDTH, height)
    drawing.rectangle(Box(0, 0, WIDTH, height), BACKGROUND)
    drawing.write(12, 28, f"MMS / {dashboard.title}", size=18, bold=True)
    left = list(shown)
    for each in placed:
        box = _box(each["gridPos"])
        if each["type"] == "row":
            drawing.write(box.x + 4, box.y + 21, f"▾ {each['title']}", size=14, bold=True)
        else:
            draw(drawing, left.pop(0), box, Span(start_s, end_s))
    return drawing.text


def _box(place: dict[str, int]) -> Box:
    column = (WIDTH - GAP) / COLUMNS
    return Box(
        GAP + place["x"] * column,
        HEAD + place["y"] * LINE_HEIGHT,
        place["w"] * column - GAP,
        place["h"] * LINE_HEIGHT - GAP,
    )
