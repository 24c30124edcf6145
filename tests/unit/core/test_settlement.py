"""What is published for each outcome, in which order, and what counts as an attempt."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import jsonschema
import orjson
import pytest

from tests.jobs import a_delivery, a_job
from worker.core.delivery import Lane, Publication
from worker.core.event_schema import event_schema
from worker.core.job import Rejected
from worker.core.outcome import (
    InDoubt,
    JobOutcome,
    NotSent,
    RefusedJob,
    Sent,
    Suspended,
    SuspendedBecause,
    Throttled,
)
from worker.core.settlement import (
    End,
    Finished,
    Moment,
    Requeued,
    RequeueReason,
    after_call,
    bury,
    expire,
    has_expired,
    hold_in_doubt,
    put_back,
    reject,
)

NOW = Moment(at=datetime(2026, 11, 22, 3, 4, 5, 678000, tzinfo=UTC), chance=0.0)
A = "+61400000001"
VALIDATOR = jsonschema.Draft202012Validator(event_schema(), format_checker=jsonschema.FormatChecker())


def event_of(publication: Publication) -> dict[str, Any]:
    assert publication.exchange == "mms.events"
    event: dict[str, Any] = orjson.loads(publication.body)
    VALIDATOR.validate(event)
    assert publication.routing_key == f"{event['type']}.acme"
    return event


def settled(
    outcome: JobOutcome, *, attempts: int = 0, attempts_max: int = 8, chance: float = 0.0
) -> Finished | Requeued:
    now = Moment(at=NOW.at, chance=chance)
    return after_call(a_delivery(attempts=attempts), a_job(), outcome, attempts_max=attempts_max, now=now)


def test_a_sent_job_is_told_with_its_message_ids() -> None:
    settlement = settled(Sent(((A, "m1"),), (("+61400000002", "opted out"),)))
    assert isinstance(settlement, Finished)
    assert settlement.end is End.SENT
    (told,) = settlement.publications
    event = event_of(told)
    assert event["type"] == "mms.job.sent"
    assert event["source"] == "/mms-worker/accounts/acme"
    assert event["time"] == "2026-11-22T03:04:05.678Z"
    assert event["data"] == {
        "job_id": "job-1",
        "reference": "crm:1",
        "account": "acme",
        "attempt": 1,
        "recipients": [{"to": A, "message_id": "m1"}],
        "refused": [{"to": "+61400000002", "reason": "opted out"}],
    }


def test_the_same_outcome_makes_the_same_event_id_and_another_type_another() -> None:
    first, again = (event_of(settled(Sent(((A, "m1"),), ())).publications[0])["id"] for _ in range(2))
    doubt = event_of(settled(InDoubt("reset")).publications[1])["id"]
    assert first == again != doubt


RETURNED = {"x-mms-resolutions": 1, "x-mms-redrives": 2}


@pytest.mark.parametrize(
    ("headers", "suffix"),
    [({}, ""), ({"x-mms-redrives": 1}, ":1"), ({"x-mms-resolutions": 2}, ":2"), (RETURNED, ":3"),
     ({"x-mms-resolutions": "2", "x-mms-redrives": -1}, "")],
)  # fmt: skip
def test_each_time_that_a_job_is_held_is_told_with_an_id_of_its_own(headers: dict[str, object], suffix: str) -> None:
    delivery = a_delivery(headers=headers)
    doubt = hold_in_doubt(delivery, a_job(), "HTTP 502", now=NOW).publications[1]
    dead = bury(delivery, a_job(), ("no",), now=NOW).publications[1]
    assert event_of(doubt)["id"] == f"job-1:mms.job.in_doubt{suffix}"
    assert event_of(dead)["id"] == f"job-1:mms.job.dead{suffix}"
    malformed = [
        event_of(reject(a_delivery(b"{", headers=more), Rejected(("one",), None, None), now=NOW).publications[1])["id"]
        for more in ({}, headers)
    ]
    assert malformed[1] == malformed[0] + suffix


def test_a_job_ends_once_so_that_its_end_has_one_id_whichever_copy_tells_it() -> None:
    copies = a_delivery(headers={}), a_delivery(headers=RETURNED)
    for outcome in (Sent(((A, "m1"),), ()), RefusedJob("X", "", ())):
        ends = [after_call(copy, a_job(), outcome, attempts_max=8, now=NOW) for copy in copies]
        assert len({event_of(end.publications[0])["id"] for end in ends}) == 1
    late = [expire(copy, a_job(expires_at=NOW.at), now=NOW) for copy in copies]
    assert len({event_of(end.publications[0])["id"] for end in late}) == 1


@pytest.mark.parametrize("size", [1, 40_000])
def test_how_often_a_job_was_held_is_carried_from_copy_to_copy(size: int) -> None:
    """Also where a producer's headers are too many to be carried."""
    delivery = a_delivery(headers={"big": "x" * size} | RETURNED)
    copies = (
        hold_in_doubt(delivery, a_job(), "HTTP 502", now=NOW).publications[0],
        bury(delivery, a_job(), ("no",), now=NOW).publications[0],
        put_back(delivery, a_job(), RequeueReason.THROTTLED, 1.0).publications[0],
    )
    for copy in copies:
        assert RETURNED.items() <= copy.headers.items()


