"""The lines about callbacks, polls and balances: told when something changes, so that no flood fills the log."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import redirect_stderr
from typing import Any

import orjson
import pytest
import structlog

from worker.adapters.logs import LogObserver, configure
from worker.core.outcome import SuspendedBecause
from worker.core.reports import ReportStatus
from worker.flow.observations import (
    AccountSuspended,
    BalanceSeen,
    CallbackAnswered,
    CallbackResult,
    Observation,
    RepliesPolled,
    ReplyRepeated,
    ReplyTold,
    ReplyWay,
    ReportPutAside,
    ReportRepeated,
    ReportTold,
)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    written = io.StringIO()
    with redirect_stderr(written):
        configure(level="info", style="json")
        yield written
    structlog.reset_defaults()
    logging.getLogger().handlers.clear()


def lines(log: io.StringIO, *seen: Observation) -> list[dict[str, Any]]:
    observer = LogObserver()
    for one in seen:
        observer.observe(one)
    return [orjson.loads(line) for line in log.getvalue().splitlines()]


def answered(result: CallbackResult, why: str | None = None, account: str | None = "acme") -> CallbackAnswered:
    return CallbackAnswered(result, account, 0.01, why)


def test_callbacks_that_are_not_taken_are_told_once_and_so_is_the_end_of_it(log: io.StringIO) -> None:
    away = answered(CallbackResult.NOT_TAKEN, "the broker takes nothing in now")
    other = answered(CallbackResult.NOT_TAKEN, "no answer", "other")
    taken = answered(CallbackResult.TAKEN)
    told = lines(log, taken, away, away, other, away, taken, taken)
    assert [(line["event"], line["account"], line["level"]) for line in told] == [
        ("callbacks_not_taken", "acme", "warning"),
        ("callbacks_not_taken", "other", "warning"),
        ("callbacks_taken_again", "acme", "info"),
    ]
    assert told[0]["why"] == "the broker takes nothing in now"


def test_a_mistake_of_the_vendors_is_told_until_another_one_comes(log: io.StringIO) -> None:
    one = answered(CallbackResult.MALFORMED, "status is missing")
    other = answered(CallbackResult.MALFORMED, "the body is not JSON")
    told = lines(log, one, one, other, other, one)
    assert [(line["event"], line["why"]) for line in told] == [
        ("callback_malformed", "status is missing"),
        ("callback_malformed", "the body is not JSON"),
        ("callback_malformed", "status is missing"),
    ]


def test_a_mistake_in_another_place_is_the_same_mistake(log: io.StringIO) -> None:
    places = (f"entry {number}: status is missing; entry {number + 1}: it is a number" for number in (3, 18, 997))
    others = (f"the body is not JSON at character {place:,}" for place in (1, 1_048_576))
    told = lines(log, *(answered(CallbackResult.MALFORMED, why) for why in (*places, *others)))
    assert [line["why"] for line in told] == [
        "entry 3: status is missing; entry 4: it is a number",
        "the body is not JSON at character 1",
    ]


@pytest.mark.parametrize("result", [CallbackResult.UNKNOWN_ADDRESS, CallbackResult.TOO_LARGE])
def test_what_anybody_can_bring_about_is_not_told(log: io.StringIO, result: CallbackResult) -> None:
    assert lines(log, answered(result, account=None), answered(result, account=None)) == []


def test_polls_that_end_early_are_told_when_the_reason_changes(log: io.StringIO) -> None:
    suspended, throttled = (RepliesPolled("acme", 0, why) for why in ("it is suspended", "it was throttled"))
    well = RepliesPolled("acme", 3, None)
    told = lines(log, well, suspended, suspended, throttled, well, well)
    assert [(line["event"], line.get("why")) for line in told] == [
        ("replies_not_polled", "it is suspended"),
        ("replies_not_polled", "it was throttled"),
        ("replies_polled_again", None),
    ]


def test_a_low_balance_is_told_when_it_becomes_low_and_when_it_is_not_any_more(log: io.StringIO) -> None:
    balances = [(120.0, False), (80.0, True), (60.0, True), (500.0, False), (400.0, False)]
    told = lines(log, *(BalanceSeen("acme", balance, is_low) for balance, is_low in balances))
    assert [(line["event"], line["balance"]) for line in told] == [("balance_low", 80.0), ("balance_restored", 500.0)]


def test_the_apis_own_words_are_told_without_the_numbers_in_them(log: io.StringIO) -> None:
    said = 'You do not have enough credit to send MMS: {"fails":["61412345678"]}'
    (told,) = lines(log, AccountSuspended("acme", SuspendedBecause.CREDIT, said))
    assert "61412345678" not in told["description"]
    assert "not have enough credit" in told["description"]


def test_reports_and_replies_one_by_one_are_for_the_metrics(log: io.StringIO) -> None:
    seen = (
        ReportTold("acme", ReportStatus.DELIVERED, 1.0, is_of_known_job=True),
        ReportRepeated("acme"),
        ReportPutAside("acme"),
        ReplyTold("acme", ReplyWay.POLL),
        ReplyRepeated("acme", ReplyWay.CALLBACK),
    )
    assert lines(log, *seen) == []
