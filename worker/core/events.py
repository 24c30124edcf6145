"""The events: CloudEvents 1.0 in structured JSON, one builder per type (pure).

The ``id`` is made from the job and the type, and where a job can have several of a type from their number, so that a
repeat after a crash carries the same ``source`` and ``id`` and a consumer can drop it.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from worker.core.delivery import Publication
from worker.core.topology import EVENTS_EXCHANGE

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
_DIGEST_CHARACTERS = 32


class EventType(enum.StrEnum):
    """The types of what is told about jobs."""

    SENT = "mms.job.sent"
    REFUSED = "mms.job.refused"
    EXPIRED = "mms.job.expired"
    DEAD = "mms.job.dead"
    IN_DOUBT = "mms.job.in_doubt"
    RESOLVED = "mms.job.resolved"


class ResolvedAs(enum.StrEnum):
    """What became of a job in doubt. ``SENT`` and ``GIVEN_UP`` are final; after ``RESENT`` an ordinary end follows."""

    SENT = "sent"
    GIVEN_UP = "given_up"
    RESENT = "resent"


class ResolvedBy(enum.StrEnum):
    """Who resolved it: a delivery report that proves it, a rule after a deadline, or a person."""

    REPORT = "report"
    RULE = "rule"
    OPERATOR = "operator"


def job_event(
    kind: EventType,
    *,
    account: str,
    job_id: str | None,
    reference: str | None,
    attempt: int,
    at: datetime,
    more: dict[str, Any],
    body_for_id: bytes | None = None,
    number: int | None = None,
) -> Publication:
    """Build the event of one job.

    ``attempt``: number of attempts used so far, the one that led here included. ``body_for_id``: the message
    as published, for a job that could not be decoded: its id may be missing or not its own, so the digest
    of what came is made part of the event's id. ``number``: which of the job's events of this type it is, where a job
    may have several.
    """
    name = job_id or "unreadable"
    event_id = f"{name}:{kind.value}"
    if body_for_id is not None:
        event_id += f":{hashlib.sha256(body_for_id).hexdigest()[:_DIGEST_CHARACTERS]}"
    if number is not None:
        event_id += f":{number}"
    data = {"job_id": job_id, "reference": reference, "account": account, "attempt": attempt} | more
    return event(kind.value, event_id=event_id, account=account, subject=name, at=at, data=data)


def event(
    kind: str, *, event_id: str, account: str, subject: str, at: datetime, data: Mapping[str, Any]
) -> Publication:
    """Build an event of any kind: what all of them have in common, around its ``data``."""
    whole = {
        "specversion": "1.0",
        "id": event_id,
        "source": f"/mms-worker/accounts/{account}",
        "type": kind,
        "subject": subject,
        "time": timestamp(at),
        "datacontenttype": "application/json",
        "data": data,
    }
    return Publication(
        exchange=EVENTS_EXCHANGE,
        routing_key=f"{kind}.{account}",
        body=orjson.dumps(whole),
        headers={},
        content_type=CONTENT_TYPE,
    )


def recipients(pairs: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """(number, message id) pairs as events show them."""
    return [{"to": to, "message_id": message_id} for to, message_id in pairs]


def refusals(pairs: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """(number, reason) pairs as events show them."""
    return [{"to": to, "reason": reason} for to, reason in pairs]


def timestamp(at: datetime) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
