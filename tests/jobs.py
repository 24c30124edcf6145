"""Jobs and deliveries to test with."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from worker.core.accounts import Account, Credentials
from worker.core.delivery import ATTEMPTS_HEADER, Delivery, Lane
from worker.core.job import Job
from worker.core.picture import Picture, PictureKind

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000 1f15c4890000000d49444154789c6360f8cfc000000003000100"
    "18dd8db00000000049454e44ae426082".replace(" ", "")
)
A_PICTURE = Picture(PNG, PictureKind.PNG)
A_NUMBER = "+61400000001"


def job_body(job_id: str = "job-1", **changes: Any) -> bytes:
    """A valid job as a producer publishes it, with ``changes``; a value of None leaves the field out."""
    job = {
        "id": job_id,
        "to": [A_NUMBER],
        "text": "Your parcel is on its way",
        "media": {"data": base64.b64encode(PNG).decode()},
    }
    return orjson.dumps({name: value for name, value in (job | changes).items() if value is not None})


def an_account(name: str, *, limit_per_s: float = 10.0, prefetch: int = 128, app_key: str | None = None) -> Account:
    return Account(name, limit_per_s, prefetch, Credentials(app_key or f"key-{name}", "", "basic"))


def a_job(*, to: tuple[str, ...] = (A_NUMBER,), expires_at: datetime | None = None) -> Job:
    return Job(
        id="job-1",
        to=to,
        text="hello",
        media=A_PICTURE,
        subject=None,
        created_at=None,
        expires_at=expires_at,
        reference="crm:1",
    )


def a_delivery(
    body: bytes = b'{"id": "job-1"}',
    *,
    attempts: int = 0,
    lane: Lane = Lane.BULK,
    headers: Mapping[str, Any] | None = None,
    redelivered: bool = False,
) -> Delivery:
    return Delivery(
        account="acme",
        lane=lane,
        body=body,
        headers={ATTEMPTS_HEADER: attempts} if headers is None else headers,
        redelivered=redelivered,
        published_at=None,
        received_at_s=0.0,
        receipt=None,
    )
