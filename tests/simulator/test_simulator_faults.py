"""Which call is hit by which fault, and what a fault makes of it."""

import random

import pytest

from loadtest.simulator.fault_effects import AFTER_ACCEPTING, INSTEAD_OF_ACCEPTING
from loadtest.simulator.faults import FAULT_KINDS, Fault, FaultKind, FaultPlan, fault_in_text
from tests.simulator.sending import KEY, form, new_service, send_to


def kinds(plan: FaultPlan, *texts: str, account: str = "A") -> list[str | None]:
    picked = (plan.pick("send-mms", account, text) for text in texts)
    return [None if fault is None else fault.kind for fault in picked]


def new_plan(*faults: Fault) -> FaultPlan:
    plan = FaultPlan(random.Random(1))  # noqa: S311 - repeatable, and no secret
    for fault in faults:
        plan.add(fault)
    return plan


def test_a_count_is_used_up_and_the_next_fault_takes_over() -> None:
    plan = new_plan(Fault("502_page", count=2), Fault("redirect", count=1))
    assert kinds(plan, *"abcd") == ["502_page", "502_page", "redirect", None]


def test_a_marker_and_an_account_narrow_a_fault() -> None:
    plan = new_plan(Fault("never", marker="stop"), Fault("redirect", account="B"))
    assert kinds(plan, "go", "please stop here") == [None, "never"]
    assert kinds(plan, "go", account="B") == ["redirect"]


def test_a_fault_hits_sends_alone_unless_widened() -> None:
    assert new_plan(Fault("502_page")).pick("account", "A", "") is None
    assert new_plan(Fault("502_page", operation="any")).pick("account", "A", "") is not None


def test_a_probability_hits_its_share_of_the_calls() -> None:
    hits = kinds(new_plan(Fault("502_page", probability=0.25)), *["x"] * 2_000).count("502_page")
    assert 400 < hits < 600


def test_cleared_faults_hit_nothing() -> None:
    plan = new_plan(Fault("502_page"))
    plan.clear()
    assert kinds(plan, "x") == [None]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("plain", None),
        ("a [[fault:late:3.5]] b", Fault("late", after_s=3.5)),
        ("[[fault:never]]", Fault("never")),
        ("[[fault:200_with_error_code:OVER_LIMIT]]", Fault("200_with_error_code", code="OVER_LIMIT")),
    ],
)
def test_a_fault_is_read_out_of_the_text(text: str, fault: Fault | None) -> None:
    assert fault_in_text(text) == fault


@pytest.mark.parametrize("text", ["[[fault:explode]]", "[[fault:late:soon]]", "[[fault:late:-1]]"])
def test_a_marker_that_means_nothing_is_refused_and_not_sent(text: str) -> None:
    service = new_service()
    assert send_to(service, form(text=text)).result == "FIELD_INVALID"
    assert service.ledger.accepted() == []


@pytest.mark.parametrize(
    "wrong", [{"kind": "explode"}, {"kind": "late", "count": 0}, {"kind": "late", "probability": 1.1}]
)
def test_a_fault_out_of_range_is_a_sentence(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        Fault(**wrong)  # type: ignore[arg-type]  # wrong on purpose


def test_every_kind_has_one_effect() -> None:
    assert sorted([*AFTER_ACCEPTING, *INSTEAD_OF_ACCEPTING]) == sorted(FAULT_KINDS)


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_a_fault_accepts_if_and_only_if_its_kind_says_so(kind: FaultKind) -> None:
    service = new_service()
    service.faults.add(Fault(kind, count=1))
    answer = send_to(service, form())
    assert answer.result == kind
    accepted = kind in AFTER_ACCEPTING
    assert (len(service.ledger.accepted()), answer.recipients) == (accepted, accepted)
    assert service.ledger.summary(KEY).calls_by_result == {kind: 1}
    assert send_to(service, form()).result == "SUCCESS"
