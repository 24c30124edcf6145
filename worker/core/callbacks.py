"""What the vendor posts to us: delivery reports and replies, out of JSON (pure). No bytes make it raise.

Sources: the vendor's pages on callbacks and on ``get-responses``, and what siblings of the API are seen to send. One
object or an array of them; names in any letter case, with or without underscores; numbers as numbers or as texts.
Fields that nobody knows are kept as they came.

An entry that cannot be read keeps none of the others out: they are taken, and who posted them is told what is wrong
with the rest. Nothing that is said of a mistake quotes what was posted, since that may be a phone number or a text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from worker.core.job_fields import kind_of
from worker.core.phone import NumberRefused, normalise
from worker.core.replies import Reply
from worker.core.reports import Report
from worker.core.tolerant_json import NotJsonError, read_json, whole, whole_text

ENTRIES_MAX = 1_000
MESSAGE_ID_CHARACTERS_MAX = 128
STATUS_CHARACTERS_MAX = 40
NUMBER_CHARACTERS_MAX = 64
#: Of other fields that are read and not only kept.
FIELD_CHARACTERS_MAX = 128
#: Sentences about one body.
MISTAKES_MAX = 20
#: How deep what is kept may be nested; what is deeper can be read, and could not be written into an event.
LEVELS_MAX = 32

Entry = TypeVar("Entry", Report, Reply)

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")
#: What the vendor writes without a plus is a number with its country code all the same.
_BARE_NUMBER = re.compile("[1-9][0-9]{7,14}")
_KINDS = frozenset({"MMS", "SMS"})


@dataclass(frozen=True, slots=True)
class Read(Generic[Entry]):
    """What could be read of a body, in its order, and a sentence for each mistake, up to ``MISTAKES_MAX``."""

    entries: tuple[Entry, ...]
    mistakes: tuple[str, ...] = ()


def read_reports(body: bytes, *, region: str) -> Read[Report]:
    """The delivery reports in a callback's body. Numbers without a country code are read as of ``region``."""
    return _read(body, lambda entry: read_report(entry, region=region))


def read_replies(body: bytes, *, region: str) -> Read[Reply]:
    """The replies in a callback's body."""
    return _read(body, lambda entry: read_reply(entry, region=region))


def read_report(entry: object, *, region: str) -> Report | str:
    """One delivery report out of decoded JSON, or what is wrong with it in a sentence."""
    fields = _fields(entry)
    if isinstance(fields, str):
        return fields
    name = "recipient" if "recipient" in fields.known else "to"
    message_id = fields.required("message_id", MESSAGE_ID_CHARACTERS_MAX)
    to = fields.required(name, NUMBER_CHARACTERS_MAX, called="recipient")
    status = fields.required("status", STATUS_CHARACTERS_MAX)
    if fields.mistakes:
        return "; ".join(fields.mistakes)
    return Report(message_id, _recipient(to, region), status.lower(), fields.more)


def read_reply(entry: object, *, region: str) -> Reply | str:
    """One reply or inbound message out of decoded JSON, or what is wrong with it in a sentence."""
    fields = _fields(entry)
    if isinstance(fields, str):
        return fields
    message_id = fields.required("message_id", MESSAGE_ID_CHARACTERS_MAX)
    sender = fields.required("from", NUMBER_CHARACTERS_MAX)
    text = fields.text("body")
    received_at = fields.optional("received_at")
    original_message_id = fields.optional("original_message_id")
    kind = fields.optional("type", among=_KINDS)
    if fields.mistakes:
        return "; ".join(fields.mistakes)
    number = _number(sender, region) or sender
    return Reply(message_id, number, text, received_at, original_message_id, kind, fields.more)


# --- The body ----------------------------------------------------------------------------------------------


def _read(body: bytes, read: Callable[[object], Entry | str]) -> Read[Entry]:
    try:
        said = read_json(body)
    except NotJsonError as error:
        return Read((), (f"the body is {error}",))
    if not isinstance(said, list | dict):
        return Read((), (f"the body is {kind_of(said)}, neither an array nor an object",))
    listed = said if isinstance(said, list) else [said]
    if len(listed) > ENTRIES_MAX:
        return Read((), (f"the body has {len(listed):,} entries; at most {ENTRIES_MAX:,} are taken at a time",))
    entries: list[Entry] = []
    mistakes: list[str] = []
    for number, one in enumerate(listed, start=1):
        entry = read(one)
        if not isinstance(entry, str):
            entries.append(entry)
        elif len(mistakes) < MISTAKES_MAX:
            mistakes.append(f"entry {number}: {entry}" if isinstance(said, list) else entry)
    return Read(tuple(entries), tuple(mistakes))


