"""The journal on Redis: one Lua script (the decisions: ``core/journal.py``), asked in groups (``redis_groups.py``).

A command whose answer is lost may have been carried out; each may be repeated: a claim is recognised by its token, an
outcome by itself, and a resolution that was carried out by the record that comes with the second answer.

Redis must not forget: append-only and without eviction (``mms-worker check`` looks). What it forgets all the same is
noticed by ``epoch``: no memory at all, or less of it than this worker was last told.
"""

from __future__ import annotations

import asyncio
import enum
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import resources
from typing import Any

from redis.asyncio import Redis

from worker.adapters.redis_connection import REDIS_FAILURES, words_for
from worker.adapters.redis_groups import Question, RedisGroups
from worker.core.journal import (
    Claim,
    Doubts,
    HeldCopy,
    Record,
    Remembered,
    Resolution,
    Resolved,
    Told,
    Verdict,
    read,
    written,
)
from worker.flow.ports import Claimed, JournalAway
from worker.flow.tasks import Tasks

#: So many ends are told in one command.
TELL_TOGETHER_MAX = 500
#: What is told leaves with the next command, or after this.
TELL_S = 0.1
#: Ends that could not be told to the journal are kept up to this number, and told when it is back.
UNTOLD_MAX = 20_000


class _Command(enum.StrEnum):
    """Of the script."""

    CLAIM = "claim"
    CONCLUDE = "conclude"
    TELL = "tell"
    RESOLVE = "resolve"
    RECALL = "recall"


#: So many values the script answers for each job.
_WIDTHS = {_Command.CLAIM: 2, _Command.CONCLUDE: 1, _Command.TELL: 0, _Command.RESOLVE: 2, _Command.RECALL: 2}


class _Script:
    """How the script is asked. ``seen_us``: by account, what it was last told of its memory."""

    def __init__(self, *, keep_s: int, call_us_max: int) -> None:
        self.source = resources.files("worker.adapters").joinpath("redis_journal.lua").read_text()
        self.seen_us: dict[str, int] = {}
        self._keep_s = keep_s
        self._call_us_max = call_us_max

    def arguments(self, command: str, account: str, questions: Sequence[Question]) -> Sequence[Any]:
        """All their jobs."""
        keys = [epoch_key(account), doubt_key(account)]
        keys += [key for question in questions for key in question.keys]
        details = [detail for question in questions for detail in question.details]
        return (len(keys), *keys, command, *self._head(command, account), *details)

    def _head(self, command: str, account: str) -> Sequence[int]:
        match command:
            case _Command.CLAIM:
                return (self._keep_s, self._call_us_max, self.seen_us.get(account, 0))
            case _Command.RESOLVE:
                return (self._keep_s, self._call_us_max)
            case _Command.RECALL:
                return ()
            case _:
                return (self._keep_s,)

    def answers(self, command: str, account: str, questions: Sequence[Question], answer: Any) -> Iterator[Any]:
        """To each the part that is about its jobs."""
        at = 0
        if command == _Command.CLAIM:
            self.seen_us[account] = max(self.seen_us.get(account, 0), answer[0])
            at = 1
        for question in questions:
            width = len(question.keys) * _WIDTHS[_Command(command)]
            yield answer[at : at + width]
            at += width


