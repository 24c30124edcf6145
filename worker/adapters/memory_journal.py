"""The journal in memory: the same decisions, for tests and simulations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from worker.core.journal import (
    IN_DOUBT,
    MICRO,
    Claim,
    Doubts,
    HeldCopy,
    Record,
    Remembered,
    Resolution,
    Resolved,
    State,
    Told,
    claim,
    conclude,
    read,
    resolve,
    tell,
    written,
)
from worker.flow.ports import Claimed, JournalAway, Monotonic


class MemoryJournal:
    """Implements the ``Journal`` port for workers of one process, on the clock of ``monotonic``.

    Who compares the moments of doubts with a wall clock gives it one that tells the same time.
    """

    def __init__(self, *, call_s_max: float, monotonic: Monotonic) -> None:
        self._call_us_max = int(call_s_max * MICRO)
        self._monotonic = monotonic
        self._epoch_us = 0
        #: As text, as the store has it: by account and job id.
        self.records: dict[tuple[str, str], str] = {}
        #: Since when jobs are in doubt (us).
        self.in_doubt: dict[tuple[str, str], int] = {}
        #: Set to a reason, the journal is away.
        self.away_because: str | None = None

    async def claim(self, account: str, claims: Sequence[Claim]) -> list[Claimed] | JournalAway:
        """Claim each, or say what is known of its job."""
        if self.away_because:
            return JournalAway(self.away_because)
        return [self._claim(account, one) for one in claims]

    def expect_memory(self, account: str) -> None:
        """It forgets nothing: it does not outlive its process."""

    async def conclude(self, account: str, outcomes: Sequence[tuple[Claim, Record]]) -> list[bool] | JournalAway:
        """Write down what came of claims."""
        if self.away_because:
            return JournalAway(self.away_because)
        return [self._conclude(account, one, record) for one, record in outcomes]

    def tell(self, account: str, ends: Iterable[Told]) -> None:
        """These ends are told."""
        for end in ends:
            record = tell(self.record(account, end.job_id), end, now_us=self._now_us())
            if record is None:
                self.records.pop((account, end.job_id), None)
            else:
                self.records[account, end.job_id] = written(record)

    async def resolve(self, account: str, resolutions: Sequence[Resolution]) -> list[Resolved] | JournalAway:
        """Resolve jobs in doubt."""
        if self.away_because:
            return JournalAway(self.away_because)
        return [self._resolve(account, one) for one in resolutions]

    async def recall(self, account: str, copies: Sequence[HeldCopy]) -> list[Remembered] | JournalAway:
        """What is remembered of jobs that are held in doubt."""
        if self.away_because:
            return JournalAway(self.away_because)
        records = [self.record(account, one.job_id) for one in copies]
        for one, record in zip(copies, records, strict=True):
            if record is None and one.since_us is not None:
                self.in_doubt.setdefault((account, one.job_id), one.since_us)
        return [
            Remembered(record, self.in_doubt.get((account, one.job_id)))
            for one, record in zip(copies, records, strict=True)
        ]

    async def doubts(self, accounts: Iterable[str]) -> dict[str, Doubts] | JournalAway:
        """How many jobs of each account are in doubt, and since when."""
        if self.away_because:
            return JournalAway(self.away_because)
        since_us = {
            name: [at_us for (account, _), at_us in self.in_doubt.items() if account == name] for name in accounts
        }
        return {name: Doubts(len(ats_us), min(ats_us, default=None)) for name, ats_us in since_us.items()}

    def record(self, account: str, job_id: str) -> Record | None:
        """What is remembered of a job."""
        text = self.records.get((account, job_id))
        return None if text is None else read(text)

    def forget_all(self) -> None:
        """Lose the memory."""
        self.records.clear()
        self.in_doubt.clear()
        self._epoch_us = self._now_us()

    def _claim(self, account: str, one: Claim) -> Claimed:
        record, verdict = claim(
            self.record(account, one.job_id),
            one,
            now_us=self._now_us(),
            epoch_us=self._epoch_us,
            call_us_max=self._call_us_max,
        )
        self._keep(account, one.job_id, record)
        return Claimed(verdict, record)

    def _conclude(self, account: str, one: Claim, outcome: Record) -> bool:
        record, is_ours = conclude(self.record(account, one.job_id), one.token, outcome, now_us=self._now_us())
        self._keep(account, one.job_id, record)
        return is_ours

    def _resolve(self, account: str, one: Resolution) -> Resolved:
        record, is_done = resolve(
            self.record(account, one.job_id), one, now_us=self._now_us(), call_us_max=self._call_us_max
        )
        if is_done:
            self._keep(account, one.job_id, record)
        if is_done or record.fingerprint == one.fingerprint:
            self.in_doubt.pop((account, one.job_id), None)
        return Resolved(is_done, record)

    def _keep(self, account: str, job_id: str, record: Record) -> None:
        self.records[account, job_id] = written(record)
        if record.state is State.ENDED and record.end == IN_DOUBT:
            self.in_doubt.setdefault((account, job_id), self._now_us())

    def _now_us(self) -> int:
        return int(self._monotonic() * MICRO)
