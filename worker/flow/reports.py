"""Delivery reports that the API tells us: each becomes one event, however often it comes.

1. **Look** what is known of all of them, and claim those that nobody has told. What somebody else is telling is asked
   for again in a moment, since the API must not hear that it was taken before it is.
2. **Decide** about those of messages that nobody knows (``core/report_rules.py``): they wait, are evidence for a job in
   doubt, or are told without a job.
3. **Publish** the events, and what is to wait, together and each confirmed.
4. **Note** what is told. Only now they count as taken.

What is to wait lies in the broker, and comes back to whoever takes reports then. A crash between 3 and 4 repeats
events, with the same ids, once the claims have ended. What fails before is told as not taken, and the API is to tell it
again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from worker.core.delivery import Publication
from worker.core.inbound_events import report_event
from worker.core.reports import Report, ReportStatus
from worker.core.sendings import Ask, Busy, Known, Repeated, Stranger
from worker.core.waiting_reports import WaitingReport, put_aside
from worker.flow.confirming import confirmed
from worker.flow.doubt_reports import DoubtReports
from worker.flow.observations import DuplicateSendDetected, Observer, ReportPutAside, ReportRepeated, ReportTold
from worker.flow.ports import JournalAway, Monotonic, NotTaken, Publishing, Sendings
from worker.flow.report_jobs import ReportJobs, ToTell, ToWait
from worker.flow.tasks import to_its_end

#: Who told us is to hear within ten seconds. Less than a claim lasts: nobody else is to tell meanwhile.
TAKE_S_MAX = 9.0
#: What somebody else is telling is asked for again after this, and for so long.
BUSY_AGAIN_S, BUSY_S_MAX = 0.05, 3.0
#: Told and not noted, a report would be told once more: that is tried so often.
NOTE_TRIES_MAX, NOTE_AGAIN_S = 3, 0.25


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of taking reports in. ``fault``: why not all are ``safe``."""

    fault: NotTaken | None
    safe: frozenset[Report]


