"""What the API decides, without HTTP."""

import json
from typing import Any

import pytest

from loadtest.simulator.envelopes import EnvelopeKind
from loadtest.simulator.form import normal_number
from loadtest.simulator.service import MmsService
from tests.simulator.sending import KEY, NUMBER, arrives, form, new_service, send_to

OTHER = "+61498765432"


def told(service: MmsService, body: bytes, key: str = KEY) -> Any:
    return json.loads(send_to(service, body, key=key).body)


def known(service: MmsService) -> Any:
    return service.accounts.find(KEY)


def test_success_is_answered_as_the_document_shows_it() -> None:
    service = new_service()
    answer = told(service, form(numbers=[NUMBER, OTHER]))
    assert answer["meta"] == {"code": 200, "status": "SUCCESS"}
    assert answer["msg"] == "Queued"
    data = answer["data"]
    assert [data[name] in (2, "2") for name in ("total_numbers", "success_number", "credits_used")] == [True] * 3
    first = data["messages"][0]
    assert first["to"].removeprefix("+") == NUMBER.removeprefix("+")
    assert (first["subject"], first["body"], first["direction"]) == ("Subject", "Text", "out")
    assert [message["message_id"] for message in data["messages"]] == [
        entry.message_id for entry in service.ledger.accepted()
    ]


def test_the_quirks_come_at_random_and_again_with_the_same_seed() -> None:
    def quirks(seed: int) -> list[tuple[str, str]]:
        service = new_service(seed=seed)
        answers = [told(service, form())["data"] for _ in range(40)]
        return [(answer["messages"][0]["to"][0], type(answer["success_number"]).__name__) for answer in answers]

    assert set(quirks(1)) == {("+", "int"), ("+", "str"), ("6", "int"), ("6", "str")}
    assert quirks(1) == quirks(1)


def test_invalid_and_opted_out_numbers_are_left_out() -> None:
    service = new_service()
    service.opt_outs.add(normal_number(OTHER) or 0)
    answer = told(service, form(numbers=[NUMBER, "123", OTHER]))
    assert len(answer["data"]["messages"]) == 1
    assert answer["data"]["total_numbers"] in (3, "3")
    assert [entry.to for entry in service.ledger.accepted()] == [NUMBER]


@pytest.mark.parametrize(
    ("envelope", "answer"),
    [
        (
            "meta",
            {"meta": {"code": 400, "status": "RECIPIENTS_ERROR"}, "msg": "There is no valid recipient.", "data": []},
        ),
        ("error", {"error": {"code": "RECIPIENTS_ERROR", "description": {"fails": ["12"], "optouts": ""}}}),
    ],
)
def test_recipients_error_only_when_none_is_left(envelope: EnvelopeKind, answer: Any) -> None:
    service = new_service(envelope=envelope)
    assert told(service, form(numbers=["12"])) == answer
    assert service.ledger.accepted() == []


def test_the_error_envelope_of_success() -> None:
    service = new_service(envelope="error")
    assert told(service, form())["error"] == {"code": "SUCCESS", "description": "OK"}
    partial = told(service, form(numbers=[NUMBER, "12"]))
    assert partial["error"] == {"code": "SUCCESS", "description": {"fails": ["12"], "optouts": ""}}
    assert len(partial["messages"]) == 1


def test_credit_is_used_up_and_only_the_words_tell() -> None:
    service = new_service()
    known(service).credit = 3
    both = form(numbers=[NUMBER, OTHER])
    first = told(service, both)
    assert "low_sms_alert" in first
    refused = told(service, both)
    assert refused["meta"] == {"code": 400, "status": "FIELD_INVALID"}
    assert "not have enough credit to send MMS" in refused["msg"]
    assert known(service).credit == 1
    assert len(service.ledger.accepted()) == 2


def test_over_the_limit_nothing_happens_but_the_refusal() -> None:
    service = new_service(rate_per_s=2)
    results = [send_to(service, form(), at_us).result for at_us in (0, 1, 2, 1_000_000)]
    assert results == ["SUCCESS", "SUCCESS", "OVER_LIMIT", "SUCCESS"]
    summary = service.ledger.summary()
    assert (summary.recipients_accepted, summary.throttled_calls, summary.duplicates) == (3, 1, 2)
    assert (summary.worst_rolling_second, summary.worst_rolling_second_admitted) == (3, 2)


def test_every_operation_counts_against_the_one_limit() -> None:
    service = new_service(rate_per_s=2)
    service.arrive("account", KEY, 0)
    service.arrive("unknown", KEY, 1)
    assert not arrives(service, 2)
    assert arrives(service, 1_000_000)


def test_a_wrong_form_counts_against_the_limit_too() -> None:
    service = new_service(rate_per_s=1)
    assert send_to(service, form(text=""), 0).result == "FIELD_EMPTY"
    assert not arrives(service, 1)


def test_a_revoked_key_is_wrong_until_restored() -> None:
    service = new_service()
    known(service).revoked = True
    answer = send_to(service, form())
    assert (answer.result, answer.http_status) == ("AUTH_FAILED", 401)
    known(service).revoked = False
    assert send_to(service, form()).result == "SUCCESS"


def test_a_rate_set_live_is_in_force_and_in_the_share() -> None:
    service = new_service(rate_per_s=1)
    assert [arrives(service, at_us) for at_us in (0, 1)] == [True, False]
    service.set_rate(3, KEY, 2)
    assert [arrives(service, at_us) for at_us in (2, 3, 4)] == [True, True, False]
    service.set_rate(1, None, 5)
    assert [arrives(service, at_us) for at_us in (500_000, 1_000_003)] == [False, True]


def test_unknown_fields_are_added_and_the_rest_stays() -> None:
    answer = told(new_service(), form(text="[[fault:unknown_fields]]"))
    assert answer["meta"]["status"] == "SUCCESS"
    assert {"trace"} <= answer.keys()
    assert {"campaign"} <= answer["data"].keys()
