"""What becomes of held jobs in doubt without a person: a table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.jobs import a_delivery, job_body
from worker.core.doubt_rules import RELEASING_S_MAX, Deadline, DoubtRule, wish_for
from worker.core.events import ResolvedBy
from worker.core.held_jobs import HeldJob, HeldMessage, Holding, read_held
from worker.core.job import Job, decode
from worker.core.journal import GIVEN_UP, IN_DOUBT, MICRO, RELEASED, SENT, Record, Remembered, State
from worker.core.settlement import Moment, hold_in_doubt

AT = datetime(2026, 11, 22, 3, 4, 5, tzinfo=UTC)
NOW_US = int(AT.timestamp() * MICRO)
AFTER_S = 3_600.0
HOLD, RESEND, GIVE_UP = (Deadline(rule, AFTER_S) for rule in DoubtRule)


def held_for(age_s: float) -> HeldJob:
    body = job_body()
    job = decode(body, region="AU")
    assert isinstance(job, Job)
    now = Moment(at=AT - timedelta(seconds=age_s), chance=0.0)
    copy = hold_in_doubt(a_delivery(body), job, "HTTP 502", now=now).publications[0]
    return read_held(HeldMessage(copy.body, copy.headers, None), Holding.IN_DOUBT)


OLD, YOUNG = held_for(AFTER_S + 1), held_for(AFTER_S - 1)
UNDATED = read_held(HeldMessage(job_body(), {"x-mms-account": "acme"}, None), Holding.IN_DOUBT)
DOUBT, TOLD_DOUBT = Record(State.ENDED, "f", end=IN_DOUBT), Record(State.TOLD, "f", end=IN_DOUBT)
FRESHLY_OPEN = Record(State.OPEN, "f", at_us=NOW_US - int((RELEASING_S_MAX - 1) * MICRO))
LEFT_OPEN = Record(State.OPEN, "f", at_us=NOW_US - int((RELEASING_S_MAX + 1) * MICRO))

CASES = [
    # In doubt: the account's rule, once the deadline is over.
    (OLD, TOLD_DOUBT, HOLD, None),
    (OLD, TOLD_DOUBT, RESEND, RELEASED),
    (OLD, TOLD_DOUBT, GIVE_UP, GIVEN_UP),
    (OLD, DOUBT, RESEND, RELEASED),  # held, by a worker that died before it told the journal
    (OLD, DOUBT, GIVE_UP, GIVEN_UP),
    (YOUNG, TOLD_DOUBT, RESEND, None),
    (YOUNG, TOLD_DOUBT, GIVE_UP, None),
    (UNDATED, TOLD_DOUBT, GIVE_UP, None),
    # What the journal does not remember may have been sent: it is never sent again by a rule.
    (OLD, None, HOLD, None),
    (OLD, None, RESEND, None),
    (OLD, None, GIVE_UP, GIVEN_UP),
    (OLD, Record(State.UNREADABLE, ""), RESEND, None),
    (OLD, Record(State.UNREADABLE, ""), GIVE_UP, GIVEN_UP),
    # Under way, or about to be told.
    (OLD, Record(State.CLAIMED, "f", "w-1", NOW_US), RESEND, None),
    (OLD, Record(State.CLAIMED, "f", "w-1", 0), GIVE_UP, None),
    (OLD, Record(State.ENDED, "f", end="sent"), RESEND, None),
    (OLD, Record(State.ENDED, "f", end="refused"), GIVE_UP, None),
    (OLD, FRESHLY_OPEN, RESEND, None),
    # Somebody has decided: with any rule, at any age.
    (YOUNG, LEFT_OPEN, HOLD, RELEASED),
    (OLD, LEFT_OPEN, GIVE_UP, RELEASED),
    (YOUNG, Record(State.RESOLVED, "f", end=SENT, details="{}"), HOLD, SENT),
    (YOUNG, Record(State.RESOLVED, "f", end=GIVEN_UP), HOLD, GIVEN_UP),
    (OLD, Record(State.RESOLVED, "f", end=SENT), RESEND, SENT),
    (YOUNG, Record(State.TOLD, "f", end="sent"), HOLD, SENT),
    (OLD, Record(State.TOLD, "f", end="refused"), RESEND, GIVEN_UP),
    (YOUNG, Record(State.TOLD, "f", end="expired"), HOLD, GIVEN_UP),
    (OLD, Record(State.TOLD, "f", end="of another release"), RESEND, None),
]


@pytest.mark.parametrize(("held", "record", "deadline", "end"), CASES)
def test_what_becomes_of_a_held_job(held: HeldJob, record: Record | None, deadline: Deadline, end: str | None) -> None:
    wish = wish_for(held, Remembered(record), deadline, AT)
    assert (wish.end if wish else None) == end


def test_the_evidence_says_which_rule_and_after_how_long() -> None:
    wish = wish_for(OLD, Remembered(TOLD_DOUBT), RESEND, AT)
    assert wish is not None
    assert wish.grounds.by is ResolvedBy.RULE
    assert wish.grounds.evidence == (
        "the account's rule resend, after 3600 s: it was in doubt for 3601 s, and nothing said whether it was sent"
    )