# --- An entry ----------------------------------------------------------------------------------------------

#: The names that are read, as they are compared, and how the vendor writes them.
_NAMES = {
    name.replace("_", ""): name
    for name in (
        "message_id",
        "status",
        "recipient",
        "to",
        "from",
        "body",
        "received_at",
        "original_message_id",
        "type",
    )
}


class _Fields:
    """The fields of an entry. What is read of them is taken out; the others are ``more``.

    ``known``: by the vendor's names, how each is written here. ``mistakes``: of all that was read.
    """

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self._entry = entry
        self._taken: set[str] = set()
        self.known: dict[str, str] = {}
        self.mistakes: list[str] = []
        for written in entry:
            name = _NAMES.get(written.lower().replace("_", ""))
            if name is not None and (name not in self.known or written == name):
                self.known[name] = written

    @property
    def more(self) -> dict[str, Any]:
        """The others, as they came."""
        return {whole_text(name): whole(value) for name, value in self._entry.items() if name not in self._taken}

    def required(self, name: str, characters_max: int, *, called: str | None = None) -> str:
        """A field that is one line and not empty; "" when it is not. ``called``: in what is said of a mistake."""
        called = called or name
        if name not in self.known:
            return self._mistake(f"{called} is missing")
        value = self._take(name)
        line = _line(value)
        if line is None:
            return self._mistake(
                f"{called} {'has characters that do not print' if isinstance(value, str) else f'is {kind_of(value)}'}"
            )
        if not line:
            return self._mistake(f"{called} is empty")
        if len(line) > characters_max:
            return self._mistake(f"{called} has {len(line):,} characters; at most {characters_max} are taken")
        return line

    def optional(self, name: str, *, among: Collection[str] | None = None) -> str | None:
        """A field that is one short line; what is anything else stays among the others.

        ``among``: a word in any letter case, which is returned as it stands there; no other counts.
        """
        if name not in self.known:
            return None
        value = self._entry[self.known[name]]
        line = "" if value is None else _line(value)
        if line is not None and among is not None:
            line = line if not line or line.upper() in among else None
            line = line and line.upper()
        if line is None or len(line) > FIELD_CHARACTERS_MAX:
            return None
        self._take(name)
        return line or None

    def text(self, name: str) -> str:
        """A text of any length, empty when there is none: a message may consist of a picture alone."""
        if name not in self.known:
            return ""
        match self._take(name):
            case None:
                return ""
            case str() as text:
                return whole_text(text)
            case bool() | list() | dict() as value:
                return self._mistake(f"{name} is {kind_of(value)}")
            case number:
                return str(number)

    def _take(self, name: str) -> object:
        self._taken.add(self.known[name])
        return self._entry[self.known[name]]

    def _mistake(self, sentence: str) -> str:
        self.mistakes.append(sentence)
        return ""


def _fields(entry: object) -> _Fields | str:
    if not isinstance(entry, dict):
        return f"it is {kind_of(entry)}, not an object"
    if _is_deeper(entry, LEVELS_MAX):
        return "it is nested too deeply"
    return _Fields(entry)


def _line(value: object) -> str | None:
    """A text on one line without blanks around it, or a number as text; None when it is anything else."""
    if isinstance(value, str):
        return None if _UNPRINTABLE.search(value) else value.strip()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


def _recipient(written: str, region: str) -> str:
    number = _number(written, region)
    if number is None and _BARE_NUMBER.fullmatch(written):
        return f"+{written}"
    return number or written


def _number(written: str, region: str) -> str | None:
    """E.164, if it can be read so."""
    number = normalise(written, region=region)
    return None if isinstance(number, NumberRefused) else number


def _is_deeper(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    if not levels:
        return True
    inner = value.values() if isinstance(value, dict) else value
    return any(_is_deeper(one, levels - 1) for one in inner if isinstance(one, dict | list))
