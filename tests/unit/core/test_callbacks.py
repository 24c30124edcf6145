"""Callbacks as the vendor posts them, and as it should not: what is read, and what is said of the rest."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import jsonschema
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.callbacks import ENTRIES_MAX, LEVELS_MAX, MISTAKES_MAX, Read, read_replies, read_reply, read_reports
from worker.core.event_schema import event_schema
from worker.core.inbound_events import reply_event, report_event
from worker.core.replies import Reply
from worker.core.reports import Report, ReportStatus

VALIDATOR = jsonschema.Draft202012Validator(event_schema(), format_checker=jsonschema.FormatChecker())
AT = datetime(2026, 11, 22, 3, 4, 5, tzinfo=UTC)
NUMBER = "+61412345678"
DELIVERED: dict[str, Any] = {
    "message_id": "0061DF26-1",
    "status": "Delivered",
    "recipient": "61412345678",
    "custom_string": "x",
}
INBOUND: dict[str, Any] = {
    "from": "+61412345678",
    "body": "Yes please",
    "received_at": "2024-09-18 07:15:36",
    "message_id": "dba864ec",
    "custom_string": "",
    "type": "MMS",
    "original_message_id": "A21741CB",
    "original_body": "Hello",
}


def reports(body: object) -> Read[Report]:
    return read_reports(body if isinstance(body, bytes) else orjson.dumps(body), region="AU")


def replies(body: object) -> Read[Reply]:
    return read_replies(body if isinstance(body, bytes) else orjson.dumps(body), region="AU")


def one_report(body: object) -> Report:
    read = reports(body)
    assert read.mistakes == ()
    (entry,) = read.entries
    return entry


def one_reply(body: object) -> Reply:
    read = replies(body)
    assert read.mistakes == ()
    (entry,) = read.entries
    return entry


# --- Reports -------------------------------------------------------------------------------------------------


def test_a_report_as_the_vendors_page_has_it() -> None:
    report = one_report([DELIVERED])
    assert (report.message_id, report.to, report.status) == ("0061DF26-1", NUMBER, "delivered")
    assert report.more == {"custom_string": "x"}
    assert report.kind is ReportStatus.DELIVERED


def test_one_object_is_an_array_of_one() -> None:
    assert one_report(DELIVERED) == one_report([DELIVERED])


@pytest.mark.parametrize(
    "body",
    [
        {"MESSAGE_ID": "0061DF26-1", "Status": "DELIVERED", "Recipient": "+61412345678"},
        {"messageId": "0061DF26-1", "status": " delivered ", "to": "0412 345 678"},
        {"message_id": " 0061DF26-1 ", "STATUS": "Delivered", "recipient": 61412345678},
        b"\xef\xbb\xbf" + orjson.dumps(DELIVERED),
        b"\n [" + orjson.dumps(DELIVERED) + b"] ",
    ],
)
def test_letter_case_blanks_and_kinds_of_numbers_do_not_matter(body: object) -> None:
    assert one_report(body) == one_report(DELIVERED)


@pytest.mark.parametrize(
    ("written", "to"),
    [
        ("61412345678", NUMBER),
        ("+61412345678", NUMBER),
        ("0412345678", NUMBER),
        (61412345678, NUMBER),
        ("4915112345678", "+4915112345678"),
        # Shorter than a mobile number there is: the vendor writes country codes, with a plus or without.
        ("4930123456", "+4930123456"),
        ("12345", "12345"),
        ("Parcels", "Parcels"),
    ],
)
def test_recipients_are_written_as_the_worker_writes_them(written: object, to: str) -> None:
    assert one_report(DELIVERED | {"recipient": written}).to == to


@pytest.mark.parametrize("status", list(ReportStatus))
def test_every_status_is_known_by_its_word(status: ReportStatus) -> None:
    report = one_report(DELIVERED | {"status": status.value.capitalize()})
    assert report.kind is status
    assert report.is_final is (status not in {ReportStatus.QUEUED, ReportStatus.DISPATCHED, ReportStatus.OTHER})


def test_a_status_that_nobody_knows_is_kept() -> None:
    report = one_report(DELIVERED | {"status": "Read"})
    assert (report.status, report.kind, report.is_final) == ("read", ReportStatus.OTHER, False)


def test_the_number_of_a_message_id_is_its_text() -> None:
    assert one_report(DELIVERED | {"message_id": 4711}).message_id == "4711"


def test_of_two_spellings_of_a_name_the_vendors_own_counts_and_the_other_is_kept() -> None:
    report = one_report({"Status": "Failed", "STATUS": "Expired"} | DELIVERED)
    assert report.status == "delivered"
    assert report.more == {"Status": "Failed", "STATUS": "Expired", "custom_string": "x"}
    assert one_report(DELIVERED | {"Status": "Failed"}).status == "delivered"


@pytest.mark.parametrize(
    ("changes", "mistake"),
    [
        ({"message_id": None}, "message_id is null"),
        ({"message_id": "  "}, "message_id is empty"),
        ({"message_id": "x" * 129}, "message_id has 129 characters; at most 128 are taken"),
        ({"message_id": "a\nb"}, "message_id has characters that do not print"),
        ({"message_id": ["a"]}, "message_id is a list"),
        ({"message_id": True}, "message_id is true or false"),
        ({"message_id": 1.5}, "message_id is a number"),
        ({"recipient": ""}, "recipient is empty"),
        ({"recipient": "1" * 65}, "recipient has 65 characters; at most 64 are taken"),
        ({"status": {}}, "status is an object"),
        ({"status": "x" * 41}, "status has 41 characters; at most 40 are taken"),
        ({"status": None, "recipient": None}, "recipient is null; status is null"),
    ],
)
def test_what_is_wrong_with_a_report_is_said_in_a_sentence(changes: dict[str, Any], mistake: str) -> None:
    assert reports(DELIVERED | changes) == Read((), (mistake,))
    assert reports([DELIVERED, DELIVERED | changes]).mistakes == (f"entry 2: {mistake}",)


@pytest.mark.parametrize("name", ["message_id", "recipient", "status"])
def test_what_is_missing_is_named(name: str) -> None:
    assert reports({key: value for key, value in DELIVERED.items() if key != name}).mistakes == (f"{name} is missing",)


# --- Bodies --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "mistake"),
    [
        (b"", "the body is not JSON at character 1"),
        (b"hello", "the body is not JSON at character 1"),
        (b'[{"message_id": 1]', "the body is not JSON at character 18"),
        (b"[NaN]", "the body is not JSON"),
        (b"null", "the body is null, neither an array nor an object"),
        (b'"x"', "the body is a string, neither an array nor an object"),
        (b"17", "the body is a number, neither an array nor an object"),
        (b"message_id=1&status=Delivered", "the body is not JSON at character 1"),
        (b"[" * 100_000, "the body is nested too deeply"),
        (b'{"a":' * 100_000, "the body is nested too deeply"),
    ],
)
def test_a_body_that_is_no_callback_is_one_mistake(body: bytes, mistake: str) -> None:
    assert (reports(body).entries, reports(body).mistakes) == ((), (mistake,))
    assert (replies(body).entries, replies(body).mistakes) == ((), (mistake,))


def test_an_empty_array_tells_nothing_and_is_no_mistake() -> None:
    assert reports(b"[]") == Read(())


def test_an_entry_that_cannot_be_read_keeps_none_of_the_others_out() -> None:
    good = [DELIVERED | {"message_id": str(n)} for n in range(3)]
    read = reports([good[0], "x", good[1], {}, good[2]])
    assert [report.message_id for report in read.entries] == ["0", "1", "2"]
    assert read.mistakes == (
        "entry 2: it is a string, not an object",
        "entry 4: message_id is missing; recipient is missing; status is missing",
    )


def test_entries_and_what_is_said_of_them_are_bounded() -> None:
    assert len(reports([DELIVERED] * ENTRIES_MAX).entries) == ENTRIES_MAX
    assert reports([DELIVERED] * (ENTRIES_MAX + 1)) == Read(
        (), ("the body has 1,001 entries; at most 1,000 are taken at a time",)
    )
    assert len(reports([1] * ENTRIES_MAX).mistakes) == MISTAKES_MAX


def nested(levels: int) -> object:
    value: object = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def test_what_is_kept_is_bounded_in_depth() -> None:
    assert one_report(DELIVERED | {"extra": nested(LEVELS_MAX - 1)})
    assert reports(DELIVERED | {"extra": nested(LEVELS_MAX)}).mistakes == ("it is nested too deeply",)


def test_numbers_of_any_size_can_be_told_on() -> None:
    for broken in (b"x", rb"\ud83d"):
        body = b'{"message_id":"1","status":"a","recipient":"12345","big":%s,"text":"%s"}' % (b"7" * 30, broken)
        told = report_event(one_report(body), account="acme", job=None, superseded_by=None, at=AT)
        assert orjson.loads(told.body)["data"]["more"]["big"] == pytest.approx(float("7" * 30))


# --- Replies -------------------------------------------------------------------------------------------------


def test_a_reply_as_the_vendors_page_has_it() -> None:
    assert one_reply(INBOUND) == Reply(
        message_id="dba864ec",
        sender=NUMBER,
        text="Yes please",
        received_at="2024-09-18 07:15:36",
        original_message_id="A21741CB",
        kind="MMS",
    )
    assert one_reply(INBOUND).more == {"custom_string": "", "original_body": "Hello"}


def test_a_reply_with_nothing_but_a_sender_and_an_id_is_one() -> None:
    """A picture alone: no field for it is documented, and it must not be lost."""
    assert one_reply({"from": "12345", "message_id": "1", "media_url": "https://x"}) == Reply(
        "1", "12345", "", None, None
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"body": ""}, ""),
        ({"body": None}, ""),
        ({"body": 1}, "1"),
        ({"body": " two\r\nlines "}, " two\r\nlines "),
        ({"body": "\u202eright to left"}, "\u202eright to left"),
        ({"body": "x" * 100_000}, "x" * 100_000),
    ],
)
def test_a_text_is_kept_as_it_came(changes: dict[str, Any], text: str) -> None:
    assert one_reply(INBOUND | changes).text == text


def test_a_text_that_is_broken_is_taken_with_a_mark() -> None:
    """An emoji that was cut in two, and bytes that are no UTF-8."""
    assert one_reply(rb'{"from":"1","message_id":"2","body":"a \ud83d"}').text == "a \ufffd"
    assert one_reply(b'{"from":"1","message_id":"2","body":"caf\xe9"}').text == "caf\ufffd"
    assert one_reply(rb'{"from":"1","message_id":"2","\ud83dx":["\udc00"]}').more == {"\ufffdx": ["\ufffd"]}


@pytest.mark.parametrize(
    ("changes", "kind", "kept"),
    [
        ({"type": "sms"}, "SMS", {}),
        ({"type": " Mms "}, "MMS", {}),
        ({"type": ""}, None, {}),
        ({"type": None}, None, {}),
        ({"type": "voice"}, None, {"type": "voice"}),
        ({"type": 7}, None, {"type": 7}),
    ],
)
def test_a_kind_that_nobody_knows_is_kept(changes: dict[str, Any], kind: str | None, kept: dict[str, Any]) -> None:
    reply = one_reply({"from": "1", "message_id": "2"} | changes)
    assert (reply.kind, reply.more) == (kind, kept)


@pytest.mark.parametrize("value", [["a"], {"a": 1}, "x" * 129, "a\nb", True])
def test_an_odd_value_of_a_field_that_may_be_missing_is_kept_as_it_came(value: object) -> None:
    reply = one_reply({"from": "1", "message_id": "2", "original_message_id": value})
    assert (reply.original_message_id, reply.more) == (None, {"original_message_id": value})


@pytest.mark.parametrize(
    ("changes", "mistake"),
    [
        ({"from": ""}, "from is empty"),
        ({"from": None}, "from is null"),
        ({"body": ["a"]}, "body is a list"),
        ({"body": False}, "body is true or false"),
        ({"message_id": ""}, "message_id is empty"),
    ],
)
def test_what_is_wrong_with_a_reply_is_said_in_a_sentence(changes: dict[str, Any], mistake: str) -> None:
    assert replies([INBOUND, INBOUND | changes]).mistakes == (f"entry 2: {mistake}",)
    assert read_reply(INBOUND | changes, region="AU") == mistake


# --- All of it -----------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(
    ["message_id", "Message_ID", "status", "recipient", "to", "from", "body", "type", "received_at", "x"]
)
ENTRIES = st.dictionaries(NAMES, st.sampled_from(["a", "Delivered", "61412345678", "", 5]) | JSON, max_size=10)
BODIES = st.binary(max_size=200) | st.builds(
    lambda value: json.dumps(value).encode(), JSON | ENTRIES | st.lists(ENTRIES | JSON, max_size=4)
)


@given(BODIES)
def test_no_body_raises_and_whatever_is_read_becomes_a_valid_event(body: bytes) -> None:
    for report in reports(body).entries:
        told = report_event(report, account="acme", job=None, superseded_by=None, at=AT)
        VALIDATOR.validate(orjson.loads(told.body))
    for reply in replies(body).entries:
        VALIDATOR.validate(orjson.loads(reply_event(reply, account="acme", job=None, at=AT).body))


SECRET = "7391046582"


@given(
    st.lists(
        st.dictionaries(NAMES, st.sampled_from([SECRET, f"+{SECRET}", [SECRET], {SECRET: 1}, SECRET * 20]), max_size=5)
        | st.just(SECRET),
        min_size=1,
        max_size=3,
    ),
    st.integers(min_value=0, max_value=10),
)
def test_nothing_that_was_posted_is_quoted(entries: list[Any], cut: int) -> None:
    body = orjson.dumps(entries)
    body = body[: len(body) - cut]
    for mistake in (*reports(body).mistakes, *replies(body).mistakes):
        assert SECRET not in mistake
        assert not re.search(r"\d{5}", mistake)
