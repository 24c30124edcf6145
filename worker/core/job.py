"""A job as producers publish it: bytes in, a `Job` or every reason against it out. No bytes make it raise.

The limits and the schema of a job are in `job_schema`; what a schema cannot say about numbers, pictures and
strings is in `phone`, `picture` and `job_fields`.
"""

from __future__ import annotations

import binascii
import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv6Address

from worker.core.job_fields import (
    kind_of,
    object_of,
    read_line,
    read_string,
    read_text,
    read_time,
    unexpected_fields,
)
from worker.core.job_schema import (
    BASE64_CHARACTERS_MAX,
    FIELDS,
    ID_CHARACTERS_MAX,
    MEDIA_FIELDS,
    NUMBERS_MAX,
    NUMBERS_WRITTEN_MAX,
    REFERENCE_CHARACTERS_MAX,
    SUBJECT_CHARACTERS_MAX,
    TEXT_CHARACTERS_MAX,
    URL_CHARACTERS_MAX,
    job_schema,
)
from worker.core.phone import NumberRefused, normalise
from worker.core.picture import PICTURE_BYTES_MAX, Picture, PictureRefused, picture_from
from worker.core.quoting import quoted

__all__ = ["JOB_BYTES_MAX", "Job", "MediaUrl", "Rejected", "decode", "job_schema"]

#: Twice the base64 of the largest picture (some encoders escape every "/"), 10,000 numbers of 40 characters
#: with quotes, comma and space, and the other strings with each character as two escapes: less than this.
JOB_BYTES_MAX = 1_600_000

REASONS_MAX = 20
REASON_CHARACTERS_MAX = 200
#: Refusing a number costs more than taking it; a list with so many bad ones is not read to its end.
_NUMBERS_REFUSED_MAX = 100

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
#: Whole numbers are read as floats because no field is a number, and a long one would be slow (or an error).
_JSON = json.JSONDecoder(object_pairs_hook=object_of, parse_int=float)
#: Printing ASCII; not the backslash, which some take for a slash and others do not.
_IN_A_URL = r"\x21-\x5b\x5d-\x7e"
_NOT_IN_A_URL = re.compile(f"[^{_IN_A_URL}]")
_URL = re.compile(
    r"(?i:https)://(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|[A-Za-z0-9_][A-Za-z0-9_.-]*)(?::(?P<port>[0-9]{1,5}))?"
    f"(?:[/?#][{_IN_A_URL}]*)?"
)
_PORT_MAX = 65_535
_PORTS = range(1, _PORT_MAX + 1)


@dataclass(frozen=True, slots=True)
class MediaUrl:
    """Where the picture is to be fetched from: https, with a host, without credentials.

    Hidden, since such an address is often signed, which makes it a secret.
    """

    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Job:
    """What a producer wants sent, with every rule of the contract checked.

    ``to`` is 1-1,000 different numbers in E.164, in the producer's order; ``text`` has CR LF line breaks; the
    times are in UTC; an empty subject is None.
    """

    id: str
    to: tuple[str, ...] = field(repr=False)
    text: str = field(repr=False)
    media: Picture | MediaUrl
    subject: str | None = field(repr=False)
    created_at: datetime | None
    expires_at: datetime | None
    reference: str | None


@dataclass(frozen=True, slots=True)
class Rejected:
    """Not a job, and why: 1-20 sentences of at most 200 characters.

    They quote the producer's data, phone numbers too: they are for the producer, and must never reach a log.
    The id and reference are kept when they themselves are good.
    """

    reasons: tuple[str, ...] = field(repr=False)
    job_id: str | None
    reference: str | None


def decode(body: bytes, *, region: str) -> Job | Rejected:
    """Read a job. ``region`` says how national numbers are meant, see `phone.normalise`."""
    fields = _parsed(body)
    if isinstance(fields, str):
        return Rejected((_clipped(f"body: {fields}"),), None, None)
    reasons: list[str] = []
    job_id = read_line(fields, "id", reasons, characters_max=ID_CHARACTERS_MAX, is_required=True)
    known_id = None if reasons else job_id
    count = len(reasons)
    reference = read_line(fields, "reference", reasons, characters_max=REFERENCE_CHARACTERS_MAX)
    known_reference = None if len(reasons) > count else reference
    text = read_text(fields, "text", reasons, characters_max=TEXT_CHARACTERS_MAX)
    subject = read_line(fields, "subject", reasons, characters_max=SUBJECT_CHARACTERS_MAX)
    media = _media(fields, reasons)
    created_at = read_time(fields, "created_at", reasons)
    expires_at = read_time(fields, "expires_at", reasons)
    reasons += unexpected_fields(fields, FIELDS, what="a job")
    to = _numbers(fields, reasons, region=region)  # last, since a long list must not hide other mistakes
    if reasons or job_id is None or text is None or media is None:
        return Rejected(_bounded(reasons), known_id, known_reference)
    return Job(
        id=job_id,
        to=to,
        text=text,
        media=media,
        subject=subject or None,
        created_at=created_at,
        expires_at=expires_at,
        reference=reference,
    )


def _parsed(body: bytes) -> dict[str, object] | str:  # noqa: PLR0911 - one per way to be unreadable
    """The fields of a job, or what is wrong with the body as a whole."""
    if len(body) > JOB_BYTES_MAX:
        return f"has {len(body):,} bytes; a job has at most {JOB_BYTES_MAX:,}"
    if not body:
        return "is empty; a job is a JSON object"
    if body.startswith(_BYTE_ORDER_MARK):
        return "begins with a byte order mark; publish UTF-8 without one"
    try:
        value = _JSON.decode(body.decode())
    except UnicodeDecodeError as error:
        return f"is not UTF-8: byte {error.start + 1:,} cannot be read"
    except json.JSONDecodeError as error:
        return f"is not JSON: it cannot be read at line {error.lineno:,}, character {error.colno:,}"
    except RecursionError:
        return "is nested too deeply; a job is a JSON object with one object, media, in it"
    if not isinstance(value, dict):
        return f"must be a JSON object, not {kind_of(value)}"
    return value