def test_a_refused_job_is_told_with_the_codes_of_the_api() -> None:
    settlement = settled(RefusedJob("FIELD_INVALID", "too long", ((A, "too long"),)))
    assert isinstance(settlement, Finished)
    assert settlement.end is End.REFUSED
    data = event_of(settlement.publications[0])["data"]
    assert (data["code"], data["description"]) == ("FIELD_INVALID", "too long")


def test_a_job_in_doubt_is_held_first_and_told_then_and_never_repeated() -> None:
    settlement = settled(InDoubt("reset"), attempts=2)
    assert isinstance(settlement, Finished)
    held, told = settlement.publications
    assert (held.exchange, held.routing_key, held.body) == ("", "mms.in_doubt", a_delivery().body)
    assert held.headers["x-mms-account"] == "acme"
    assert held.headers["x-mms-in-doubt-why"] == "reset"
    data = event_of(told)["data"]
    assert (data["since"], data["why"], data["recipients"]) == ("2026-11-22T03:04:05.678Z", "reset", [A])
    assert data["attempt"] == 3


@pytest.mark.parametrize(
    ("retry_after_s", "queue"),
    [(None, "mms.retry.1s"), (0.0, "mms.retry.1s"), (2, "mms.retry.5s"), (9999, "mms.retry.300s")],
)
def test_a_throttled_job_waits_as_told_and_spends_no_attempt(retry_after_s: float | None, queue: str) -> None:
    settlement = settled(Throttled(retry_after_s), attempts=7)
    assert isinstance(settlement, Requeued)
    assert settlement.reason is RequeueReason.THROTTLED
    (copy,) = settlement.publications
    assert (copy.exchange, copy.routing_key) == (queue, "acme")
    assert copy.headers["x-mms-attempts"] == 7
    assert copy.body == a_delivery().body


def test_a_job_of_a_suspended_account_goes_back_and_spends_no_attempt() -> None:
    settlement = settled(Suspended(SuspendedBecause.CREDIT, "no credit"), attempts=7)
    assert isinstance(settlement, Requeued)
    assert settlement.publications[0].headers["x-mms-attempts"] == 7


@pytest.mark.parametrize(
    ("attempts", "chance", "delay_s"),
    [(0, 0.0, 1), (0, 0.9, 5), (1, 0.0, 5), (2, 0.9, 60), (3, 0.0, 60), (4, 0.9, 300), (6, 0.0, 300)],
)
def test_what_was_not_sent_is_tried_again_later_each_time(attempts: int, chance: float, delay_s: int) -> None:
    settlement = settled(NotSent("refused"), attempts=attempts, chance=chance)
    assert isinstance(settlement, Requeued)
    assert settlement.delay_s == delay_s
    assert settlement.publications[0].headers["x-mms-attempts"] == attempts + 1


