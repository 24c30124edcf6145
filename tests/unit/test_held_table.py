"""Held jobs as people and programs see them."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pytest
import typer
from rich.console import Console

from tests.jobs import job_body
from worker.commands.held_options import choice_of
from worker.commands.held_table import Row, as_json, drawn, row_of
from worker.core.held_jobs import Filters, HeldMessage, Holding, read_held

AT = datetime(2026, 11, 22, 3, 4, 5, tzinfo=UTC)


def row(job_id: str = "order-1", *, lane: str = "urgent", since: str = "2026-11-22T01:04:05.678Z") -> Row:
    headers = {
        "x-mms-account": "acme", "x-mms-lane": lane, "x-mms-attempts": 2, "x-mms-dead-at": since, "x-mms-redrives": 1,
        "x-mms-reasons": ["to[0]: '0412345678' is no mobile number"],
    }  # fmt: skip
    return row_of(read_held(HeldMessage(job_body(job_id, to=["0412345678", "x"]), headers, None), Holding.DEAD), AT)


def on_terminal(*rows: Row) -> str:
    console = Console(width=140)
    with console.capture() as captured:
        console.print(drawn(rows, Holding.DEAD))
    return captured.get()


def test_a_line_says_what_an_operator_wants_to_know() -> None:
    words = " ".join(on_terminal(row()).splitlines()[-2].split())
    assert words == "order-1 acme urgent 11-22 01:04 2 h 2 2 1 to[0]: '…' is no mobile number"


def test_what_is_not_known_is_a_dash() -> None:
    nothing = row_of(read_held(HeldMessage(b"", {}, None), Holding.DEAD), AT)
    assert " ".join(on_terminal(nothing).splitlines()[-2].split()) == "- - - - 0 - 0 not said"


def test_what_a_job_says_of_itself_is_no_markup_and_cannot_write_on_the_terminal() -> None:
    shown = on_terminal(row("[red]a[/red]\x1b[2J"))
    assert "[red]a[/red]\N{REPLACEMENT CHARACTER}[2J" in shown


def test_as_json_each_is_one_object_a_line() -> None:
    first, second = as_json(row("a\nb")), as_json(row("c", lane="bulk", since="x"))
    assert first.count("\n") == 1
    assert orjson.loads(first) == {
        "id": "a\N{REPLACEMENT CHARACTER}b", "account": "acme", "lane": "urgent", "since": "2026-11-22T01:04:05+00:00",
        "age_s": 7199, "attempts": 2, "recipients": 2, "redrives": 1, "resolutions": 0,
        "why": "to[0]: '…' is no mobile number",
    }  # fmt: skip
    assert (orjson.loads(second)["since"], orjson.loads(second)["age_s"]) == (None, None)


def test_options_become_filters() -> None:
    choice = choice_of(
        Holding.DEAD, account="acme", ids=["a", "b"], reason="x", older_than="1h", newer_than="2d", limit=5
    )
    assert choice.filters == Filters("acme", frozenset({"a", "b"}), "x", older_than_s=3_600, newer_than_s=172_800)
    assert choice.limit == 5


@pytest.mark.parametrize("option", ["older_than", "newer_than"])
def test_a_duration_that_cannot_be_read_is_refused(option: str) -> None:
    given = {"older_than": None, "newer_than": None} | {option: "soon"}
    with pytest.raises(typer.BadParameter, match="'soon' is no duration"):
        choice_of(Holding.DEAD, account=None, ids=None, reason=None, limit=None, **given)
