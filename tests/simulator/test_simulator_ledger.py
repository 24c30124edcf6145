"""The ledger's answers."""

from dataclasses import replace

import pytest

from loadtest.simulator.ledger import PAGE_MAX, Content, Ledger
from loadtest.simulator.limit import SECOND_US
from loadtest.simulator.records import Accepted, CallRecord

CONTENT = Content("A", "text", "subject", bytes(32))


def called(ledger: Ledger, at_us: int, *, account: str = "A", admitted: bool = True) -> int:
    handle = ledger.open_call(account, 15, "send-mms", at_us)
    if admitted:
        ledger.admitted(account, at_us)
    return handle


@pytest.mark.parametrize(
    ("second", "duplicates"),
    [
        (CONTENT, 1),
        (CONTENT._replace(text="other"), 0),
        (CONTENT._replace(subject="other"), 0),
        (CONTENT._replace(picture_sha256=bytes([1] * 32)), 0),
        (CONTENT._replace(account="B"), 0),
    ],
)
def test_a_duplicate_is_the_same_recipient_and_content_again(second: Content, duplicates: int) -> None:
    ledger = Ledger()
    first_call, second_call = called(ledger, 0), called(ledger, 1, account=second.account)
    ledger.accept(first_call, CONTENT, [61412345678, 61412345679], 0)
    ledger.accept(second_call, second, [61412345679, 61412345680], 1)
    assert ledger.summary().duplicates == duplicates
    assert ledger.summary().recipients_accepted == 4


def test_a_number_twice_in_one_call_is_a_duplicate() -> None:
    ledger = Ledger()
    ledger.accept(called(ledger, 0), CONTENT, [61412345678, 61412345678], 0)
    assert ledger.summary().duplicates == 1


def test_accepted_recipients_and_calls_are_told_as_they_were() -> None:
    ledger = Ledger()
    handle = called(ledger, 5)
    (message_id,) = ledger.accept(handle, CONTENT, [61412345678], 7)
    assert ledger.calls() == [CallRecord(0, "A", "send-mms", 5, "open", 0, 0)]
    ledger.close_call(handle, "SUCCESS", 200, 1)
    assert ledger.calls() == [CallRecord(0, "A", "send-mms", 5, "SUCCESS", 200, 1)]
    told = Accepted(0, "A", "+61412345678", "text", "subject", "00" * 32, message_id, 7, 0)
    assert ledger.accepted() == [told]
    assert ledger.accepted(1) == []


def test_the_worst_second_holds_refused_arrivals_of_one_account_alone() -> None:
    ledger = Ledger()
    for at_us in (0, 400_000, 999_999, 1_000_000):
        called(ledger, at_us, admitted=at_us != 999_999)
        called(ledger, at_us, account="B", admitted=False)
        for _ in range(2):
            called(ledger, at_us, account="", admitted=False)
    summary = ledger.summary()
    assert (summary.worst_rolling_second, summary.worst_rolling_second_admitted) == (3, 2)
    assert (summary.calls, summary.span_s, ledger.summary("A").calls) == (16, 1.0, 4)


def test_the_share_of_the_limit_is_admitted_calls_over_what_was_permitted() -> None:
    ledger = Ledger()
    called(ledger, 0)
    assert ledger.summary().share_of_limit is None
    called(ledger, SECOND_US)
    assert ledger.summary().share_of_limit == pytest.approx(2 / 15)
    ledger.rate_changed("A", 30, SECOND_US)
    called(ledger, 2 * SECOND_US)
    assert ledger.summary("A").share_of_limit == pytest.approx(3 / 45)


def test_counts_follow_a_call_whose_outcome_is_told_again() -> None:
    ledger = Ledger()
    handle = called(ledger, 0)
    ledger.close_call(handle, "OVER_LIMIT", 429, 0)
    assert (ledger.summary().throttled_calls, ledger.summary().accepted_calls) == (1, 0)
    ledger.close_call(handle, "SUCCESS", 200, 2)
    summary = ledger.summary()
    assert (summary.throttled_calls, summary.accepted_calls) == (0, 1)
    assert summary.calls_by_result == {"SUCCESS": 1}


def test_after_a_reset_old_calls_are_forgotten_and_message_ids_stay_unique() -> None:
    ledger = Ledger()
    old = called(ledger, 0)
    ids = ledger.accept(old, CONTENT, [61412345678], 0)
    ledger.reset()
    new = called(ledger, 1)
    ledger.close_call(old, "SUCCESS", 200, 1)
    ids += ledger.accept(old, CONTENT, [61412345678], 2) + ledger.accept(new, CONTENT, [61412345679], 3)
    assert ledger.calls() == [CallRecord(0, "A", "send-mms", 1, "open", 0, 0)]
    assert [entry.call for entry in ledger.accepted()] == [-1, 0]
    assert ledger.summary().duplicates == 0
    assert len(set(ids)) == 3


def test_pages_are_bounded_and_follow_each_other() -> None:
    ledger = Ledger()
    numbers = list(range(61400000000, 61400000000 + PAGE_MAX + 5))
    ledger.accept(called(ledger, 0), CONTENT, numbers, 0)
    first, second = ledger.accepted(), ledger.accepted(PAGE_MAX)
    assert (len(first), len(second)) == (PAGE_MAX, 5)
    assert replace(second[0], to="", message_id="") == Accepted(
        PAGE_MAX, "A", "", "text", "subject", "00" * 32, "", 0, 0
    )
    assert [entry.to for entry in first + second] == [f"+{number}" for number in numbers]