class RedisJournal:
    """Implements the ``Journal`` port. ``groups`` may be shared: what is asked at once goes together.

    ``keep_s``: how long an id counts as used. ``call_s_max``: longer than a call can take from its claim to its end.
    """

    def __init__(
        self, *, groups: RedisGroups, keep_s: int, call_s_max: float, on_failure: Callable[[BaseException], None]
    ) -> None:
        self._groups = groups
        self._script = _Script(keep_s=keep_s, call_us_max=int(call_s_max * 1e6))
        self._tasks = Tasks(on_failure)
        self._to_tell: defaultdict[str, list[Told]] = defaultdict(list)
        self._telling: asyncio.TimerHandle | None = None

    async def warm_up(self) -> None:
        """Have the script known and a connection open before the first slot. Never fails: the first claim says why."""
        await self._groups.warm_up(self._script)

    async def claim(self, account: str, claims: Sequence[Claim]) -> list[Claimed] | JournalAway:
        """Claim each, or say what is known of its job."""
        details: list[Any] = []
        for one in claims:
            details += [one.token, one.fingerprint, int(one.redelivered), one.published_us, one.job_id]
        answer = await self._ask(_Command.CLAIM, account, [one.job_id for one in claims], details)
        if isinstance(answer, JournalAway):
            return answer
        return [
            Claimed(Verdict(verdict), read(text.decode(errors="replace")))
            for verdict, text in zip(answer[::2], answer[1::2], strict=True)
        ]

    def expect_memory(self, account: str) -> None:
        """An empty store has forgotten."""
        self._script.seen_us.setdefault(account, 1)

    def conclude(
        self, account: str, outcomes: Sequence[tuple[Claim, Record]]
    ) -> asyncio.Future[list[bool] | JournalAway]:
        """Write down what came of claims; False where another one has decided meanwhile. It is asked at once."""
        details: list[Any] = []
        for one, record in outcomes:
            details += [one.token, written(record), one.job_id]
        keys = [record_key(account, one.job_id) for one, _ in outcomes]
        return self._groups.ask(self._script, _Command.CONCLUDE, account, keys, details, read=_as_bools)

    def tell(self, account: str, ends: Iterable[Told]) -> None:
        """These ends are told: their records may shrink. Soon, and never fails."""
        self._to_tell[account] += ends
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(TELL_S, self._send_told)

    async def resolve(self, account: str, resolutions: Sequence[Resolution]) -> list[Resolved] | JournalAway:
        """Resolve jobs in doubt; the answers are in the same order."""
        details: list[Any] = []
        for one in resolutions:
            details += [one.fingerprint, one.end, one.grounds, one.job_id]
        answer = await self._ask(_Command.RESOLVE, account, [one.job_id for one in resolutions], details)
        if isinstance(answer, JournalAway):
            return answer
        return [
            Resolved(bool(is_done), read(text.decode(errors="replace")))
            for is_done, text in zip(answer[::2], answer[1::2], strict=True)
        ]

    async def recall(self, account: str, copies: Sequence[HeldCopy]) -> list[Remembered] | JournalAway:
        """What is remembered of jobs that are held in doubt; the answers are in the same order."""
        details: list[Any] = []
        for one in copies:
            details += ["" if one.since_us is None else one.since_us, one.job_id]
        answer = await self._ask(_Command.RECALL, account, [one.job_id for one in copies], details)
        if isinstance(answer, JournalAway):
            return answer
        return [
            Remembered(
                read(text.decode(errors="replace")) if text else None, int(float(since_us)) if since_us else None
            )
            for text, since_us in zip(answer[::2], answer[1::2], strict=True)
        ]

    async def doubts(self, accounts: Iterable[str]) -> dict[str, Doubts] | JournalAway:
        """How many jobs of each account are in doubt, and since when."""
        try:
            return await doubts_in(self._groups.redis, accounts)
        except REDIS_FAILURES as error:
            return JournalAway(words_for(error))

    async def close(self) -> None:
        """Write what waits, as far as the store answers."""
        self._send_told()
        await self._tasks.finish(TELL_S + 1.0)
        await self._tasks.cancel()

    def _send_told(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        for account, ends in self._to_tell.items():
            for at in range(0, len(ends), TELL_TOGETHER_MAX):
                self._tasks.start(self._tell(account, ends[at : at + TELL_TOGETHER_MAX]))
        self._to_tell.clear()

    async def _tell(self, account: str, ends: list[Told]) -> None:
        details: list[Any] = []
        for end in ends:
            details += [end.token, end.fingerprint, end.end]
        answer = await self._ask(_Command.TELL, account, [end.job_id for end in ends], details)
        if isinstance(answer, JournalAway) and sum(map(len, self._to_tell.values())) < UNTOLD_MAX:
            self.tell(account, ends)

    async def _ask(self, command: _Command, account: str, job_ids: Sequence[str], details: Sequence[Any]) -> Any:
        keys = [record_key(account, job_id) for job_id in job_ids]
        return await self._groups.ask(self._script, command.value, account, keys, details)


def _as_bools(answer: Iterable[int]) -> list[bool]:
    return [bool(one) for one in answer]


async def doubts_in(redis: Redis, accounts: Iterable[str]) -> dict[str, Doubts]:
    """How many jobs of each account are in doubt, and since when. Raises what ``REDIS_FAILURES`` names."""
    names = list(accounts)
    async with redis.pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.zcard(doubt_key(name))
            pipeline.zrange(doubt_key(name), 0, 0, withscores=True)
        answers = await pipeline.execute()
    return {
        name: Doubts(count, int(oldest[0][1]) if oldest else None)
        for name, count, oldest in zip(names, answers[::2], answers[1::2], strict=True)
    }


def record_key(account: str, job_id: str) -> str:
    """Where a job's record lives. The account in braces keeps an account's keys together in a cluster."""
    return f"mms:job:{{{account}}}:{job_id}"


def epoch_key(account: str) -> str:
    """When the journal's memory of the account began, and when it was last used."""
    return f"mms:journal:{{{account}}}"


def doubt_key(account: str) -> str:
    """The account's jobs in doubt, by since when."""
    return f"mms:in_doubt:{{{account}}}"
