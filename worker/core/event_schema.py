"""The JSON Schema of the events that the worker publishes (pure)."""

from __future__ import annotations

from typing import Any

from worker.core.events import EventType, ResolvedAs, ResolvedBy
from worker.core.inbound_events import InboundType
from worker.core.reports import FINAL, ReportStatus

_STRING = {"type": "string"}
_STRING_OR_NULL = {"type": ["string", "null"]}
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

_MORE = {"type": "object", "description": "All other fields that the API told, as they came."}
_JOB_IF_KNOWN = {
    "job_id": _STRING_OR_NULL | {"description": "The producer's id; null when nobody knows of which job it is."},
    "reference": _STRING_OR_NULL | {"description": "Echoed from the job."},
    "account": _STRING,
}
_INBOUND: dict[InboundType, dict[str, Any]] = {
    InboundType.REPORT: {
        **_JOB_IF_KNOWN,
        "message_id": _STRING | {"description": "The API's own, as in mms.job.sent."},
        "to": _STRING | {"description": "The recipient."},
        "status": _STRING
        | {
            "description": f"Final are {', '.join(sorted(FINAL))}; on the way are "
            f"{ReportStatus.QUEUED} and {ReportStatus.DISPATCHED}. Other words may come.",
        },
        "is_final": {"type": "boolean", "description": "Whether the message goes no further."},
        "superseded_by": _STRING_OR_NULL
        | {
            "description": "The final status that is known already, so that this one changes nothing any more, or null."
        },
        "more": _MORE,
    },
    InboundType.REPLY: {
        **_JOB_IF_KNOWN,
        "message_id": _STRING | {"description": "The reply's own."},
        "from": _STRING,
        "text": _STRING,
        "received_at": _STRING_OR_NULL | {"description": "As the API wrote it, without a zone; time is our own."},
        "original_message_id": _STRING_OR_NULL | {"description": "The message that it answers."},
        "kind": {"enum": ["MMS", "SMS", None]},
        "more": _MORE,
    },
}


def event_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of one event: CloudEvents 1.0, structured JSON."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An event of the MMS sending worker",
        "description": "CloudEvents 1.0. A repeat carries the same source and id: drop it.",
        "oneOf": [
            *(_of_job(kind, further) for kind, further in _FURTHER.items()),
            *(_of_type(kind.value, data, required=list(data)) for kind, data in _INBOUND.items()),
        ],
    }


def _of_job(kind: EventType, further: dict[str, Any]) -> dict[str, Any]:
    data = {
        "job_id": _STRING_OR_NULL | {"description": "The producer's id; null when it could not be read."},
        "reference": _STRING_OR_NULL | {"description": "Echoed from the job."},
        "account": _STRING,
        "attempt": {
            "type": "integer",
            "minimum": 0,
            "description": "Attempts used so far.",
        },
        **further,
    }
    return _of_type(kind.value, data | _WHERE_KNOWN.get(kind, {}), required=list(data))


def _of_type(kind: str, data: dict[str, Any], *, required: list[str]) -> dict[str, Any]:
    envelope = {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "minLength": 1},
        "source": {"type": "string", "pattern": "^/mms-worker/accounts/"},
        "type": {"const": kind},
        "subject": _STRING,
        "time": _TIME,
        "datacontenttype": {"const": "application/json"},
        "data": {"type": "object", "properties": data, "required": required, "additionalProperties": False},
    }
    return {
        "title": kind,
        "type": "object",
        "properties": envelope,
        "required": list(envelope),
        "additionalProperties": False,
    }
