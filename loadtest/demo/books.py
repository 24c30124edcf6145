"""The books (pure): what was published, how each job ended by the worker's events, what the API's ledger says.

The ledger is the judge of what was sent; events and queues only say what the worker believes.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadtest.demo.jobs import DemoJob, End
from loadtest.simulator.records import Accepted

END_OF_TYPE = {
    "mms.job.sent": End.SENT,
    "mms.job.refused": End.REFUSED,
    "mms.job.expired": End.EXPIRED,
    "mms.job.dead": End.DEAD,
    "mms.job.in_doubt": End.IN_DOUBT,
}
RESOLVED = "mms.job.resolved"
UNDER_WAY_S = 1.0
"""A call was under way at a worker's death when the API accepted it at most this long before; an answer takes
some 20 ms, and recording it a little more, on a busy machine."""
NOTICED_S = 0.25
"""A request that had left the worker may arrive this long after its death."""
US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A recipient who got the same job again; wall clock, in µs."""

    job: str
    first_at_us: int
    again_at_us: int


@dataclass(frozen=True, slots=True)
class Death:
    """A worker ended without being asked to, between these two moments (wall clock, in µs)."""

    alive_at_us: int
    noticed_at_us: int

    def explains(self, duplicate: Duplicate) -> bool:
        """Whether the first call may have been under way in that worker."""
        earliest_us = self.alive_at_us - int(UNDER_WAY_S * US_PER_S)
        latest_us = self.noticed_at_us + int(NOTICED_S * US_PER_S)
        return earliest_us <= duplicate.first_at_us <= latest_us


@dataclass(frozen=True, slots=True)
class Reckoning:
    """The result. `lost`: jobs without an end; `problems`: a sentence for each way the books do not balance.

    `resolved` jobs were in doubt, and are among those sent: a delivery report proved it.
    """

    published: int
    ends: Mapping[End, int]
    resolved: int
    recipients_told: int
    recipients_accepted: int
    lost: tuple[str, ...]
    duplicates: tuple[Duplicate, ...]
    problems: tuple[str, ...]
    first_accepted_at_us: Mapping[str, int]

    @property
    def is_balanced(self) -> bool:
        """Whether every published job ended exactly once, as the API's ledger says too."""
        return not self.problems and not self.lost


