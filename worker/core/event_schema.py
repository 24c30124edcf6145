"""The JSON Schema of the events that the worker publishes (pure)."""

from __future__ import annotations

from typing import Any

from worker.core.events import EventType, ResolvedAs, ResolvedBy

_STRING = {"type": "string"}
_TIME = {"type": "string", "format": "date-time"}
_REFUSED = {
    "type": "array",
    "description": "Recipients that the API did not accept, and why.",
    "items": {
        "type": "object",
        "properties": {"to": _STRING, "reason": _STRING},
        "required": ["to", "reason"],
    },
}
_SENT = {
    "type": "array",
    "description": "Recipients that the API accepted, with its message ids.",
    "minItems": 1,
    "items": {
        "type": "object",
        "properties": {"to": _STRING, "message_id": _STRING},
        "required": ["to", "message_id"],
    },
}

_FURTHER: dict[EventType, dict[str, Any]] = {
    EventType.SENT: {"recipients": _SENT, "refused": _REFUSED},
    EventType.REFUSED: {
        "code": {"type": "string", "description": "The API's own code."},
        "description": _STRING,
        "refused": _REFUSED,
    },
    EventType.EXPIRED: {"expires_at": _TIME},
    EventType.DEAD: {"reasons": {"type": "array", "items": _STRING, "minItems": 1}},
    EventType.IN_DOUBT: {"since": _TIME, "why": _STRING, "recipients": {"type": "array", "items": _STRING}},
    EventType.RESOLVED: {
        "resolution": {
            "enum": [resolution.value for resolution in ResolvedAs],
            "description": "sent and given_up are final; after resent an ordinary end follows.",
        },
        "by": {"enum": [by.value for by in ResolvedBy]},
        "evidence": {"type": "string", "description": "What it was resolved by, in words."},
    },
}
#: What is there only where it is known: the API's own word, which came late or in delivery reports.
_WHERE_KNOWN: dict[EventType, dict[str, Any]] = {EventType.RESOLVED: {"recipients": _SENT, "refused": _REFUSED}}


def event_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of one event: CloudEvents 1.0, structured JSON."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An event of the MMS sending worker",
        "description": "CloudEvents 1.0. A repeat carries the same source and id: drop it.",
        "oneOf": [_of_type(kind, further) for kind, further in _FURTHER.items()],
    }


def _of_type(kind: EventType, further: dict[str, Any]) -> dict[str, Any]:
    data = {
        "job_id": {"type": ["string", "null"], "description": "The producer's id; null when it could not be read."},
        "reference": {"type": ["string", "null"], "description": "Echoed from the job."},
        "account": _STRING,
        "attempt": {
            "type": "integer",
            "minimum": 0,
            "description": "Attempts used so far.",
        },
        **further,
    }
    required = list(data)
    data |= _WHERE_KNOWN.get(kind, {})
    envelope = {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "minLength": 1},
        "source": {"type": "string", "pattern": "^/mms-worker/accounts/"},
        "type": {"const": kind.value},
        "subject": _STRING,
        "time": _TIME,
        "datacontenttype": {"const": "application/json"},
        "data": {"type": "object", "properties": data, "required": required, "additionalProperties": False},
    }
    return {
        "title": kind.value,
        "type": "object",
        "properties": envelope,
        "required": list(envelope),
        "additionalProperties": False,
    }
