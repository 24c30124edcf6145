"""The events of reports and replies: what they say, and by what a repeat is known."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import jsonschema
import orjson
import pytest

from worker.core.delivery import Publication
from worker.core.event_schema import event_schema
from worker.core.inbound_events import reply_event, report_event
from worker.core.replies import Reply
from worker.core.reports import Report
from worker.core.sendings import SentJob

AT = datetime(2026, 11, 22, 3, 4, 5, 678000, tzinfo=UTC)
LATER = datetime(2026, 11, 22, 4, tzinfo=UTC)
NUMBER = "+61412345678"
REPORT = Report("A21741CB-9B8E", NUMBER, "delivered", {"custom_string": "x"})
REPLY = Reply("dba864ec", NUMBER, "Yes", "2024-09-18 07:15:36", "A21741CB-9B8E", "MMS", {"subaccount_id": ""})
JOB = SentJob("order-1", "crm:1")
VALIDATOR = jsonschema.Draft202012Validator(event_schema(), format_checker=jsonschema.FormatChecker())


def read(publication: Publication) -> dict[str, Any]:
    event: dict[str, Any] = orjson.loads(publication.body)
    VALIDATOR.validate(event)
    assert publication.exchange == "mms.events"
    assert publication.routing_key == f"{event['type']}.acme"
    return event


def reported(report: Report, *, job: SentJob | None = JOB, superseded_by: str | None = None) -> dict[str, Any]:
    return read(report_event(report, account="acme", job=job, superseded_by=superseded_by, at=AT))


def test_a_report() -> None:
    event = reported(REPORT)
    assert event["data"] == {
        "job_id": "order-1",
        "reference": "crm:1",
        "account": "acme",
        "message_id": "A21741CB-9B8E",
        "to": NUMBER,
        "status": "delivered",
        "is_final": True,
        "superseded_by": None,
        "more": {"custom_string": "x"},
    }
    assert (event["type"], event["subject"]) == ("mms.message.report", "A21741CB-9B8E")
    assert (event["source"], event["time"]) == ("/mms-worker/accounts/acme", "2026-11-22T03:04:05.678Z")


def test_a_report_that_came_too_late_and_one_of_nobody() -> None:
    event = reported(replace(REPORT, status="dispatched"), job=None, superseded_by="delivered")
    assert event["data"]["superseded_by"] == "delivered"
    assert (event["data"]["job_id"], event["data"]["reference"], event["data"]["is_final"]) == (None, None, False)


def test_a_reply() -> None:
    event = read(reply_event(REPLY, account="acme", job=JOB, at=AT))
    assert event["data"] == {
        "job_id": "order-1",
        "reference": "crm:1",
        "account": "acme",
        "message_id": "dba864ec",
        "from": NUMBER,
        "text": "Yes",
        "received_at": "2024-09-18 07:15:36",
        "original_message_id": "A21741CB-9B8E",
        "kind": "MMS",
        "more": {"subaccount_id": ""},
    }
    assert (event["id"], event["subject"]) == ("dba864ec:mms.reply.received", "dba864ec")
    nothing = read(reply_event(Reply("1", "12345", "", None, None), account="acme", job=None, at=AT))
    assert (nothing["data"]["job_id"], nothing["data"]["kind"], nothing["data"]["received_at"]) == (None, None, None)


def test_a_repeat_has_the_same_id_whatever_was_learned_meanwhile() -> None:
    again = report_event(replace(REPORT, more={"y": 1}), account="acme", job=None, superseded_by=None, at=LATER)
    assert read(again)["id"] == reported(REPORT)["id"]


@pytest.mark.parametrize("changes", [{"message_id": "B"}, {"to": "+61412345679"}, {"status": "failed"}])
def test_what_makes_it_another_report_makes_another_id(changes: dict[str, Any]) -> None:
    assert reported(replace(REPORT, **changes))["id"] != reported(REPORT)["id"]


def test_no_phone_number_is_in_an_id() -> None:
    assert NUMBER[1:] not in reported(REPORT)["id"]


@pytest.mark.parametrize(
    "spoilt",
    [{"job_id": 1}, {"status": None}, {"superseded_by": 1}, {"more": None}, {"is_final": "yes"}, {"extra": 1}],
)
def test_the_schema_says_no_to_anything_else(spoilt: dict[str, object]) -> None:
    event = reported(REPORT)
    event["data"] |= spoilt
    assert not VALIDATOR.is_valid(event)
