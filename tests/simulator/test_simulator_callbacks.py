"""What the simulated vendor tells of its own accord, in virtual time: what is due when, how often, and the record."""

import random
from collections import Counter
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.simulator.accounts import Accounts
from loadtest.simulator.answers import Late, Whole
from loadtest.simulator.callback_plan import CallbackPlan
from loadtest.simulator.callbacks import Batch, Callbacks
from loadtest.simulator.envelopes import Envelopes
from loadtest.simulator.faults import FaultPlan
from loadtest.simulator.ledger import Ledger
from loadtest.simulator.limit import limit_for
from loadtest.simulator.service import MmsService
from tests.simulator.sending import KEY, form, send_to

SECOND_US = 1_000_000
URL = "https://receiver.example.com/callbacks/acme/token"
NUMBER = 61_400_000_000


def a_plan(**values: Any) -> CallbackPlan:
    plain: dict[str, Any] = {"url": URL, "spread_s": 0.0, "dispatched": 0.0, "quirks": False}
    return CallbackPlan(**plain | values)


def callbacks_by(plan: CallbackPlan | None, seed: int = 1) -> Callbacks:
    callbacks = Callbacks(random.Random(seed), lambda: None)  # noqa: S311 - repeatable, and no secret
    callbacks.set_plan(KEY, plan)
    return callbacks


def messages(count: int) -> list[tuple[int, str]]:
    return [(NUMBER + place, f"m-{place}") for place in range(count)]


def reports(batch: Batch) -> list[tuple[str, str]]:
    """Message and status of each report in a request, in its order."""
    return [(posting.entry.message_id, posting.entry.status) for posting in batch.postings]


def taken_by(callbacks: Callbacks, until_us: int) -> list[tuple[int, Batch]]:
    """All requests until then, each answered at once with 200, and when they leave."""
    left: list[tuple[int, Batch]] = []
    while (at_us := callbacks.next_at_us()) is not None and at_us <= until_us:
        batch = callbacks.take(at_us)
        assert batch is not None
        callbacks.answered(batch, 200, at_us)
        left.append((at_us, batch))
    return left


def test_without_a_plan_nobody_is_told_anything() -> None:
    callbacks = callbacks_by(None)
    assert not callbacks.accepted(KEY, messages(3), 0)
    callbacks.replied(KEY, [{"message_id": "r"}], 0)
    assert callbacks.next_at_us() is None
    assert callbacks.take(10**12) is None
    assert callbacks.records() == []


def test_a_report_is_posted_after_its_delay_as_the_vendor_documents_it() -> None:
    callbacks = callbacks_by(a_plan(delay_s=2.0))
    assert not callbacks.accepted(KEY, messages(2), SECOND_US)
    assert callbacks.take(3 * SECOND_US - 1) is None
    batch = callbacks.take(3 * SECOND_US)
    assert batch is not None
    assert batch.url == f"{URL}/reports"
    assert orjson.loads(batch.body) == [
        {
            "message_id": f"m-{place}",
            "status": "Delivered",
            "recipient": str(NUMBER + place),
            "custom_string": "",
            "source": "mms",
        }
        for place in range(2)
    ]


def test_the_time_of_a_report_spreads_and_may_be_late() -> None:
    callbacks = callbacks_by(a_plan(delay_s=10, spread_s=4, late=0.2, late_s=100, batch_max=1))
    callbacks.accepted(KEY, messages(500), 0)
    due_s = [record.due_at_us / SECOND_US for record in callbacks.records()]
    usual = [one for one in due_s if one < 50]
    assert 0.7 < len(usual) / 500 < 0.9
    assert min(usual) >= 6
    assert max(usual) <= 14
    assert max(usual) - min(usual) > 6
    assert all(106 <= one <= 114 for one in due_s if one > 50)


def test_final_statuses_come_by_their_weights() -> None:
    callbacks = callbacks_by(a_plan(finals={"Delivered": 8, "Failed": 2, "Expired": 0}))
    callbacks.accepted(KEY, messages(500), 0)
    statuses = Counter(record.status for record in callbacks.records())
    assert statuses.keys() == {"Delivered", "Failed"}
    assert 60 < statuses["Failed"] < 140


@pytest.mark.parametrize(
    ("share", "order"), [(0.0, ["Dispatched", "Delivered"]), (1.0, ["Delivered", "Dispatched"])], ids=["usual", "late"]
)
def test_a_report_on_the_way_comes_before_or_after_the_final_one(share: float, order: list[str]) -> None:
    callbacks = callbacks_by(a_plan(delay_s=2, dispatched=1.0, out_of_order=share))
    callbacks.accepted(KEY, messages(1), 0)
    left = taken_by(callbacks, 10 * SECOND_US)
    assert [(at_us, reports(batch)) for at_us, batch in left] == [
        (SECOND_US, [("m-0", order[0])]),
        (2 * SECOND_US, [("m-0", order[1])]),
    ]


