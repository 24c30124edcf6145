"""The books of a run (pure): each job's end, and a sentence for each way in which they do not balance.

The ledger is the judge of what was sent; events and queues only say what the workers believe.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from loadtest.chaos.doubts import Doubt, Ending, Window, is_expected, is_explained
from loadtest.load.events import DEAD, END_WORDS, EXPIRED, IN_DOUBT, NONE, REFUSED, RESENT, SENT, Told
from loadtest.load.jobs import name_of
from loadtest.load.ledger import Ledger
from loadtest.load.result import Correctness

NAMES_SHOWN_MAX = 5
PROBLEMS_MAX = 50


@dataclass(frozen=True, slots=True)
class Queues:
    """Messages at the end. `waiting` by queue: of the accounts and for later; `in_doubt` and `unroutable`: held."""

    waiting: Mapping[str, int]
    in_doubt: int
    unroutable: int


@dataclass(frozen=True, slots=True)
class Found:
    """What was found. `confirmed`: jobs that the broker took; `is_drained`: everything ended in time.

    `surprises`: lines of the workers' logs; `leaks`: lines with phone numbers or keys.
    """

    ledger: Ledger
    told: Told
    queues: Queues
    windows: Sequence[Window]
    endings: Sequence[Ending]
    confirmed: int
    is_drained: bool
    surprises: Sequence[str]
    leaks: int

    def doubts_of(self) -> dict[int, list[Doubt]]:
        """By job, those that were told, resolved ones too."""
        found: dict[int, list[Doubt]] = {}
        for one in self.told.doubts:
            called_us = self.ledger.called_us[one.job] or None
            found.setdefault(one.job, []).append(Doubt(one.why, one.since_us, called_us))
        return found


def final_ends(told: Told) -> bytearray:
    """By job: what it turned out to be in the end, when doubts that were resolved count as resolved."""
    ends = bytearray(told.end)
    for job, others in told.others.items():
        if ends[job] == IN_DOUBT and len(others) == 1:
            ends[job] = next(iter(others))
    for job, resolution in told.resolutions.items():
        if resolution == "sent":
            ends[job] = SENT
    return ends


def close(found: Found) -> Correctness:
    """The table."""
    told, ledger = found.told, found.ledger
    ends = final_ends(told)
    counts = Counter(ends)
    lost = max(0, counts[NONE] - found.queues.unroutable)
    doubts = found.doubts_of()
    open_doubts = {job: of_job for job, of_job in doubts.items() if ends[job] == IN_DOUBT}
    unexplained = {
        job
        for job, of_job in doubts.items()
        if not all(is_explained(doubt, found.windows, found.endings) for doubt in of_job)
    }
    problems = [*_of_all(found, ends, lost, unexplained), *_of_jobs(found, ends)]
    more = len(problems) - PROBLEMS_MAX
    if more > 0:
        problems = [*problems[:PROBLEMS_MAX], f"And {more} more such sentences."]
    return Correctness(
        published=told.jobs,
        sent=counts[SENT],
        refused=counts[REFUSED],
        expired=counts[EXPIRED],
        dead=counts[DEAD],
        in_doubt=counts[IN_DOUBT],
        in_doubt_explained=len(open_doubts.keys() - unexplained),
        resolved=len(doubts.keys() - open_doubts.keys()),
        unroutable=found.queues.unroutable,
        lost=lost,
        duplicated=ledger.duplicated,
        told_again=told.again,
        foreign=told.foreign_count + ledger.foreign,
        left=sum(found.queues.waiting.values()),
        problems=tuple(problems),
    )


def _of_all(found: Found, ends: bytearray, lost: int, unexplained: set[int]) -> Iterator[str]:
    told = found.told
    if found.confirmed != told.jobs:
        yield f"The broker confirmed {found.confirmed:,} of {told.jobs:,} jobs."
    if lost:
        missing = (job for job, end in enumerate(ends) if end == NONE)
        yield f"{lost:,} jobs have no end: {_some(missing, lost)}."
    if not found.is_drained:
        yield "Not everything had ended when the time was up."
    if told.foreign_count:
        yield f"{told.foreign_count:,} events are about jobs that nobody published: {', '.join(told.foreign[:3])}."
    yield from _of_ledger(found.ledger)
    yield from _of_doubts(found, unexplained)
    yield from _of_queues(found.queues, told, still_in_doubt=ends.count(IN_DOUBT))
    if found.surprises:
        yield f"{len(found.surprises):,} surprises are in the workers' logs: {found.surprises[0]}"
    if found.leaks:
        yield f"{found.leaks:,} lines of the workers' logs hold a phone number or a key."
    for one in found.endings:
        if not is_expected(one, found.windows):
            yield f"{one.worker.capitalize()} {one.how}, and nobody made it."


def _of_ledger(ledger: Ledger) -> Iterator[str]:
    if ledger.duplicated:
        names = _some(sorted(ledger.duplicates_of), len(ledger.duplicates_of))
        yield f"{ledger.duplicated:,} recipients got a message more than once, of {names}."
    if ledger.foreign:
        yield f"The API accepted {ledger.foreign:,} recipients or texts that nobody published."


def _of_doubts(found: Found, unexplained: set[int]) -> Iterator[str]:
    if unexplained:
        doubts = found.doubts_of()
        whys = Counter(doubt.why for job in unexplained for doubt in doubts[job])
        yield from (f"{count:,} jobs are in doubt, and no fault explains it: {why}." for why, count in whys.items())


def _of_queues(queues: Queues, told: Told, *, still_in_doubt: int) -> Iterator[str]:
    yield from (f"{count:,} messages are left in {queue}." for queue, count in queues.waiting.items() if count)
    if queues.unroutable:
        yield f"{queues.unroutable:,} jobs lie in mms.unroutable."
    # Whether what is held of a resolved one is cleared away yet is a matter of minutes.
    if not still_in_doubt <= queues.in_doubt <= len({one.job for one in told.doubts}):
        yield f"mms.in_doubt holds {queues.in_doubt:,} jobs, and {still_in_doubt:,} are told to be in doubt."


def _of_jobs(found: Found, ends: bytearray) -> Iterator[str]:
    told, accepted, recipients = found.told, found.ledger.accepted, found.ledger.maker.shape.recipients
    for job, others in told.others.items():
        words = sorted({END_WORDS[told.end[job]], *(END_WORDS[end] for end in others)})
        is_a_doubt_resolved = len(others) == 1 and IN_DOUBT in (told.end[job], *others)
        if not (is_a_doubt_resolved and (told.resolutions.get(job) == RESENT or _is_late_answer(told, job))):
            yield f"{name_of(job)} is told as {' and as '.join(words)}."
    for job, end in enumerate(ends):
        if end == SENT and accepted[job] < recipients:
            yield f"{name_of(job)} is told as sent, and the API accepted {accepted[job]} of {recipients} recipients."
        elif accepted[job] and end not in (SENT, IN_DOUBT):
            yield f"{name_of(job)} is told as {END_WORDS[end]}, and the API accepted {accepted[job]} of its recipients."


def _is_late_answer(told: Told, job: int) -> bool:
    return told.resolutions.get(job) == "sent"


def _some(jobs: Iterator[int] | Sequence[int], count: int) -> str:
    names = [name_of(job) for job, _ in zip(jobs, range(NAMES_SHOWN_MAX), strict=False)]
    return ", ".join(names) + (", …" if count > len(names) else "")
