"""What a job may be, as limits and as a JSON Schema for producers. Each limit is named here, once."""

from __future__ import annotations

from worker.core.picture import PICTURE_BYTES_MAX, PictureKind

FIELDS = ("id", "to", "text", "media", "subject", "created_at", "expires_at", "reference")
MEDIA_FIELDS = ("url", "data", "content_type")

ID_CHARACTERS_MAX = 128
#: These three are the API's (`POST send-mms`: mms_text, subject, numbers).
TEXT_CHARACTERS_MAX = 1_000
SUBJECT_CHARACTERS_MAX = 40
NUMBERS_MAX = 1_000
#: A number may stand in a job more than once, but not so often that reading the list takes long.
NUMBERS_WRITTEN_MAX = 10_000
REFERENCE_CHARACTERS_MAX = 255
URL_CHARACTERS_MAX = 2_048
BASE64_CHARACTERS_MAX = -(-PICTURE_BYTES_MAX // 3) * 4

_ON_ONE_LINE = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$"
_WITHOUT_CONTROLS = r"^[^\u0000-\u0009\u000b\u000c\u000e-\u001f\u007f-\u009f]*$"
_NOT_BLANK = r"\S"
_TIME = "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})$"

Schema = dict[str, object]


def job_schema() -> Schema:
    """The JSON Schema (2020-12) of a job.

    Each job taken fits it. The reverse does not hold: no schema can tell a phone number or a picture.
    """
    properties: dict[str, Schema] = {
        "id": {
            "type": "string",
            "description": "Your own key for the job, in every event about it.",
            "minLength": 1,
            "maxLength": ID_CHARACTERS_MAX,
            "allOf": [{"pattern": _NOT_BLANK}, {"pattern": _ON_ONE_LINE}],
        },
        "to": _to(),
        "text": {
            "type": "string",
            "description": "A line break is sent as CR LF and counts as two characters; other control "
            "characters are refused.",
            "minLength": 1,
            "maxLength": TEXT_CHARACTERS_MAX,
            "allOf": [{"pattern": _NOT_BLANK}, {"pattern": _WITHOUT_CONTROLS}],
        },
        "media": _media(),
        "subject": _line("Shown above the text, on one line.", SUBJECT_CHARACTERS_MAX),
        "created_at": _time("When the job came to be."),
        "expires_at": _time("After this the job is not sent any more."),
        "reference": _line("Anything of yours; every event about the job repeats it.", REFERENCE_CHARACTERS_MAX),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "MMS job",
        "description": "A picture message to one or more phones. Its account is the routing key, no field.",
        "type": "object",
        "properties": properties,
        "required": ["id", "to", "text", "media"],
        "additionalProperties": False,
        "examples": [_example()],
    }


def _to() -> Schema:
    return {
        "type": "array",
        "description": f"1 to {NUMBERS_MAX:,} different mobile numbers, with a country code (+614…, 614…) or "
        "as dialled at home (04…). A number given twice counts once.",
        "items": {"type": "string", "maxLength": 40, "pattern": "^[-+0-9 ().]*[0-9][-0-9 ().]*$"},
        "minItems": 1,
        "maxItems": NUMBERS_WRITTEN_MAX,
    }


def _media() -> Schema:
    url: Schema = {
        "type": "string",
        "description": "Where to fetch the picture: https, without a user name or password.",
        "format": "uri",
        "maxLength": URL_CHARACTERS_MAX,
        "pattern": "^[Hh][Tt][Tt][Pp][Ss]://[^/?#@\\s]+([/?#]|$)",
    }
    data: Schema = {
        "type": "string",
        "description": f"The picture, at most {PICTURE_BYTES_MAX:,} bytes, as padded base64.",
        "contentEncoding": "base64",
        "minLength": 4,
        "maxLength": BASE64_CHARACTERS_MAX,
        "pattern": "^[A-Za-z0-9+/]+={0,2}$",
    }
    kinds = ", ".join(kind.content_type for kind in PictureKind)
    content_type: Schema = {
        "type": "string",
        "description": f"Not needed, since the bytes tell; when given it must agree with them ({kinds}).",
    }
    return {
        "description": "One PNG, GIF or JPEG picture: either where it is, or the picture itself.",
        "oneOf": [
            _object({"url": url}, required=["url"]),
            _object({"data": data, "content_type": content_type}, required=["data"]),
        ],
    }


def _object(properties: dict[str, Schema], *, required: list[str]) -> Schema:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _line(description: str, characters_max: int) -> Schema:
    return {
        "type": "string",
        "description": description,
        "maxLength": characters_max,
        "pattern": _ON_ONE_LINE,
    }


def _time(description: str) -> Schema:
    return {
        "type": "string",
        "description": f"{description} RFC 3339, with a zone.",
        "format": "date-time",
        "pattern": _TIME,
    }


def _example() -> Schema:
    return {
        "id": "order-8841-shipped",
        "to": ["+61412345678"],
        "text": "Your parcel is on its way",
        "subject": "Shipped",
        "media": {"url": "https://cdn.example.com/parcel.png"},
        "created_at": "2026-11-22T03:04:05Z",
        "expires_at": "2026-11-22T09:00:00Z",
        "reference": "crm:8841",
    }