def test_a_repeated_report_is_one_entry_posted_twice() -> None:
    callbacks = callbacks_by(a_plan(repeated=1.0))
    callbacks.accepted(KEY, messages(3), 0)
    told = [each for _, batch in taken_by(callbacks, 100 * SECOND_US) for each in reports(batch)]
    assert Counter(told) == {(f"m-{place}", "Delivered"): 2 for place in range(3)}
    assert [(record.posts, record.taken) for record in callbacks.records()] == [(2, 2)] * 3
    summary = callbacks.summary()
    assert (summary.reports, summary.reports_taken, summary.taken_again, summary.waiting) == (3, 3, 3, 0)


def test_what_is_not_taken_comes_again_after_each_wait_until_it_is_given_up() -> None:
    callbacks = callbacks_by(a_plan(delay_s=0, retries_s=(1.0, 5.0), tries_max=4))
    callbacks.accepted(KEY, messages(1), 0)
    moments_s = []
    for status in (503, 0, 404, 500):
        at_us = callbacks.next_at_us()
        assert at_us is not None
        moments_s.append(at_us / SECOND_US)
        batch = callbacks.take(at_us)
        assert batch is not None
        callbacks.answered(batch, status, at_us)
    assert moments_s == [0, 1, 6, 11]
    assert callbacks.next_at_us() is None
    (record,) = callbacks.records()
    assert (record.posts, record.taken, record.taken_at_us) == (4, 0, 0)
    summary = callbacks.summary()
    assert (summary.requests, summary.requests_refused, summary.given_up, summary.waiting) == (4, 4, 1, 0)


def test_requests_hold_so_many_and_no_more_are_under_way_at_once() -> None:
    callbacks = callbacks_by(a_plan(delay_s=0, batch_max=3, at_once=2))
    callbacks.accepted(KEY, messages(8), 0)
    first, second = callbacks.take(0), callbacks.take(0)
    assert first is not None
    assert second is not None
    assert len(first.postings) == len(second.postings) == 3
    assert callbacks.take(0) is None
    assert callbacks.next_at_us() is None
    callbacks.answered(first, 200, 5)
    third = callbacks.take(5)
    assert third is not None
    assert reports(third) == [("m-6", "Delivered"), ("m-7", "Delivered")]
    assert callbacks.summary().waiting == 2


def test_replies_are_posted_one_at_a_time_by_their_share() -> None:
    callbacks = callbacks_by(a_plan(replies=0.5, repeated=0.0))
    callbacks.replied(KEY, [{"message_id": f"r-{place}", "body": "hi"} for place in range(200)], 7)
    left = taken_by(callbacks, 7)
    assert 70 < len(left) < 130
    assert {batch.url for _, batch in left} == {f"{URL}/replies"}
    assert orjson.loads(left[0][1].body).keys() == {"message_id", "body"}
    assert {record.kind for record in callbacks.records()} == {"reply"}
    assert callbacks.summary().replies_taken == len(left)


def test_quirks_change_letters_and_forms_and_nothing_else() -> None:
    callbacks = callbacks_by(a_plan(quirks=True, batch_max=1))
    callbacks.accepted(KEY, messages(400), 0)
    bodies = [orjson.loads(batch.body) for _, batch in taken_by(callbacks, 100 * SECOND_US)]
    assert {type(body) for body in bodies} == {list, dict}
    entries = [body[0] if isinstance(body, list) else body for body in bodies]
    assert {next(iter(entry)) for entry in entries} == {"message_id", "MESSAGE_ID"}
    plain = [{name.lower(): value for name, value in entry.items()} for entry in entries]
    assert {entry["status"] for entry in plain} == {"Delivered", "DELIVERED", "delivered"}
    assert {entry["recipient"][:3] for entry in plain} == {"614", "+61"}
    told = {(entry["message_id"], int(entry["recipient"])) for entry in plain}
    assert told == {(message_id, number) for number, message_id in messages(400)}


def test_a_request_from_before_a_reset_is_not_recorded() -> None:
    callbacks = callbacks_by(a_plan(delay_s=0))
    callbacks.accepted(KEY, messages(1), 0)
    old = callbacks.take(0)
    assert old is not None
    callbacks.clear()
    callbacks.set_plan(KEY, a_plan(delay_s=0))
    callbacks.accepted(KEY, messages(1), 0)
    callbacks.answered(old, 200, 1)
    assert [record.taken for record in callbacks.records()] == [0]
    assert callbacks.summary().reports_taken == 0
    assert callbacks.take(1) is not None


def test_taking_the_plan_back_drops_what_waits() -> None:
    callbacks = callbacks_by(a_plan())
    callbacks.accepted(KEY, messages(2), 0)
    callbacks.set_plan(KEY, None)
    assert callbacks.next_at_us() is None
    assert callbacks.summary().waiting == 0
    assert [record.posts for record in callbacks.records()] == [0, 0]


