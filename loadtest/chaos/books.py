"""The books of a run (pure): what was found, and a sentence for each way in which that is not right.

The simulator's ledger is the judge of what was sent; events and queues only say what the workers believe.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from loadtest.chaos.doubts import US, Doubt, Ending, Window, is_expected, is_explained
from loadtest.chaos.faults import Kind
from loadtest.chaos.jobs import ENDS, Job, Sort

SENT, IN_DOUBT, REFUSED, EXPIRED, DEAD = "sent", "in_doubt", "refused", "expired", "dead"
RESOLVED, GIVEN_UP = "resolved", "given_up"
ENDS_SHOWN = (SENT, REFUSED, EXPIRED, DEAD, IN_DOUBT)
TWICE = 2


@dataclass(frozen=True, slots=True)
class Told:
    """An event about a job's end: its type's last word and its id.

    ``why`` and ``since_us`` if it is in doubt; ``resolution`` if a doubt is resolved.
    """

    end: str
    event_id: str
    why: str = field(default="", compare=False)
    since_us: int = field(default=0, compare=False)
    resolution: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Found:
    """What was found.

    ``events``: by job. ``accepted_us``: by recipient, when the API accepted it. ``held``: ids in ``mms.in_doubt``.
    ``left``: messages at the end, by queue. ``foreign``: what was told or sent and is of nobody's job. ``surprises``:
    lines of the workers' logs. ``endings``: of workers. ``leaks``: lines of logs with phone numbers or keys.
    ``worst_second``: arrivals at the API. ``is_drained``: everything ended in time.
    """

    jobs: Sequence[Job]
    windows: Sequence[Window]
    events: Mapping[str, Sequence[Told]]
    accepted_us: Mapping[str, Sequence[int]]
    held: Sequence[str]
    left: Mapping[str, int]
    foreign: Sequence[str]
    surprises: Sequence[str]
    endings: Sequence[Ending]
    leaks: int
    limit_per_s: int
    worst_second: int
    throttled: int
    is_drained: bool

    def of_end(self, end: str) -> list[str]:
        """Jobs that were told to have ended so."""
        return [job.name for job in self.jobs if any(one.end == end for one in self.events.get(job.name, ()))]

    @property
    def lost(self) -> list[str]:
        """Jobs of which no end was told."""
        return [job.name for job in self.jobs if not self.events.get(job.name)]

    @property
    def twice(self) -> list[str]:
        """Recipients whom the API accepted more than once, and should not have."""
        forgotten = set(self.forgotten)
        return [number for number, moments in self.accepted_us.items() if len(moments) > 1 and number not in forgotten]

    @property
    def forgotten(self) -> list[str]:
        """Recipients of jobs that were published twice, and whose id Redis forgot in between: no worker can know."""
        emptied_us = [window.began_us for window in self.windows if window.kind is Kind.STORE_EMPTIED]
        return [
            number
            for job in self.jobs
            if job.sort is Sort.REPEATED
            for number in job.to
            if len(at_us := sorted(self.accepted_us.get(number, ()))) == TWICE
            and any(at_us[0] < one <= at_us[1] for one in emptied_us)
        ]

    @property
    def told_again(self) -> int:
        """Events that repeat one with the same id."""
        return sum(len(told) - len(set(told)) for told in self.events.values())

    @property
    def unexplained(self) -> list[tuple[str, str]]:
        """Jobs in doubt for which there was no fault, and why they are said to be."""
        return [
            (job.name, one.why)
            for job in self.jobs
            for one in set(self.events.get(job.name, ()))
            if one.end == IN_DOUBT and not self._is_explained(job, one)
        ]

    @property
    def doubts(self) -> Counter[str]:
        """Why jobs are in doubt, and how many each time."""
        firsts = ({one.why for one in self.events.get(job.name, ()) if one.end == IN_DOUBT} for job in self.jobs)
        return Counter(why for whys in firsts for why in sorted(whys)[:1])

    @property
    def ended_alone(self) -> list[str]:
        """Workers that ended otherwise than they should, and how."""
        return [f"{one.worker} {one.how}" for one in self.endings if not is_expected(one, self.windows)]

    def _is_explained(self, job: Job, told: Told) -> bool:
        """Whether a fault that can be the reason fell so that it was."""
        called_us = min((at for number in job.to for at in self.accepted_us.get(number, ())), default=None)
        return is_explained(Doubt(told.why, told.since_us, called_us), self.windows, self.endings)


def problems(found: Found) -> list[str]:
    """A sentence for each way in which the books do not balance; none when all is well."""
    return [*_of_all(found), *_of_jobs(found), *_of_queues(found)]


def _of_all(found: Found) -> list[str]:
    told = []
    for what, names in (
        ("jobs were lost", found.lost),
        ("recipients got a message twice", found.twice),
        ("surprises are in the logs", found.surprises),
        ("workers ended otherwise than they should", found.ended_alone),
        ("times something is told about, or was sent to, what nobody published", found.foreign),
    ):
        if names:
            told.append(f"{len(names)} {what}: {_some(names)}.")
    if found.leaks:
        told.append(f"{found.leaks} lines of the workers' logs hold a phone number or a key.")
    if not found.is_drained:
        told.append("Not everything had ended when the time was up.")
    told += [
        f"{count} jobs are in doubt, and no fault explains it: {why}."
        for why, count in Counter(why for _, why in found.unexplained).items()
    ]
    return told


def _of_jobs(found: Found) -> list[str]:
    told = []
    for job in found.jobs:
        ends = set(found.events.get(job.name, ()))
        words = sorted(one.end for one in ends)
        resolutions = [one.resolution for one in ends if one.end == RESOLVED]
        others = [word for word in words if word != RESOLVED]
        # A frozen worker may hear the API's answer when others have the job in doubt: that resolves it.
        is_one_end = len(others) + len(resolutions) == 1 or (others == [IN_DOUBT] and len(resolutions) == 1)
        if ends and not (is_one_end and set(others) <= ENDS[job.sort]):
            told.append(f"{job.name} ({job.sort}) is told as {' and '.join(words)}.")
        accepted = sum(bool(found.accepted_us.get(number)) for number in job.to)
        final = next(iter([*resolutions, *others]), "")
        if final == SENT and accepted < len(job.to):
            told.append(f"{job.name} is told as sent, and the API accepted {accepted} of its {len(job.to)} recipients.")
        if final in (REFUSED, EXPIRED, DEAD, GIVEN_UP) and accepted:
            told.append(f"{job.name} is told as {final}, and the API accepted {accepted} of its recipients.")
    return told


def _of_queues(found: Found) -> list[str]:
    told = [f"{count} messages are left in {queue}." for queue, count in found.left.items() if count]
    held, doubted, resolved = set(found.held), set(found.of_end(IN_DOUBT)), set(found.of_end(RESOLVED))
    # Whether what is held of a resolved one is cleared away yet is a matter of minutes.
    if held - resolved != doubted - resolved:
        told.append(f"mms.in_doubt holds {len(held)} jobs, and {len(doubted)} are told to be in doubt.")
    return told


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown}, …"  # noqa: PLR2004 - as many as are shown


# --- Recovery --------------------------------------------------------------------------------------------


def recoveries_s(windows: Iterable[Window], accepted_us: Iterable[int]) -> dict[Kind, list[float]]:
    """By kind of fault, how long after its end the API accepted a call again; not where another fault lasted then."""
    moments = sorted(accepted_us)
    of_kind: dict[Kind, list[float]] = {}
    all_windows = list(windows)
    for window in all_windows:
        others = [one for one in all_windows if one is not window]
        if any(one.began_us < window.ended_us + 5 * US and one.ended_us > window.ended_us for one in others):
            continue
        after = next((at_us for at_us in moments if at_us >= window.ended_us), None)
        if after is not None:
            of_kind.setdefault(window.kind, []).append((after - window.ended_us) / US)
    return of_kind
