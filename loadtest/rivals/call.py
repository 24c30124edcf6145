"""The call, the same for all: the fields of `send-mms`, as HTTP libraries are given them."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

FILE_NAME, FILE_TYPE = "picture.png", "image/png"


@dataclass(frozen=True, slots=True)
class Call:
    """What one job asks for."""

    text: str
    numbers: str
    picture: bytes = field(repr=False)


def call_of(body: bytes) -> Call:
    """Out of a job's body."""
    job: dict[str, Any] = json.loads(body)
    return Call(job["text"], json.dumps(job["to"]), base64.b64decode(job["media"]["data"]))
