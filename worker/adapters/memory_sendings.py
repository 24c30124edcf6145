"""What is remembered of messages and of replies, in memory: the same decisions, for tests and simulations."""

from __future__ import annotations

from collections.abc import Sequence

from worker.core.recipients import (
    MILLI,
    NOBODY,
    TELLING_MS_MAX,
    Look,
    Recipient,
    assign,
    found,
    job_of,
    look,
    note,
    put_off,
    read,
    told,
    written,
)
from worker.core.reports import Report
from worker.core.sendings import Ask, Busy, Found, Repeated, SentJob, Trace
from worker.flow.ports import JournalAway, Monotonic, ReplyFound


class MemorySendings:
    """Implements the ``Sendings`` port for processes in one, on the clock of ``monotonic``.

    ``keep_s`` and ``noted_s_max``: as of ``RedisSendings``.
    """

    def __init__(self, *, keep_s: int, noted_s_max: float, monotonic: Monotonic) -> None:
        self._keep_ms = keep_s * MILLI
        self._late_ms_max = int(noted_s_max * MILLI)
        self._monotonic = monotonic
        #: As text, as the store has it: by account and number.
        self.recipients: dict[tuple[str, str], str] = {}
        #: Set to a reason, the store is away.
        self.away_because: str | None = None

    async def note(self, account: str, traces: Sequence[Trace]) -> list[str] | JournalAway:
        """Leave traces."""
        if self.away_because:
            return JournalAway(self.away_because)
        seconds: dict[str, None] = {}
        for one in traces:
            known, is_second = note(self.recipient(account, one.to), one, now_ms=self._now_ms())
            self._keep(account, one.to, known)
            if is_second:
                seconds[one.job_id] = None
        return list(seconds)

    async def look(self, account: str, asks: Sequence[Ask]) -> list[Found] | JournalAway:
        """What is known of each report."""
        if self.away_because:
            return JournalAway(self.away_because)
        return [self._look(account, ask) for ask in asks]

    async def assign(self, account: str, report: Report, job: SentJob) -> bool | JournalAway:
        """The report's message is one of ``job``."""
        if self.away_because:
            return JournalAway(self.away_because)
        recipient = self.recipient(account, report.to)
        known, is_second = assign(recipient, report.message_id, job, now_ms=self._now_ms())
        self._keep(account, report.to, known)
        return is_second

    async def told(self, account: str, asks: Sequence[Ask]) -> JournalAway | None:
        """These reports are told."""
        if self.away_because:
            return JournalAway(self.away_because)
        for ask in asks:
            report = ask.report
            recipient = self.recipient(account, report.to)
            self._keep(account, report.to, told(recipient, report.message_id, report.status, now_ms=self._now_ms()))
        return None

    async def put_off(self, account: str, asks: Sequence[Ask]) -> JournalAway | None:
        """These are not told now."""
        if self.away_because:
            return JournalAway(self.away_because)
        for ask in asks:
            report = ask.report
            recipient = self.recipient(account, report.to)
            self._keep(account, report.to, put_off(recipient, report.message_id, report.status, ask.token))
        return None

    async def find(self, account: str, pairs: Sequence[tuple[str, str]]) -> list[SentJob | None] | JournalAway:
        """The jobs of (number, message id) pairs."""
        if self.away_because:
            return JournalAway(self.away_because)
        return [job_of(self.recipient(account, number), message_id) for number, message_id in pairs]

    def recipient(self, account: str, number: str) -> Recipient:
        """What is remembered of a recipient."""
        text = self.recipients.get((account, number))
        return read(text).kept(now_ms=self._now_ms(), keep_ms=self._keep_ms) if text else NOBODY

    def _look(self, account: str, ask: Ask) -> Found:
        report, now_ms = ask.report, self._now_ms()
        recipient = self.recipient(account, report.to)
        of = (report.message_id, report.status, ask.token)
        known, verdict = look(recipient, *of, has_waited=ask.has_waited, now_ms=now_ms)
        match verdict:
            case Look.TOLD:
                return Repeated()
            case Look.BUSY:
                return Busy()
            case Look.OURS:
                self._keep(account, report.to, known)
                return found(known, report.message_id, ask.token, now_ms=now_ms, late_ms_max=self._late_ms_max)

    def _keep(self, account: str, number: str, known: Recipient) -> None:
        self.recipients[account, number] = written(known)

    def _now_ms(self) -> int:
        return int(self._monotonic() * MILLI)


class MemoryReplyBook:
    """Implements the ``ReplyBook`` port for processes in one, on the clock of ``monotonic``.

    ``keep_s``: as of ``RedisReplyBook``.
    """

    def __init__(self, *, keep_s: int, monotonic: Monotonic) -> None:
        self._keep_s = keep_s
        self._monotonic = monotonic
        #: By account and reply: who is about to tell it ("": it is told), and until when that counts.
        self._holders: dict[tuple[str, str], tuple[str, float]] = {}
        #: Set to a reason, the book is away.
        self.away_because: str | None = None

    async def look(self, account: str, reply_ids: Sequence[str], token: str) -> list[ReplyFound] | JournalAway:
        """What is known of each."""
        if self.away_because:
            return JournalAway(self.away_because)
        return [self._look((account, reply_id), token) for reply_id in reply_ids]

    async def told(self, account: str, reply_ids: Sequence[str]) -> JournalAway | None:
        """These are told."""
        if self.away_because:
            return JournalAway(self.away_because)
        for reply_id in reply_ids:
            self._holders[account, reply_id] = "", self._monotonic() + self._keep_s
        return None

    async def put_off(self, account: str, reply_ids: Sequence[str], token: str) -> JournalAway | None:
        """These are not told now."""
        if self.away_because:
            return JournalAway(self.away_because)
        for reply_id in reply_ids:
            if self._holder((account, reply_id)) == token:
                del self._holders[account, reply_id]
        return None

    def _look(self, reply: tuple[str, str], token: str) -> ReplyFound:
        holder = self._holder(reply)
        if holder == "":
            return ReplyFound.TOLD
        if holder is not None and holder != token:
            return ReplyFound.BUSY
        self._holders[reply] = token, self._monotonic() + TELLING_MS_MAX / MILLI
        return ReplyFound.OURS

    def _holder(self, reply: tuple[str, str]) -> str | None:
        holder, until_s = self._holders.get(reply, (None, 0.0))
        return holder if until_s > self._monotonic() else None
