"""What producers publish in the run: a steady stream for two accounts, with some of every kind in it (pure)."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

OPTED_OUT = "+61499999999"
CRASHER = "ENDS-ITS-WORKER"
"""A message with this in it kills each worker that reads it (by MMS_FAILPOINT)."""
SHOP, CAMPAIGN, NOBODY = "shop", "campaign", "nobody"
RECIPIENTS = 5

#: Of the shop's jobs, one in so many is of the kind, and which one of them.
EVERY = {"urgent": (4, 1), "refused": (11, 5), "expired": (13, 7), "wrong": (17, 9), "lost": (19, 11), "twice": (6, 3)}


@dataclass(frozen=True, slots=True)
class Job:
    """One publication."""

    name: str
    routing_key: str
    body: bytes = field(repr=False)


def shop_jobs(picture: str) -> Iterator[Job]:
    """Single messages, without end; some are published twice, and some are wrong."""
    number = 0
    while True:
        number += 1
        job = _shop_job(number, picture)
        yield job
        if _is(number, "twice"):
            yield job


def campaign_jobs(picture: str) -> Iterator[Job]:
    """Messages to several people each, of ever new texts, so that each takes a call."""
    number = 0
    while True:
        number += 1
        to = [f"+6147{(number * RECIPIENTS + place) % 10_000_000:07}" for place in range(RECIPIENTS)]
        yield _job(f"campaign-{number}", CAMPAIGN, to=to, text=f"Number {number} is for you.", picture=picture)


def crashing_job(picture: str) -> Job:
    """The one that ends its workers."""
    return _job("crasher", SHOP, to=["+61470000001"], text=f"This one {CRASHER}", picture=picture)


def _shop_job(number: int, picture: str) -> Job:
    fields: dict[str, Any] = {}
    to, key = f"+614{number % 100_000_000:08}", SHOP
    if _is(number, "urgent"):
        key = f"{SHOP}.urgent"
    if _is(number, "refused"):
        to = OPTED_OUT
    if _is(number, "expired"):
        fields["expires_at"] = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    if _is(number, "wrong"):
        fields["colour"] = "blue"
    if _is(number, "lost"):
        key = NOBODY
    return _job(f"shop-{number}", key, to=[to], text=f"Order {number} is on its way.", picture=picture, **fields)


def _is(number: int, kind: str) -> bool:
    every, at = EVERY[kind]
    return number % every == at


def _job(name: str, key: str, *, to: list[str], text: str, picture: str, **more: object) -> Job:
    fields: dict[str, object] = {"id": name, "to": to, "text": text, "media": {"data": picture}}
    fields |= {"created_at": datetime.now(UTC).isoformat(), **more}
    return Job(name, key, json.dumps(fields).encode())
