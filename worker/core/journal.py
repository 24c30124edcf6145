"""What is remembered of a job, so that it is not called for twice (pure; the Lua script is its twin).

A job's record lives under its account and id, for as long as an id counts as used. States:

    (nothing) ──claim──▶ claimed ──429, surely not sent──▶ open ──claim──▶ claimed …
                            │
                            ├── its outcome is known ─────▶ ended ──event confirmed, delivery acknowledged──▶ told
                            └── no outcome in time ───────▶ ended, in doubt

    in doubt ──resolve──▶ open, to be sent again
                └───────▶ resolved, as sent or given up ──event confirmed──▶ the same, told

* A **claim** is written before the first byte of a call, and only one delivery of a job can have it. A claim without an
  outcome, older than any call can be, is of a worker that died: whether the job was sent, nobody knows.
* An **outcome** is written before its event is published, so that a crash in between repeats an event and not a call:
  whoever is handed the job again tells the same.
* What is **told** needs no more than its fingerprint: a repeat is acknowledged in silence.
* What is **in doubt** stays so until it is resolved, by whoever comes first: a second resolution changes nothing.
* What is **resolved** keeps on what grounds until that is told, so that somebody else can tell it. It stays apart from
  what is told after a call: whoever finds a job told as sent, and knows of a call that nobody told, knows of two.

Nothing there means: never called, provided that the store has forgotten nothing. When it has, ``epoch_us`` says since
when it remembers, and a job that was handed out before may have been called for in the time that is forgotten: it is in
doubt, unless it was published later. After ``FORGOTTEN_US_MAX`` all such jobs have come by.
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson

from worker.core.job import Job
from worker.core.picture import Picture

MICRO = 1_000_000
#: A producer's clock, which stamps the job, may be so far ahead of the store's.
CLOCKS_APART_US_MAX = 60 * MICRO
#: A job that a worker had in hand is handed out again as soon as the worker is gone, ahead of all others; twice the
#: time that RabbitMQ lets one have it in hand at most.
FORGOTTEN_US_MAX = 3_600 * MICRO
#: Of each part of the job that the fingerprint is of.
_PART_BYTES = 6

#: Said to people, in the event of a job in doubt.
NEVER_TOLD = "a worker had begun to call and did not tell what came of it"
FORGOTTEN = "the job was handed out before, and the journal has lost what it knew of that time"
UNREADABLE = "the journal's record of the job cannot be read"
#: From a claim to its call, and from the answer to its record, no more than this may pass in a worker that lives.
JOURNAL_SLACK_S = 10.0

DEAD, IN_DOUBT, RELEASED = "dead", "in_doubt", "released"
#: What a job in doubt can be resolved as, apart from ``RELEASED``.
SENT, GIVEN_UP = "sent", "given_up"


class State(enum.StrEnum):
    """Of a record; the value is how it is written."""

    CLAIMED = "C"
    OPEN = "O"
    ENDED = "E"
    TOLD = "T"
    RESOLVED = "R"
    UNREADABLE = "?"


class Verdict(enum.IntEnum):
    """What a claim came to."""

    CLAIMED = 1
    BUSY = 2
    """Another delivery of the job has the claim, and its call may be under way."""
    ENDED = 3
    TOLD = 4
    DIFFERS = 5
    """The id belongs to a job with other content."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered. ``token``: of the claim. ``at_us``: of the claim, or since when it is open.

    ``end``: how it ended, in a word; ``details``: JSON, of what is resolved the grounds, or "" once they are told.
    """

    state: State
    fingerprint: str
    token: str = ""
    at_us: int = 0
    end: str = ""
    details: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """Of one delivery of a job. ``token`` is different for each delivery, and the same when it asks again.

    ``published_us``: when the producer says that it published the job (0: not said).
    """

    job_id: str
    token: str
    fingerprint: str
    redelivered: bool
    published_us: int


@dataclass(frozen=True, slots=True)
class Told:
    """An end that the broker has confirmed, of a delivery that is acknowledged. ``token``: of its claim.

    ``end``: ``RELEASED`` for a job that goes round again. Of a resolution it is the end that was decided, and ``token``
    is "".
    """

    job_id: str
    token: str
    fingerprint: str
    end: str


@dataclass(frozen=True, slots=True)
class Resolution:
    """What was found out, or decided, about a job in doubt.

    ``fingerprint``: of the job as it is held. ``end``: ``RELEASED`` to have it sent again, ``SENT`` or ``GIVEN_UP``.
    ``grounds``: what is to be told of it, JSON, for whoever has to tell it.
    """

    job_id: str
    fingerprint: str
    end: str
    grounds: str = "{}"


@dataclass(frozen=True, slots=True)
class Doubts:
    """How many jobs of an account are in doubt. ``oldest_us``: since when the first of them is; None: there is none."""

    jobs: int
    oldest_us: int | None


@dataclass(frozen=True, slots=True)
class HeldCopy:
    """A job that is held as one in doubt. ``since_us``: since when; None: it is not known to be held."""

    job_id: str
    since_us: int | None


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the store has of a job; ``doubt_since_us``: since when it is in doubt, if it is."""

    record: Record | None
    doubt_since_us: int | None = None


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a resolution came to: whether it was this one that decided, and the job's record as it is now."""

    is_done: bool
    record: Record


