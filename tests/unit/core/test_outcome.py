"""The one table that decides everything, row by row and for every HTTP status."""

from __future__ import annotations

import orjson
import pytest

from worker.core.outcome import (
    RETRY_AFTER_S_MAX,
    Accepted,
    Answer,
    InDoubt,
    NeverLeft,
    NoAnswer,
    NotSent,
    Outcome,
    Refused,
    RefusedJob,
    Sent,
    Suspended,
    SuspendedBecause,
    Throttled,
    classify,
    classify_account,
    share,
)

A, B = "+61400000001", "+61400000002"


def meta(code: str, *, status: int = 200, message: str = "", data: object = ()) -> bytes:
    return orjson.dumps({"meta": {"code": status, "status": code}, "msg": message, "data": data})


def general(code: str, *, description: object = "", **more: object) -> bytes:
    return orjson.dumps(
        {**more, "page": {"count": 1, "number": 1}, "error": {"code": code, "description": description}}
    )


def accepted(*to: str, said: object = None) -> dict[str, object]:
    messages = [{"message_id": f"id{number}", "to": number} for number in to]
    return {"messages": messages, "total_numbers": len(to), "success_number": str(len(to)) if said is None else said}


# ruff: noqa: E501 - one row, one line: the table is read by its columns
ROWS: list[tuple[str, Answer, Outcome]] = [
    ("accepted", Answer(200, meta("SUCCESS", data=accepted(A))), Accepted({A: f"id{A}"}, True, False)),
    (
        "accepted, the general envelope",
        Answer(200, general("SUCCESS", data=accepted(A))),
        Accepted({A: f"id{A}"}, True, False),
    ),
    ("a number without plus", Answer(200, meta("SUCCESS", data=accepted(A[1:]))), Accepted({A: f"id{A[1:]}"}, True, False)),
    ("429 with the code", Answer(429, meta("OVER_LIMIT", status=429)), Throttled(None)),
    ("429 bare", Answer(429, b""), Throttled(None)),
    ("429 with a page", Answer(429, b"<html>slow down</html>", "2"), Throttled(2.0)),
    ("429 with an insane wait", Answer(429, b"", "9" * 30), Throttled(RETRY_AFTER_S_MAX)),
    ("429 with a date", Answer(429, b"", "Wed, 21 Oct 2026 07:28:00 GMT"), Throttled(None)),
    ("429 with a negative wait", Answer(429, b"", "-5"), Throttled(None)),
    ("OVER_LIMIT with 200", Answer(200, general("OVER_LIMIT")), Throttled(None)),
    ("OVER_LIMIT with 400", Answer(400, meta("OVER_LIMIT")), Throttled(None)),
    ("401", Answer(401, meta("AUTH_FAILED", message="bad key")), Suspended(SuspendedBecause.CREDENTIALS, "bad key")),
    ("401 with a page", Answer(401, b"<html>"), Suspended(SuspendedBecause.CREDENTIALS, "HTTP 401")),
    ("403 bare", Answer(403, b""), Suspended(SuspendedBecause.CREDENTIALS, "HTTP 403")),
    ("400 wrong key", Answer(400, meta("AUTH_FAILED", message="x")), Suspended(SuspendedBecause.CREDENTIALS, "x")),
    (
        "no credit hides in FIELD_INVALID",
        Answer(400, meta("FIELD_INVALID", message="Not enough credit to send MMS")),
        Suspended(SuspendedBecause.CREDIT, "Not enough credit to send MMS"),
    ),
    (
        "no credit in other words",
        Answer(400, general("FIELD_INVALID", description="Insufficient MMS credits.")),
        Suspended(SuspendedBecause.CREDIT, "Insufficient MMS credits."),
    ),
    ("ledger", Answer(400, meta("LEDGER_ERROR", message="no funds")), Suspended(SuspendedBecause.CREDIT, "no funds")),
    ("field invalid", Answer(400, meta("FIELD_INVALID", message="too long")), Refused("FIELD_INVALID", "too long")),
    ("credit card text is no credit fault", Answer(400, meta("FIELD_INVALID", message="no credit cards")), Refused("FIELD_INVALID", "no credit cards")),
    ("field empty", Answer(400, general("FIELD_EMPTY", description="mms_text")), Refused("FIELD_EMPTY", "mms_text")),
    (
        "a description that is an object",
        Answer(400, general("RECIPIENTS_ERROR", description={"fails": [A], "optouts": []})),
        Refused("RECIPIENTS_ERROR", '{"fails":["+61400000001"],"optouts":[]}'),
    ),
    ("a code nobody knows", Answer(400, meta("MOON_PHASE", message="?")), Refused("MOON_PHASE", "?")),
    ("lower case code", Answer(400, meta("field_invalid")), Refused("FIELD_INVALID", "")),
    ("a refusal with 200", Answer(200, meta("FIELD_INVALID", message="bad")), Refused("FIELD_INVALID", "bad")),
    ("an unknown code with 200", Answer(200, meta("MOON_PHASE")), InDoubt("the API answered HTTP 200 with a body that cannot be read")),
    ("a gateway's 404", Answer(404, b"<html>"), NotSent("HTTP 404 without the API's envelope")),
    ("SUCCESS with 400", Answer(400, meta("SUCCESS")), InDoubt("the API answered HTTP 400 with the code SUCCESS")),
    ("500", Answer(500, b"MISCONF Redis"), InDoubt("the API answered HTTP 500")),
    ("500 with a refusal", Answer(500, meta("FIELD_INVALID")), InDoubt("the API answered HTTP 500")),
    ("502 page", Answer(502, b"<html>Bad gateway"), InDoubt("the API answered HTTP 502")),
    ("408", Answer(408, b""), InDoubt("the API answered HTTP 408")),
    ("redirect", Answer(302, b""), InDoubt("the API answered HTTP 302")),
    ("202", Answer(202, meta("SUCCESS", data=accepted(A))), InDoubt("the API answered HTTP 202")),
    ("truncated", Answer(200, meta("SUCCESS", data=accepted(A))[:-9]), InDoubt("the API answered HTTP 200 with a body that cannot be read")),
    ("html", Answer(200, b"<html>ok</html>"), InDoubt("the API answered HTTP 200 with a body that cannot be read")),
    ("empty", Answer(200, b""), InDoubt("the API answered HTTP 200 with a body that cannot be read")),
    ("the new generation", Answer(200, b'{"status": true, "message": "ok", "data": {}}'), InDoubt("the API answered HTTP 200 with a body that cannot be read")),
    ("the new generation refuses", Answer(200, b'{"status": false}'), InDoubt("the API answered HTTP 200 with a body that cannot be read")),
    ("no list", Answer(200, meta("SUCCESS", data=[])), InDoubt("the API answered SUCCESS without a list of messages")),
    ("nobody accepted, said so", Answer(200, meta("SUCCESS", data={"messages": "", "success_number": "0"})), Accepted({}, True, False)),
    ("odd list", Answer(200, meta("SUCCESS", data={"messages": [7]})), InDoubt("the API answered SUCCESS with a list of messages that cannot be read")),
    ("fewer listed than said", Answer(200, meta("SUCCESS", data=accepted(A, said=2))), Accepted({A: f"id{A}"}, False, False)),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "outcome"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_each_row_of_the_table(answer: Answer, outcome: Outcome) -> None:
    assert classify(answer) == outcome


def test_what_never_left_is_not_sent_and_what_was_not_answered_is_in_doubt() -> None:
    assert classify(NeverLeft("refused")) == NotSent("refused")
    assert classify(NoAnswer("reset")) == InDoubt("reset")


def test_a_low_balance_is_noticed() -> None:
    body = orjson.dumps({"low_sms_alert": "x", "meta": {"status": "SUCCESS"}, "data": accepted(A)})
    outcome = classify(Answer(200, body))
    assert isinstance(outcome, Accepted)
    assert outcome.low_balance


#: For each status with an unreadable body: which class. Only these may lead to another send of the same job.
SAFE_TO_REPEAT = {401: Suspended, 403: Suspended, 429: Throttled} | {
    status: NotSent for status in range(400, 500) if status not in (401, 403, 408, 429)
}


@pytest.mark.parametrize("status", range(200, 600))
@pytest.mark.parametrize("body", [b"", b"<html></html>", b"{}", b"[]", b"null", b'{"meta": {"status": 7}}'])
def test_every_status_with_a_body_that_says_nothing(status: int, body: bytes) -> None:
    assert type(classify(Answer(status, body))) is SAFE_TO_REPEAT.get(status, InDoubt)


@pytest.mark.parametrize("status", [status for status in range(200, 600) if status not in (200, 429)])
def test_success_counts_with_status_200_only(status: int) -> None:
    assert not isinstance(classify(Answer(status, meta("SUCCESS", data=accepted(A)))), Accepted)


def test_each_job_of_a_call_gets_its_own_share() -> None:
    outcome = Accepted({A: "m1"}, is_complete=True, low_balance=False)
    assert share(outcome, [A]) == Sent(((A, "m1"),), ())
    one_of_two = share(outcome, [A, B])
    assert isinstance(one_of_two, Sent)
    assert [number for number, _ in one_of_two.refused] == [B]
    none_left = share(outcome, [B])
    assert isinstance(none_left, RefusedJob)
    assert none_left.code == "RECIPIENTS_ERROR"


def test_who_is_missing_from_an_incomplete_list_is_in_doubt() -> None:
    outcome = Accepted({A: "m1"}, is_complete=False, low_balance=False)
    assert isinstance(share(outcome, [B]), InDoubt)
    assert isinstance(share(outcome, [A]), Sent)


def test_a_refused_call_names_every_recipient() -> None:
    job = share(Refused("FIELD_INVALID", "too long"), [A, B])
    assert isinstance(job, RefusedJob)
    assert job.refused == ((A, "FIELD_INVALID: too long"), (B, "FIELD_INVALID: too long"))


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Answer(200, meta("SUCCESS", data={"mms_balance": "1006.00"})), Accepted),
        (Answer(200, meta("SUCCESS", data={"mms_balance": "0.00"})), Suspended),
        (Answer(200, meta("SUCCESS", data={})), Accepted),
        (Answer(401, b""), Suspended),
        (Answer(429, b""), Throttled),
        (Answer(500, b""), NotSent),
        (Answer(200, b"<html>"), NotSent),
        (NoAnswer("timeout"), NotSent),
        (NeverLeft("refused"), NotSent),
    ],
)
def test_an_account_question_is_never_in_doubt(reply: Answer | NoAnswer | NeverLeft, kind: type) -> None:
    assert isinstance(classify_account(reply), kind)
