"""The books of one kill (pure): what was found, and a sentence for each way in which that is not right.

The simulator's ledger is the judge of what was sent; events and queues only say what the workers believe.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from loadtest.kills.points import Point

SENT, IN_DOUBT = "sent", "in_doubt"
KILLED = "ended by signal 9"
NEVER_TOLD = "a worker had begun to call"
"""How the worker says that a claim was left by one that died."""
NO_RECORD = "-"


@dataclass(frozen=True, slots=True)
class Job:
    """One job, for one recipient. Jobs of equal `text` may share a call."""

    name: str
    to: str
    text: str
    body: bytes
    routing_key: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A kill as it is meant: the worker dies when it passes `point` for the `nth` time."""

    point: Point
    number: int
    nth: int
    is_quiet: bool
    calls_max: int
    jobs: Sequence[Job]


@dataclass(frozen=True, slots=True)
class Told:
    """An event about a job's end: its type's last word, its id, and why it is in doubt, if it is."""

    end: str
    event_id: str
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Found:
    """What was found.

    `has_said_so`: the victim's log tells of the failpoint. By job: `records` (first letters, at the death), `events`,
    and `accepted`, how often the API took its recipient. `claims`: jobs whose calls the victim had begun and not
    concluded. `accepted_by_death`: recipients. `broken_off`: requests that ended in the middle. `held`: what lies in
    `mms.in_doubt`. `left`: messages at the end, by queue. `foreign`: what was told or sent and is of nobody's job.
    """

    victim_ended: str | None
    has_said_so: bool
    heir_ended: str | None
    surprises: int
    records: Mapping[str, str]
    claims: Collection[str]
    events: Mapping[str, Sequence[Told]]
    accepted: Mapping[str, int]
    accepted_by_death: int
    broken_off: int
    held: Sequence[str]
    left: Mapping[str, int]
    foreign: Sequence[str]
    took_s: float

    @property
    def in_doubt(self) -> set[str]:
        """Jobs that were told as in doubt."""
        return {name for name, told in self.events.items() if any(one.end == IN_DOUBT for one in told)}

    @property
    def told_again(self) -> int:
        """Events that repeat one with the same id."""
        return sum(len(told) - len(set(told)) for told in self.events.values())

    @property
    def state(self) -> str:
        """What the journal had of the jobs when the worker was dead, such as "3 C"."""
        return " ".join(f"{count} {letter}" for letter, count in sorted(Counter(self.records.values()).items()))


def problems(plan: Plan, found: Found) -> list[str]:
    """A sentence for each way in which the books do not balance; none when all is well."""
    return [*_of_workers(plan, found), *_of_death(plan, found), *_of_jobs(plan, found), *_of_queues(found)]


def _of_workers(plan: Plan, found: Found) -> list[str]:
    told = []
    if found.victim_ended != KILLED or not found.has_said_so:
        told.append(f"The worker did not die at {plan.point.name}:{plan.nth}, but {found.victim_ended or 'lived'}.")
    if found.heir_ended != "ended with exit code 0":
        told.append(f"The heir did not drain: {found.heir_ended or 'it was killed'}.")
    if found.surprises:
        told.append(f"{found.surprises} surprises are in the logs.")
    return told


def _of_death(plan: Plan, found: Found) -> list[str]:
    """What was there when the worker was dead."""
    told = []
    if plan.is_quiet:
        # A job that came late is not in the call yet, and has no record.
        of_call = [letter for letter in found.records.values() if letter != NO_RECORD] or [NO_RECORD]
        if not set(of_call) <= set(plan.point.records):
            told.append(f"The journal had {found.state}, and {' or '.join(plan.point.records)} is right here.")
        right = len(of_call) if plan.point.is_accepted else 0
        if found.accepted_by_death != right:
            told.append(f"The API had accepted {found.accepted_by_death} recipients, and {right} is right here.")
        if plan.point.is_broken_off and not found.broken_off:
            told.append("The API saw no request that ends in the middle.")
    text_of = {job.name: job.text for job in plan.jobs}
    calls = len({text_of[name] for name in found.claims})
    if calls > plan.calls_max:
        told.append(f"The dead worker had {calls} calls under way, and may have {plan.calls_max}.")
    return told


def _of_jobs(plan: Plan, found: Found) -> list[str]:
    told = [f"Something is told about, or was sent to, what nobody published: {what}." for what in found.foreign]
    for job in plan.jobs:
        ends = set(found.events.get(job.name, ()))
        words = " and ".join(sorted(one.end for one in ends)) or "nothing"
        times = found.accepted.get(job.name, 0)
        if len(ends) != 1 or not {one.end for one in ends} <= {SENT, IN_DOUBT}:
            told.append(f"{job.name} must end once, as sent or in doubt, and {words} is told.")
        if times > 1:
            told.append(f"{job.name} was accepted {times} times.")
        if times == 0 and SENT in {one.end for one in ends}:
            told.append(f"{job.name} is told as sent, and the API never accepted it.")
    left_behind = {
        name for name, told_of in found.events.items() if any(one.why.startswith(NEVER_TOLD) for one in told_of)
    }
    if left_behind != set(found.claims):
        told.append(
            f"{len(left_behind)} jobs are in doubt for a worker's death, and the dead one had begun the calls of"
            f" {len(found.claims)}: {', '.join(sorted(left_behind ^ set(found.claims)))} make the difference."
        )
    others = Counter(
        one.why
        for name, told_of in found.events.items()
        for one in told_of
        if one.end == IN_DOUBT and name not in left_behind
    )
    told += [f"{count} jobs are in doubt for no death, but: {why or 'no reason'}." for why, count in others.items()]
    return told


def _of_queues(found: Found) -> list[str]:
    told = [f"{count} messages are left in {queue}." for queue, count in found.left.items() if count]
    if sorted(found.held) != sorted(found.in_doubt):
        told.append(f"mms.in_doubt holds {len(found.held)} messages, and {len(found.in_doubt)} jobs are in doubt.")
    return told
