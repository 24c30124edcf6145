"""Of which job a reported message is, and what becomes of the report therefore."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from worker.core.report_rules import Alone, OneOf, Wait, judge
from worker.core.reports import Report
from worker.core.sendings import Ask, Known, SentJob, Stranger
from worker.flow.doubt_reports import DoubtReports
from worker.flow.observations import DuplicateSendDetected, Observer
from worker.flow.ports import JournalAway, Monotonic, NotTaken, Sendings

_MICRO = 1e6


@dataclass(frozen=True, slots=True)
class ToTell:
    """A report that is to be told now.

    ``final``: a final status that was told before. ``delay_s``: since its send was answered, where known. ``twice``:
    the job that was sent twice by the look of it.
    """

    ask: Ask
    job: SentJob | None
    final: str | None
    delay_s: float | None = None
    twice: SentJob | None = None


@dataclass(frozen=True, slots=True)
class ToWait:
    """A report that is to be looked at again in a while."""

    ask: Ask


class ReportJobs:
    """Decides about reports that are ours to tell; ``wait_s_max`` as in ``core/report_rules.py``."""

    def __init__(
        self,
        *,
        sendings: Sendings,
        doubts: DoubtReports,
        wait_s_max: float,
        observe: Observer,
        monotonic: Monotonic,
    ) -> None:
        self._sendings = sendings
        self._doubts = doubts
        self._wait_s_max = wait_s_max
        self._observe = observe
        self._monotonic = monotonic
        # Two reports must not be taken for evidence of one doubt.
        self._resolving = asyncio.Lock()

    async def decide(
        self, account: str, ask: Ask, found: Known | Stranger, *, waited_s: int, until_s: float
    ) -> ToTell | ToWait | NotTaken:
        """Decide about the report of ``ask``, of which ``found`` is known, and which has waited ``waited_s``."""
        decided = self._judged(ask, found, waited_s)
        if isinstance(decided, OneOf):
            # What is known by now: it may have been another report's turn a moment ago.
            async with self._resolving:
                if self._monotonic() >= until_s:
                    return NotTaken("there was no time to find out of which jobs the reports are")
                looked = await self._sendings.look(account, [ask])
                if isinstance(looked, JournalAway):
                    return _not_known(looked)
                now = looked[0]
                if not isinstance(now, Known | Stranger):
                    return NotTaken("a report is being told by somebody else")
                found = now
                decided = self._judged(ask, found, waited_s)
                if isinstance(decided, OneOf):
                    return await self._assigned(account, ask, decided, found)
        if isinstance(found, Known) and found.has_doubt:
            return await self._of_known_job(account, ask, found) or decided
        return decided

    def _judged(self, ask: Ask, found: Known | Stranger, waited_s: int) -> ToTell | ToWait | OneOf:
        if isinstance(found, Known):
            return ToTell(ask, found.job, found.final, found.age_us / _MICRO)
        match judge(found, waited_s=waited_s, wait_s_max=self._wait_s_max):
            case Wait():
                return ToWait(ask)
            case Alone(twice):
                return ToTell(ask, None, found.final, twice=twice)
            case one_of:
                return one_of

    async def _of_known_job(self, account: str, ask: Ask, found: Known) -> NotTaken | None:
        """Should the job be in doubt still, who heard that it was sent did not come to say so."""
        sent = [(ask.report.to, ask.report.message_id)]
        is_resolved = await self._doubts.resolve(account, found.job.job_id, sent)
        if isinstance(is_resolved, JournalAway):
            return _not_known(is_resolved)
        return await self._assign(account, ask, found.job) if is_resolved else None

    async def _assigned(self, account: str, ask: Ask, one_of: OneOf, found: Known | Stranger) -> ToTell | NotTaken:
        """Have it told as a message of one of these jobs."""
        job = await self._resolved(account, ask.report, one_of.doubts)
        if isinstance(job, JournalAway):
            return _not_known(job)
        fault = await self._assign(account, ask, job)
        return fault or ToTell(ask, job, found.final)

    async def _assign(self, account: str, ask: Ask, job: SentJob) -> NotTaken | None:
        is_second = await self._sendings.assign(account, ask.report, job)
        if isinstance(is_second, JournalAway):
            return _not_known(is_second)
        if is_second:
            # At once: should the event not be confirmed, the next one to look finds nothing new.
            self._observe(DuplicateSendDetected(account, job.job_id))
        return None

    async def _resolved(self, account: str, report: Report, doubts: Sequence[SentJob]) -> SentJob | JournalAway:
        """The oldest that is in doubt, which is resolved now; else the oldest, which was decided on before."""
        for job in doubts:
            is_resolved = await self._doubts.resolve(account, job.job_id, [(report.to, report.message_id)])
            if isinstance(is_resolved, JournalAway):
                return is_resolved
            if is_resolved:
                return job
        return doubts[0]


def _not_known(away: JournalAway) -> NotTaken:
    return NotTaken(f"it is not known of which jobs the reports are ({away.why})")
