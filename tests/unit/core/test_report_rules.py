"""What becomes of a report of a message that nobody knows: the whole table, and reports that wait in the broker."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from worker.core.delivery import Publication
from worker.core.held_jobs import HeldMessage, Holding, read_held
from worker.core.redrive import Done, Kept, retry
from worker.core.report_rules import Alone, OneOf, Wait, judge
from worker.core.reports import Report
from worker.core.sendings import SentJob, Stranger
from worker.core.topology import REPORT_DELAYS_S
from worker.core.waiting_reports import WaitingReport, bury, put_aside, read_waiting

WAIT_S_MAX = 80.0
ONE, TWO, SENT = SentJob("job-1", None), SentJob("job-2", None), SentJob("job-3", "crm:3")
NOBODYS = Stranger(final=None, doubts=(), unknown=1, fresh=0, sent=None, is_first=True)
LATER = replace(NOBODYS, is_first=False)


@pytest.mark.parametrize(
    ("found", "waited_s", "verdict"),
    [
        # Its own send may still be under way, whatever there is besides.
        (NOBODYS, 0, Wait()),
        (NOBODYS, 79, Wait()),
        (replace(NOBODYS, doubts=(ONE,)), 79, Wait()),
        (replace(NOBODYS, sent=SENT), 79, Wait()),
        # It cannot be any more: this report has waited, or an earlier one of its message.
        (NOBODYS, 80, Alone(None)),
        (LATER, 0, Alone(None)),
        # Evidence for a doubt, as long as there are as many messages as doubts.
        (replace(NOBODYS, doubts=(ONE,)), 80, OneOf((ONE,))),
        (replace(LATER, doubts=(ONE,)), 0, OneOf((ONE,))),
        (replace(NOBODYS, doubts=(ONE,), unknown=2), 80, OneOf((ONE,))),
        (replace(NOBODYS, doubts=(ONE, TWO), unknown=2), 80, OneOf((ONE, TWO))),
        (replace(NOBODYS, doubts=(ONE,), sent=SENT), 80, OneOf((ONE,))),
        (replace(NOBODYS, doubts=(ONE, TWO)), 80, Alone(None)),
        # There may be as many, which is known later.
        (replace(NOBODYS, doubts=(ONE, TWO), fresh=1), 159, Wait()),
        (replace(NOBODYS, doubts=(ONE, TWO), fresh=1), 160, Alone(None)),
        (replace(LATER, doubts=(ONE, TWO), fresh=1), 0, Wait()),
        (replace(NOBODYS, doubts=(ONE,), fresh=1), 80, OneOf((ONE,))),
        (replace(NOBODYS, doubts=(ONE, TWO, SENT), fresh=1), 80, Alone(None)),
        (replace(NOBODYS, fresh=1), 80, Alone(None)),
        # A message too many, unless it may be a doubt's; counted with the first report of it.
        (replace(NOBODYS, sent=SENT), 80, Alone(SENT)),
        (replace(LATER, sent=SENT), 80, Alone(None)),
        (replace(NOBODYS, sent=SENT, doubts=(ONE, TWO)), 80, Alone(None)),
    ],
)
def test_the_table(found: Stranger, waited_s: int, verdict: Wait | OneOf | Alone) -> None:
    assert judge(found, waited_s=waited_s, wait_s_max=WAIT_S_MAX) == verdict


REPORT = Report("A21741CB", "+61412345678", "delivered", {"custom_string": "x", "deep": [{"a": None}]})


def read_back(publication: Publication) -> WaitingReport:
    waiting = read_waiting(publication.body, publication.headers)
    assert isinstance(waiting, WaitingReport)
    return waiting


def test_a_report_that_waits_says_all_that_there_is_to_say_and_for_how_long_it_has_waited() -> None:
    publication = put_aside(WaitingReport("acme", REPORT))
    assert (publication.exchange, publication.routing_key) == ("mms.reports", "mms.reports.wait.3s")
    waiting = read_back(publication)
    assert waiting == WaitingReport("acme", REPORT, 3)
    assert waiting.report.more == REPORT.more


def test_it_is_looked_at_soon_at_first_and_then_now_and_then() -> None:
    waiting, delays_s = WaitingReport("acme", REPORT), []
    while waiting.waited_s < WAIT_S_MAX:
        again = read_back(put_aside(waiting))
        delays_s.append(again.waited_s - waiting.waited_s)
        assert put_aside(waiting).routing_key == f"mms.reports.wait.{delays_s[-1]}s"
        waiting = again
    assert delays_s == [3, 3, 3, 20, 20, 20, 20]
    assert set(delays_s) == set(REPORT_DELAYS_S)


GOOD = put_aside(WaitingReport("acme", REPORT))


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (GOOD.body, {}, "it does not say in x-mms-account of which account it is"),
        (GOOD.body, {"x-mms-account": 7}, "it does not say in x-mms-account of which account it is"),
        (GOOD.body, {"x-mms-account": "no name"}, "it does not say in x-mms-account of which account it is"),
        (b"{", {"x-mms-account": "acme"}, "its body is not JSON"),
        (b"[]", {"x-mms-account": "acme"}, "its body is not a delivery report, as the receiver puts them aside"),
        (
            b'{"message_id": "", "to": "1", "status": "x", "more": {}}',
            {"x-mms-account": "acme"},
            "its body is not a delivery report, as the receiver puts them aside",
        ),
    ],
)
def test_what_cannot_be_read_is_a_dead_letter_that_says_why(
    body: bytes, headers: dict[str, object], reason: str
) -> None:
    assert read_waiting(body, headers) == reason
    letter = bury(body, headers, reason, at=datetime(2026, 11, 22, tzinfo=UTC))
    assert (letter.exchange, letter.routing_key) == ("mms.reports", "mms.dead")
    held = read_held(HeldMessage(letter.body, letter.headers, None), Holding.DEAD)
    assert held.why == (f"mms.reports: {reason}",)
    assert held.account == (headers.get("x-mms-account") if headers.get("x-mms-account") == "acme" else None)


@pytest.mark.parametrize("waited_s", [None, "x", -1, True, 10**9])
def test_a_count_that_makes_no_sense_counts_as_none(waited_s: object) -> None:
    assert read_waiting(GOOD.body, {"x-mms-account": "acme", "x-mms-waited-s": waited_s}) == WaitingReport(
        "acme", REPORT
    )


def test_a_report_that_the_broker_buried_is_retried_as_one_and_nothing_else_is() -> None:
    letter = HeldMessage(GOOD.body, dict(GOOD.headers) | {"x-death": [], "x-delivery-count": 101}, None)
    retried = retry(read_held(letter, Holding.DEAD), is_forced=False)
    assert isinstance(retried, Done)
    (again,) = retried.publications
    assert (again.exchange, again.routing_key, again.headers) == ("mms.reports", "mms.reports", GOOD.headers)
    assert read_back(again) == WaitingReport("acme", REPORT, 3)
    unreadable = HeldMessage(b"{", {"x-mms-waited-s": 3}, None)
    assert isinstance(retry(read_held(unreadable, Holding.DEAD), is_forced=False), Kept)