def _numbers(fields: dict[str, object], reasons: list[str], *, region: str) -> tuple[str, ...]:
    written = fields.get("to")
    if not isinstance(written, list):
        is_there = "to" in fields
        reasons.append(f"to: must be a list of strings, not {kind_of(written)}" if is_there else "to: is missing")
        return ()
    if not written:
        reasons.append("to: is empty; it needs at least one number")
    if len(written) > NUMBERS_WRITTEN_MAX:
        reasons.append(f"to: has {len(written):,} entries; at most {NUMBERS_MAX:,} numbers fit in a job")
        return ()
    numbers: dict[str, None] = {}
    refused: list[str] = []
    for index, entry in enumerate(written):
        if not isinstance(entry, str):
            refused.append(f"to[{index}]: must be a string, not {kind_of(entry)}")
            continue
        match normalise(entry, region=region):
            case NumberRefused(reason):
                refused.append(f"to[{index}]: {reason}")
            case number:
                numbers[number] = None
        if len(refused) >= _NUMBERS_REFUSED_MAX:
            refused.append(f"to: was not read beyond to[{index}], after {len(refused)} mistakes")
            break
    if len(numbers) > NUMBERS_MAX:
        reasons.append(f"to: has {len(numbers):,} different numbers; at most {NUMBERS_MAX:,} fit in a job")
    reasons += refused
    return tuple(numbers)


def _media(fields: dict[str, object], reasons: list[str]) -> Picture | MediaUrl | None:
    media = fields.get("media")
    if not isinstance(media, dict):
        is_there = "media" in fields
        reasons.append(f"media: must be an object, not {kind_of(media)}" if is_there else "media: is missing")
        return None
    reasons += unexpected_fields(media, MEDIA_FIELDS, what="media", prefix="media.")
    content_type = read_string(media, "content_type", reasons, prefix="media.")
    has_url, has_data = "url" in media, "data" in media
    if has_url and has_data:
        reasons.append("media: has both url and data; give one of them")
    if not has_url and not has_data:
        reasons.append("media: has neither url nor data; give one of them")
    if has_url and not has_data and "content_type" in media:
        reasons.append("media.content_type: belongs to data, not to url; leave it out")
    url = _url(read_string(media, "url", reasons, prefix="media."), reasons)
    picture = _picture(read_string(media, "data", reasons, prefix="media."), content_type, reasons)
    return picture or url


def _url(url: str | None, reasons: list[str]) -> MediaUrl | None:
    if url is None:
        return None
    if len(url) > URL_CHARACTERS_MAX:
        reasons.append(f"media.url: has {len(url):,} characters; at most {URL_CHARACTERS_MAX:,} are allowed")
        return None
    parts = _URL.fullmatch(url)
    if parts and int(parts["port"] or _PORT_MAX) in _PORTS and _is_ipv6(parts["ipv6"]):
        return MediaUrl(url)
    misfit = _NOT_IN_A_URL.search(url)
    if misfit:
        where = f"{quoted(misfit.group())} at character {misfit.start() + 1:,}"
        reasons.append(f"media.url: has {where}, which must be percent-encoded in a URL")
    elif not url.lower().startswith("https://"):
        reasons.append("media.url: must begin with https://")
    elif "@" in re.split("[/?#]", url[len("https://") :], maxsplit=1)[0]:
        reasons.append("media.url: has a user name or password in it, which is not allowed")
    else:
        reasons.append("media.url: has no valid host name, address or port after https://")
    return None


def _is_ipv6(address: str | None) -> bool:
    """Whether the part in square brackets, if there is one, is an address."""
    if address is None:
        return True
    try:
        IPv6Address(address)
    except ValueError:
        return False
    return True


def _picture(data: str | None, content_type: str | None, reasons: list[str]) -> Picture | None:
    if data is None:
        return None
    if len(data) > BASE64_CHARACTERS_MAX:
        reasons.append(f"media.data: is too long; a picture has at most {PICTURE_BYTES_MAX:,} bytes")
        return None
    try:
        content = binascii.a2b_base64(data, strict_mode=True)
    except ValueError:
        reasons.append(f"media.data: {_base64_fault(data)}")
        return None
    picture = picture_from(content, content_type=content_type)
    if isinstance(picture, PictureRefused):
        reasons.append(f"media.data: {picture.reason}")
        return None
    return picture


def _base64_fault(data: str) -> str:
    if data.startswith("data:"):
        return "is a data: address; give only the base64 after its comma"
    misfit = re.search("[^A-Za-z0-9+/=]", data)
    if misfit:
        where = f"{quoted(misfit.group())} at character {misfit.start() + 1:,}"
        return f"is not base64: {where} is not in its alphabet"
    return "is not base64: its end is missing or its padding (=) is wrong"


def _bounded(reasons: list[str]) -> tuple[str, ...]:
    if len(reasons) > REASONS_MAX:
        hidden = len(reasons) - (REASONS_MAX - 1)
        reasons = [*reasons[: REASONS_MAX - 1], f"and {hidden:,} more mistakes"]
    return tuple(_clipped(reason) for reason in reasons)


def _clipped(reason: str) -> str:
    return reason if len(reason) <= REASON_CHARACTERS_MAX else reason[: REASON_CHARACTERS_MAX - 1] + "…"