def claim(  # noqa: C901, PLR0911 - a table: one row, one return
    record: Record | None, wish: Claim, *, now_us: int, epoch_us: int, call_us_max: int
) -> tuple[Record, Verdict]:
    """Decide on a claim: the record as it is from here on, and the verdict."""
    claimed = Record(State.CLAIMED, wish.fingerprint, wish.token, now_us)
    is_suspect = wish.redelivered and epoch_us > 0 and now_us - epoch_us <= FORGOTTEN_US_MAX
    is_suspect = is_suspect and wish.published_us <= epoch_us + CLOCKS_APART_US_MAX
    if record is None:
        if is_suspect:
            return _in_doubt(wish.fingerprint, FORGOTTEN), Verdict.ENDED
        return claimed, Verdict.CLAIMED
    if record.state is not State.UNREADABLE and record.fingerprint != wish.fingerprint:
        return record, Verdict.DIFFERS
    match record.state:
        case State.OPEN if is_suspect and record.at_us <= epoch_us:
            return _in_doubt(wish.fingerprint, FORGOTTEN), Verdict.ENDED
        case State.OPEN:
            return claimed, Verdict.CLAIMED
        case State.CLAIMED if record.token == wish.token:
            return claimed, Verdict.CLAIMED
        case State.CLAIMED if now_us - record.at_us <= call_us_max:
            return record, Verdict.BUSY
        case State.CLAIMED:
            return _in_doubt(record.fingerprint, NEVER_TOLD), Verdict.ENDED
        case State.ENDED:
            return record, Verdict.ENDED
        case State.TOLD | State.RESOLVED:
            return record, Verdict.TOLD
        case State.UNREADABLE:
            return _in_doubt(wish.fingerprint, UNREADABLE), Verdict.ENDED


def conclude(record: Record | None, token: str, outcome: Record, *, now_us: int) -> tuple[Record, bool]:
    """Write down what came of a claim; False when it was not the claim of ``token`` any more."""
    if outcome.state is State.OPEN:
        outcome = replace(outcome, at_us=now_us)
    if record is None or record == outcome or record.state is State.OPEN or _is_claim_of(record, token):
        return outcome, True
    return record, False


def tell(record: Record | None, told: Told, *, now_us: int) -> Record | None:
    """The record once the end is told. Of what is dead nothing is kept: it was not sent, and may be tried again.

    Where there is no such claim, a release adds nothing: whoever lets go of a claim need not have had it, and if the
    store has forgotten, somebody else may have called before.
    """
    if record is not None and not _is_told_by(record, told):
        return record
    if record is not None and record.state is State.RESOLVED:
        return replace(record, details="")
    if told.end == RELEASED:
        return record and Record(State.OPEN, told.fingerprint, at_us=now_us)
    return None if told.end == DEAD else Record(State.TOLD, told.fingerprint, end=told.end)


def _is_told_by(record: Record, told: Told) -> bool:
    """Whether ``told`` is about this record, and not about one that was resolved meanwhile.

    An end is told to the journal a moment after everybody else. Who is quick resolves a job in doubt before that; told
    as in doubt once more, a job that was released would never be sent, and one that was sent could be released again.
    (Not told apart is a doubt about the call that follows; that call would have to end within the same moment.)
    """
    match record.state:
        case State.ENDED:
            # That one delivery was not called for, or is dead, says nothing against the end of another.
            return record.end == told.end if told.end in {IN_DOUBT, DEAD} else told.end != RELEASED
        case State.OPEN:
            return told.end not in {IN_DOUBT, RELEASED}
        case State.CLAIMED:
            return record.token == told.token
        case State.RESOLVED:
            return not told.token and record.end == told.end
        case State.TOLD | State.UNREADABLE:
            return False


