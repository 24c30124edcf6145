"""What people see: while it runs, and at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from loadtest.load.live import LiveView, Progress
from loadtest.load.result import Capacity, Claim, Result
from loadtest.load.scenario import Scenario
from loadtest.load.scenario_files import scenario_from
from loadtest.load.table import draw, draw_list
from tests.load.results import BOOKS, CALL, FAULT, FIGURES, small_result

SCENARIO = {
    "title": "T",
    "purpose": "P.",
    "limits": {"default": 15},
    "phases": [{"seconds": 10, "of_limit": 1}, {"seconds": 10, "of_limit": 2}],
}


def scenario() -> Scenario:
    return scenario_from(SCENARIO)


def shown(show: Callable[[Console], object], *, is_terminal: bool = False, width: int = 100) -> str:
    console = Console(
        file=StringIO(), width=width, force_terminal=is_terminal, color_system="standard" if is_terminal else None
    )
    with console.capture() as capture:
        show(console)
    return capture.get()


def drawn(result: Result, *, is_terminal: bool = False) -> list[str]:
    return shown(lambda console: draw(console, result), is_terminal=is_terminal).splitlines()


def row(lines: list[str], words: str) -> str:
    return next(line for line in lines if words in line)


def test_a_result_is_told_in_tables() -> None:
    lines = drawn(small_result())
    assert lines[0] == "Small: To be tested with."
    assert row(lines, "default").split() == ["default", "15", "14.7", "14.7", "99.00%", "100.00%", "15", "0.00"]
    assert row(lines, "publish to call").split()[3:] == ["44", "18.0", "30.0", "40.0", "45.0", "50.0"]
    assert row(lines, "Redis: restarted").split()[-2:] == ["0.4", "1"]
    assert "1 of them explained by a fault" in row(lines, "in doubt   ")
    assert row(lines, "The same again") == "The same again: python -m loadtest run small"


def test_what_does_not_hold_and_every_problem_is_told_in_red() -> None:
    result = small_result(
        claims=(Claim("no job is lost", "1 of 44", holds=False),),
        correctness=replace(BOOKS, lost=1, problems=("1 jobs have no end.",)),
        faults=(replace(FAULT, recovered_s=None),),
    )
    lines = drawn(result, is_terminal=True)
    assert "\x1b[1;31mdoes not" in row(lines, "no job is lost")
    assert "\x1b[31m1 jobs have no end." in row(lines, "have no end")
    assert "\x1b[31mnot before the end" in row(lines, "Redis: restarted")
    assert "\x1b[1;31m 1" in row(lines, "lost   ")


@pytest.mark.parametrize(
    ("throttled", "is_limit_kept", "colour"),
    [(1, True, "\x1b[33m"), (0, True, "\x1b[31m"), (1, False, "\x1b[31m"), (1, None, "\x1b[31m")],
)
def test_more_arrivals_than_the_limit_are_explained_by_refused_ones_or_red(
    throttled: int, colour: str, *, is_limit_kept: bool | None
) -> None:
    over = replace(FIGURES, worst_rolling_second=16, throttled_calls=throttled)
    lines = drawn(small_result(accounts=(over,), is_limit_kept=is_limit_kept), is_terminal=True)
    assert f"{colour}" in row(lines, "default")
    assert "answered 429 included" in row(lines, "Worst second: arrivals")
    assert not any("Worst second" in line for line in drawn(small_result()))


def test_a_pace_that_did_not_come_back_is_told_until_when_it_was_looked_for() -> None:
    faults = (replace(FAULT, what="the former", recovered_s=None), replace(FAULT, what="the latter", recovered_s=None))
    lines = drawn(small_result(faults=faults))
    assert "not before the next" in row(lines, "the former")
    assert "not before the end" in row(lines, "the latter")


@pytest.mark.parametrize(("recipients", "words"), [(1, "(1 recipient each)"), (1_000, "(1,000 recipients each)")])
def test_what_the_tools_do_alone_is_told_per_core_and_kind_of_call(recipients: int, words: str) -> None:
    line = row(drawn(small_result(capacity=Capacity(90.0, 12_000.0, recipients))), "Alone")
    assert line.startswith(f"Alone, per core, the simulator takes 90 calls/s {words}, the producer")


@pytest.mark.parametrize("nasty", ["x [/] y", "[/red]", "[bold]x", "[link=x"])
def test_what_looks_like_markup_is_shown_as_it_is(nasty: str) -> None:
    result = small_result(
        title=nasty,
        accounts=(replace(FIGURES, name=nasty),),
        latencies=(replace(CALL, name=nasty),),
        faults=(replace(FAULT, what=nasty, recovery=nasty),),
        claims=(Claim(nasty, nasty, holds=True),),
    )
    assert "\n".join(drawn(result)).count(nasty) == 7
    told = shown(lambda console: draw_list(console, {nasty: scenario_from({**SCENARIO, "purpose": nasty})}))
    assert told.count(nasty) == 2


def progress(since_s: float, ended: int, *, calls: int = 0, now: tuple[str, ...] = ()) -> Progress:
    return Progress(since_s, published=300, ended=ended, calls=calls, throttled=2, now=now)


@pytest.mark.parametrize(
    ("since_s", "phase"), [(3, "phase 1 of 2 (1 x limit)"), (12, "phase 2 of 2 (2 x limit)"), (21, "draining")]
)
def test_a_terminal_shows_how_it_stands(since_s: float, phase: str) -> None:
    def show(console: Console) -> None:
        with LiveView(console, scenario(), 450) as view:
            view.show(progress(since_s, 100, now=("API refuses",)))

    told = shown(show, is_terminal=True)
    assert phase in told
    assert "API refuses" in told
    assert "200" in row(told.splitlines(), "backlog")
    assert f"left {max(20 - since_s, 350 / 15):.0f} s" in told
    assert "2 answered 429" in told


def test_without_a_terminal_there_is_a_line_now_and_then_and_no_more() -> None:
    def show(console: Console) -> None:
        with LiveView(console, scenario(), 450) as view:
            for second in range(5):
                view.show(progress(second, 100))

    assert shown(show) == ""
