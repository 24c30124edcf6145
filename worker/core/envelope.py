"""The API's two envelopes, read into one shape. Pure; tolerant where the vendor is inconsistent.

Sources: the per-call pages answer ``{"meta": {"code", "status"}, "msg", "data"}``, the general page
``{..., "error": {"code", "description"}}``. Both are accepted. The new generation's ``{"status": true, ...}``
is neither and is never mistaken for success.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from worker.core.tolerant_json import NotJsonError, read_json

DESCRIPTION_CHARACTERS_MAX = 500
CODE_CHARACTERS_MAX = 64
COUNT_DIGITS_MAX = 18

SUCCESS = "SUCCESS"


@dataclass(frozen=True, slots=True)
class Envelope:
    """One answer: its code (upper case), its words, its payload and whether the balance runs low."""

    code: str
    description: str
    data: Any
    low_balance: bool


def read_envelope(body: bytes) -> Envelope | None:
    """Read ``body``; None when it is not JSON, or neither of the two envelopes."""
    try:
        whole = read_json(body)
    except NotJsonError:
        return None
    if not isinstance(whole, dict):
        return None
    meta, error = whole.get("meta"), whole.get("error")
    if isinstance(meta, dict):
        code, description = meta.get("status"), whole.get("msg")
    elif isinstance(error, dict):
        code, description = error.get("code"), error.get("description")
    else:
        return None
    if not isinstance(code, str):
        return None
    return Envelope(
        code=code.strip().upper()[:CODE_CHARACTERS_MAX],
        description=_in_words(description),
        # In the general envelope the payload stands beside the error block.
        data=whole.get("data", whole),
        low_balance="low_sms_alert" in whole,
    )


def count_of(value: object) -> int | None:
    """Counts arrive as numbers or as strings ("2"); None when it is neither."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and len(digits := value.strip()) <= COUNT_DIGITS_MAX and digits.isdecimal():
        return int(digits)
    return None


def _in_words(description: object) -> str:
    """Flatten a description to text: siblings put an object there (``{"fails": [...], "optouts": [...]}``)."""
    if description is None:
        return ""
    try:
        words = description if isinstance(description, str) else orjson.dumps(description).decode()
    except orjson.JSONEncodeError:  # what is nested deeper than it can be written
        return ""
    return words[:DESCRIPTION_CHARACTERS_MAX]
