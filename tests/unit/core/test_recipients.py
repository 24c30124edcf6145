"""What is remembered of a recipient: what hangs on time and number, and what a job leaves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.job import Job
from worker.core.journal import JOURNAL_SLACK_S
from worker.core.outcome import InDoubt, JobOutcome, NotSent, RefusedJob, Sent, Throttled
from worker.core.picture import Picture, PictureKind
from worker.core.recipients import (
    DOUBTS_MAX,
    MESSAGES_MAX,
    NOBODY,
    STATUSES_MAX,
    TELLING_MS_MAX,
    Doubt,
    Look,
    Message,
    Recipient,
    Telling,
    assign,
    found,
    look,
    note,
    put_off,
    read,
    told,
    written,
)
from worker.core.sendings import NOTED_LATE_S_MAX, RECENT_MS, Known, SentJob, Stranger, Trace, traces_of

TO, ALSO_TO = "+61412345678", "+61412345679"
LATE_MS = int((10 + 30 + JOURNAL_SLACK_S + NOTED_LATE_S_MAX) * 1_000)
ONE, OTHER = SentJob("job-1", "crm:1"), SentJob("job-2", None)
NOW_MS = 1_764_125_531_000
R1, R2 = "r1", "r2"


def sent(message_id: str, job: SentJob = ONE) -> Trace:
    return Trace(TO, message_id, job.job_id, job.reference)


def noted(*traces: tuple[int, Trace]) -> Recipient:
    """What is remembered after traces, each left so many ms after ``NOW_MS``."""
    known = NOBODY
    for at_ms, trace in traces:
        known, _ = note(known, trace, now_ms=NOW_MS + at_ms)
    return known


def heard(known: Recipient, message_id: str, at_ms: int, *, has_waited: bool = False) -> Recipient:
    """A report of the message is looked at, and put off."""
    known, verdict = look(known, message_id, "delivered", R1, has_waited=has_waited, now_ms=NOW_MS + at_ms)
    assert verdict is Look.OURS
    return put_off(known, message_id, "delivered", R1)


def stranger(known: Recipient, message_id: str, at_ms: int) -> Stranger:
    found_now = found(known, message_id, R1, now_ms=NOW_MS + at_ms, late_ms_max=LATE_MS)
    assert isinstance(found_now, Stranger)
    return found_now


@pytest.mark.parametrize(
    ("apart_ms", "token", "verdict"),
    [
        (0, R2, Look.BUSY),
        (TELLING_MS_MAX - 1, R2, Look.BUSY),
        (TELLING_MS_MAX, R2, Look.OURS),
        (-TELLING_MS_MAX + 1, R2, Look.BUSY),
        (-TELLING_MS_MAX, R2, Look.OURS),  # the store's clock was set back
        (1, R1, Look.OURS),
    ],
)
@pytest.mark.parametrize("status", ["delivered", "queued"])
def test_who_tells_keeps_others_away_for_a_while(apart_ms: int, token: str, verdict: Look, status: str) -> None:
    known, _ = look(NOBODY, "m1", "delivered", R1, now_ms=NOW_MS)
    _, found_verdict = look(known, "m1", status, token, now_ms=NOW_MS + apart_ms)
    assert found_verdict is verdict


def test_what_is_told_is_told_whoever_told_it() -> None:
    known, _ = look(NOBODY, "m1", "delivered", R1, now_ms=NOW_MS)
    known = told(known, "m1", "delivered", now_ms=NOW_MS + TELLING_MS_MAX)
    assert look(known, "m1", "delivered", R1, now_ms=NOW_MS + TELLING_MS_MAX) == (known, Look.TOLD)
    assert known.messages[0].telling == ()


@pytest.mark.parametrize(
    ("statuses", "final"),
    [
        ((), None),
        (("queued", "dispatched", "odd"), None),
        (("delivered",), "delivered"),
        (("queued", "failed", "dispatched", "delivered"), "failed"),
    ],
)
@pytest.mark.parametrize("traces", [(), ((0, sent("m1")),)])
def test_the_first_final_status_counts(
    statuses: tuple[str, ...], final: str | None, traces: tuple[tuple[int, Trace], ...]
) -> None:
    known = noted(*traces)
    for status in statuses:
        known = told(known, "m1", status, now_ms=NOW_MS)
    assert found(known, "m1", R1, now_ms=NOW_MS, late_ms_max=LATE_MS).final == final


@pytest.mark.parametrize(("status", "token", "final"), [("delivered", R1, "delivered"), ("queued", R1, None)])
def test_a_final_status_that_somebody_began_to_tell_and_did_not_end_may_have_been_told(
    status: str, token: str, final: str | None
) -> None:
    begun, _ = look(noted((0, sent("m1"))), "m1", status, token, now_ms=NOW_MS)
    later_ms = NOW_MS + TELLING_MS_MAX
    known, verdict = look(begun, "m1", "dispatched", R2, now_ms=later_ms)
    assert verdict is Look.OURS
    assert found(known, "m1", R2, now_ms=later_ms, late_ms_max=LATE_MS).final == final
    # One's own, of the same request, comes later than what is asked about now; and what was put off was not told.
    assert found(begun, "m1", token, now_ms=NOW_MS, late_ms_max=LATE_MS).final is None
    known, _ = look(put_off(begun, "m1", status, token), "m1", "dispatched", R2, now_ms=later_ms)
    assert found(known, "m1", R2, now_ms=later_ms, late_ms_max=LATE_MS).final is None


def test_how_long_ago_a_send_was_answered_whenever_its_report_came() -> None:
    known = noted((5_000, sent("m1")))
    assert found(known, "m1", R1, now_ms=NOW_MS + 7_000, late_ms_max=LATE_MS) == Known(ONE, None, 2_000_000)
    early = heard(NOBODY, "m1", 0)
    early, _ = note(early, sent("m1"), now_ms=NOW_MS + 5_000)
    assert found(early, "m1", R1, now_ms=NOW_MS + 7_000, late_ms_max=LATE_MS) == Known(ONE, None, 2_000_000)
    assert found(early, "m1", R1, now_ms=NOW_MS, late_ms_max=LATE_MS) == Known(ONE, None, 0)  # the clock was set back


def test_an_assigned_message_is_as_old_as_the_doubt() -> None:
    known = heard(noted((1_000, sent(""))), "m1", 3_000)
    known, _ = assign(known, "m1", ONE, now_ms=NOW_MS + 4_000)
    assert found(known, "m1", R1, now_ms=NOW_MS + 6_000, late_ms_max=LATE_MS) == Known(ONE, None, 5_000_000)
    without = heard(NOBODY, "m1", 3_000)
    without, _ = assign(without, "m1", ONE, now_ms=NOW_MS + 4_000)
    assert found(without, "m1", R1, now_ms=NOW_MS + 6_000, late_ms_max=LATE_MS) == Known(ONE, None, 3_000_000)


@pytest.mark.parametrize(("noted_ms", "doubts"), [(0, (ONE,)), (LATE_MS, (ONE,)), (LATE_MS + 1, ())])
def test_a_message_heard_of_long_before_a_doubt_is_not_of_it(noted_ms: int, doubts: tuple[SentJob, ...]) -> None:
    known = heard(NOBODY, "m1", 0)
    known, _ = note(known, sent(""), now_ms=NOW_MS + noted_ms)
    assert stranger(known, "m1", noted_ms).doubts == doubts
    known = heard(known, "m2", noted_ms)
    both = [stranger(known, one, noted_ms) for one in ("m1", "m2")]
    assert [one.unknown + one.fresh for one in both] == ([2, 2] if doubts else [1, 1])


def test_messages_that_may_be_of_the_doubts_are_counted_and_those_of_jobs_are_not() -> None:
    known = noted((0, sent("m1")), (10, sent("")), (20, sent("", OTHER)))
    for message_id in ("m2", "m3", "m4"):
        known = heard(known, message_id, 30, has_waited=True)
    first = stranger(known, "m2", 30)
    assert (first.doubts, first.unknown, first.fresh, first.sent) == ((OTHER,), 3, 0, ONE)


@pytest.mark.parametrize("has_waited", [False, True])
def test_a_message_whose_own_send_may_be_under_way_does_not_count_however_old_it_is(*, has_waited: bool) -> None:
    known = heard(heard(noted((0, sent(""))), "m1", 0), "m2", 0, has_waited=has_waited)
    known = heard(known, "m2", 9 * LATE_MS)
    first = stranger(known, "m1", 9 * LATE_MS)
    assert (first.unknown, first.fresh) == ((2, 0) if has_waited else (1, 1))


def test_messages_are_counted_against_all_doubts_also_those_noted_later() -> None:
    """Else the one that was not sent would be told as sent, by a message that another doubt explains."""
    later_ms = 10 * LATE_MS
    known = heard(heard(NOBODY, "m0", -1, has_waited=True), "m1", 0, has_waited=True)
    for at_ms, job in ((LATE_MS, ONE), (LATE_MS, OTHER), (later_ms, SentJob("job-3", None))):
        known, _ = note(known, sent("", job), now_ms=NOW_MS + at_ms)
    known = heard(known, "m2", later_ms, has_waited=True)
    counted = [(len(one.doubts), one.unknown) for one in (stranger(known, m, 20 * LATE_MS) for m in ("m0", "m1", "m2"))]
    assert counted == [(0, 1), (3, 2), (3, 2)]


def test_of_a_recipient_of_whom_something_may_be_forgotten_a_message_proves_nothing() -> None:
    known = noted((0, sent("", OTHER)), *((n, sent(f"m{n}")) for n in range(MESSAGES_MAX - 2)))
    known = heard(known, "nobody's", 50)
    one = stranger(known, "nobody's", 100)
    assert (one.doubts, one.sent) == ((OTHER,), ONE)
    one = stranger(heard(known, "one more", 50), "nobody's", 100)
    assert (one.doubts, one.sent) == ((), None)
    doubts = [(0, sent("", SentJob(f"j{n}", None))) for n in range(DOUBTS_MAX)]
    assert len(stranger(heard(noted(*doubts[1:]), "m1", 50), "m1", 100).doubts) == DOUBTS_MAX - 1
    assert stranger(heard(noted(*doubts), "m1", 50), "m1", 100).doubts == ()


def test_a_known_message_says_whether_its_job_has_a_doubt() -> None:
    known = noted((0, sent("")), (1, sent("m1")), (2, sent("m2", OTHER)))
    has_doubt = [found(known, m, R1, now_ms=NOW_MS, late_ms_max=LATE_MS) for m in ("m1", "m2")]
    assert has_doubt == [Known(ONE, None, 0, has_doubt=True), Known(OTHER, None, 0)]


@pytest.mark.parametrize(("later_ms", "job"), [(0, OTHER), (RECENT_MS, OTHER), (RECENT_MS + 1, None)])
def test_the_newest_job_sent_within_the_hour(later_ms: int, job: SentJob | None) -> None:
    known = noted((-5, sent("m1")), (0, sent("m2", OTHER)), (-2, sent("m3", SentJob("job-3", None))))
    assert stranger(known, "m4", later_ms).sent == job


def test_what_is_old_goes_unless_something_was_learned_of_it() -> None:
    known = noted((0, sent("m1")), (0, sent("m2")), (0, sent("", OTHER)))
    known = told(heard(known, "m3", 0), "m2", "delivered", now_ms=NOW_MS + 600)
    kept = known.kept(now_ms=NOW_MS + 1_001, keep_ms=1_000)
    assert [one.message_id for one in kept.messages] == ["m2"]
    assert kept.doubts == ()
    assert known.kept(now_ms=NOW_MS + 1_000, keep_ms=1_000) == known


def test_everything_is_bounded_and_the_oldest_goes_first() -> None:
    known = NOBODY
    for n in range(MESSAGES_MAX + 1):
        known = heard(known, f"m{n}", n)
    for n in range(DOUBTS_MAX + 1):
        known, _ = note(known, sent("", SentJob(f"j{n}", None)), now_ms=NOW_MS)
    assert [known.messages[0].message_id, len(known.messages)] == ["m1", MESSAGES_MAX]
    assert [known.doubts[0].job.job_id, len(known.doubts)] == ["j1", DOUBTS_MAX]
    for n in range(STATUSES_MAX + 1):
        known, _ = look(known, "m1", f"s{n}", R1, now_ms=NOW_MS)
    assert len(known.messages[0].telling) == STATUSES_MAX
    for n in range(STATUSES_MAX + 1):
        known = told(known, "m1", f"s{n}", now_ms=NOW_MS)
    assert known.messages[0].told == tuple(f"s{n}" for n in range(1, STATUSES_MAX + 1))


# --- Traces --------------------------------------------------------------------------------------------------

JOB = Job("job-1", (TO, ALSO_TO), "hello", Picture(b"GIF89a", PictureKind.GIF), None, None, None, "crm:1")


def trace(to: str, message_id: str, *, ends: bool = False) -> Trace:
    return Trace(to, message_id, "job-1", "crm:1", ends)


PARTLY = Sent(((TO, "m1"),), ((ALSO_TO, "opted out"),))
NAMELESS = Sent(((TO, "m1"), (ALSO_TO, "")), ())


@pytest.mark.parametrize(
    ("outcome", "ends_doubt", "expected"),
    [
        (PARTLY, False, [trace(TO, "m1")]),
        (PARTLY, True, [trace(TO, "m1", ends=True), trace(ALSO_TO, "", ends=True)]),
        (NAMELESS, False, [trace(TO, "m1"), trace(ALSO_TO, "")]),
        (NAMELESS, True, [trace(TO, "m1", ends=True), trace(ALSO_TO, "")]),
        (InDoubt("HTTP 502"), False, [trace(TO, ""), trace(ALSO_TO, "")]),
        (RefusedJob("FIELD_INVALID", "no", ()), False, []),
        (RefusedJob("FIELD_INVALID", "no", ()), True, [trace(TO, "", ends=True), trace(ALSO_TO, "", ends=True)]),
        (NotSent("no connection"), False, []),
        (Throttled(None), False, []),
        (None, False, []),
    ],
)
def test_the_traces_that_a_job_leaves(outcome: JobOutcome | None, *, ends_doubt: bool, expected: list[Trace]) -> None:
    assert traces_of(JOB, outcome, ends_doubt=ends_doubt) == expected


# --- As text -------------------------------------------------------------------------------------------------

WORDS = st.text(max_size=5).filter(lambda word: word.isprintable() or word == "")
TIMES_MS = st.integers(0, 10**13)
JOBS = st.builds(SentJob, WORDS, st.none() | WORDS)
TELLINGS = st.lists(st.builds(Telling, WORDS, WORDS, TIMES_MS), max_size=2).map(tuple)


def _message(of: tuple[Any, ...]) -> Message:
    message_id, heard_ms, job, sent_ms, statuses, told_ms, telling, has_waited = of
    return Message(message_id, heard_ms, job, sent_ms if job else 0, statuses, told_ms, telling, has_waited)


MESSAGES = st.tuples(
    WORDS,
    TIMES_MS,
    st.none() | JOBS,
    TIMES_MS,
    st.lists(WORDS, max_size=3).map(tuple),
    TIMES_MS,
    TELLINGS,
    st.booleans(),
).map(_message)


@given(messages=st.lists(MESSAGES, max_size=3), doubts=st.lists(st.builds(Doubt, JOBS, TIMES_MS), max_size=3))
def test_what_is_written_is_read_again(messages: list[Message], doubts: list[Doubt]) -> None:
    known = Recipient(tuple(messages), tuple(doubts))
    assert read(written(known)) == known
    assert read(written(known).encode()) == known


@pytest.mark.parametrize("text", ["", "x", "5", "null", '{"m":5}', '{"m":[5]}', '{"m":[{"h":1}]}', '{"d":[{}]}', None])
def test_what_cannot_be_read_is_nobody(text: str | None) -> None:
    assert read(text) == NOBODY