@given(
    seed=st.integers(0, 2**32),
    values=st.fixed_dictionaries(
        dict.fromkeys(("dispatched", "out_of_order", "repeated", "early", "late"), st.floats(0, 1))
        | {"batch_max": st.integers(1, 7), "at_once": st.integers(1, 3)}
    ),
    calls=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    answers=st.lists(st.sampled_from([200, 200, 503, 0, 404]), max_size=30),
)
def test_each_report_is_taken_in_the_end_and_nothing_is_posted_that_was_not_made(
    seed: int, values: dict[str, Any], calls: list[int], answers: list[int]
) -> None:
    plan = a_plan(**values, tries_max=1_000)
    callbacks = callbacks_by(plan, seed)
    made = [[(NUMBER + call, f"m-{call}-{place}") for place in range(count)] for call, count in enumerate(calls)]
    for number, call in enumerate(made):
        callbacks.accepted(KEY, call, number * SECOND_US)
    given = iter(answers)
    under_way: list[Batch] = []
    now_us = 0
    tries = random.Random(seed)  # noqa: S311 - as above
    while True:
        at_us = callbacks.next_at_us()
        if at_us is not None and (not under_way or tries.random() < 0.5):
            now_us = max(now_us, at_us)
            batch = callbacks.take(now_us)
            assert batch is not None
            under_way.append(batch)
        elif under_way:
            callbacks.answered(under_way.pop(0), next(given, 200), now_us)
        else:
            break
        assert len(under_way) <= plan.at_once
    records = callbacks.records()
    finals = Counter((record.to, record.message_id) for record in records if record.status == "Delivered")
    assert finals == {(f"+{number}", message_id): 1 for call in made for number, message_id in call}
    assert all(1 <= record.taken <= 2 and record.posts >= record.taken for record in records)
    assert len({(record.message_id, record.status) for record in records}) == len(records)
    summary = callbacks.summary()
    assert summary.reports == summary.reports_taken == len(records)
    assert summary.reports_taken + summary.taken_again == sum(record.taken for record in records)
    assert (summary.waiting, summary.given_up) == (0, 0)


def a_service(callbacks: Callbacks) -> MmsService:
    dice = random.Random(1)  # noqa: S311 - as above
    accounts = Accounts(None, lambda rate: limit_for("rolling", rate, burst=None, refused_count=False))
    return MmsService(accounts, Envelopes("meta", dice), FaultPlan(dice), Ledger(), callbacks=callbacks)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_early_reports_leave_at_once_and_the_answer_half_a_second_later(share: float) -> None:
    callbacks = callbacks_by(a_plan(early=share))
    answer = send_to(a_service(callbacks), form(), at_us=SECOND_US)
    assert answer.manner == (Late(0.5) if share else Whole())
    (record,) = callbacks.records()
    assert record.due_at_us == (SECOND_US if share else 2 * SECOND_US)
    assert record.is_early is bool(share)


@pytest.mark.parametrize(
    ("fault", "count"), [("reset_after_accept", 1), ("500_after_accept", 1), ("reset_before_accept", 0)]
)
def test_a_call_that_was_cut_has_reports_only_when_it_was_accepted(fault: str, count: int) -> None:
    callbacks = callbacks_by(a_plan())
    service = a_service(callbacks)
    send_to(service, form(text=f"[[fault:{fault}]]"))
    accepted = service.ledger.accepted()
    assert [record.message_id for record in callbacks.records()] == [entry.message_id for entry in accepted]
    assert len(accepted) == count


def test_a_full_record_refuses_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtest.simulator.callbacks.ENTRIES_MAX", 1)
    service = a_service(callbacks_by(a_plan()))
    assert [send_to(service, form()).http_status for _ in range(2)] == [200, 503]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"url": "ftp://host/path"}, "https://HOST/PATH"),
        ({"url": "https://"}, "https://HOST/PATH"),
        ({"url": f"{URL}?a=b"}, "without a query"),
        ({"repeated": 1.5}, "repeated is between 0 and 1"),
        ({"early": -0.1}, "early is between"),
        ({"delay_s": -1}, "delay_s is between"),
        ({"finals": {}}, "at least one status"),
        ({"finals": {"": 1}}, "40 characters"),
        ({"finals": {"Delivered": 0}}, "must not all be 0"),
        ({"finals": {"Delivered": -1}}, "weight of Delivered"),
        ({"retries_s": ()}, "1 to 100 waits"),
        ({"retries_s": (-1,)}, "A wait of retries_s"),
        ({"batch_max": 0}, "batch_max is between"),
        ({"batch_max": 1_001}, "batch_max is between"),
        ({"at_once": 0}, "at_once is between"),
        ({"tries_max": 0}, "tries_max is between"),
    ],
)
def test_a_plan_out_of_range_is_refused_with_a_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        a_plan(**values)


def test_the_address_holds_the_token_and_is_not_shown() -> None:
    assert "token" not in repr(a_plan())
