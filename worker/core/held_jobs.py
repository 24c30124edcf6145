"""What a message in ``mms.dead`` or ``mms.in_doubt`` says of the job that is held there (pure).

Nothing in it is trusted. A producer may have written anything, people may have published copies by hand, and what the
broker itself moved to ``mms.dead`` carries none of our headers: what cannot be read counts as not said.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from worker.core.delivery import (
    ATTEMPTS_HEADER,
    OUR_HEADERS,
    REDRIVES_HEADER,
    RESOLUTIONS_HEADER,
    Delivery,
    Lane,
    count_in,
)
from worker.core.job import JOB_BYTES_MAX
from worker.core.quoting import without_numbers
from worker.core.topology import DEAD_QUEUE, IN_DOUBT_QUEUE, REPORTS_QUEUE, account_and_lane, is_account_name

_WORDS_CHARACTERS_MAX = 500
_BROKERS_REASONS = {
    "delivery_limit": "it was handed out too often without an end",
    "expired": "its time in the queue was over",
    "maxlen": "the queue was full",
    "rejected": "it was rejected",
}


class Holding(enum.StrEnum):
    """Why jobs are held; the value is the queue."""

    DEAD = DEAD_QUEUE
    IN_DOUBT = IN_DOUBT_QUEUE


@dataclass(frozen=True, slots=True)
class HeldMessage:
    """A message as it lies in its queue. ``receipt`` is the broker's adapter's, and means nothing to anybody else."""

    body: bytes = field(repr=False)
    headers: Mapping[str, Any] = field(repr=False)
    published_at: datetime | None
    receipt: object = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class HeldJob:
    """A job that is held; None where the message does not say.

    ``since``: held since when (UTC). ``attempts``, ``redrives``, ``resolutions``: used up, tried again and resolved so
    far. ``recipients``: how many different ones it names. ``why``: sentences, which may quote the job, phone numbers
    too; ``shown_why`` is for people.
    """

    message: HeldMessage
    job_id: str | None
    reference: str | None
    account: str | None
    lane: Lane
    since: datetime | None
    attempts: int
    recipients: int | None
    why: tuple[str, ...] = field(repr=False)
    redrives: int
    resolutions: int

    @property
    def shown_why(self) -> str:
        """Why it is held, on one line, without anything that may be a phone number."""
        return without_numbers(printable("; ".join(self.why)))[:_WORDS_CHARACTERS_MAX]

    def age_s(self, at: datetime) -> float | None:
        """For how long it is held."""
        return None if self.since is None else max(0.0, (at - self.since).total_seconds())


@dataclass(frozen=True, slots=True)
class Filters:
    """Which held jobs are meant: those that fit everything that is given here.

    ``reason``: part of why it is held, in any case. A job that does not say since when it is held is neither older nor
    newer than anything.
    """

    account: str | None = None
    ids: frozenset[str] = frozenset()
    reason: str | None = None
    older_than_s: float | None = None
    newer_than_s: float | None = None

    def fit(self, held: HeldJob, at: datetime) -> bool:
        """Whether ``held`` is meant."""
        age_s = held.age_s(at)
        return (
            (self.account is None or held.account == self.account)
            and (not self.ids or held.job_id in self.ids)
            and (self.reason is None or self.reason.casefold() in "; ".join(held.why).casefold())
            and (self.older_than_s is None or (age_s is not None and age_s > self.older_than_s))
            and (self.newer_than_s is None or (age_s is not None and age_s < self.newer_than_s))
        )


def read_held(message: HeldMessage, holding: Holding) -> HeldJob:
    """Read what a message in the queue of ``holding`` says; never fails."""
    headers = message.headers
    death = _death(headers)
    account, lane = _whose(headers, death)
    fields = _fields(message.body)
    name = "dead-at" if holding is Holding.DEAD else "in-doubt-since"
    return HeldJob(
        message=message,
        job_id=_text(fields.get("id")),
        reference=_text(fields.get("reference")),
        account=account,
        lane=lane,
        since=_moment(headers.get(f"{OUR_HEADERS}{name}")) or _moment(death.get("time")),
        attempts=count_in(headers, ATTEMPTS_HEADER),
        recipients=_different(fields.get("to")),
        why=_why(headers, holding, death),
        redrives=count_in(headers, REDRIVES_HEADER),
        resolutions=count_in(headers, RESOLUTIONS_HEADER),
    )


def as_delivery(held: HeldJob, account: str, headers: Mapping[str, Any]) -> Delivery:
    """The held job as if it were handed over by the queue of its account and lane, with ``headers``."""
    return Delivery(
        account=account,
        lane=held.lane,
        body=held.message.body,
        headers=headers,
        redelivered=False,
        published_at=held.message.published_at,
        received_at_s=0.0,
        receipt=None,
    )


# --- For people ------------------------------------------------------------------------------------------


def printable(words: str) -> str:
    """``words`` on one line, harmless on a terminal: what does not print is shown as ``�``."""
    return "".join(character if character.isprintable() else "�" for character in words)


# --- Reading ---------------------------------------------------------------------------------------------


def _death(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the broker wrote when it moved it away from where it is taken, the latest time; empty: it did not."""
    deaths = headers.get("x-death")
    for death in deaths if isinstance(deaths, list) else ():
        if isinstance(death, Mapping) and _is_taken_from(death.get("queue")):
            return death
    queue = headers.get("x-first-death-queue")
    if _is_taken_from(queue):
        return {"queue": queue, "reason": headers.get("x-first-death-reason")}
    return {}


def _is_taken_from(queue: object) -> bool:
    """Whether it is an account's queue, or that of the reports that waited."""
    return queue == REPORTS_QUEUE or _account_and_lane(queue) is not None


def _whose(headers: Mapping[str, Any], death: Mapping[str, Any]) -> tuple[str | None, Lane]:
    account = headers.get(f"{OUR_HEADERS}account")
    if isinstance(account, str) and is_account_name(account):
        is_urgent = headers.get(f"{OUR_HEADERS}lane") == Lane.URGENT.value
        return account, Lane.URGENT if is_urgent else Lane.BULK
    return _account_and_lane(death.get("queue")) or (None, Lane.BULK)


def _account_and_lane(queue: object) -> tuple[str, Lane] | None:
    found = account_and_lane(queue) if isinstance(queue, str) else None
    return found if found and is_account_name(found[0]) else None


def _why(headers: Mapping[str, Any], holding: Holding, death: Mapping[str, Any]) -> tuple[str, ...]:
    said = headers.get(f"{OUR_HEADERS}{'reasons' if holding is Holding.DEAD else 'in-doubt-why'}")
    sentences = tuple(one for one in (said if isinstance(said, list) else [said]) if isinstance(one, str) and one)
    if sentences or not death:
        return sentences or ("not said",)
    reason = str(death.get("reason"))
    return (f"the broker moved it here from {death['queue']}: {_BROKERS_REASONS.get(reason, reason)}",)


def _fields(body: bytes) -> dict[str, Any]:
    if len(body) > JOB_BYTES_MAX:
        return {}
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _different(value: object) -> int | None:
    if not isinstance(value, list):
        return None
    return len({entry if isinstance(entry, str) else repr(entry) for entry in value})


def _moment(value: object) -> datetime | None:
    """A time as we write it, or as the broker does (in UTC, not saying so)."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (OverflowError, ValueError):
        return None
