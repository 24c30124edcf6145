"""The books: who wins when events and the ledger say different things."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.demo.books import Books, Death, Duplicate, Reckoning
from loadtest.demo.jobs import DemoJob, End, make_jobs
from loadtest.demo.pictures import SamplePicture
from loadtest.simulator.records import Accepted

PICTURE = SamplePicture("dot.gif", "R0lGODlh", "5ha")
JOBS = make_jobs(200, [PICTURE], datetime(2026, 11, 22, tzinfo=UTC))
TYPES = {End.SENT: "sent", End.REFUSED: "refused", End.EXPIRED: "expired", End.DEAD: "dead", End.IN_DOUBT: "in_doubt"}
SECOND_US = 1_000_000


def job_of(end: End, *, is_named: bool = True) -> DemoJob:
    return next(job for job in JOBS if job.should_end is end and (job.id is not None) is is_named)


def event(job: DemoJob, end: End | None = None) -> dict[str, Any]:
    end = end or job.should_end
    return {
        "type": f"mms.job.{TYPES[end]}",
        "id": f"{job.name}:{end}",
        "data": {"job_id": job.id, "recipients": [{"to": to, "message_id": "m"} for to in sorted(job.to)]},
    }


def entries(job: DemoJob, at_us: int = SECOND_US) -> list[Accepted]:
    return [
        Accepted(
            index=0,
            account="demo-key",
            to=to,
            text=job.text,
            subject="",
            picture_sha256=job.picture_sha256,
            message_id="m",
            at_us=at_us,
            call=7,
        )
        for to in sorted(job.to)
    ]


SENT = [job for job in JOBS if job.should_end is End.SENT]
ALL_EVENTS = [event(job) for job in JOBS if job.should_end is not End.UNROUTABLE]
ALL_ACCEPTED = [entry for job in JOBS for entry in entries(job)]
LETTERS = [job.body for job in JOBS if job.should_end is End.DEAD]
UNROUTABLE = [job.body for job in JOBS if job.should_end is End.UNROUTABLE]


def reckon(
    events: list[dict[str, Any]],
    accepted: list[Accepted],
    *,
    letters: list[bytes] = LETTERS,
    left_over: int = 0,
) -> Reckoning:
    books = Books(JOBS)
    for each in events:
        books.take(each)
    return books.reckon(letters=letters, unroutable=UNROUTABLE, accepted=accepted, left_over=left_over)


def without(job: DemoJob) -> list[dict[str, Any]]:
    return [each for each in ALL_EVENTS if each["id"].split(":")[0] != job.name]


def test_the_books_of_a_perfect_run_balance() -> None:
    books = reckon(ALL_EVENTS, ALL_ACCEPTED)
    assert books.problems == ()
    assert books.is_balanced
    assert sum(books.ends.values()) == books.published == 200
    assert books.recipients_told == books.recipients_accepted == len(ALL_ACCEPTED)
    assert books.duplicates == ()


@given(order=st.permutations(ALL_EVENTS), again=st.lists(st.sampled_from(ALL_EVENTS), max_size=5))
def test_order_and_repeats_of_events_change_nothing(order: list[dict[str, Any]], again: list[dict[str, Any]]) -> None:
    assert reckon(order + again, ALL_ACCEPTED) == reckon(ALL_EVENTS, ALL_ACCEPTED)


def test_a_job_without_an_event_is_lost_even_when_the_api_accepted_it() -> None:
    job = job_of(End.SENT)
    books = reckon(without(job), ALL_ACCEPTED)
    assert books.lost == (job.name,)
    assert books.problems == (f"{job.name} was accepted by the API, and is told as nothing at all.",)
    assert not books.is_balanced


def test_an_unreadable_job_is_lost_when_no_letter_holds_it() -> None:
    job = job_of(End.DEAD, is_named=False)
    books = reckon(ALL_EVENTS, ALL_ACCEPTED, letters=[body for body in LETTERS if body != job.body])
    assert books.lost == (job.name,)


def test_a_job_told_as_dead_must_lie_in_mms_dead() -> None:
    job = job_of(End.DEAD)
    books = reckon(ALL_EVENTS, ALL_ACCEPTED, letters=[body for body in LETTERS if body != job.body])
    assert books.problems == (f"mms.dead holds {len(LETTERS) - 1} different jobs, and {len(LETTERS)} ended as dead.",)


def test_an_unreadable_job_in_mms_dead_of_which_no_event_tells_is_a_problem() -> None:
    job = job_of(End.DEAD, is_named=False)
    books = reckon(without(job), ALL_ACCEPTED)
    assert any("without a readable id" in problem for problem in books.problems)


def test_a_job_in_doubt_balances_whether_the_api_accepted_it_or_not() -> None:
    job = job_of(End.SENT)
    events = [*without(job), event(job, End.IN_DOUBT)]
    not_accepted = [entry for entry in ALL_ACCEPTED if entry.text != job.text]
    for accepted in (ALL_ACCEPTED, not_accepted):
        books = reckon(events, accepted)
        assert books.is_balanced
        assert books.ends[End.IN_DOUBT] == 1


@pytest.mark.parametrize(
    ("events", "accepted", "problem"),
    [
        ([*ALL_EVENTS, event(job_of(End.SENT), End.IN_DOUBT)], ALL_ACCEPTED, "ended more than once"),
        (
            [*without(job_of(End.REFUSED)), event(job_of(End.REFUSED), End.DEAD)],
            ALL_ACCEPTED,
            "should have ended as refused",
        ),
        (ALL_EVENTS, ALL_ACCEPTED[1:], "is told as sent to"),
    ],
)
def test_events_and_ledger_must_agree(events: list[dict[str, Any]], accepted: list[Accepted], problem: str) -> None:
    books = reckon(events, accepted)
    assert any(problem in each for each in books.problems)
    assert not books.is_balanced


def resolved(job: DemoJob, resolution: str = "sent", by: str = "report", count: int | None = None) -> dict[str, Any]:
    told = [{"to": to, "message_id": "m"} for to in sorted(job.to)][:count]
    data = {"job_id": job.id, "resolution": resolution, "by": by, "recipients": told}
    return {"type": "mms.job.resolved", "id": f"{job.name}:resolved:1", "data": data}


@pytest.mark.parametrize("is_repeated", [False, True])
def test_a_job_in_doubt_of_which_a_report_told_is_one_that_was_sent(is_repeated: bool) -> None:  # noqa: FBT001
    job = next(job for job in JOBS if len(job.to) > 1)
    events = [*without(job), event(job, End.IN_DOUBT), resolved(job, count=1)]
    books = reckon(events + events[-2:] * is_repeated, ALL_ACCEPTED)
    assert books.is_balanced
    assert (books.resolved, books.ends[End.SENT], End.IN_DOUBT in books.ends) == (1, len(SENT), False)
    others = [entry for entry in ALL_ACCEPTED if entry.text != job.text]
    for some in (0, 1):
        assert not reckon(events, [*others, *entries(job)[:some]]).is_balanced


def test_a_job_is_in_doubt_until_it_is_resolved() -> None:
    job = job_of(End.SENT)
    books = Books(JOBS)
    books.take(event(job, End.IN_DOUBT))
    assert (books.in_doubt, books.sent, books.ended) == (frozenset({job.name}), 0, 1)
    books.take(resolved(job))
    assert (books.in_doubt, books.sent, books.ended) == (frozenset(), 1, 1)


@pytest.mark.parametrize(("resolution", "by"), [("sent", "operator"), ("given_up", "rule"), ("resent", "rule")])
def test_what_no_report_resolved_is_a_problem(resolution: str, by: str) -> None:
    job = job_of(End.SENT)
    events = [*without(job), event(job, End.IN_DOUBT), resolved(job, resolution, by)]
    assert reckon(events, ALL_ACCEPTED).problems == (f"{job.name} was resolved as {resolution} by {by}.",)


def test_a_message_is_of_the_job_with_its_text_and_picture() -> None:
    first, second = SENT[0], SENT[1]
    listed = [replace(entry, message_id=f"of {job.name}") for job in (first, second) for entry in entries(job)]
    stranger = replace(listed[0], text="hello", message_id="of nobody")
    assert Books(JOBS).job_of_message([*listed, stranger]) == {f"of {job.name}": job.name for job in (first, second)}


def test_what_nobody_published_is_a_problem() -> None:
    stranger = Accepted(0, "demo-key", "+61491570000", "hello", "", PICTURE.sha256, "m", SECOND_US, 3)
    wrong_picture = [Accepted(0, "demo-key", "+61491570000", JOBS[0].text, "", "other", "m", SECOND_US, 4)]
    for more in ([stranger], wrong_picture):
        books = reckon(ALL_EVENTS, [*ALL_ACCEPTED, *more])
        assert any("what nobody published" in each for each in books.problems)
    unknown = {"type": "mms.job.sent", "id": "x", "data": {"job_id": "other-1", "recipients": []}}
    assert any("nobody published" in each for each in reckon([*ALL_EVENTS, unknown], ALL_ACCEPTED).problems)


def test_jobs_that_still_wait_are_a_problem() -> None:
    assert reckon(ALL_EVENTS, ALL_ACCEPTED, left_over=2).problems == ("2 jobs still wait in the queue.",)


def test_a_second_acceptance_is_a_duplicate_that_only_a_death_in_time_explains() -> None:
    job = job_of(End.SENT)
    books = reckon(ALL_EVENTS, [*ALL_ACCEPTED, *entries(job, at_us=9 * SECOND_US)])
    assert books.duplicates == (Duplicate(job.name, SECOND_US, 9 * SECOND_US),) * len(job.to)
    duplicate = books.duplicates[0]
    assert Death(alive_at_us=SECOND_US + 50_000, noticed_at_us=SECOND_US + 250_000).explains(duplicate)
    assert not Death(alive_at_us=3 * SECOND_US, noticed_at_us=3 * SECOND_US).explains(duplicate)
    assert not Death(alive_at_us=0, noticed_at_us=100_000).explains(duplicate)


def test_other_events_are_passed_by() -> None:
    report = {"type": "mms.message.report", "id": "r", "data": {"job_id": "whatever"}}
    assert reckon([*ALL_EVENTS, report], ALL_ACCEPTED).is_balanced
