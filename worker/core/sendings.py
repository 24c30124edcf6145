"""What is remembered of messages, by recipient, so that a report or a reply finds its job (pure; Lua is its twin).

A worker leaves a *trace* for each recipient of a job, before it tells the job's end: of one that was sent under which
message id, of one in doubt that somebody may have got it. A report brings recipient and message id, and so either
finds its job, or a recipient to whom a job in doubt may have gone, or nobody that we know.

Of each message it is also remembered which statuses were told, so that a repeat is not, and who is about to tell one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.core.reports import Report


@dataclass(frozen=True, slots=True)
class Trace:
    """Of one recipient of one job. ``message_id`` is "" while the job is in doubt."""

    to: str = field(repr=False)
    message_id: str
    job_id: str
    reference: str | None


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
    """Somebody is about to tell this very report; ask again in a moment."""


@dataclass(frozen=True, slots=True)
class Known:
    """It is ours to tell now. ``final``: a final status of this message that was told before, or None."""

    job: SentJob
    final: str | None


@dataclass(frozen=True, slots=True)
class Stranger:
    """It is ours to tell now, of a message that nobody knows to have sent.

    ``final``: as in ``Known``. ``doubts``: jobs that may have been sent to this recipient, the oldest first, and no
    message of which is known. ``unknown``: how many messages to this recipient nobody knows, this one included.
    ``sent``: the newest job known as sent to this recipient not longer than ``RECENT_US`` ago, if any.
    """

    final: str | None
    doubts: tuple[SentJob, ...]
    unknown: int
    sent: SentJob | None


Found = Repeated | Busy | Known | Stranger

#: A second message so soon after the one that we know of is taken for a duplicate.
RECENT_US = 3_600 * 1_000_000
#: Who is about to tell a report and has not told it after this is dead.
TELLING_US_MAX = 15 * 1_000_000
#: Messages remembered of one recipient of one account at most; the oldest go first.
MESSAGES_MAX = 64


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask what is known of ``report``, and take it upon oneself to tell it. ``token``: different for each who asks."""

    report: Report
    token: str


