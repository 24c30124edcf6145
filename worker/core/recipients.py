"""What is remembered of messages, by recipient, so that a report finds its job (pure; the Lua script is its twin).

Of each message it is also remembered which statuses were told, so that a repeat is not, and who is about to tell one.

* A **message** is first heard of from the answer to its send, or from a report. It may become known as one of a job
  later: the answer comes after the report, or a report is evidence for a job in doubt and is *assigned* to it. What an
  answer says of a message outweighs what it was assigned to.
* A **doubt** is a call for a job that may have reached the recipient. It goes when a message is assigned to the job, or
  when the call is answered after all. It stays when the job is sent again: the message of the first call may still
  turn up, and proves then that the job was sent twice.
* A message that was heard of long before the oldest doubt was noted is not of a doubt's call.

What is remembered of a recipient is bounded in number and age, and written as one JSON text (``written``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import orjson

from worker.core.reports import is_final
from worker.core.sendings import RECENT_MS, Known, SentJob, Stranger, Trace

MILLI = 1_000
#: Who is about to tell a report and has not told it after this is dead.
TELLING_MS_MAX = 15 * MILLI
#: Messages, and doubts, remembered of one recipient of one account at most; the oldest go first.
MESSAGES_MAX = DOUBTS_MAX = 64
#: Statuses remembered of one message at most. The API has eight.
STATUSES_MAX = 16


@dataclass(frozen=True, slots=True)
class Telling:
    """Somebody, by his token, is about to tell a status, since ``at_ms``."""

    status: str
    token: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Message:
    """One message to the recipient. ``heard_ms``: first heard of. ``job``: of which it is known to be.

    ``sent_ms``: when the send was answered, or its doubt noted. ``told``: statuses, in the order of telling.
    ``told_ms``: of the last of them. ``has_waited``: a report of it was looked at after it had waited for its send's
    answer for as long as one does.
    """

    message_id: str
    heard_ms: int
    job: SentJob | None = None
    sent_ms: int = 0
    told: tuple[str, ...] = ()
    told_ms: int = 0
    telling: tuple[Telling, ...] = ()
    has_waited: bool = False

    @property
    def last_ms(self) -> int:
        """When something was last learned of it."""
        return max(self.heard_ms, self.sent_ms, self.told_ms)


@dataclass(frozen=True, slots=True)
class Doubt:
    """A call for the job may have reached the recipient; noted at ``since_ms``."""

    job: SentJob
    since_ms: int


@dataclass(frozen=True, slots=True)
class Recipient:
    """What is remembered of one recipient of one account; messages and doubts in the order of coming."""

    messages: tuple[Message, ...] = ()
    doubts: tuple[Doubt, ...] = ()

    def message(self, message_id: str) -> Message | None:
        """The message with this id."""
        return next((one for one in self.messages if one.message_id == message_id), None)

    def has_other(self, message: Message, job_id: str) -> bool:
        """Whether the job has a message apart from ``message``."""
        return any(
            one.message_id != message.message_id and one.job is not None and one.job.job_id == job_id
            for one in self.messages
        )

    def doubt(self, job_id: str) -> Doubt | None:
        """The job's doubt."""
        return next((one for one in self.doubts if one.job.job_id == job_id), None)

    def with_message(self, message: Message) -> Recipient:
        """The same with ``message``, in the place of the one with its id or as the last."""
        if self.message(message.message_id) is None:
            return replace(self, messages=(*self.messages, message)[-MESSAGES_MAX:])
        same = (message if one.message_id == message.message_id else one for one in self.messages)
        return replace(self, messages=tuple(same))

    def without_doubt(self, job_id: str) -> Recipient:
        """The same without the job's doubt."""
        return replace(self, doubts=tuple(one for one in self.doubts if one.job.job_id != job_id))

    def kept(self, *, now_ms: int, keep_ms: int) -> Recipient:
        """What of it is not too old."""
        return Recipient(
            tuple(one for one in self.messages if now_ms - one.last_ms <= keep_ms),
            tuple(one for one in self.doubts if now_ms - one.since_ms <= keep_ms),
        )


NOBODY = Recipient()


class Look(IntEnum):
    """What a look came to."""

    OURS = 1
    BUSY = 2
    TOLD = 3


# --- Each takes what is ``kept`` of a recipient, and returns what is remembered from then on -----------------


def note(known: Recipient, trace: Trace, *, now_ms: int) -> tuple[Recipient, bool]:
    """Leave a trace; True when the recipient got a second message of the job."""
    if trace.ends_doubt:
        known = known.without_doubt(trace.job_id)
    job = SentJob(trace.job_id, trace.reference)
    if trace.message_id == "":
        return known if trace.ends_doubt else _with_doubt(known, Doubt(job, now_ms)), False
    message = known.message(trace.message_id) or Message(trace.message_id, now_ms)
    if message.job is None or message.job.job_id != job.job_id:
        message = replace(message, job=job, sent_ms=now_ms)
    known = known.with_message(message)
    return known, known.has_other(message, job.job_id)


def look(
    known: Recipient, message_id: str, status: str, token: str, *, has_waited: bool = False, now_ms: int
) -> tuple[Recipient, Look]:
    """Take it upon ``token`` to tell a status of a message, unless it is told, or somebody else is about to.

    Who tells one status of a message keeps others from telling another one: what is told after a final status must know
    of it.
    """
    message = known.message(message_id) or Message(message_id, now_ms)
    if status in message.told:
        return known, Look.TOLD
    if any(one.token != token and abs(now_ms - one.at_ms) < TELLING_MS_MAX for one in message.telling):
        return known, Look.BUSY
    others = tuple(one for one in message.telling if one.status != status)
    ours = (*others, Telling(status, token, now_ms))[-STATUSES_MAX:]
    return known.with_message(replace(message, telling=ours, has_waited=message.has_waited or has_waited)), Look.OURS


