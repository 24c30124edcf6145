"""Replies at the simulated API: pages that shift, marks, and the recorded quirks, in both envelopes."""

import random
from typing import Any

import orjson
import pytest

from loadtest.simulator.accounts import Accounts
from loadtest.simulator.answers import Answer
from loadtest.simulator.envelopes import EnvelopeKind, Envelopes
from loadtest.simulator.faults import Fault, FaultPlan
from loadtest.simulator.inbox import Inbox
from loadtest.simulator.ledger import Ledger
from loadtest.simulator.limit import limit_for
from loadtest.simulator.records import Operation
from loadtest.simulator.service import MmsService

DATE = "2026-11-22 03:04:05"


def a_service(envelope: EnvelopeKind = "meta") -> MmsService:
    accounts = Accounts(1_000, lambda rate: limit_for("rolling", rate, burst=None, refused_count=False))
    dice = random.Random(1)  # noqa: S311 - not for secrets
    return MmsService(accounts, Envelopes(envelope, dice), FaultPlan(dice), Ledger(), Inbox(dice))


def asked(service: MmsService, operation: Operation, body: bytes = b"", query: dict[str, str] | None = None) -> Answer:
    return service.finish(service.arrive(operation, "key-1", 1_000_000), "application/json", body, 1_000_000, query)


def told(answer: Answer) -> Any:
    return orjson.loads(answer.body)


def some(count: int) -> list[dict[str, Any]]:
    return [{"from": f"+614{number:08}", "message_id": f"r{number}"} for number in range(count)]


def ids_on(service: MmsService, page: int) -> list[str]:
    listed = told(asked(service, "get-responses", query={"page": str(page), "type": "mms"}))["data"]["responses"]
    return [one["message_id"] for one in listed]


def test_an_empty_inbox_is_told_as_users_recorded_it() -> None:
    assert told(asked(a_service(), "get-responses", query={"type": "mms"})) == {
        "meta": {"code": 200, "status": "SUCCESS"},
        "msg": "No Response are available!",
        "data": {"page": {"count": "0", "number": 0}, "total": 0, "responses": ""},
    }


def test_a_reply_has_all_documented_fields_and_counts_are_numbers_or_texts() -> None:
    service = a_service()
    service.inbox.add("key-1", [{"from": "+61400000001", "body": "hi", "original_message_id": "m1"}], DATE)
    seen = set()
    for _ in range(50):
        data = told(asked(service, "get-responses", query={"page": "1", "type": "mms"}))["data"]
        seen |= {data["page"]["count"], data["page"]["number"], data["total"]}
        (reply,) = data["responses"]
    assert seen == {1, "1"}
    message_id = reply.pop("message_id")
    assert len(message_id) == 36
    assert reply == {
        "from": "+61400000001",
        "body": "hi",
        "received_at": DATE,
        "original_body": "",
        "original_message_id": "m1",
        "subaccount_id": "",
    }


def test_the_envelope_as_given_has_everything_beside_the_error() -> None:
    service = a_service("error")
    service.inbox.add("key-1", some(1), DATE)
    answer = told(asked(service, "get-responses", query={"page": "1", "type": "mms"}))
    assert answer["error"]["code"] == "SUCCESS"
    assert len(answer["responses"]) == 1
    assert int(answer["page"]["count"]) == 1


def test_pages_hold_25_unread_ones_the_newest_first_and_shift_with_what_comes_and_goes() -> None:
    service = a_service()
    service.inbox.add("key-1", some(60), DATE)
    assert [len(ids_on(service, page)) for page in (1, 2, 3)] == [25, 25, 10]
    assert ids_on(service, 4) == []
    assert ids_on(service, 1)[0] == "r59"
    assert ids_on(service, 2)[0] == "r34"
    service.inbox.add("key-1", [{"message_id": "new"}], DATE)
    assert ids_on(service, 2)[0] == "r35"
    body = orjson.dumps({"message_id": ["new", *(f"r{number}" for number in range(35, 60))]})
    assert asked(service, "inbound-read-bulk", body).result == "SUCCESS"
    assert ids_on(service, 1)[0] == "r34"
    assert sum(one.is_read for one in service.inbox.records("key-1")) == 26


def test_showing_does_not_mark_and_kinds_are_apart() -> None:
    service = a_service()
    service.inbox.add("key-1", [{"message_id": "m"}, {"message_id": "s", "type": "SMS"}], DATE)
    for _ in range(2):
        assert ids_on(service, 1) == ["m"]
    assert not any(one.is_read for one in service.inbox.records("key-1"))
    assert service.inbox.page("key-2", 1, "mms").total == 0


@pytest.mark.parametrize(
    ("operation", "body", "code"),
    [
        ("inbound-read", {"message_id": "r0"}, "SUCCESS"),
        ("inbound-read", {"message_id": "who"}, "NOT_FOUND"),
        ("inbound-read", {"message_id": ["r0"]}, "FIELD_INVALID"),
        ("inbound-read", {}, "FIELD_EMPTY"),
        ("inbound-read-bulk", {"message_id": ["r0", "who"]}, "SUCCESS"),
        ("inbound-read-bulk", {"message_id": ["who"]}, "NOT_FOUND"),
        ("inbound-read-bulk", {"message_id": "r0"}, "FIELD_INVALID"),
        ("inbound-read-bulk", {"message_id": []}, "FIELD_EMPTY"),
        ("inbound-read-bulk", [], "FIELD_EMPTY"),
    ],
)
def test_marks_are_checked(operation: Operation, body: object, code: str) -> None:
    service = a_service()
    service.inbox.add("key-1", some(2), DATE)
    answer = asked(service, operation, orjson.dumps(body))
    assert (answer.result, answer.http_status) == (code, 200 if code == "SUCCESS" else 400)
    assert sum(one.is_read for one in service.inbox.records("key-1")) == (code == "SUCCESS")


@pytest.mark.parametrize("query", [{"page": "0"}, {"page": "x"}, {"page": "-1"}, {"type": "fax"}])
def test_a_page_that_makes_no_sense_is_refused(query: dict[str, str]) -> None:
    assert asked(a_service(), "get-responses", query=query).result == "FIELD_INVALID"


def test_faults_hit_before_or_after_the_mark() -> None:
    service = a_service()
    service.inbox.add("key-1", some(2), DATE)
    mark = orjson.dumps({"message_id": ["r0"]})
    service.faults.add(Fault(kind="500_before_accept", operation="inbound-read-bulk", count=1))
    assert asked(service, "inbound-read-bulk", mark).http_status == 500
    assert len(ids_on(service, 1)) == 2
    service.faults.add(Fault(kind="500_after_accept", operation="inbound-read-bulk", count=1))
    assert asked(service, "inbound-read-bulk", mark).http_status == 500
    assert ids_on(service, 1) == ["r1"]


@pytest.mark.parametrize("reply", [{"who": 1}, {"type": "fax"}])
def test_a_reply_with_unknown_fields_or_kind_is_not_taken(reply: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is no field of a reply|type of a reply"):
        a_service().inbox.add("key-1", [reply], DATE)
