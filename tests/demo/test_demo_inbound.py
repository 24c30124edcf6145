"""The books of what comes back: events against what the simulator posted."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.demo.callbacks import REPLIES, replies_to
from loadtest.demo.inbound import Inbound, InboundReckoning
from loadtest.demo.jobs import CUT
from loadtest.simulator.records import Accepted, CallbackRecord, CallbackSummary, ReplyRecord

JOB_OF_MESSAGE = {"m-1": "demo-0001", "m-2": "demo-0002"}
ANSWERED = {"r-1": "m-1", "r-2": "m-2"}
INBOX = [ReplyRecord("r-1", is_read=True), ReplyRecord("r-2", is_read=True)]


def posted(message_id: str, status: str, *, posts: int = 1, is_early: bool = False) -> CallbackRecord:
    return CallbackRecord(
        index=0,
        kind="report",
        account="demo-key",
        message_id=message_id,
        to="+61400000001",
        status=status,
        is_early=is_early,
        due_at_us=1,
        posts=posts,
        taken=posts,
        first_at_us=1,
        taken_at_us=2,
    )


def report(message_id: str, status: str, job_id: str | None = None) -> dict[str, Any]:
    data = {"message_id": message_id, "to": "+61400000001", "status": status}
    return {"type": "mms.message.report", "data": data | {"job_id": job_id or JOB_OF_MESSAGE.get(message_id)}}


def reply(message_id: str, job_id: str | None = None) -> dict[str, Any]:
    told = job_id or JOB_OF_MESSAGE.get(ANSWERED.get(message_id, ""))
    return {"type": "mms.reply.received", "data": {"message_id": message_id, "job_id": told}}


POSTED = [
    posted("m-1", "Dispatched", is_early=True),
    posted("m-1", "Delivered", posts=2),
    posted("m-2", "Failed"),
    replace(posted("r-1", ""), kind="reply", to=""),
]
EVENTS = [
    report("m-1", "dispatched"),
    report("m-1", "delivered"),
    report("m-2", "failed"),
    reply("r-1"),
    reply("r-2"),
]


def reckon(events: list[dict[str, Any]], inbox: list[ReplyRecord] = INBOX) -> InboundReckoning:
    inbound = Inbound()
    for event in events:
        inbound.take(event)
    return inbound.reckon(posted=POSTED, replies=inbox, replies_sent=ANSWERED, job_of_message=JOB_OF_MESSAGE)


@given(st.permutations(EVENTS))
def test_the_books_of_a_perfect_run_balance_in_any_order(events: list[dict[str, Any]]) -> None:
    assert reckon(events) == InboundReckoning(
        reports=3,
        reports_made=3,
        again=1,
        early=1,
        statuses={"dispatched": 1, "delivered": 1, "failed": 1},
        replies=2,
        replies_made=2,
        both_ways=1,
        problems=(),
    )


@pytest.mark.parametrize(
    ("events", "problem"),
    [
        (EVENTS[1:], "1 reports were posted, and no event tells of them."),
        ([*EVENTS, report("m-2", "delivered")], "1 reports are told that were never posted."),
        (
            [report("m-1", "dispatched", "demo-0002"), *EVENTS[1:]],
            "1 reports are told of another job than the one that was sent.",
        ),
        (EVENTS[:-1], "1 replies came in, and no event tells of them."),
        ([*EVENTS, reply("r-3")], "1 replies are told that never came in."),
        ([*EVENTS[:-1], reply("r-2", "demo-0001")], "1 replies are told as answers to another job."),
        ([*EVENTS, EVENTS[0], EVENTS[-1]], "2 reports and replies are told more than once."),
    ],
)
def test_what_does_not_balance_is_told(events: list[dict[str, Any]], problem: str) -> None:
    assert reckon(events).problems == (problem,)


def test_a_reply_that_stays_unread_is_a_problem() -> None:
    problems = reckon(EVENTS, [INBOX[0], ReplyRecord("r-2", is_read=False)]).problems
    assert problems == ("1 replies were not marked as read.",)


POSTED_ALL = CallbackSummary(
    reports=3,
    reports_taken=3,
    replies=1,
    replies_taken=1,
    taken_again=1,
    requests=4,
    requests_refused=0,
    given_up=0,
    waiting=0,
)


@pytest.mark.parametrize(
    ("events", "summary", "is_complete"),
    [
        (EVENTS, POSTED_ALL, True),
        (EVENTS, replace(POSTED_ALL, waiting=1), False),
        (EVENTS[1:], POSTED_ALL, False),
        (EVENTS[:-1], POSTED_ALL, False),
    ],
)
def test_it_is_complete_once_all_was_posted_and_told(
    events: list[dict[str, Any]], summary: CallbackSummary, *, is_complete: bool
) -> None:
    inbound = Inbound()
    for event in events:
        inbound.take(event)
    assert inbound.is_complete(summary, replies=2) is is_complete


def test_other_events_are_passed_by_and_jobs_of_reports_are_known() -> None:
    inbound = Inbound()
    for event in (EVENTS[0], report("m-9", "delivered"), {"type": "mms.job.sent", "data": {"job_id": "demo-0005"}}):
        inbound.take(event)
    assert (inbound.reports, inbound.replies, inbound.jobs_reported) == (2, 0, frozenset({"demo-0001"}))


def test_replies_answer_the_first_messages_but_not_one_in_doubt() -> None:
    texts = [f"Your parcel {CUT}", *(f"Your parcel {number}" for number in range(20))]
    accepted = [
        Accepted(place, "demo-key", f"+6140000{place:04}", text, "", "sha", f"m-{place}", 1, place)
        for place, text in enumerate(texts)
    ]
    replies = replies_to(accepted)
    assert [one["original_message_id"] for one in replies] == [f"m-{place}" for place in range(1, REPLIES + 1)]
    assert [one["from"] for one in replies] == [f"+6140000{place:04}" for place in range(1, REPLIES + 1)]