def told(known: Recipient, message_id: str, status: str, *, now_ms: int) -> Recipient:
    """A status of a message is told."""
    message = known.message(message_id) or Message(message_id, now_ms)
    statuses = message.told if status in message.told else (*message.told, status)[-STATUSES_MAX:]
    others = tuple(one for one in message.telling if one.status != status)
    return known.with_message(replace(message, told=statuses, told_ms=now_ms, telling=others))


def put_off(known: Recipient, message_id: str, status: str, token: str) -> Recipient:
    """It is not ``token``, if it was, who is about to tell the status."""
    message = known.message(message_id)
    if message is None:
        return known
    others = tuple(one for one in message.telling if (one.status, one.token) != (status, token))
    return known.with_message(replace(message, telling=others))


def assign(known: Recipient, message_id: str, job: SentJob, *, now_ms: int) -> tuple[Recipient, bool]:
    """The message is one of ``job``, unless it is known as one of another; True when it is a second one of it."""
    message = known.message(message_id) or Message(message_id, now_ms)
    if message.job is not None and message.job.job_id != job.job_id:
        return known, False
    doubt = known.doubt(job.job_id)
    if message.job is None:
        message = replace(message, job=job, sent_ms=doubt.since_ms if doubt else message.heard_ms)
    known = known.without_doubt(job.job_id).with_message(message)
    return known, known.has_other(message, job.job_id)


def found(known: Recipient, message_id: str, token: str, *, now_ms: int, late_ms_max: int) -> Known | Stranger:
    """What there is to say of a message after a look by ``token``.

    ``late_ms_max``: from a call's beginning until its doubt is noted, at most.
    """
    message = known.message(message_id) or Message(message_id, now_ms)
    # Who was about to tell a final status and did not come to its end may have told it all the same.
    begun = (one.status for one in message.telling if one.token != token)
    final = next((status for status in (*message.told, *begun) if is_final(status)), None)
    if message.job is not None:
        has_doubt = known.doubt(message.job.job_id) is not None
        return Known(message.job, final, max(0, now_ms - message.sent_ms) * MILLI, has_doubt)
    # Of a recipient of whom not everything is remembered any more a message may be of anything.
    knows_all = len(known.messages) < MESSAGES_MAX and len(known.doubts) < DOUBTS_MAX
    first_ms = min((one.since_ms for one in known.doubts), default=now_ms) - late_ms_max
    # A doubt may be noted later than it should be, and then too its message must not be taken for another one's: so
    # they are all of the doubts together or of none.
    doubts = known.doubts if knows_all and message.heard_ms >= first_ms else ()
    others = [one for one in known.messages if one is not message and one.job is None and one.heard_ms >= first_ms]
    fresh = sum(not one.has_waited for one in others)
    sent = [one for one in known.messages if knows_all and one.job is not None and now_ms - one.sent_ms <= RECENT_MS]
    return Stranger(
        final=final,
        doubts=tuple(doubt.job for doubt in doubts),
        unknown=1 + len(others) - fresh if doubts else 1,
        fresh=fresh if doubts else 0,
        sent=max(sent, key=lambda one: one.sent_ms).job if sent else None,
        is_first=not message.told,
    )


def job_of(known: Recipient, message_id: str) -> SentJob | None:
    """The job that the message is known to be of."""
    message = known.message(message_id)
    return message.job if message else None


def _with_doubt(known: Recipient, doubt: Doubt) -> Recipient:
    """The same with a doubt, unless there is one, or a message, of the job: that is told again."""
    job_id = doubt.job.job_id
    is_known = known.doubt(job_id) or any(one.job is not None and one.job.job_id == job_id for one in known.messages)
    return known if is_known else replace(known, doubts=(*known.doubts, doubt)[-DOUBTS_MAX:])


# --- As text -------------------------------------------------------------------------------------------------


def written(known: Recipient) -> str:
    """What the store holds of a recipient: JSON, in which everything that is empty is left out."""
    messages = [
        {"i": one.message_id, "h": one.heard_ms}
        | _filled(
            j=one.job and one.job.job_id,
            r=one.job and one.job.reference,
            a=one.sent_ms,
            t=list(one.told),
            u=one.told_ms,
            c=[[telling.status, telling.token, telling.at_ms] for telling in one.telling],
            w=int(one.has_waited),
        )
        for one in known.messages
    ]
    doubts = [{"j": one.job.job_id, "s": one.since_ms} | _filled(r=one.job.reference) for one in known.doubts]
    return orjson.dumps(_filled(m=messages, d=doubts)).decode()


def read(text: str | bytes | None) -> Recipient:
    """What was ``written``; ``NOBODY`` when it cannot be read."""
    try:
        known = orjson.loads(text or b"{}")
        return Recipient(
            tuple(_message(one) for one in known.get("m", ())),
            tuple(Doubt(SentJob(one["j"], one.get("r")), int(one["s"])) for one in known.get("d", ())),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return NOBODY


def _message(one: dict[str, Any]) -> Message:
    return Message(
        message_id=one["i"],
        heard_ms=int(one["h"]),
        job=SentJob(one["j"], one.get("r")) if "j" in one else None,
        sent_ms=int(one.get("a", 0)),
        told=tuple(one.get("t", ())),
        told_ms=int(one.get("u", 0)),
        telling=tuple(Telling(status, token, int(at_ms)) for status, token, at_ms in one.get("c", ())),
        has_waited=bool(one.get("w")),
    )


def _filled(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, [], 0)}
