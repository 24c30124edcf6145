"""The books of a load test: what the ledger and the events say becomes one table, and each mistake a sentence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from loadtest.chaos.doubts import NOT_STARTED, SIGNALLED, Ending, Window
from loadtest.chaos.faults import Kind
from loadtest.load.books import Found, Queues, close
from loadtest.load.events import Told
from loadtest.load.jobs import JobMaker, name_of, number_of
from loadtest.load.ledger import Ledger, key_of
from loadtest.load.scenario import Jobs
from loadtest.simulator.records import Accepted, CallRecord

ACCOUNT = "default"
JOBS = 4
AT_US = 1_764_000_000_000_000
US = 1_000_000
AT = "2025-11-24T16:00:00.000Z"
REFUSING = Window(Kind.API_REFUSES, AT_US - US, AT_US + US)


def maker(recipients: int = 2) -> JobMaker:
    return JobMaker(Jobs(recipients=recipients), (ACCOUNT,), {"url": "https://example.com/a.png"})


def call(index: int, at_us: int = AT_US, status: int = 200) -> CallRecord:
    return CallRecord(index, key_of(ACCOUNT), "send-mms", at_us, "SUCCESS", status, 2)


def accepted(job: int, place: int, *, call: int = 0, text: str | None = None) -> Accepted:
    number = maker().numbers_of(job)[place] if job >= 0 else 61_400_000_000 - 1
    return Accepted(0, key_of(ACCOUNT), f"+{number}", text or maker().text_of(job), "", "", "m", AT_US + 5, call)


ALL_ACCEPTED = [accepted(job, place, call=job) for job in range(JOBS) for place in (0, 1)]


def ledger(entries: Iterable[Accepted] = ALL_ACCEPTED) -> Ledger:
    made = Ledger(maker(), JOBS)
    made.take([call(job, AT_US + job) for job in range(JOBS)], entries, lambda _: None)
    return made


def event(job: int, end: str = "sent", **data: object) -> dict[str, object]:
    return {"type": f"mms.job.{end}", "time": AT, "data": {"job_id": name_of(job), **data}}


def doubt(job: int, why: str = "the answer did not come") -> dict[str, object]:
    return event(job, "in_doubt", why=why, since=AT)


def resolved(job: int, resolution: str) -> dict[str, object]:
    return event(job, "resolved", resolution=resolution, by="report")


def told(*events: dict[str, object], of: int = JOBS) -> Told:
    made = Told(of)
    for one in events:
        made.take(one)
    return made


ALL_SENT = [event(job) for job in range(JOBS)]
NONE_LEFT = Queues({"mms.jobs.default": 0}, 0, 0)
WELL = Found(ledger(), told(*ALL_SENT), NONE_LEFT, (), (), JOBS, is_drained=True, surprises=(), leaks=0)


def test_a_job_is_known_by_its_id_and_by_its_numbers() -> None:
    made = maker(3)
    for job in (0, 7, 123_456):
        assert number_of(name_of(job)) == job
        assert {made.job_of(number) for number in made.numbers_of(job)} == {job}
        assert f'"{name_of(job)}"'.encode() in made.make(job, 0).body
    assert [number_of(name) for name in ("other-1", "load-", "load-1x", "load-\N{ARABIC-INDIC DIGIT ONE}")] == [
        None
    ] * 4


def test_urgent_jobs_are_as_many_as_were_asked_for_and_evenly_spread() -> None:
    made = JobMaker(Jobs(urgent_share=0.25), (ACCOUNT,), {})
    urgent = [job for job in range(1_000) if made.is_urgent(job)]
    assert urgent == list(range(3, 1_000, 4))
    assert made.make(3, 0).routing_key == "default.urgent"
    assert not any(maker().is_urgent(job) for job in range(100))


def test_all_is_well() -> None:
    books = close(WELL)
    assert books.problems == ()
    assert (books.published, books.sent, books.lost, books.duplicated, books.in_doubt) == (JOBS, JOBS, 0, 0, 0)


def test_the_moment_of_a_call_is_its_arrival() -> None:
    assert list(ledger().called_us) == [AT_US + job for job in range(JOBS)]
    assert list(ledger().calls[0].at_us) == [AT_US + job for job in range(JOBS)]
    assert ledger().recipients == [JOBS * 2]


def test_a_refused_call_is_no_admitted_one() -> None:
    made = Ledger(maker(), JOBS)
    made.take([call(0), call(1, AT_US + 1, status=429)], [], lambda _: None)
    assert list(made.calls[0].at_us) == [AT_US, AT_US + 1]
    assert list(made.calls[0].admitted_us) == [AT_US]


PUBLISHED_TWICE = ledger([*ALL_ACCEPTED, accepted(1, 0, call=2)])


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (replace(WELL, told=told(*ALL_SENT[1:])), "1 jobs have no end: load-0000000."),
        (replace(WELL, told=told(*ALL_SENT[1:])), "load-0000000 is told as nothing, and the API accepted 2 of its"),
        (replace(WELL, ledger=PUBLISHED_TWICE), "1 recipients got a message more than once, of load-0000001."),
        (replace(WELL, ledger=ledger(ALL_ACCEPTED[:-1])), "load-0000003 is told as sent, and the API accepted 1 of 2"),
        (replace(WELL, told=told(*ALL_SENT, event(0, "refused"))), "load-0000000 is told as refused and as sent."),
        (
            replace(WELL, told=told(*ALL_SENT[1:], event(0, "expired"))),
            "load-0000000 is told as expired, and the API accepted 2",
        ),
        (replace(WELL, ledger=ledger([*ALL_ACCEPTED, accepted(-1, 0)])), "accepted 1 recipients or texts that nobody"),
        (
            replace(WELL, ledger=ledger([*ALL_ACCEPTED[1:], accepted(0, 0, text="x")])),
            "accepted 1 recipients or texts that nobody",
        ),
        (replace(WELL, told=told(*ALL_SENT, event(99))), "1 events are about jobs that nobody published"),
        (replace(WELL, queues=replace(NONE_LEFT, waiting={"mms.retry.5s": 2})), "2 messages are left in mms.retry.5s."),
        (replace(WELL, queues=replace(NONE_LEFT, unroutable=1)), "1 jobs lie in mms.unroutable."),
        (replace(WELL, queues=replace(NONE_LEFT, in_doubt=1)), "mms.in_doubt holds 1 jobs, and 0 are told"),
        (replace(WELL, told=told(*ALL_SENT[1:], doubt(0)), windows=(REFUSING,)), "mms.in_doubt holds 0 jobs, and 1"),
        (replace(WELL, told=told(*ALL_SENT[1:], doubt(0))), "1 jobs are in doubt, and no fault explains it"),
        (replace(WELL, confirmed=3), "The broker confirmed 3 of 4 jobs."),
        (replace(WELL, is_drained=False), "Not everything had ended when the time was up."),
        (replace(WELL, surprises=("boom",)), "1 surprises are in the workers' logs: boom"),
        (replace(WELL, leaks=2), "2 lines of the workers' logs hold a phone number or a key."),
        (
            replace(WELL, endings=(Ending("worker 001", SIGNALLED, AT_US, AT_US, is_meant=False),)),
            "Worker 001 ended by signal 9, and nobody made it.",
        ),
        (
            replace(WELL, endings=(Ending("worker 001", NOT_STARTED, AT_US, AT_US, is_meant=False),)),
            "Worker 001 ended with exit code 2",
        ),
    ],
)
def test_each_way_in_which_they_do_not_balance_is_told(found: Found, sentence: str) -> None:
    problems = close(found).problems
    assert any(sentence in problem for problem in problems), problems


def test_what_is_lost_and_sent_twice_is_counted() -> None:
    assert close(replace(WELL, told=told(*ALL_SENT[1:]))).lost == 1
    assert close(replace(WELL, ledger=PUBLISHED_TWICE)).duplicated == 1
    unroutable = replace(WELL, told=told(*ALL_SENT[1:]), queues=replace(NONE_LEFT, unroutable=1))
    assert (close(unroutable).lost, close(unroutable).unroutable) == (0, 1)


def test_a_doubt_that_a_fault_explains_is_no_problem() -> None:
    found = replace(
        WELL,
        told=told(*ALL_SENT[1:], doubt(0), doubt(0)),
        windows=(REFUSING,),
        queues=replace(NONE_LEFT, in_doubt=1),
    )
    books = close(found)
    assert books.problems == ()
    assert (books.sent, books.in_doubt, books.in_doubt_explained, books.told_again) == (3, 1, 1, 1)


@pytest.mark.parametrize("late", [[resolved(0, "sent")], [resolved(0, "resent"), event(0)]])
def test_a_doubt_that_is_resolved_counts_as_what_it_turned_out_to_be(late: list[dict[str, object]]) -> None:
    books = close(replace(WELL, told=told(*ALL_SENT[1:], doubt(0), *late), windows=(REFUSING,)))
    assert books.problems == ()
    assert (books.sent, books.in_doubt, books.resolved) == (4, 0, 1)


def test_an_event_that_comes_again_is_counted_and_changes_nothing() -> None:
    books = close(replace(WELL, told=told(*ALL_SENT, ALL_SENT[0])))
    assert (books.problems, books.told_again, books.sent) == ((), 1, 4)


def test_events_of_no_job_are_passed_by() -> None:
    assert told({"type": "mms.message.report", "time": AT, "data": {"job_id": name_of(0)}}).ended == 0
