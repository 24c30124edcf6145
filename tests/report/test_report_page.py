"""The page in a browser: drawn, readable at any width, by day and night, and without a word to anybody else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.report.chromium import Page
from tests.report.results import STORIES, steady

pytestmark = pytest.mark.asyncio(loop_scope="module")

WIDE_PX, NARROW_PX = 1440, 390
#: Charts whose drawing has no size, and lines that are on none.
UNDRAWN = """[...document.querySelectorAll(".chart")].filter((place) => {
  const box = place.querySelector("svg.main-svg")?.getBoundingClientRect();
  return !box || box.width < 200 || box.height < 200 || !place.querySelector(".xtick, .ytick");
}).map((place) => place.id)"""
#: A moment of an axis, as Plotly has it: a number, or a date without a zone.
SECONDS = """((moment) => {
  const isDate = typeof moment === "string" && moment.length > 10;
  return new Date(isDate ? moment.replace(" ", "T") + "Z" : moment) % 86_400_000 / 1000;
})"""
SHOWN = f"""["pace", "backlog", "cpu"].map((id) =>
  document.getElementById("chart-" + id).layout.xaxis.range.map({SECONDS})
)"""
#: How far the page reaches out of its window, and what does so.
OVERFLOW = """(() => {
  const room = document.documentElement.clientWidth;
  const wide = [...document.querySelectorAll("main *")].filter((each) => !each.closest(".chart")
    && each.getBoundingClientRect().left + each.scrollWidth > room && getComputedStyle(each).overflowX === "visible");
  return [document.documentElement.scrollWidth - room, ...wide.slice(-2).map((each) => each.outerHTML.slice(0, 200))];
})()"""
CHARTS_OUTSIDE = """[...document.querySelectorAll(".chart")].filter((place) =>
  place.querySelector("svg.main-svg").getBoundingClientRect().width > place.clientWidth + 1
).map((place) => place.id)"""


@pytest.mark.parametrize("story", [story for story in STORIES if story != "steady"])
async def test_it_is_drawn_fits_any_window_and_asks_for_nothing(page: Page, pages: dict[str, Path], story: str) -> None:
    await page.show(pages[story], width_px=WIDE_PX, scheme="light")
    assert await page.value(UNDRAWN) == []
    assert await page.value(OVERFLOW) == [0]
    await page.width(NARROW_PX)
    # Charts follow the window a moment later.
    await page.until(f"document.documentElement.clientWidth === {NARROW_PX} && {CHARTS_OUTSIDE}.length === 0")
    assert await page.value(OVERFLOW) == [0]
    assert await page.value("typeof window.broken") == "undefined"
    assert page.complaints == []
    assert {address for address in page.requests if not address.startswith("data:")} == {pages[story].as_uri()}


async def test_it_is_dark_by_night_and_changes_with_the_hour(page: Page, pages: dict[str, Path]) -> None:
    async def brightness(selector: str, property_name: str) -> float:
        told = await page.value(f"getComputedStyle(document.querySelector('{selector}')).{property_name}")
        return sum(map(int, re.findall(r"\d+", told)[:3])) / 3

    await page.show(pages["with_faults"], width_px=WIDE_PX, scheme="dark")
    assert await brightness("body", "backgroundColor") < 30
    assert await brightness("section", "backgroundColor") < 40
    assert await brightness("#chart-pace .xtick text", "fill") > 120
    await page.scheme("light")
    assert await brightness("body", "backgroundColor") > 220
    await page.until("getComputedStyle(document.querySelector('#chart-pace .xtick text')).fill === 'rgb(92, 100, 114)'")


async def test_an_account_can_be_chosen(page: Page, pages: dict[str, Path]) -> None:
    await page.show(pages["twenty_accounts"], width_px=WIDE_PX, scheme="light")
    highest = "Math.max(...document.getElementById('chart-pace').data.find((line) => line.name === 'limit').y)"
    assert await page.value(highest) == sum(5 + number * 7 for number in range(1, 21))
    await page.value(
        "(() => { const select = document.querySelector('select[data-chart=pace]'); select.value = '3';"
        " select.dispatchEvent(new Event('change')); })()"
    )
    await page.until(f"{highest} === 26")


async def test_who_looks_closer_does_so_in_all_charts_of_time(page: Page, pages: dict[str, Path]) -> None:
    await page.show(pages["with_faults"], width_px=WIDE_PX, scheme="light")
    assert await page.value(SHOWN) == [[0, 120]] * 3
    assert await page.value("document.querySelector('.whole').hidden")
    await page.value("document.getElementById('chart-pace').scrollIntoView({block: 'center'})")
    left, top, width = await page.value(
        "(({left, top, width}) => [left, top, width])"
        "(document.querySelector('#chart-pace .nsewdrag').getBoundingClientRect())"
    )
    await page.drag((left + width / 4, top + 90), (left + width / 2, top + 90))
    await page.until("!document.querySelector('.whole').hidden")
    pace, *others = await page.value(SHOWN)
    assert pace == pytest.approx([30, 60], abs=1)
    assert others == [pace, pace]
    await page.value("document.querySelector('.whole').click()")
    await page.until(f"{SHOWN}.every((range) => range[1] === 120)")


async def test_a_legend_entry_hides_its_line(page: Page, pages: dict[str, Path]) -> None:
    await page.show(pages["steady"], width_px=WIDE_PX, scheme="light")
    lines = "document.querySelectorAll('#chart-pace .scatterlayer .trace').length"
    before = await page.value(lines)
    await page.value("document.querySelector('#legend-pace button').click()")
    await page.until(f"{lines} === {before - 1}")
    assert await page.value("document.querySelector('#legend-pace button').ariaPressed") == "false"
    await page.value("document.querySelector('#legend-pace button').click()")
    await page.until(f"{lines} === {before}")


async def test_faults_are_shaded_in_all_charts_of_time_and_numbered(page: Page, pages: dict[str, Path]) -> None:
    await page.show(pages["with_faults"], width_px=WIDE_PX, scheme="light")
    for chart in ("pace", "backlog", "jobs", "cpu", "memory"):
        shaded = f"document.querySelectorAll('#chart-{chart} .shapelayer path').length"
        # A stripe and an edge each, three recoveries, and the phase's end.
        assert await page.value(shaded) == 4 + 4 + 3 + 1
        numbers = f"[...document.querySelectorAll('#chart-{chart} .annotation')].map((each) => each.textContent)"
        assert await page.value(numbers) == ["1", "2", "3", "4"]


async def test_the_command_is_copied_or_at_least_marked(page: Page, pages: dict[str, Path]) -> None:
    """Whether a file may write to the clipboard is the browser's to say."""
    await page.show(pages["steady"], width_px=WIDE_PX, scheme="light")
    await page.value("document.querySelector('.copy').click()")
    await page.until("['Copied', 'Marked'].includes(document.querySelector('.copy').textContent)")
    if await page.value("document.querySelector('.copy').textContent") == "Marked":
        assert await page.value("String(getSelection())") == steady().command


async def test_on_paper_it_is_light_and_the_charts_fit(page: Page, pages: dict[str, Path]) -> None:
    await page.show(pages["with_faults"], width_px=WIDE_PX, scheme="dark")
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    await page.ask("Emulation.setEmulatedMedia", media="print", features=dark)
    # The paper's width is not the window's, and the browser does not say it in time.
    await page.until("document.querySelector('#chart-pace svg.main-svg').getBoundingClientRect().width === 670")
    assert await page.value("getComputedStyle(document.querySelector('.copy')).display") == "none"
    assert await page.value("document.getElementById('chart-pace').layout.xaxis.tickfont.color") == "#5c6472"