class Books:
    """Takes in events while the demo runs, and reckons at the end."""

    def __init__(self, jobs: Iterable[DemoJob]) -> None:
        self._jobs = {job.name: job for job in jobs}
        self._ends: dict[str, set[End]] = {}
        self._told: dict[str, set[str]] = defaultdict(set)
        self._resolved: set[str] = set()
        self._nameless: set[str] = set()
        self._problems: list[str] = []

    @property
    def sent(self) -> int:
        """Jobs told as sent so far, also those that were in doubt first."""
        return sum(End.SENT in ends or name in self._resolved for name, ends in self._ends.items())

    @property
    def in_doubt(self) -> frozenset[str]:
        """Jobs of which nobody knows at this moment whether they were sent."""
        return frozenset(name for name, ends in self._ends.items() if End.IN_DOUBT in ends) - self._resolved

    @property
    def ended(self) -> int:
        """Jobs whose end was told so far; nobody tells of unroutable ones."""
        return len(self._ends) + len(self._nameless)

    def take(self, event: Mapping[str, Any]) -> None:
        """Note one event, a CloudEvent as parsed. A repeat changes nothing; events about no end are passed by."""
        if event["type"] == RESOLVED:
            self._take_resolved(event["data"])
        if (end := END_OF_TYPE.get(event["type"])) is None:
            return
        job_id = event["data"]["job_id"]
        if job_id is None and end is End.DEAD:
            self._nameless.add(event["id"])
        elif job_id is None or job_id not in self._jobs or self._jobs[job_id].id is None:
            self._problems.append(f"An event ({end}) is about a job that nobody published: {job_id}.")
        else:
            self._ends.setdefault(job_id, set()).add(end)
            if end is End.SENT:
                self._told[job_id].update(entry["to"] for entry in event["data"]["recipients"])

    def _take_resolved(self, data: Mapping[str, Any]) -> None:
        """Note that a job in doubt was sent; in the demo it cannot be resolved in any other way."""
        if (data["resolution"], data["by"]) == ("sent", "report"):
            self._resolved.add(data["job_id"])
            self._told[data["job_id"]].update(entry["to"] for entry in data.get("recipients", ()))
        else:
            self._problems.append(f"{data['job_id']} was resolved as {data['resolution']} by {data['by']}.")

    def job_of_message(self, accepted: Iterable[Accepted]) -> dict[str, str]:
        """The job of each message id, by the ledger's contents."""
        by_content = self._by_content()
        found = ((entry.message_id, by_content.get((entry.text, entry.picture_sha256))) for entry in accepted)
        return {message_id: name for message_id, name in found if name is not None}

    def reckon(
        self,
        *,
        letters: Iterable[bytes],
        unroutable: Iterable[bytes],
        accepted: Sequence[Accepted],
        left_over: int,
    ) -> Reckoning:
        """Close the books, after the workers have stopped.

        `letters` and `unroutable`: the bodies in `mms.dead` and `mms.unroutable`; `accepted`: the whole ledger;
        `left_over`: how many jobs still wait in the queues.
        """
        problems = list(self._problems)
        if left_over:
            problems.append(f"{left_over} jobs still wait in the queue.")
        ends = self._all_ends(frozenset(letters), frozenset(unroutable), problems)
        entries = self._entries_by_job(accepted, problems)
        for job in self._jobs.values():
            to = {entry.to for entry in entries[job.name]}
            is_resolved = job.name in self._resolved
            problems += _about(job, ends[job.name], self._told[job.name], to, is_resolved=is_resolved)
        return Reckoning(
            published=len(self._jobs),
            ends=Counter(end for its_ends in ends.values() for end in its_ends),
            resolved=len(self._resolved),
            recipients_told=sum(map(len, self._told.values())),
            recipients_accepted=len(accepted),
            lost=tuple(name for name, its_ends in ends.items() if not its_ends),
            duplicates=tuple(
                again for name, its_entries in entries.items() for again in _duplicates(name, its_entries)
            ),
            problems=tuple(problems),
            first_accepted_at_us={
                name: min(entry.at_us for entry in its_entries) for name, its_entries in entries.items() if its_entries
            },
        )

    def _all_ends(
        self, letters: frozenset[bytes], unroutable: frozenset[bytes], problems: list[str]
    ) -> dict[str, set[End]]:
        """The ends of every job, by events and by where its body lies now."""
        ends: dict[str, set[End]] = {}
        for job in self._jobs.values():
            ends[job.name] = set(self._ends.get(job.name, ()))
            if job.name in self._resolved:
                ends[job.name] = ends[job.name] - {End.IN_DOUBT} | {End.SENT}
            if job.body in unroutable:
                ends[job.name].add(End.UNROUTABLE)
            if job.id is None and job.body in letters:
                ends[job.name].add(End.DEAD)
        dead = {job.body for job in self._jobs.values() if End.DEAD in ends[job.name]}
        if dead != letters:
            problems.append(f"mms.dead holds {len(letters)} different jobs, and {len(dead)} ended as dead.")
        nameless = sum(job.id is None and End.DEAD in ends[job.name] for job in self._jobs.values())
        if nameless != len(self._nameless):
            problems.append(f"{nameless} jobs without a readable id are dead, and {len(self._nameless)} were told.")
        return ends

    def _entries_by_job(self, accepted: Sequence[Accepted], problems: list[str]) -> dict[str, list[Accepted]]:
        """The ledger's entries by the job that they belong to, by text and picture."""
        by_content = self._by_content()
        entries: dict[str, list[Accepted]] = {name: [] for name in self._jobs}
        for entry in accepted:
            name = by_content.get((entry.text, entry.picture_sha256))
            if name is None:
                problems.append(f"The API accepted what nobody published, in call {entry.call}.")
            else:
                entries[name].append(entry)
        return entries

    def _by_content(self) -> dict[tuple[str, str], str]:
        return {(job.text, job.picture_sha256): job.name for job in self._jobs.values() if job.text}


def _about(job: DemoJob, ends: set[End], told: set[str], accepted: set[str], *, is_resolved: bool) -> list[str]:
    """What is wrong with one job. Numbers of people are not shown, only how many there are.

    Of one that was resolved by a report the others of its recipients may not be told yet.
    """
    words = " and ".join(sorted(ends))
    problems = []
    if len(ends) > 1:
        problems.append(f"{job.name} ended more than once: {words}.")
    if ends and not ends <= {job.should_end, End.IN_DOUBT}:
        problems.append(f"{job.name} ended as {words}, and should have ended as {job.should_end}.")
    is_told_right = accepted == job.to and (told == accepted or (is_resolved and told <= accepted))
    if ends == {End.SENT} and not is_told_right:
        problems.append(
            f"{job.name} is told as sent to {len(told)}; the API accepted {len(accepted)} of {len(job.to)} recipients."
        )
    if accepted and not ends & {End.SENT, End.IN_DOUBT}:
        problems.append(f"{job.name} was accepted by the API, and is told as {words or 'nothing at all'}.")
    return problems


def _duplicates(name: str, entries: Sequence[Accepted]) -> list[Duplicate]:
    """Every acceptance of a recipient beyond the first."""
    first: dict[str, Accepted] = {}
    return [
        Duplicate(name, before.at_us, entry.at_us)
        for entry in entries
        if (before := first.setdefault(entry.to, entry)) is not entry
    ]
