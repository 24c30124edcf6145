"""The page: everything that it needs is in it, and it asks nobody for anything."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from loadtest.failure import LoadTestError
from loadtest.load.result import Result
from loadtest.report import charts, figures, wording
from loadtest.report.cards import cards
from loadtest.report.library import packed_library

FOLDER = Path(__file__).parent
TEMPLATE, STYLE, SCRIPT = "page.html.jinja", "page.css", "page.js"


def write_page(result: Result, path: Path) -> None:
    """Write it, and its folder if need be; some 2 MB. Raises LoadTestError."""
    text = page_of(result)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LoadTestError(f"The page cannot be written to {path}: {error.strerror}.") from error


def page_of(result: Result) -> str:
    """The page's text."""
    templates = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template(TEMPLATE).render(
        result=result,
        told=charts.told(result),
        names=charts.names_of(result),
        cards=cards(result),
        figures=figures,
        wording=wording,
        # Our own files, and letters of base64: nothing in them comes from a result.
        style=Markup((FOLDER / STYLE).read_text(encoding="utf-8")),  # noqa: S704
        script=Markup((FOLDER / SCRIPT).read_text(encoding="utf-8")),  # noqa: S704
        library=Markup(packed_library()),  # noqa: S704
    )
