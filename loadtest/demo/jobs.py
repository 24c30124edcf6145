"""The jobs of the demo, made up by their number (pure): mostly good ones, and some of every other kind.

A job's text carries its number, so the ledger's every entry belongs to exactly one job.
"""

import enum
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from loadtest.demo.pictures import SamplePicture

ACCOUNT = "default"
UNKNOWN_ACCOUNT = "nobody"
OPTED_OUT = ("+61491571001", "+61491571002", "+61491571003")
"""The simulator is told that these are unsubscribed."""
CUT = "demo-0007"
"""The API accepts this job's message, and then the connection is cut."""

#: Of so many jobs one is of the kind; the offsets keep the kinds apart.
WRONG_EVERY = 33
UNROUTABLE_EVERY, UNROUTABLE_AT = 150, 75
OPTED_OUT_EVERY, OPTED_OUT_AT = 100, 50
EXPIRED_EVERY, EXPIRED_AT = 200, 20
SEVERAL_EVERY, ONE_OPTED_OUT_EVERY, ONE_OPTED_OUT_AT = 10, 100, 10
URGENT_EVERY, URGENT_AT = 50, 1
RECIPIENTS_MAX = 5

TEXTS = (
    "Your parcel {id} is on its way.",
    "Good news! Order {id} left our warehouse today.\nYou can track it at any time.",
    "We have just delivered {id} to your door \N{PACKAGE}",
    "Lieferung {id}: morgen zwischen 9 und 12 Uhr, wie gewünscht.",
    "お荷物 {id} を発送しました。",
)
SUBJECTS = (None, "On its way", "Thank you for your order")
NUMBER_FORMS: tuple[Callable[[int], str], ...] = (
    lambda subscriber: f"+61{subscriber}",
    lambda subscriber: f"61{subscriber}",
    lambda subscriber: f"0{subscriber // 1_000_000} {subscriber // 1_000 % 1_000:03} {subscriber % 1_000:03}",
)
SUBSCRIBER_FIRST, SUBSCRIBERS = 491_570_000, 1_000


class End(enum.StrEnum):
    """How a job may end; each published one ends as exactly one of these."""

    SENT = "sent"
    REFUSED = "refused"
    EXPIRED = "expired"
    DEAD = "dead"
    UNROUTABLE = "unroutable"
    IN_DOUBT = "in doubt"


@dataclass(frozen=True, slots=True)
class DemoJob:
    """One job as published, and what is to be expected of it.

    `id` is what the worker can read of it (None: nothing), `name` what people call it. `text` and `to` are as the
    API is to get them, `to` without those that it must refuse.
    """

    name: str
    id: str | None
    routing_key: str
    body: bytes = field(repr=False)
    should_end: End
    to: frozenset[str] = frozenset()
    text: str = ""
    picture_sha256: str = ""


def make_jobs(count: int, pictures: Sequence[SamplePicture], created_at: datetime) -> tuple[DemoJob, ...]:
    """Jobs number 1 to `count`; the same arguments make the same jobs."""
    return tuple(_make(number, pictures[number % len(pictures)], created_at) for number in range(1, count + 1))


def _make(number: int, picture: SamplePicture, created_at: datetime) -> DemoJob:
    name = f"demo-{number:04}"
    recipients = _recipients(number)
    fields: dict[str, Any] = {
        "id": name,
        "to": [NUMBER_FORMS[number % 3](subscriber) for subscriber in recipients],
        "text": TEXTS[number % len(TEXTS)].format(id=name),
        "media": {"data": picture.data},
        "created_at": created_at.isoformat(),
        "reference": f"demo:{number}",
    }
    if subject := SUBJECTS[number % len(SUBJECTS)]:
        fields["subject"] = subject
    if number % WRONG_EVERY == 0:
        return _wrong(number, name, fields)
    if number % UNROUTABLE_EVERY == UNROUTABLE_AT:
        return DemoJob(name, name, UNKNOWN_ACCOUNT, _body(fields), End.UNROUTABLE)
    if number % OPTED_OUT_EVERY == OPTED_OUT_AT:
        fields["to"] = list(OPTED_OUT)
        return DemoJob(name, name, ACCOUNT, _body(fields), End.REFUSED)
    if number % EXPIRED_EVERY == EXPIRED_AT:
        fields["expires_at"] = (created_at - timedelta(minutes=1)).isoformat()
        return DemoJob(name, name, ACCOUNT, _body(fields), End.EXPIRED)
    if number % ONE_OPTED_OUT_EVERY == ONE_OPTED_OUT_AT:
        fields["to"].append(OPTED_OUT[0])
    return DemoJob(
        name=name,
        id=name,
        routing_key=f"{ACCOUNT}.urgent" if number % URGENT_EVERY == URGENT_AT else ACCOUNT,
        body=_body(fields),
        should_end=End.SENT,
        to=frozenset(f"+61{subscriber}" for subscriber in recipients),
        text=fields["text"].replace("\n", "\r\n"),  # as the API wants line breaks
        picture_sha256=picture.sha256,
    )


def _recipients(number: int) -> list[int]:
    """One number mostly, several now and then."""
    count = 2 + number // SEVERAL_EVERY % (RECIPIENTS_MAX - 1) if number % SEVERAL_EVERY == 0 else 1
    return [SUBSCRIBER_FIRST + (number * RECIPIENTS_MAX + place) % SUBSCRIBERS for place in range(count)]


def _wrong(number: int, name: str, fields: dict[str, Any]) -> DemoJob:
    """A job that must be dead-lettered; which mistake it has goes by its number."""
    mistakes: tuple[Callable[[dict[str, Any]], object], ...] = (
        lambda job: job.update(to=["+61 4 not a number"]),
        lambda job: job.pop("text"),
        lambda job: job.update(colour="blue"),
        lambda job: job.update(media={"data": "bm90IGEgcGljdHVyZQ=="}),  # "not a picture"
        lambda job: job.pop("id"),
        lambda job: job.update(text=job["text"] + "!" * 1_000),
    )
    kind = number // WRONG_EVERY % (len(mistakes) + 1)
    if kind == len(mistakes):
        return DemoJob(name, None, ACCOUNT, f"{name}: this is not JSON".encode(), End.DEAD)
    mistakes[kind](fields)
    return DemoJob(name, fields.get("id"), ACCOUNT, _body(fields), End.DEAD)


def _body(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode()
