"""What is done with held jobs, and that no crash on the way sends one twice or loses it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import jsonschema
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.jobs import a_delivery, job_body
from worker.core.delivery import Delivery, Lane, Publication
from worker.core.event_schema import event_schema
from worker.core.events import ResolvedBy
from worker.core.held_jobs import HeldJob, HeldMessage, Holding, read_held
from worker.core.job import Job, decode
from worker.core.journal import (
    DEAD,
    GIVEN_UP,
    IN_DOUBT,
    RELEASED,
    SENT,
    Record,
    Resolution,
    Resolved,
    State,
    Told,
    Verdict,
    claim,
    claim_of,
    conclude,
    ended,
    fingerprint,
    resolve,
    tell,
)
from worker.core.redrive import REDRIVES_MAX, Asked, Decision, Done, Kept, after_resolution, asked_for, drop, retry
from worker.core.resolution import Grounds, written
from worker.core.settlement import Moment, bury, hold_in_doubt

AT = datetime(2026, 11, 22, 3, 4, 5, tzinfo=UTC)
NOW = Moment(at=AT, chance=0.0)
VALIDATOR = jsonschema.Draft202012Validator(event_schema(), format_checker=jsonschema.FormatChecker())
CALL_US_MAX = 50_000_000
SEEN = Grounds(ResolvedBy.OPERATOR, "seen")
REPORTED = Grounds(ResolvedBy.REPORT, "a delivery report", (("+61400000001", "m1"),), (("+61400000002", "opted out"),))


def event_of(publication: Publication) -> dict[str, Any]:
    event: dict[str, Any] = orjson.loads(publication.body)
    VALIDATOR.validate(event)
    assert (publication.exchange, publication.routing_key) == ("mms.events", f"{event['type']}.acme")
    return event


def job_of(body: bytes) -> Job:
    job = decode(body, region="AU")
    assert isinstance(job, Job)
    return job


def held_in(holding: Holding, publication: Publication) -> HeldJob:
    assert publication.routing_key == holding.value
    return read_held(HeldMessage(publication.body, publication.headers, publication.published_at), holding)


def a_dead_letter(headers: dict[str, Any] | None = None, lane: Lane = Lane.BULK, body: bytes = b"{") -> HeldJob:
    delivery = a_delivery(body, lane=lane, headers=headers or {})
    return held_in(Holding.DEAD, bury(delivery, job_of(job_body()), ("no picture",), now=NOW).publications[0])


def in_doubt(headers: dict[str, Any] | None = None, body: bytes | None = None) -> HeldJob:
    body = body or job_body(reference="crm:1")
    delivery = a_delivery(body, lane=Lane.URGENT, headers=headers or {})
    return held_in(Holding.IN_DOUBT, hold_in_doubt(delivery, job_of(body), "HTTP 502", now=NOW).publications[0])


# --- Dead letters ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lane", "key"), [(Lane.BULK, "acme"), (Lane.URGENT, "acme.urgent")])
def test_a_dead_letter_goes_back_as_a_fresh_job(lane: Lane, key: str) -> None:
    theirs = {"traceparent": "00-1", "x-mms-attempts": 7, "x-mms-requeued-for": "media", "x-death": [], "CC": ["a"]}
    decision = retry(a_dead_letter(theirs, lane), is_forced=False)
    assert isinstance(decision, Done)
    (copy,) = decision.publications
    assert (copy.exchange, copy.routing_key, copy.body) == ("mms.jobs", key, b"{")
    assert copy.headers == {"traceparent": "00-1", "x-mms-redrives": 1}


def test_a_dead_letter_that_the_broker_moved_goes_back_too() -> None:
    headers = {"x-death": [{"queue": "mms.jobs.acme.urgent", "reason": "delivery_limit"}], "x-mms-attempts": 1}
    decision = retry(read_held(HeldMessage(b"x", headers, AT), Holding.DEAD), is_forced=False)
    assert isinstance(decision, Done)
    assert decision.publications == (
        Publication("mms.jobs", "acme.urgent", b"x", {"x-mms-redrives": 1}, published_at=AT),
    )


def test_the_count_of_resolutions_survives_since_event_ids_are_made_of_it() -> None:
    decision = retry(a_dead_letter({"x-mms-resolutions": 2}), is_forced=False)
    assert isinstance(decision, Done)
    assert decision.publications[0].headers == {"x-mms-resolutions": 2, "x-mms-redrives": 1}


@pytest.mark.parametrize(("before", "is_forced", "is_done"), [(2, False, True), (3, False, False), (3, True, True)])
def test_what_came_back_too_often_stays_unless_forced(before: int, *, is_forced: bool, is_done: bool) -> None:
    decision = retry(a_dead_letter({"x-mms-redrives": before}), is_forced=is_forced)
    assert isinstance(decision, Done if is_done else Kept)
    if isinstance(decision, Done):
        assert decision.publications[0].headers["x-mms-redrives"] == before + 1
    assert REDRIVES_MAX == 3


def test_a_dead_letter_that_does_not_say_whose_it_is_stays() -> None:
    assert isinstance(retry(read_held(HeldMessage(b"x", {}, None), Holding.DEAD), is_forced=True), Kept)


def test_what_is_dropped_leaves_nothing() -> None:
    assert drop(a_dead_letter()) == Done((), "dropped")


# --- In doubt --------------------------------------------------------------------------------------------


def asked_of(held: HeldJob, end: str) -> Asked:
    asked = asked_for(held, end, SEEN, region="AU")
    assert isinstance(asked, Asked)
    return asked


def decided(held: HeldJob, end: str, found: Resolved) -> Decision:
    return after_resolution(held, asked_of(held, end), found, at=AT)


def record(state: State, end: str = "", details: str = "") -> Record:
    return Record(state, fingerprint(job_of(in_doubt().message.body)), end=end, details=details)


def test_what_is_asked_of_the_journal_names_the_job_as_the_worker_does() -> None:
    body = job_body("order-1", to=["0400000001"])
    assert asked_of(in_doubt(body=body), RELEASED) == Asked(
        "acme", Resolution("order-1", fingerprint(job_of(body)), RELEASED, written(SEEN)), SEEN
    )


def test_a_resend_is_told_before_its_copy_is_published() -> None:
    held = in_doubt({"traceparent": "00-1", "x-mms-attempts": 1, "x-mms-requeued-for": "throttled"})
    decision = decided(held, RELEASED, Resolved(is_done=True, record=record(State.OPEN)))
    assert isinstance(decision, Done)
    told, copy = decision.publications
    event = event_of(told)
    assert event["id"] == "job-1:mms.job.resolved:1"
    assert event["data"] == {
        "job_id": "job-1", "reference": "crm:1", "account": "acme", "attempt": 2,
        "resolution": "resent", "by": "operator", "evidence": "seen",
    }  # fmt: skip
    assert (copy.exchange, copy.routing_key, copy.body) == ("mms.jobs", "acme.urgent", held.message.body)
    assert copy.headers == {"traceparent": "00-1", "x-mms-attempts": 2, "x-mms-resolutions": 1}


@pytest.mark.parametrize(("end", "resolution"), [(SENT, "sent"), (GIVEN_UP, "given_up")])
def test_what_is_settled_is_told_with_the_number_of_the_resolution(end: str, resolution: str) -> None:
    held = in_doubt({"x-mms-resolutions": 2})
    decision = decided(held, end, Resolved(is_done=True, record=record(State.RESOLVED, end, "{}")))
    assert isinstance(decision, Done)
    (told,) = decision.publications
    event = event_of(told)
    assert event["id"] == "job-1:mms.job.resolved:3"
    assert event["data"]["resolution"] == resolution


#: What was asked, what the journal says, and what follows: the types and resolutions published, or None: it stays.
NOT_DONE = [
    (RELEASED, record(State.OPEN), ["resent", "copy"]),  # a resend that broke off: it is gone on with
    (SENT, record(State.OPEN), None),
    (RELEASED, record(State.CLAIMED), None),
    (GIVEN_UP, record(State.CLAIMED), None),
    (RELEASED, record(State.ENDED, "sent"), None),
    (RELEASED, record(State.TOLD, "refused"), []),  # a leftover: acknowledged
    (GIVEN_UP, record(State.TOLD, "expired"), []),
    (SENT, record(State.TOLD, SENT), []),  # it was sent again, and that is told
    (RELEASED, record(State.RESOLVED, SENT), []),
    (RELEASED, record(State.RESOLVED, SENT, written(REPORTED)), ["sent"]),  # resolved by one who died before he told it
    (GIVEN_UP, record(State.RESOLVED, SENT, written(REPORTED)), ["sent"]),
    (SENT, record(State.RESOLVED, GIVEN_UP, "not ours"), ["given_up"]),
    (RELEASED, Record(State.OPEN, "another job's"), None),
    (SENT, Record(State.TOLD, "another job's", end=SENT), None),
]


@pytest.mark.parametrize(("end", "found", "published"), NOT_DONE)
def test_what_somebody_resolved_before(end: str, found: Record, published: list[str] | None) -> None:
    decision = decided(in_doubt(), end, Resolved(is_done=False, record=found))
    if published is None:
        assert isinstance(decision, Kept)
        return
    assert isinstance(decision, Done)
    for event in (event_of(one) for one in decision.publications if one.exchange == "mms.events"):
        by, evidence = event["data"]["by"], event["data"]["evidence"]
        if found.state is State.OPEN:
            assert (by, evidence) == ("operator", "seen")
        elif found.details == "not ours":
            assert (by, evidence) == ("rule", "the journal has it as given_up")
        else:  # told as whoever resolved it would have
            assert (by, evidence) == ("report", "a delivery report")
            assert event["data"]["recipients"] == [{"to": "+61400000001", "message_id": "m1"}]
            assert event["data"]["refused"] == [{"to": "+61400000002", "reason": "opted out"}]
    kinds = [
        "copy" if one.exchange == "mms.jobs" else event_of(one)["data"]["resolution"] for one in decision.publications
    ]
    assert kinds == published


@pytest.mark.parametrize("body", [b"{", job_body(text="")])
def test_what_is_no_job_cannot_be_resolved(body: bytes) -> None:
    message = HeldMessage(body, {"x-mms-account": "acme"}, None)
    assert isinstance(asked_for(read_held(message, Holding.IN_DOUBT), SENT, SEEN, region="AU"), Kept)


def test_what_does_not_say_whose_it_is_cannot_be_resolved() -> None:
    message = HeldMessage(job_body(), {}, None)
    assert isinstance(asked_for(read_held(message, Holding.IN_DOUBT), SENT, SEEN, region="AU"), Kept)


# --- Crashes on the way ----------------------------------------------------------------------------------

BODY = job_body("order-1")
JOB = job_of(BODY)
#: An operator's act, broken off after so many of its steps (the record, each publication, the acknowledgement) …
ACTS = st.tuples(
    st.just("act"), st.sampled_from([RELEASED, SENT, GIVEN_UP]), st.integers(0, 3) | st.just(99), st.integers(0, 2)
)
#: … and a worker that takes a copy: what comes of its call, and how far it gets (claimed, recorded, told, all).
WORKS = st.tuples(st.just("work"), st.sampled_from([SENT, IN_DOUBT, DEAD]), st.integers(1, 3) | st.just(99), st.just(0))
#: The worker that held it in doubt tells the journal, a moment after everybody else.
LATE = st.just(("late", IN_DOUBT, 0, 0))


class World:
    """One job in doubt, a journal, the queues, and what was told and called."""

    def __init__(self) -> None:
        self.record: Record | None = ended(fingerprint(JOB), IN_DOUBT, {"why": "HTTP 502"})
        self.in_doubt = [hold_in_doubt(a_delivery(BODY), JOB, "HTTP 502", now=NOW).publications[0]]
        self.copies: list[tuple[Publication, bool]] = []
        self.dead: list[Publication] = []
        self.events: list[dict[str, Any]] = []
        self.now_us = 10**15
        self.calls = self.releases = 0
        self.tokens = 0
        self.settled_as: set[str] = set()
        #: A call of these did not tell what came of it: from there the journal cannot tell one doubt from another.
        self.is_in_doubt_again = False

    def act(self, end: str, steps_max: int, at: int) -> None:
        if not self.in_doubt:
            return
        at %= len(self.in_doubt)
        held = held_in(Holding.IN_DOUBT, self.in_doubt[at])
        asked = asked_of(held, end)
        if steps_max == 0:
            return
        self.record, is_done = resolve(self.record, asked.resolution, now_us=self.now_us, call_us_max=CALL_US_MAX)
        self.releases += is_done and end == RELEASED
        self.settled_as |= {end} if is_done and end != RELEASED else set()
        decision = after_resolution(held, asked, Resolved(is_done, self.record), at=AT)
        if isinstance(decision, Kept):
            return
        for publication in decision.publications[: steps_max - 1]:
            if publication.exchange == "mms.jobs":
                number = publication.headers["x-mms-resolutions"]
                assert f"order-1:mms.job.resolved:{number}" in {event["id"] for event in self.events}
                self.copies.append((publication, False))
            else:
                self.events.append(event_of(publication))
        if steps_max - 1 > len(decision.publications):
            del self.in_doubt[at]

    def work(self, outcome: str, steps_max: int) -> None:
        """A worker is handed a copy. One that dies before it acknowledges leaves it to the next."""
        if not self.copies:
            return
        copy, redelivered = self.copies.pop(0)
        delivery = a_delivery(copy.body, headers=dict(copy.headers))
        self.tokens += 1
        wish = claim_of(JOB, token=f"w-{self.tokens}", redelivered=redelivered, published_at=None)
        self.record, verdict = claim(self.record, wish, now_us=self.now_us, epoch_us=0, call_us_max=CALL_US_MAX)
        if verdict is Verdict.BUSY or verdict is Verdict.DIFFERS:
            raise AssertionError(verdict)
        if verdict is Verdict.TOLD:
            return
        if verdict is Verdict.CLAIMED:
            self.calls += outcome != DEAD  # a dead letter is surely not sent
            self.is_in_doubt_again |= outcome == IN_DOUBT or steps_max == 1
            if steps_max > 1:
                self.record, _ = conclude(
                    self.record, wish.token, ended(wish.fingerprint, outcome, {}), now_us=self.now_us
                )
        else:
            outcome = self.record.end
        if steps_max > 2:
            self._tell(delivery, outcome)
        if steps_max <= 3:
            self.copies.append((copy, True))
            self.now_us += CALL_US_MAX + 1
            return
        self.record = tell(self.record, Told(JOB.id, wish.token, wish.fingerprint, outcome), now_us=self.now_us)

    def _tell(self, delivery: Delivery, outcome: str) -> None:
        if outcome == IN_DOUBT:
            self.in_doubt.append(hold_in_doubt(delivery, JOB, "HTTP 502", now=NOW).publications[0])
        elif outcome == DEAD:
            self.dead.append(bury(delivery, JOB, ("gave up",), now=NOW).publications[0])


def is_over(record: Record | None) -> bool:
    return record is not None and record.state in {State.TOLD, State.RESOLVED}


@settings(max_examples=400, deadline=None)
@given(steps=st.lists(ACTS | WORKS | LATE, max_size=20), last=st.sampled_from([RELEASED, SENT, GIVEN_UP]))
def test_no_crash_sends_a_job_twice_or_loses_it(steps: list[tuple[str, str, int, int]], last: str) -> None:
    world = World()
    for kind, what, steps_max, at in steps:
        if kind == "act":
            world.act(what, steps_max, at)
        elif kind == "late" and not world.is_in_doubt_again:
            late = Told(JOB.id, "w-0", fingerprint(JOB), what)
            world.record = tell(world.record, late, now_us=world.now_us)
        elif kind == "work":
            world.work(what, steps_max)
        # Each release is a decision to send once more; nothing else sends.
        assert world.calls <= world.releases
        assert world.in_doubt or world.copies or world.dead or is_over(world.record)
    for _ in range(3 * (len(world.in_doubt) + len(world.copies) + 1)):
        world.act(last, 99, 0)
        world.work(SENT, 99)
        if world.in_doubt:
            world.act(RELEASED, 99, 0)
    assert (world.in_doubt, world.copies) == ([], [])
    assert world.calls <= world.releases
    assert (world.record and is_over(world.record) and world.record.end in {SENT, GIVEN_UP}) or world.dead
    told = {event["data"]["resolution"] for event in world.events}
    assert world.settled_as <= told
