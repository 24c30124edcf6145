"""Replies and inbound messages, as the API tells them (pure). Source: the vendor's pages on callbacks and replies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Reply:
    """One inbound message. It is the same one whichever way, and however often, it comes: by ``message_id``.

    ``sender``: E.164 with a plus where it can be read so, else as it came (a name, a short code). ``received_at``: as
    it came, since it carries no zone and varies in form. ``original_message_id``: the message that it answers, or None.
    ``kind``: "MMS" or "SMS" in capitals, or None. ``more``: all other fields, as they came.
    """

    message_id: str
    sender: str = field(repr=False)
    text: str = field(repr=False)
    received_at: str | None
    original_message_id: str | None
    kind: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False, hash=False)
