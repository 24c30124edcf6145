"""What a report or a reply finds of the sends, and what jobs leave for that (pure).

A worker leaves a *trace* for each recipient of a job, before it tells the job's end: of one that was sent under which
message id, of one in doubt that somebody may have got it. A report brings recipient and message id, and so either
finds its job, or a recipient to whom a job in doubt may have gone, or nobody that we know. How: ``recipients.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.core.job import Job
from worker.core.outcome import InDoubt, JobOutcome, RefusedJob, Sent
from worker.core.reports import Report

#: A second message so soon after the one that we know of is taken for a duplicate.
RECENT_MS = 3_600_000
#: From the end of the longest call until it is noted what came of it: a claim that nobody ended is looked at every few
#: seconds, and so is a report that came first.
NOTED_LATE_S_MAX = 30.0


@dataclass(frozen=True, slots=True)
class Trace:
    """Of one recipient of one job.

    ``message_id`` is "" while none is known: the job is in doubt, or the API named none. ``ends_doubt``: the call that
    had left the job in doubt was answered after all; with "", that it did not reach this recipient.
    """

    to: str = field(repr=False)
    message_id: str
    job_id: str
    reference: str | None
    ends_doubt: bool = False


@dataclass(frozen=True, slots=True)
class SentJob:
    """A job that a report or a reply belongs to."""

    job_id: str
    reference: str | None


@dataclass(frozen=True, slots=True)
class Repeated:
    """This very report was told before."""


@dataclass(frozen=True, slots=True)
class Busy:
    """Somebody is about to tell this very report, or another one of its message; ask again in a moment."""


@dataclass(frozen=True, slots=True)
class Known:
    """It is ours to tell now. ``final``: a final status of this message that was told before, or may have been.

    ``age_us``: how long ago the send was answered, or, where it never was, its doubt was noted. ``has_doubt``: a doubt
    of the job is noted, which no message has ended.
    """

    job: SentJob
    final: str | None
    age_us: int
    has_doubt: bool = False


@dataclass(frozen=True, slots=True)
class Stranger:
    """It is ours to tell now, of a message that nobody knows to have sent.

    ``final``: as in ``Known``. ``doubts``: jobs that may have been sent to this recipient by a call of which no message
    is known, the oldest first; this message may be of one of them. ``unknown``: how many messages to this recipient
    nobody knows that may be of one of them, this one included; ``fresh``: how many more, of which the answer to their
    own send may still be under way. ``sent``: the newest job known as sent to this recipient not longer
    than ``RECENT_MS`` ago, if any. ``is_first``: no report of this message was told before.
    """

    final: str | None
    doubts: tuple[SentJob, ...]
    unknown: int
    fresh: int
    sent: SentJob | None
    is_first: bool


Found = Repeated | Busy | Known | Stranger


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask what is known of ``report``, and take it upon oneself to tell it. ``token``: different for each who asks.

    ``has_waited``: for so long that the answer to its own send cannot be under way any more.
    """

    report: Report
    token: str
    has_waited: bool = False


def traces_of(job: Job, outcome: JobOutcome | None, *, ends_doubt: bool = False) -> list[Trace]:
    """The traces that ``job`` leaves. ``outcome``: of its call. ``ends_doubt``: it was in doubt about that call."""

    def trace(to: str, message_id: str, *, ends: bool) -> Trace:
        return Trace(to, message_id, job.id, job.reference, ends)

    match outcome:
        case Sent(recipients, refused):
            sent = [trace(to, message_id, ends=ends_doubt and message_id != "") for to, message_id in recipients]
            return sent + ([trace(to, "", ends=True) for to, _ in refused] if ends_doubt else [])
        case RefusedJob() if ends_doubt:
            return [trace(to, "", ends=True) for to in job.to]
        case InDoubt():
            return [trace(to, "", ends=False) for to in job.to]
        case _:
            return []