def resolve(record: Record | None, wish: Resolution, *, now_us: int, call_us_max: int) -> tuple[Record, bool]:
    """The record after a resolution, and whether it decided; False leaves the record as it is.

    What can be resolved is what a claim would find in doubt, and what nothing is remembered of: the job was held for
    longer than ids are, or the store has forgotten. A job that may be claimed, is being called for or has ended
    otherwise cannot: somebody has resolved it before.
    """
    if record is not None and not _is_in_doubt(record, wish.fingerprint, now_us=now_us, call_us_max=call_us_max):
        return record, False
    if wish.end == RELEASED:
        return Record(State.OPEN, wish.fingerprint, at_us=now_us), True
    return Record(State.RESOLVED, wish.fingerprint, end=wish.end, details=wish.grounds), True


def _is_in_doubt(record: Record, fingerprint: str, *, now_us: int, call_us_max: int) -> bool:
    if record.state is not State.UNREADABLE and record.fingerprint != fingerprint:
        return False
    match record.state:
        case State.ENDED | State.TOLD:
            return record.end == IN_DOUBT
        case State.CLAIMED:
            return now_us - record.at_us > call_us_max
        case State.OPEN | State.RESOLVED:
            return False
        case State.UNREADABLE:
            return True


def released(fingerprint: str) -> Record:
    """Surely not sent, and to be tried again."""
    return Record(State.OPEN, fingerprint)


def ended(fingerprint: str, end: str, details: dict[str, Any]) -> Record:
    """The outcome is known."""
    return Record(State.ENDED, fingerprint, end=end, details=orjson.dumps(details).decode())


def _is_claim_of(record: Record, token: str) -> bool:
    return record.state is State.CLAIMED and record.token == token


def _in_doubt(fingerprint: str, why: str) -> Record:
    return Record(State.ENDED, fingerprint, end=IN_DOUBT, details=f'{{"why":"{why}"}}')


# --- As text ---------------------------------------------------------------------------------------------


def written(record: Record) -> str:
    """A record as the store holds it."""
    match record.state:
        case State.CLAIMED:
            return f"C|{record.fingerprint}|{record.at_us}|{record.token}"
        case State.OPEN:
            return f"O|{record.fingerprint}|{record.at_us}"
        case State.ENDED:
            return f"E|{record.fingerprint}|{record.end}|{record.details}"
        case State.TOLD:
            return f"T|{record.fingerprint}|{record.end}"
        case State.RESOLVED:
            return f"R|{record.fingerprint}|{record.end}|{record.details}"
        case State.UNREADABLE:
            return ""


def read(text: str) -> Record:
    """A record as it was ``written``, or ``UNREADABLE``."""
    state, _, rest = text.partition("|")
    match state, rest.split("|", 2):
        case "C", [fingerprint, at_us, token] if at_us.isdecimal():
            return Record(State.CLAIMED, fingerprint, token, int(at_us))
        case "O", [fingerprint, at_us] if at_us.isdecimal():
            return Record(State.OPEN, fingerprint, at_us=int(at_us))
        case "E", [fingerprint, end, details]:
            return Record(State.ENDED, fingerprint, end=end, details=details)
        case "T", [fingerprint, end]:
            return Record(State.TOLD, fingerprint, end=end)
        case "R", [fingerprint, end, details]:
            return Record(State.RESOLVED, fingerprint, end=end, details=details)
        case _:
            return Record(State.UNREADABLE, "")


# --- What a job is told by -------------------------------------------------------------------------------

_PARTS = ("to", "text", "subject", "media")


def fingerprint(job: Job) -> str:
    """What two jobs with one id are compared by: recipients, text, subject and picture, each on its own."""
    media = job.media.digest if isinstance(job.media, Picture) else job.media.url.encode()
    parts = ("\n".join(job.to).encode(), job.text.encode(), (job.subject or "").encode(), media)
    return "".join(hashlib.blake2b(part, digest_size=_PART_BYTES).hexdigest() for part in parts)


def difference(one: str, other: str) -> tuple[str, ...]:
    """The names of the parts in which two fingerprints differ."""
    width = 2 * _PART_BYTES
    at = [slice(n * width, (n + 1) * width) for n in range(len(_PARTS))]
    return tuple(name for name, part in zip(_PARTS, at, strict=True) if one[part] != other[part])


def claim_of(job: Job, *, token: str, redelivered: bool, published_at: datetime | None) -> Claim:
    """The claim of one delivery of ``job``."""
    at = published_at or job.created_at
    return Claim(job.id, token, fingerprint(job), redelivered, int(at.timestamp() * MICRO) if at else 0)
