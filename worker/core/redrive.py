"""What is done with held jobs, each as a decision: what to publish before the message may leave its queue (pure).

Every act is the same: publish these messages, in this order, each confirmed; then acknowledge what is held. A crash in
between repeats messages. A copy that is published twice is one job all the same: both ask for one claim in the journal,
and only one of them gets it.

**A dead letter** was surely not sent, and the journal has forgotten it: a copy is all it takes.

**A job in doubt** is resolved in the journal first, where only one resolution can win; then come the event, the copy
(when it is to be sent again), the acknowledgement. Why in this order, crash by crash:

* Before the record is written, nothing has happened.
* After it, a *resend* finds the record open. Open means: whoever comes first may call, once. So the next resend goes
  on from here, with the same event id and one more copy, instead of leaving a job that nobody would send any more. The
  same holds when the event was out, or the copy: the copies share one claim. If the first copy has ended meanwhile,
  the record says so, what is held is a leftover, and a copy that still comes by is acknowledged in silence.
* After it, a *settling* finds the record resolved, with the grounds until they are told: so they are told again, with
  the same event id. Once they are told, what is held is a leftover.
* The event goes before the copy, so that whoever finds the record ended knows that the resend is told, and so that
  nobody hears of the end of a job before he hears that it was sent again.
* The acknowledgement is last: until then the job is in its queue.

Publishing the copy before the record is open would lose it: a worker that is faster finds the job told, and drops it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from worker.core.delivery import OUR_HEADERS, RESOLUTIONS_HEADER, Publication, carried_headers
from worker.core.events import ResolvedAs, ResolvedBy
from worker.core.held_jobs import HeldJob, as_delivery
from worker.core.job import Rejected, decode
from worker.core.journal import RELEASED, Record, Resolution, Resolved, State, fingerprint
from worker.core.resolution import SETTLED_AS, Grounds, read, resolved_event, written
from worker.core.topology import JOBS_EXCHANGE, routing_key
from worker.core.waiting_reports import of_a_report

#: A job that comes back as often as this is not helped by another try.
REDRIVES_MAX = 3
#: What says only that, and why, a job is held or was put back before.
_OF_HOLDING = frozenset(
    f"{OUR_HEADERS}{name}"
    for name in ("account", "lane", "in-doubt-since", "in-doubt-why", "reasons", "dead-at", "requeued-for")
)
_NO_ACCOUNT = "it does not say whose it is: publish its body to mms.jobs under the account's routing key"


@dataclass(frozen=True, slots=True)
class Done:
    """Publish these, each confirmed, then acknowledge. ``what``: what is done with it, in a word for people.

    ``resolved_as``: what of a job in doubt is told with it; None where all is told already.
    """

    publications: tuple[Publication, ...]
    what: str
    resolved_as: ResolvedAs | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """It stays where it is. ``why``: a sentence that never quotes the job."""

    why: str


Decision = Done | Kept


@dataclass(frozen=True, slots=True)
class Asked:
    """A resolution of one of the account's jobs, and its grounds."""

    account: str
    resolution: Resolution
    grounds: Grounds


def retry(held: HeldJob, *, is_forced: bool) -> Decision:
    """A dead letter is tried again: as a fresh job, with no attempt used, but with the count of such tries.

    The count of its resolutions stays too: event ids are made of it, and must not come twice.
    """
    if (looked_at_again := of_a_report(held.message)) is not None:
        return Done((looked_at_again,), "retried")
    if held.account is None:
        return Kept(_NO_ACCOUNT)
    if held.redrives >= REDRIVES_MAX and not is_forced:
        return Kept(f"it was retried {held.redrives} times before, and came back: correct it, or use --force")
    own = {
        name: value
        for name, value in held.message.headers.items()
        if not name.startswith(OUR_HEADERS) or (name == RESOLUTIONS_HEADER and held.resolutions)
    }
    headers = carried_headers(as_delivery(held, held.account, own), redrives=held.redrives + 1)
    return Done((_copy(held, held.account, headers),), "retried")


def drop(_: HeldJob) -> Decision:
    """A dead letter is thrown away."""
    return Done((), "dropped")


def asked_for(held: HeldJob, end: str, grounds: Grounds, *, region: str) -> Asked | Kept:
    """What to ask of the journal for a job in doubt that is to be ``end``; ``region`` as in ``job.decode``."""
    if held.account is None:
        return Kept(_NO_ACCOUNT)
    job = decode(held.message.body, region=region)
    if isinstance(job, Rejected):
        return Kept("its body is not a valid job, so nobody ever called for it under its id")
    return Asked(held.account, Resolution(job.id, fingerprint(job), end, written(grounds)), grounds)


def after_resolution(held: HeldJob, asked: Asked, found: Resolved, *, at: datetime) -> Decision:
    """What becomes of a job in doubt after the journal's answer; see above."""
    record, wish = found.record, asked.resolution

    def told(resolution: ResolvedAs, grounds: Grounds) -> Publication:
        return resolved_event(
            grounds,
            resolution,
            account=asked.account,
            job_id=wish.job_id,
            reference=held.reference,
            attempt=held.attempts,
            at=at,
            number=held.resolutions + 1,
        )

    if not found.is_done and record.fingerprint != wish.fingerprint:
        return Kept("its id belongs to another job by now")
    if wish.end == RELEASED and (found.is_done or record.state is State.OPEN):
        publications = told(ResolvedAs.RESENT, asked.grounds), _resent(held, asked.account)
        return Done(publications, "resent", ResolvedAs.RESENT)
    if found.is_done:
        resolution = SETTLED_AS[wish.end]
        return Done((told(resolution, asked.grounds),), "settled", resolution)
    if record.state is State.RESOLVED and record.details:
        # Whoever resolved it may have died before he told it.
        resolution = SETTLED_AS.get(record.end, ResolvedAs.GIVEN_UP)
        return Done((told(resolution, read(record.details) or _unreadable(record)),), "left over", resolution)
    if record.state in {State.RESOLVED, State.TOLD}:
        return Done((), "left over")
    return Kept(_not_resolvable(record))


def _unreadable(record: Record) -> Grounds:
    return Grounds(ResolvedBy.RULE, f"the journal has it as {record.end}")


def _not_resolvable(record: Record) -> str:
    match record.state:
        case State.OPEN:
            return "it was released to be sent again; when it stays here, in-doubt resend goes on with that"
        case State.CLAIMED:
            return "a worker is calling for it now: look again in a minute"
        case State.ENDED:
            return f"it has ended as {record.end}, and is about to be told: look again in a minute"
        case _:
            return "its record in the journal says something else"


def _resent(held: HeldJob, account: str) -> Publication:
    carried = {name: value for name, value in held.message.headers.items() if name not in _OF_HOLDING}
    delivery = as_delivery(held, account, carried)
    return _copy(held, account, carried_headers(delivery, resolutions=held.resolutions + 1))


def _copy(held: HeldJob, account: str, headers: dict[str, object]) -> Publication:
    return Publication(
        exchange=JOBS_EXCHANGE,
        routing_key=routing_key(account, held.lane),
        body=held.message.body,
        headers=headers,
        published_at=held.message.published_at,
    )
