"""The events of what comes in: delivery reports and replies (pure).

The ``id`` is made from what makes a report or a reply what it is, so that one that is told again after a crash carries
the same ``source`` and ``id``, and a consumer can drop it.
"""

from __future__ import annotations

import enum
import hashlib
from datetime import datetime

from worker.core.delivery import Publication
from worker.core.events import event
from worker.core.replies import Reply
from worker.core.reports import Report
from worker.core.sendings import SentJob

_DIGEST_BYTES = 8


class InboundType(enum.StrEnum):
    """The types of what is told about messages, sent and received."""

    REPORT = "mms.message.report"
    REPLY = "mms.reply.received"


def report_event(
    report: Report, *, account: str, job: SentJob | None, superseded_by: str | None, at: datetime
) -> Publication:
    """Build the event of a delivery report.

    ``job``: that the message is one of, where known. ``superseded_by``: the final status that was told before, when
    this one changes nothing any more.
    """
    # One call gives each recipient a message id of its own, as far as is known; and an id is no place for a number.
    who = hashlib.blake2b(f"{report.message_id}:{report.to}".encode(), digest_size=_DIGEST_BYTES).hexdigest()
    return event(
        InboundType.REPORT.value,
        event_id=f"{report.message_id}:{who}:{InboundType.REPORT.value}:{report.status}",
        account=account,
        subject=report.message_id,
        at=at,
        data={
            "job_id": job and job.job_id,
            "reference": job and job.reference,
            "account": account,
            "message_id": report.message_id,
            "to": report.to,
            "status": report.status,
            "is_final": report.is_final,
            "superseded_by": superseded_by,
            "more": report.more,
        },
    )


def reply_event(reply: Reply, *, account: str, job: SentJob | None, at: datetime) -> Publication:
    """Build the event of a reply. ``job``: that it answers, where known. ``at``: our own time of receipt."""
    return event(
        InboundType.REPLY.value,
        event_id=f"{reply.message_id}:{InboundType.REPLY.value}",
        account=account,
        subject=reply.message_id,
        at=at,
        data={
            "job_id": job and job.job_id,
            "reference": job and job.reference,
            "account": account,
            "message_id": reply.message_id,
            "from": reply.sender,
            "text": reply.text,
            "received_at": reply.received_at,
            "original_message_id": reply.original_message_id,
            "kind": reply.kind,
            "more": reply.more,
        },
    )
