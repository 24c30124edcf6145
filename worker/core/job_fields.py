"""Reading the parts of a job out of parsed JSON: each reader appends a sentence per mistake and goes on.

A reader returns what could be read even next to a mistake; whoever calls it decides by the sentences.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from datetime import UTC, datetime

from worker.core.quoting import quoted

#: Control characters and halves of surrogate pairs; a text may have line breaks, and a line none of any kind.
_UNSENDABLE_IN_TEXT = re.compile("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_UNSENDABLE_IN_LINE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")
_FIRST_HALF = 0xD800
_CHARACTER_NAMES = {
    0x00: "a NUL", 0x08: "a backspace", 0x09: "a tab", 0x0A: "a line break", 0x0D: "a line break",
    0x1B: "an escape", 0x7F: "a delete", 0x85: "a line break", 0x2028: "a line break", 0x2029: "a line break",
}  # fmt: skip

_LINE_BREAK = re.compile("\r\n|\n|\r")
#: RFC 3339; datetime.fromisoformat alone also takes week dates, missing parts and missing zones.
_TIME = re.compile(
    "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.][0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_PLAIN_NAME = re.compile("[A-Za-z0-9_.-]{1,40}")
_FIELDS_NAMED_MAX = 5


class RepeatedFields(dict[str, object]):
    """A JSON object in which a name stood twice: the last value counts, and the names are kept."""

    names: tuple[str, ...] = ()


def object_of(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Make a JSON object of its pairs (the parser calls this for every object)."""
    fields = dict(pairs)
    if len(fields) == len(pairs):
        return fields
    counts = Counter(name for name, _ in pairs)
    repeated = RepeatedFields(fields)
    repeated.names = tuple(name for name, count in counts.items() if count > 1)
    return repeated


def unexpected_fields(fields: dict[str, object], known: Collection[str], *, what: str, prefix: str = "") -> list[str]:
    """Sentences on fields that stand twice, and on those that ``what`` ("a job") does not have."""
    repeated = fields.names if isinstance(fields, RepeatedFields) else ()
    reasons = [f"{prefix}{_name(name)}: is given more than once" for name in repeated[:_FIELDS_NAMED_MAX]]
    unknown = [name for name in fields if name not in known]
    reasons += [
        f"{prefix}{_name(name)}: is not a field of {what}, which has {', '.join(known)}"
        for name in unknown[:_FIELDS_NAMED_MAX]
    ]
    if len(unknown) > _FIELDS_NAMED_MAX:
        reasons.append(f"{len(unknown) - _FIELDS_NAMED_MAX:,} more fields are not fields of {what}")
    return reasons


def read_string(
    fields: dict[str, object], name: str, reasons: list[str], *, is_required: bool = False, prefix: str = ""
) -> str | None:
    """The string in field ``name``; None when it is missing or something else."""
    if name not in fields:
        if is_required:
            reasons.append(f"{prefix}{name}: is missing")
        return None
    value = fields[name]
    if isinstance(value, str):
        return value
    if value is None and not is_required:
        reasons.append(f"{prefix}{name}: is null; leave the field out instead")
    else:
        reasons.append(f"{prefix}{name}: must be a string, not {kind_of(value)}")
    return None


def read_line(
    fields: dict[str, object],
    name: str,
    reasons: list[str],
    *,
    characters_max: int,
    is_required: bool = False,
) -> str | None:
    """A string on one line, free of control characters; not blank when it is required."""
    value = read_string(fields, name, reasons, is_required=is_required)
    if value is None:
        return None
    if len(value) > characters_max:
        reasons.append(f"{name}: has {len(value):,} characters; at most {characters_max:,} are allowed")
    unsendable = _UNSENDABLE_IN_LINE.search(value)
    if unsendable:
        reasons.append(f"{name}: {_unsendable(unsendable)}")
    if is_required and not value.strip():
        reasons.append(f"{name}: is empty")
    return value


def read_text(fields: dict[str, object], name: str, reasons: list[str], *, characters_max: int) -> str | None:
    """A text with every line break as the API wants it, CR LF, and counted so."""
    value = read_string(fields, name, reasons, is_required=True)
    if value is None:
        return None
    text = _LINE_BREAK.sub("\r\n", value) if "\n" in value or "\r" in value else value
    if len(text) > characters_max:
        length = f"{len(text):,} characters{', line breaks counted as two' if text is not value else ''}"
        reasons.append(f"{name}: has {length}; at most {characters_max:,} are allowed")
    unsendable = _UNSENDABLE_IN_TEXT.search(value)
    if unsendable:
        reasons.append(f"{name}: {_unsendable(unsendable)}")
    if not text.strip():
        reasons.append(f"{name}: is empty")
    return text


def read_time(fields: dict[str, object], name: str, reasons: list[str]) -> datetime | None:
    """A point in time, in UTC."""
    value = read_string(fields, name, reasons)
    if value is None:
        return None
    if not _TIME.fullmatch(value):
        reasons.append(f"{name}: {quoted(value)} is not a time with a zone, such as 2026-11-22T03:04:05Z (RFC 3339)")
        return None
    try:
        time = datetime.fromisoformat(value.upper())
        return time if time.tzinfo is UTC else time.astimezone(UTC)
    except (ValueError, OverflowError):
        reasons.append(f"{name}: {quoted(value)} names a day, time or zone that does not exist")
        return None


def kind_of(value: object) -> str:
    """What a JSON value is, in a sentence: "a list"."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "a string"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return "a number"


def _unsendable(found: re.Match[str]) -> str:
    code = ord(found.group())
    default = "half of a surrogate pair" if code >= _FIRST_HALF else "a control character"
    name = f"{_CHARACTER_NAMES.get(code, default)} (U+{code:04X})"
    return f"has {name} at character {found.start() + 1:,}, which is not allowed"


def _name(name: str) -> str:
    return name if _PLAIN_NAME.fullmatch(name) else quoted(name)
