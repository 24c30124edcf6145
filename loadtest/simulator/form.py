"""The form of `send-mms`, from bytes to checked fields: pure, and as strict as the API's document.

Every way to be wrong is a `Refusal` with the code that the document gives for it.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Any

import orjson
from multipart import MultipartError, PushMultipartParser, parse_options_header

SUBJECT_CHARACTERS_MAX = 40
TEXT_CHARACTERS_MAX = 1_000
PICTURE_BYTES_MAX = 380_000
NUMBERS_MAX = 1_000
PARTS_MAX = 16
BODY_BYTES_MAX = 1_048_576
"""Room for the largest picture, the most numbers and the longest text, with as much again to spare."""

_PICTURE_HEADS = (b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"\xff\xd8\xff")
_NUMBER = re.compile(r"\+?([1-9][0-9]{7,14})", re.ASCII)
_NATIONAL_NUMBER = re.compile(r"0([1-9][0-9]{8})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The API takes none of the call: a documented code, and the description that says which field."""

    code: str
    description: str


@dataclass(frozen=True, slots=True)
class SendForm:
    """A form that keeps every rule. `numbers` are as sent; whether each can be reached is not yet known."""

    subject: str
    text: str
    picture_sha256: bytes
    numbers: tuple[str, ...]


def read_send_form(content_type: str, body: bytes) -> SendForm | Refusal:
    """Parse and check one body; the fields are checked in the order in which the document lists them."""
    parts = _parts(content_type, body)
    if isinstance(parts, Refusal):
        return parts
    subject = _text_field(parts, "subject", characters_max=SUBJECT_CHARACTERS_MAX, required=False)
    if isinstance(subject, Refusal):
        return subject
    text = _text_field(parts, "mms_text", characters_max=TEXT_CHARACTERS_MAX, required=True)
    if isinstance(text, Refusal):
        return text
    picture = _picture(parts)
    if isinstance(picture, Refusal):
        return picture
    numbers = _numbers(parts)
    if isinstance(numbers, Refusal):
        return numbers
    return SendForm(subject, text, hashlib.sha256(picture).digest(), numbers)


def normal_number(number: str) -> int | None:
    """The digits with the country code (a national number is Australian), None when it is no number."""
    if found := _NUMBER.fullmatch(number):
        return int(found[1])
    if found := _NATIONAL_NUMBER.fullmatch(number):
        return int("61" + found[1])
    return None


@dataclass(frozen=True, slots=True)
class _Part:
    content: bytes
    is_file: bool


def _parts(content_type: str, body: bytes) -> dict[str, list[_Part]] | Refusal:
    kind, options = parse_options_header(content_type)
    boundary = options.get("boundary", "")
    if kind != "multipart/form-data" or not boundary:
        return Refusal("FIELD_EMPTY", "No form was sent: send-mms takes multipart/form-data.")
    parts: dict[str, list[_Part]] = {}
    name, is_file = "", False
    pieces: list[bytes | bytearray] = []
    try:
        with PushMultipartParser(boundary, len(body), max_segment_count=PARTS_MAX, strict=True) as parser:
            for event in parser.parse(body):
                if event is None:
                    parts.setdefault(name, []).append(_Part(b"".join(pieces), is_file))
                elif isinstance(event, (bytes, bytearray)):
                    pieces.append(event)
                else:
                    name, is_file, pieces = event.name or "", event.filename is not None, []
    except MultipartError as error:
        return Refusal("FIELD_INVALID", f"The form cannot be read: {error}.")
    return parts


def _text_field(parts: dict[str, list[_Part]], name: str, *, characters_max: int, required: bool) -> str | Refusal:
    found = parts.get(name, [])
    if len(found) > 1:
        return Refusal("FIELD_INVALID", f"{name} was sent {len(found)} times.")
    try:
        text = found[0].content.decode() if found else ""
    except UnicodeDecodeError:
        return Refusal("FIELD_INVALID", f"{name} is not UTF-8.")
    if required and not text:
        return Refusal("FIELD_EMPTY", f"{name} is required.")
    if len(text) > characters_max:
        return Refusal("FIELD_INVALID", f"{name} is longer than {characters_max} characters: {len(text)}.")
    return text


def _picture(parts: dict[str, list[_Part]]) -> bytes | Refusal:
    found = parts.get("mms_file", [])
    if len(found) != 1 or not found[0].is_file:
        return Refusal("FIELD_INVALID", "mms_file must be exactly one file.")
    content = found[0].content
    if len(content) > PICTURE_BYTES_MAX:
        return Refusal("FIELD_INVALID", f"mms_file is larger than {PICTURE_BYTES_MAX} bytes: {len(content)}.")
    if not content.startswith(_PICTURE_HEADS):
        return Refusal("FIELD_INVALID", "mms_file is neither PNG nor GIF nor JPEG.")
    return content


def _numbers(parts: dict[str, list[_Part]]) -> tuple[str, ...] | Refusal:
    found = parts.get("numbers", [])
    if len(found) > 1:
        return Refusal("FIELD_INVALID", f"numbers was sent {len(found)} times.")
    if not found or not found[0].content:
        return Refusal("FIELD_EMPTY", "numbers is required.")
    try:
        numbers: Any = orjson.loads(found[0].content)
    except orjson.JSONDecodeError:
        numbers = None
    if not isinstance(numbers, list) or not all(isinstance(number, str) for number in numbers):
        return Refusal("FIELD_INVALID", "numbers must be a JSON array of strings.")
    if not numbers:
        return Refusal("FIELD_EMPTY", "numbers is required.")
    if len(numbers) > NUMBERS_MAX:
        return Refusal("FIELD_INVALID", f"numbers holds more than {NUMBERS_MAX}: {len(numbers)}.")
    return tuple(numbers)
