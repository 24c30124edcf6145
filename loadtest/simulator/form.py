"""The form of `send-mms`, from bytes to checked fields: pure, and as strict as the API's document.

Every way to be wrong is a `Refusal` with the code that the document gives for it.
"""

import hashlib
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from loadtest.simulator.form_parts import Parts, UnreadableFormError, read_parts

SUBJECT_CHARACTERS_MAX = 40
TEXT_CHARACTERS_MAX = 1_000
PICTURE_BYTES_MAX = 380_000
NUMBERS_MAX = 1_000
PICTURES_REMEMBERED = 8
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


class SendForm(NamedTuple):
    """A form that keeps every rule. `numbers` are as sent; whether each can be reached is not yet known."""

    subject: str
    text: str
    picture_sha256: bytes
    numbers: tuple[str, ...]


def sha256_of(picture: bytes) -> bytes:
    """By which pictures are told apart."""
    return hashlib.sha256(picture).digest()


class PictureDigests:
    """The same as `sha256_of`, where one picture comes over and over: comparing it costs a tenth of that."""

    __slots__ = ("_latest",)

    def __init__(self) -> None:
        self._latest: deque[tuple[bytes, bytes]] = deque(maxlen=PICTURES_REMEMBERED)

    def of(self, picture: bytes) -> bytes:
        """The digest of one picture, byte for byte."""
        for known, digest in self._latest:
            if known == picture:
                return digest
        digest = sha256_of(picture)
        self._latest.appendleft((picture, digest))
        return digest


def read_send_form(
    content_type: str, body: bytes, digest_of: Callable[[bytes], bytes] = sha256_of
) -> SendForm | Refusal:
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
    return SendForm(subject, text, digest_of(picture), numbers)


def normal_number(number: str) -> int | None:
    """The digits with the country code (a national number is Australian), None when it is no number."""
    if found := _NUMBER.fullmatch(number):
        return int(found[1])
    if found := _NATIONAL_NUMBER.fullmatch(number):
        return int("61" + found[1])
    return None


def _parts(content_type: str, body: bytes) -> Parts | Refusal:
    try:
        parts = read_parts(content_type, body)
    except UnreadableFormError as error:
        return Refusal("FIELD_INVALID", f"The form cannot be read: {error}.")
    return Refusal("FIELD_EMPTY", "No form was sent: send-mms takes multipart/form-data.") if parts is None else parts


def _text_field(parts: Parts, name: str, *, characters_max: int, required: bool) -> str | Refusal:
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


def _picture(parts: Parts) -> bytes | Refusal:
    found = parts.get("mms_file", [])
    if len(found) != 1 or not found[0].is_file:
        return Refusal("FIELD_INVALID", "mms_file must be exactly one file.")
    content = found[0].content
    if len(content) > PICTURE_BYTES_MAX:
        return Refusal("FIELD_INVALID", f"mms_file is larger than {PICTURE_BYTES_MAX} bytes: {len(content)}.")
    if not content.startswith(_PICTURE_HEADS):
        return Refusal("FIELD_INVALID", "mms_file is neither PNG nor GIF nor JPEG.")
    return content


def _numbers(parts: Parts) -> tuple[str, ...] | Refusal:
    found = parts.get("numbers", [])
    if len(found) > 1:
        return Refusal("FIELD_INVALID", f"numbers was sent {len(found)} times.")
    if not found or not found[0].content:
        return Refusal("FIELD_EMPTY", "numbers is required.")
    try:
        numbers: Any = orjson.loads(found[0].content)
    except orjson.JSONDecodeError:
        numbers = None
    if not isinstance(numbers, list) or not set(map(type, numbers)) <= {str}:
        return Refusal("FIELD_INVALID", "numbers must be a JSON array of strings.")
    if not numbers:
        return Refusal("FIELD_EMPTY", "numbers is required.")
    if len(numbers) > NUMBERS_MAX:
        return Refusal("FIELD_INVALID", f"numbers holds more than {NUMBERS_MAX}: {len(numbers)}.")
    return tuple(numbers)