def test_the_last_attempt_ends_as_a_dead_letter_with_the_reason() -> None:
    settlement = settled(NotSent("connection refused"), attempts=7)
    assert isinstance(settlement, Finished)
    assert settlement.end is End.DEAD
    letter, told = settlement.publications
    reasons = ["gave up after 8 attempts; the last one: connection refused"]
    assert letter.routing_key == "mms.dead"
    assert letter.headers["x-mms-reasons"] == reasons
    assert event_of(told)["data"]["reasons"] == reasons


def test_an_urgent_job_comes_back_to_its_lane() -> None:
    settlement = put_back(a_delivery(lane=Lane.URGENT), a_job(), RequeueReason.HELD_LONG, 1.0)
    assert settlement.publications[0].routing_key == "acme.urgent"


@pytest.mark.parametrize("lane", Lane)
def test_what_another_delivery_has_claimed_is_not_looked_at_behind_a_backlog(lane: Lane) -> None:
    """Its worker may be dead: then it is in doubt, and a backlog may take hours."""
    settlement = put_back(a_delivery(lane=lane), a_job(), RequeueReason.CLAIMED, 5.0)
    assert settlement.publications[0].routing_key == "acme.urgent"


def test_a_malformed_job_is_dead_with_every_reason_also_without_an_id() -> None:
    settlement = reject(a_delivery(b"{"), Rejected(("one", "two"), None, None), now=NOW)
    assert settlement.why is not None
    assert "one" not in settlement.why, "reasons quote the job, and this goes to the log"
    letter, told = settlement.publications
    assert letter.body == b"{"
    assert letter.headers["x-mms-reasons"] == ["one", "two"]
    event = event_of(told)
    assert event["data"]["job_id"] is None
    other = reject(a_delivery(b"}"), Rejected(("one",), None, None), now=NOW)
    assert event_of(other.publications[1])["id"] != event["id"]


def test_what_the_broker_wrote_is_stripped_and_what_the_producer_wrote_is_kept() -> None:
    delivery = a_delivery(headers={"x-death": [{"count": 3}], "x-delivery-count": 2, "traceparent": "00-1-2-01"})
    letter = bury(delivery, a_job(), ("no",), now=NOW).publications[0]
    assert "x-death" not in letter.headers
    assert "x-delivery-count" not in letter.headers
    assert letter.headers["traceparent"] == "00-1-2-01"


def test_headers_that_route_are_not_carried() -> None:
    """RabbitMQ delivers to the queues that CC and BCC name as well: a copy would multiply the job."""
    delivery = a_delivery(headers={"CC": ["mms.jobs.acme"], "BCC": ["mms.jobs.other"], "kept": 1})
    copy = put_back(delivery, a_job(), RequeueReason.THROTTLED, 1.0).publications[0]
    assert set(copy.headers) == {"kept", "x-mms-attempts", "x-mms-requeued-for"}


@pytest.mark.parametrize("value", ["x" * 40_000, b"x" * 40_000, ["y" * 100] * 400, {"deep": {"er": "z" * 40_000}}])
def test_headers_too_large_for_a_copy_are_dropped_and_counted(value: object) -> None:
    delivery = a_delivery(headers={"big": value, "small": 1})
    copy = put_back(delivery, a_job(), RequeueReason.THROTTLED, 1.0).publications[0]
    assert "big" not in copy.headers
    assert copy.headers["x-mms-headers-dropped"] == 2


@pytest.mark.parametrize("value", ["3", -1, True, 10**9, None, 2.0])
def test_a_foreign_attempts_header_counts_as_none(value: object) -> None:
    assert a_delivery(headers={"x-mms-attempts": value}).attempts == 0


def test_a_job_expires_at_its_moment() -> None:
    job = a_job(expires_at=NOW.at)
    assert has_expired(job, NOW.at)
    assert not has_expired(job, NOW.at.replace(microsecond=0))
    settlement = expire(a_delivery(), job, now=NOW)
    assert settlement.end is End.EXPIRED
    assert event_of(settlement.publications[0])["data"]["expires_at"] == "2026-11-22T03:04:05.678Z"
