"""What the API answers to questions: both envelopes, the recorded quirks, and whatever else may come."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.envelope import Envelope
from worker.core.outcome import Answer, NeverLeft, NoAnswer, NotSent, Refused, Response, Suspended, Throttled
from worker.core.replies import Reply
from worker.core.responses import (
    Balances,
    RepliesPage,
    Unanswered,
    in_words,
    read_balances,
    read_question,
    read_replies,
)

ENTRY = {
    "from": "+61412345678",
    "body": "Thanks!",
    "received_at": "2019-04-08 17:37:49",
    "original_body": "Your parcel",
    "original_message_id": "A21741CB-1",
    "message_id": "dba864ec-1",
    "subaccount_id": "",
}


def meta(data: Any, *, status: int = 200, code: str = "SUCCESS", **top: Any) -> Answer:
    body = {"meta": {"code": status, "status": code}, "msg": "You have 1 response(s)", "data": data, **top}
    return Answer(status, orjson.dumps(body))


def page_of(data: Any) -> RepliesPage | None:
    envelope = read_question(meta(data))
    assert isinstance(envelope, Envelope)
    return read_replies(envelope, region="AU")


def some_page(*entries: Any, count: Any = 1) -> dict[str, Any]:
    return {"page": {"count": count, "number": 1}, "total": "1", "responses": list(entries)}


# --- Any question ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (meta([], status=400, code="FIELD_EMPTY"), Refused, "FIELD_EMPTY"),
        (meta([], status=400, code="NOT_FOUND"), Refused, "NOT_FOUND"),
        (meta([], code="NOT_FOUND"), Refused, "NOT_FOUND"),
        (meta([], status=401, code="AUTH_FAILED"), Suspended, "credentials"),
        (meta([], status=429, code="OVER_LIMIT"), Throttled, "over its limit"),
        (meta([], code="OVER_LIMIT"), Throttled, "over its limit"),
        (meta([], status=500), NotSent, "500"),
        (Answer(502, b"<html>"), NotSent, "502"),
        (Answer(200, b"<html>"), NotSent, "cannot be read"),
        (Answer(200, b'{"status": true, "data": []}'), NotSent, "cannot be read"),
        (meta([], status=201), NotSent, "201"),
        (NeverLeft("no connection to the API: refused"), NotSent, "refused"),
        (NoAnswer("no whole answer from the API: in time"), NotSent, "in time"),
    ],
)
def test_a_question_is_answered_or_there_is_a_reason(reply: Response, kind: type[Unanswered], words: str) -> None:
    answer = read_question(reply)
    assert isinstance(answer, kind)
    assert not isinstance(answer, Envelope)
    assert words in in_words(answer)


@pytest.mark.parametrize("code", ["FIELD_INVALID", "AUTH_FAILED"])
@pytest.mark.parametrize("said", [{"fails": ["61412345678"], "optouts": ""}, "No reply of +61 412 345 678."])
def test_the_apis_own_words_are_told_without_the_numbers_in_them(code: str, said: object) -> None:
    answer = read_question(Answer(400, orjson.dumps({"error": {"code": code, "description": said}})))
    assert not isinstance(answer, Envelope)
    words = in_words(answer)
    assert "fails" in words or "No reply" in words
    assert not set("45678") & set(words)


# --- Replies ---------------------------------------------------------------------------------------------


def test_a_page_as_it_is_documented() -> None:
    page = page_of(some_page(ENTRY))
    assert page is not None
    assert (page.pages, page.entries, page.mistakes) == (1, 1, ())
    (reply,) = page.replies
    assert (reply.message_id, reply.sender, reply.text) == ("dba864ec-1", "+61412345678", "Thanks!")
    assert (reply.received_at, reply.original_message_id) == ("2019-04-08 17:37:49", "A21741CB-1")


def test_the_envelope_as_given_has_its_payload_beside_the_error() -> None:
    body = {**some_page(ENTRY, count=3), "error": {"code": "SUCCESS", "description": "OK"}}
    envelope = read_question(Answer(200, orjson.dumps(body)))
    assert isinstance(envelope, Envelope)
    page = read_replies(envelope, region="AU")
    assert page is not None
    assert (len(page.replies), page.pages) == (1, 3)


@pytest.mark.parametrize("responses", ["", [], None, {}])
def test_nothing_is_an_empty_page_with_counts_as_texts(responses: object) -> None:
    page = page_of({"page": {"count": "0", "number": 0}, "total": 0, "responses": responses})
    assert page == RepliesPage((), 0, 0, ())
    assert not page.is_followed(1)


@pytest.mark.parametrize("data", [[], "", None, {}, {"page": {"count": 1}}, {"responses": "gone"}, {"responses": 7}])
def test_an_answer_without_a_list_is_no_empty_page(data: object) -> None:
    assert page_of(data) is None


def test_one_that_cannot_be_read_does_not_hide_the_others() -> None:
    page = page_of(some_page({**ENTRY, "message_id": ""}, "what", ENTRY))
    assert page is not None
    assert [reply.message_id for reply in page.replies] == ["dba864ec-1"]
    assert page.entries == 3
    assert len(page.mistakes) == 2
    assert not any("61412345678" in mistake for mistake in page.mistakes)


@pytest.mark.parametrize(
    ("pages", "entries", "number", "is_followed"),
    [
        (6, 25, 1, True),
        (6, 25, 5, True),
        (6, 5, 6, False),
        (6, 25, 7, False),
        (0, 0, 1, False),
        (6, 0, 2, False),  # what was there was marked meanwhile
        (None, 25, 1, True),  # no count: a full page may be followed
        (None, 24, 1, False),
    ],
)
def test_when_another_page_comes(pages: int | None, entries: int, number: int, is_followed: bool) -> None:  # noqa: FBT001 - a table's column
    assert RepliesPage((), pages, entries, ()).is_followed(number) is is_followed


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
NAMES = st.sampled_from([*ENTRY, "From", "MESSAGE_ID"])


@given(data=JSON | st.fixed_dictionaries({"page": JSON, "responses": JSON | st.lists(st.dictionaries(NAMES, JSON))}))
def test_whatever_comes_it_is_a_page_or_none_and_every_entry_is_counted(data: Any) -> None:
    page = page_of(data)
    if page is not None:
        assert page.entries == len(page.replies) + len(page.mistakes)
        assert all(isinstance(reply, Reply) and reply.message_id for reply in page.replies)


# --- Balances --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "balance"),
    [
        ("1006.00", 1006.0),
        ("0", 0.0),
        ("-3.5", -3.5),
        (1006, 1006.0),
        (12.5, 12.5),
        ("", None),
        ("plenty", None),
        ("1,006.00", None),
        ("nan", None),
        ("inf", None),
        (True, None),
        (None, None),
        ([], None),
    ],
)
def test_balances_are_texts_and_only_a_number_is_one(value: object, balance: float | None) -> None:
    envelope = read_question(meta({"account_name": "ACME", "mms_balance": value, "sms_balance": "5831.43"}))
    assert isinstance(envelope, Envelope)
    assert read_balances(envelope) == Balances(balance, 5831.43, "ACME", is_alerted=False)


def test_an_account_that_tells_nothing_has_no_balances() -> None:
    envelope = read_question(meta([], low_sms_alert="low"))
    assert isinstance(envelope, Envelope)
    assert read_balances(envelope) == Balances(None, None, None, is_alerted=True)


# --- Broken in a way that must not keep the rest out ----------------------------------------------------------


@pytest.mark.parametrize("broken", [b'"\\ud83d"', b'"Thanks \xf0\x9f"'], ids=["half an emoji", "no UTF-8"])
def test_a_text_that_was_cut_in_the_middle_of_a_character_keeps_no_other_reply_out(broken: bytes) -> None:
    whole = meta(some_page(ENTRY | {"body": "CUT"}, ENTRY | {"message_id": "second"}))
    envelope = read_question(Answer(200, whole.body.replace(b'"CUT"', broken)))
    assert isinstance(envelope, Envelope)
    page = read_replies(envelope, region="AU")
    assert page is not None
    assert [reply.message_id for reply in page.replies] == ["dba864ec-1", "second"]
    assert page.replies[0].text.endswith("\ufffd")
    assert page.mistakes == ()


def test_a_count_that_nobody_can_count_to_is_none() -> None:
    page = page_of(some_page(ENTRY, count="9" * 5_000))
    assert page is not None
    assert page.pages is None
    assert len(page.replies) == 1


@pytest.mark.parametrize("said", [b'{"fails": ["\\ud83d"]}', b"[" * 300 + b"]" * 300], ids=["half an emoji", "deep"])
def test_words_that_cannot_be_written_as_they_came_can_be_told(said: bytes) -> None:
    refused = read_question(Answer(400, b'{"meta": {"status": "FIELD_INVALID"}, "data": [], "msg": ' + said + b"}"))
    assert isinstance(refused, Refused)
    in_words(refused).encode()


def test_a_list_with_gaps_comes_as_an_object_by_number() -> None:
    by_number = {"1": ENTRY, "3": ENTRY | {"message_id": "second"}}
    page = page_of({"page": {"count": 1, "number": 1}, "responses": by_number})
    assert page is not None
    assert [reply.message_id for reply in page.replies] == ["dba864ec-1", "second"]
    assert (page.entries, page.mistakes) == (2, ())