class ReportIntake:
    """Takes reports in, for all accounts.

    ``wait_s_max``: a report may come so long before it is known of which job its message is.
    """

    def __init__(
        self,
        *,
        sendings: Sendings,
        doubts: DoubtReports,
        publishing: Publishing,
        wait_s_max: float,
        observe: Observer,
        monotonic: Monotonic,
        wall_clock: Callable[[], datetime],
    ) -> None:
        self._sendings = sendings
        self._publishing = publishing
        self._observe = observe
        self._monotonic = monotonic
        self._wall_clock = wall_clock
        self._wait_s_max = wait_s_max
        self._jobs = ReportJobs(
            sendings=sendings, doubts=doubts, wait_s_max=wait_s_max, observe=observe, monotonic=monotonic
        )

    async def take(self, account: str, reports: Sequence[Report], *, limit_s: float = TAKE_S_MAX) -> NotTaken | None:
        """Tell those of ``reports`` that were not told before, or have them wait; None once all are safe.

        Of equal ones the first counts. No confirm is waited for longer than ``limit_s``, at most ``TAKE_S_MAX``.
        """
        waiting = [WaitingReport(account, report) for report in reports]
        return (await self.take_again(account, waiting, limit_s=limit_s)).fault

    async def take_again(self, account: str, waiting: Sequence[WaitingReport], *, limit_s: float = TAKE_S_MAX) -> Taken:
        """The same with reports of the account that have waited; and which are safe though others are not."""
        if waiting and not self._publishing.can_publish:
            return Taken(NotTaken("the broker takes nothing in now"), frozenset())
        token = secrets.token_hex(8)
        waited_s = {one.report: one.waited_s for one in sorted(waiting, key=lambda one: one.waited_s)}
        # The event log has them in the order in which they are published: what is final comes last.
        reports = sorted(dict.fromkeys(one.report for one in waiting), key=_how_far)
        asks = {report: Ask(report, token, waited_s[report] >= self._wait_s_max) for report in reports}
        this = _Taking(account, asks, waited_s, self._monotonic(), min(limit_s, TAKE_S_MAX), set())
        for _ in range(len(waiting) - len(reports)):
            self._observe(ReportRepeated(account))
        return Taken(await self._take(this), frozenset(this.safe))

    async def _take(self, this: _Taking) -> NotTaken | None:
        undecided = list(this.asks.values())
        while undecided:
            found = await self._sendings.look(this.account, undecided)
            if isinstance(found, JournalAway):
                return NotTaken(f"it is not known which reports were told before ({found.why})")
            looked = list(zip(undecided, found, strict=True))
            repeated = [ask.report for ask, one in looked if isinstance(one, Repeated)]
            this.safe.update(repeated)
            for _ in repeated:
                self._observe(ReportRepeated(this.account))
            ours = [(ask, one) for ask, one in looked if isinstance(one, Known | Stranger)]
            # Not broken off between telling and noting: what is told would be told again.
            if ours and (fault := await to_its_end(self._tell(this, ours))) is not None:
                return fault
            undecided = [ask for ask, one in looked if isinstance(one, Busy)]
            if undecided:
                if self._monotonic() - this.started_s >= BUSY_S_MAX:
                    return NotTaken(f"{len(undecided)} of the reports are being told by somebody else")
                await asyncio.sleep(BUSY_AGAIN_S)
        return None

    async def _tell(self, this: _Taking, ours: Sequence[tuple[Ask, Known | Stranger]]) -> NotTaken | None:
        """Have all that is ours confirmed, as an event or as something that waits, and note it."""
        telling: list[ToTell] = []
        waiting: list[Ask] = []
        for ask, found in ours:
            waited_s = this.waited_s[ask.report]
            one = await self._jobs.decide(this.account, ask, found, waited_s=waited_s, until_s=this.until_s)
            match one:
                case ToTell():
                    telling.append(one)
                case ToWait():
                    waiting.append(ask)
                case NotTaken():
                    await self._sendings.put_off(this.account, [each for each, _ in ours])
                    return one
        if waiting:
            # Before they are published: who looks at them next must find them free.
            await self._sendings.put_off(this.account, waiting)
        publications = [*self._events(this.account, telling), *(put_aside(this.waiting(ask)) for ask in waiting)]
        are_confirmed = await confirmed(self._publishing, publications, this.until_s - self._monotonic())
        published = (*(one.ask for one in telling), *waiting)
        this.safe.update(ask.report for ask, is_so in zip(published, are_confirmed, strict=True) if is_so)
        told = [one for one, is_so in zip(telling, are_confirmed, strict=False) if is_so]
        untold = [one.ask for one, is_so in zip(telling, are_confirmed, strict=False) if not is_so]
        await self._note(this, told)
        for ask, is_so in zip(waiting, are_confirmed[len(telling) :], strict=True):
            if is_so and not this.waited_s[ask.report]:
                self._observe(ReportPutAside(this.account))
        # The broker may have them all the same. Of a final one the claim stays: what is told after it must know of it.
        if on_the_way := [ask for ask in untold if not ask.report.is_final]:
            await self._sendings.put_off(this.account, on_the_way)
        if all(are_confirmed):
            return None
        return NotTaken(f"the broker did not confirm {are_confirmed.count(False)} of {len(publications)} messages")

    def _events(self, account: str, telling: Sequence[ToTell]) -> Iterator[Publication]:
        at = self._wall_clock()
        for one in telling:
            report = one.ask.report
            superseded_by = None if report.is_final else one.final
            yield report_event(report, account=account, job=one.job, superseded_by=superseded_by, at=at)

    async def _note(self, this: _Taking, told: Sequence[ToTell]) -> None:
        """As far as it can be done: the events are confirmed, and that is what counts for who told us."""
        account, asks = this.account, [one.ask for one in told]
        for _ in range(NOTE_TRIES_MAX):
            if not told or not isinstance(await self._sendings.told(account, asks), JournalAway):
                break
            if self._monotonic() >= this.until_s:
                break
            await asyncio.sleep(NOTE_AGAIN_S)
        for one in told:
            self._observe(ReportTold(account, one.ask.report.kind, one.delay_s, is_of_known_job=one.job is not None))
        for job_id in dict.fromkeys(one.twice.job_id for one in told if one.twice is not None):
            self._observe(DuplicateSendDetected(account, job_id))


@dataclass(frozen=True, slots=True)
class _Taking:
    """Reports that are being taken in: how each is asked for, how long each has waited, and which are safe."""

    account: str
    asks: Mapping[Report, Ask]
    waited_s: Mapping[Report, int]
    started_s: float
    limit_s: float
    safe: set[Report]

    def waiting(self, ask: Ask) -> WaitingReport:
        """The report as one that waits."""
        return WaitingReport(self.account, ask.report, self.waited_s[ask.report])

    @property
    def until_s(self) -> float:
        """When whoever told us is to hear at the latest."""
        return self.started_s + self.limit_s


def _how_far(report: Report) -> tuple[bool, bool]:
    """What reports are put in order by."""
    return report.is_final, report.kind is not ReportStatus.QUEUED
