"""The books of one outage (pure): what was found, and a sentence for each way in which that is not right."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from loadtest.simulator.records import Accepted, CallRecord, OutageKind

SENT, IN_DOUBT = "sent", "in_doubt"
IN_DOUBT_MAX: dict[OutageKind, int] = {"refuse": 0, "502": 10, "hang": 30}
"""So many jobs may be in doubt after half a minute, beyond those whose calls were cut when it began."""
BACK_S_MAX = 10.0
"""So soon after its end calls are accepted again."""
FULL_S = 10.0
"""From then on the pace is looked at for so long."""
SHARE_MIN = 0.9
US = 1_000_000


@dataclass(frozen=True, slots=True)
class Case:
    """An outage of a kind, met by so many workers."""

    kind: OutageKind
    workers: int

    @property
    def name(self) -> str:
        """For logs, names and sentences."""
        return f"{self.kind}, {self.workers} worker{'s' * (self.workers > 1)}"


@dataclass(frozen=True, slots=True)
class Job:
    """One job, for one recipient, with a text of its own."""

    name: str
    text: str
    body: bytes
    routing_key: str


@dataclass(frozen=True, slots=True)
class Outage:
    """From when to when it lasted, in microseconds of the wall clock."""

    began_us: int
    ended_us: int


@dataclass(frozen=True, slots=True)
class Found:
    """What was found.

    `in_doubt`: jobs; of them, `cut` had a call under way at the moment when connections were cut. `other_ends`: by
    name, jobs that ended neither as sent nor in doubt. `twice`: accepted more than once. `untrue`: told as sent and
    never accepted. `sends`, `probes`: what the API saw of them during the outage. `back_s`: from the end to the first
    acceptance (None: there was none). `share`: of the limit, in the `FULL_S` after `BACK_S_MAX`. `ended`: how each
    worker ended.
    """

    published: int
    sent: int
    in_doubt: int
    cut: int
    other_ends: Mapping[str, int]
    lost: int
    twice: int
    untrue: int
    sends: int
    probes: int
    back_s: float | None
    share: float
    surprises: int
    ended: Sequence[str]


def found(
    jobs: Sequence[Job],
    ends: Mapping[str, Collection[str]],
    calls: Iterable[CallRecord],
    accepted: Sequence[Accepted],
    outage: Outage,
    *,
    rate_per_s: int,
    surprises: int,
    ended: Sequence[str],
) -> Found:
    """Put together what events and ledger say; `ends`: by job, the distinct ends that were told."""
    times = Counter(one.text for one in accepted)
    at_us = {one.text: one.at_us for one in accepted}
    text_of = {job.name: job.text for job in jobs}
    told = Counter(end for name in text_of for end in ends.get(name, ()))
    doubted = [text_of[name] for name, of_job in ends.items() if IN_DOUBT in of_job and name in text_of]
    calls = list(calls)
    broken_off = sum(call.result == "broken_off" and call.at_us <= outage.began_us for call in calls)
    during = [call for call in calls if outage.began_us < call.at_us < outage.ended_us]
    after_us = sorted(one.at_us for one in accepted if one.at_us >= outage.ended_us)
    full_us = outage.ended_us + int(BACK_S_MAX * US)
    in_full = sum(full_us <= moment_us < full_us + FULL_S * US for moment_us in after_us)
    return Found(
        published=len(jobs),
        sent=told[SENT],
        in_doubt=len(doubted),
        cut=min(
            len(doubted), broken_off + sum(at_us.get(text, outage.ended_us) <= outage.began_us for text in doubted)
        ),
        other_ends={end: count for end, count in told.items() if end not in (SENT, IN_DOUBT)},
        lost=sum(not ends.get(job.name) for job in jobs),
        twice=sum(count > 1 for count in times.values()),
        untrue=sum(SENT in ends.get(job.name, ()) and not times[job.text] for job in jobs),
        sends=sum(call.operation == "send-mms" for call in during),
        probes=sum(call.operation == "account" for call in during),
        back_s=(after_us[0] - outage.ended_us) / US if after_us else None,
        share=in_full / (FULL_S * rate_per_s),
        surprises=surprises,
        ended=tuple(ended),
    )


def problems(case: Case, seen: Found) -> list[str]:
    """A sentence for each way in which it is not right; none when all is well."""
    told = []
    most, of_breaker = IN_DOUBT_MAX[case.kind], seen.in_doubt - seen.cut
    if of_breaker > most:
        told.append(f"{of_breaker} jobs are in doubt, and {most} may be.")
    if seen.back_s is None or seen.back_s > BACK_S_MAX:
        after = "never" if seen.back_s is None else f"after {seen.back_s:.1f} s"
        told.append(f"Sending was back {after}, and {BACK_S_MAX:.0f} s are right.")
    if seen.share < SHARE_MIN:
        told.append(f"From {BACK_S_MAX:.0f} s after its end on, {seen.share:.0%} of the limit were used.")
    told += [f"{count} jobs ended as {end}." for end, count in sorted(seen.other_ends.items())]
    for count, what in (
        (seen.lost, "jobs have no end"),
        (seen.twice, "jobs were accepted more than once"),
        (seen.untrue, "jobs are told as sent, and the API never accepted them"),
        (seen.surprises, "surprises are in the logs"),
    ):
        if count:
            told.append(f"{count} {what}.")
    if seen.sent + seen.in_doubt + sum(seen.other_ends.values()) + seen.lost != seen.published:
        told.append("Some jobs ended in more than one way.")
    told += [f"A worker did not drain: {how}." for how in seen.ended if how != "ended with exit code 0"]
    return told
