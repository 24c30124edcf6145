"""What is remembered of messages, on Redis: one Lua script (the decisions: ``core/recipients.py``), asked in groups.

One text for each recipient of an account, for ``keep_s`` after something was last learned of him. In the sending worker
the groups are those of the journal: a trace goes in the same round trip as the outcome that it is of, and after it.
Each command may be repeated: it finds what it did before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from typing import Any

import orjson

from worker.adapters.redis_connection import REDIS_FAILURES, words_for
from worker.adapters.redis_groups import KEYS_TOGETHER_MAX, Question, RedisGroups, as_told
from worker.core.recipients import MILLI, Look, found, job_of, read
from worker.core.reports import Report
from worker.core.sendings import Ask, Busy, Found, Repeated, SentJob, Trace
from worker.flow.ports import JournalAway


class _Script:
    """How the script is asked: each detail is an item of its own, for the key in its place."""

    def __init__(self, *, keep_s: int) -> None:
        self.source = resources.files("worker.adapters").joinpath("redis_sendings.lua").read_text()
        self._keep_s = keep_s

    def arguments(self, command: str, account: str, questions: Sequence[Question]) -> Sequence[Any]:  # noqa: ARG002 - the keys have the account
        """All their recipients."""
        keys = [key for question in questions for key in question.keys]
        items = [item for question in questions for item in question.details]
        return (len(keys), *keys, command, self._keep_s, orjson.dumps(items))

    def answers(self, command: str, account: str, questions: Sequence[Question], answer: Any) -> Iterator[Any]:  # noqa: ARG002 - as above
        """To each a list of what is said about its recipients; after a look of moments, verdicts and texts."""
        is_look = command == "look"
        at = int(is_look)
        for question in questions:
            width = len(question.keys) * (1 + is_look)
            part = answer[at : at + width]
            yield list(zip([answer[0]] * len(question.keys), part[::2], part[1::2], strict=True)) if is_look else part
            at += width


class RedisSendings:
    """Implements the ``Sendings`` port. ``groups`` may be shared.

    ``keep_s``: how long messages are remembered. ``noted_s_max``: from the beginning of a call until it is noted what
    came of it, at most.
    """

    def __init__(self, *, groups: RedisGroups, keep_s: int, noted_s_max: float) -> None:
        self._groups = groups
        self._script = _Script(keep_s=keep_s)
        self._late_ms_max = int(noted_s_max * MILLI)

    async def warm_up(self) -> None:
        """Have the script known. Never fails."""
        await self._groups.warm_up(self._script)

    def note(self, account: str, traces: Sequence[Trace]) -> asyncio.Future[list[str] | JournalAway]:
        """Leave traces; the ids of jobs of which a recipient got a second message. It is asked now."""
        items = [(one.message_id, one.job_id, one.reference, one.ends_doubt) for one in traces]

        def twice_sent(answer: Sequence[int]) -> list[str]:
            return list(dict.fromkeys(one.job_id for one, is_second in zip(traces, answer, strict=True) if is_second))

        return self._ask("note", account, [one.to for one in traces], items, read=twice_sent)

    async def look(self, account: str, asks: Sequence[Ask]) -> list[Found] | JournalAway:
        """What is known of each report; what is ours to tell then is nobody else's meanwhile."""
        items = [(one.report.message_id, one.report.status, one.token, one.has_waited) for one in asks]
        answer = await self._ask("look", account, [one.report.to for one in asks], items)
        if isinstance(answer, JournalAway):
            return answer
        return [
            self._found(ask, Look(verdict), text or b"", now_ms)
            for ask, (now_ms, verdict, text) in zip(asks, answer, strict=True)
        ]

    def _found(self, ask: Ask, verdict: Look, text: bytes, now_ms: int) -> Found:
        match verdict:
            case Look.TOLD:
                return Repeated()
            case Look.BUSY:
                return Busy()
            case Look.OURS:
                known, message_id = read(text), ask.report.message_id
                return found(known, message_id, ask.token, now_ms=now_ms, late_ms_max=self._late_ms_max)

    async def assign(self, account: str, report: Report, job: SentJob) -> bool | JournalAway:
        """The report's message is one of ``job``; True when it is a second one of it."""
        answer = await self._ask("assign", account, [report.to], [(report.message_id, job.job_id, job.reference)])
        return answer if isinstance(answer, JournalAway) else bool(answer[0])

    async def told(self, account: str, asks: Sequence[Ask]) -> JournalAway | None:
        """These reports are told."""
        answer = await self._ask("told", account, *_reported(asks, with_token=False))
        return answer if isinstance(answer, JournalAway) else None

    async def put_off(self, account: str, asks: Sequence[Ask]) -> JournalAway | None:
        """These are not told now; anybody may."""
        answer = await self._ask("put_off", account, *_reported(asks, with_token=True))
        return answer if isinstance(answer, JournalAway) else None

    async def find(self, account: str, pairs: Sequence[tuple[str, str]]) -> list[SentJob | None] | JournalAway:
        """The jobs of (number, message id) pairs, where known."""
        if not pairs:
            return []
        keys = [recipient_key(account, number) for number, _ in pairs]
        try:
            texts = await self._groups.redis.mget(keys)
        except REDIS_FAILURES as error:
            return JournalAway(words_for(error))
        return [job_of(read(text), message_id) for text, (_, message_id) in zip(texts, pairs, strict=True)]

    def _ask(
        self,
        command: str,
        account: str,
        numbers: Sequence[str],
        items: Sequence[Any],
        *,
        read: Callable[[list[Any]], Any] = as_told,
    ) -> asyncio.Future[Any]:
        """Ask now; ``read`` gets one answer for each number. A thousand go in runs that hold nobody up."""
        keys = [recipient_key(account, number) for number in numbers]
        if len(keys) <= KEYS_TOGETHER_MAX:
            return self._groups.ask(self._script, command, account, keys, items, read=read)
        runs = [slice(at, at + KEYS_TOGETHER_MAX) for at in range(0, len(keys), KEYS_TOGETHER_MAX)]
        parts = [self._groups.ask(self._script, command, account, keys[run], items[run]) for run in runs]
        return asyncio.ensure_future(_joined(parts, read))


async def _joined(parts: Sequence[asyncio.Future[Any]], read: Callable[[list[Any]], Any]) -> Any:
    """What ``read`` makes of all parts, or ``JournalAway``."""
    answers = await asyncio.gather(*parts)
    away = next((answer for answer in answers if isinstance(answer, JournalAway)), None)
    return away or read([one for answer in answers for one in answer])


def _reported(asks: Sequence[Ask], *, with_token: bool) -> tuple[list[str], list[tuple[str, ...]]]:
    """Of each the number, and what the script takes."""
    items = [(ask.report.message_id, ask.report.status, ask.token)[: 3 if with_token else 2] for ask in asks]
    return [ask.report.to for ask in asks], items


def recipient_key(account: str, number: str) -> str:
    """Where it is kept what is remembered of a recipient."""
    return f"mms:to:{{{account}}}:{number}"
