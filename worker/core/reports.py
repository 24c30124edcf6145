"""Delivery reports, as the API tells them (pure). Source: the vendor's page on callbacks.

A report says how far a message came: ``Queued`` and ``Dispatched`` on the way, then one of six final words. It has no
id, no time and no signature, and comes repeated, out of order, and sometimes before the answer to the send itself. Two
reports are the same when message, recipient and status are.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class ReportStatus(enum.StrEnum):
    """How far a message came. ``OTHER``: a word that the vendor's page does not have."""

    QUEUED = "queued"
    DISPATCHED = "dispatched"
    ABORTED = "aborted"
    REJECTED = "rejected"
    DELIVERED = "delivered"
    FAILED = "failed"
    EXPIRED = "expired"
    UNKNOWN = "unknown"
    OTHER = "other"


FINAL = frozenset(
    {
        ReportStatus.ABORTED,
        ReportStatus.REJECTED,
        ReportStatus.DELIVERED,
        ReportStatus.FAILED,
        ReportStatus.EXPIRED,
        ReportStatus.UNKNOWN,
    }
)


@dataclass(frozen=True, slots=True)
class Report:
    """One report. ``to``: E.164 with a plus where it can be read so, else as it came.

    ``status``: the API's word in lower case, also one that nobody knows. ``more``: all other fields, as they came.
    """

    message_id: str
    to: str = field(repr=False)
    status: str
    more: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False, hash=False)

    @property
    def kind(self) -> ReportStatus:
        """Which of the known words it is."""
        return ReportStatus(self.status) if self.status in _KNOWN else ReportStatus.OTHER

    @property
    def is_final(self) -> bool:
        """Whether the message goes no further."""
        return self.kind in FINAL


_KNOWN = frozenset(status.value for status in ReportStatus) - {ReportStatus.OTHER.value}


def is_final(status: str) -> bool:
    """Whether a status in lower case, as of a ``Report``, is a final one."""
    return status in _KNOWN and ReportStatus(status) in FINAL
