"""The journal on Redis: one Lua script (the decisions: ``core/journal.py``), commands in groups.

While one group is on its way the next one gathers, and what is asked alike about one account's jobs goes in one run of
the script, so that what a job costs does not grow with the rate. A command
whose answer is lost may have been carried out; each may be repeated: a claim is recognised by its token, an outcome by
itself, and a resolution that was carried out by the record that comes with the second answer.

Redis must not forget: append-only and without eviction (``mms-worker check`` looks). What it forgets all the same is
noticed by ``epoch``: no memory at all, or less of it than this worker was last told.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import itertools
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from worker.adapters.redis_connection import REDIS_FAILURES, words_for
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
from worker.flow.observations import JournalAnswered, Observer
from worker.flow.ports import Claimed, JournalAway, Monotonic
from worker.flow.tasks import Tasks

#: So many commands go together at most, and so many ends are told in one command.
GROUP_MAX = 64
#: One run of the script is about so many jobs at most, or those of one question: a millisecond of Redis.
JOBS_TOGETHER_MAX = 64
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


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    """What is asked about jobs of one account. ``details``: the script's arguments for each of them, in a row."""

    command: _Command
    account: str
    job_ids: Sequence[str]
    details: Sequence[Any]
    answer: asyncio.Future[Any]

    def set(self, answer: Any) -> None:
        """Answer it, if somebody still waits."""
        if not self.answer.done():
            self.answer.set_result(answer)


class RedisJournal:
    """Implements the ``Journal`` port.

    ``keep_s``: how long an id counts as used. ``call_s_max``: longer than a call can take from its claim to its end.
    """

    def __init__(
        self,
        *,
        redis: Redis,
        keep_s: int,
        call_s_max: float,
        monotonic: Monotonic,
        observe: Observer,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._redis = redis
        self._source = resources.files("worker.adapters").joinpath("redis_journal.lua").read_text()
        self._script = redis.register_script(self._source)
        self._keep_s = keep_s
        self._call_us_max = int(call_s_max * 1e6)
        self._monotonic = monotonic
        self._observe = observe
        self._seen_us: dict[str, int] = {}
        self._waiting: deque[_Question] = deque()
        self._tasks = Tasks(on_failure)
        self._is_sending = False
        self._to_tell: defaultdict[str, list[Told]] = defaultdict(list)
        self._telling: asyncio.TimerHandle | None = None

    async def warm_up(self) -> None:
        """Have the script known and a connection open before the first slot. Never fails: the first claim says why."""
        with contextlib.suppress(*REDIS_FAILURES):
            await self._redis.script_load(self._source)

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
        self._seen_us.setdefault(account, 1)

    async def conclude(self, account: str, outcomes: Sequence[tuple[Claim, Record]]) -> list[bool] | JournalAway:
        """Write down what came of claims; False where another one has decided meanwhile."""
        details: list[Any] = []
        for one, record in outcomes:
            details += [one.token, written(record), one.job_id]
        answer = await self._ask(_Command.CONCLUDE, account, [one.job_id for one, _ in outcomes], details)
        return answer if isinstance(answer, JournalAway) else [bool(is_ours) for is_ours in answer]

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
            return await doubts_in(self._redis, accounts)
        except REDIS_FAILURES as error:
            return JournalAway(words_for(error))

    async def close(self) -> None:
        """Write what waits, as far as the store answers."""
        self._send_told()
        await self._tasks.finish(TELL_S + 1.0)
        await self._tasks.cancel()

    # --- Groups ------------------------------------------------------------------------------------------

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
        question = _Question(command, account, job_ids, details, asyncio.get_running_loop().create_future())
        self._waiting.append(question)
        if not self._is_sending:
            self._is_sending = True
            self._tasks.start(self._send())
        return await question.answer

    async def _send(self) -> None:
        """Group after group, until none waits."""
        try:
            while self._waiting:
                group = [self._waiting.popleft() for _ in range(min(GROUP_MAX, len(self._waiting)))]
                asked_at_s = self._monotonic()
                why = await self._answer(_of_one_kind(group))
                self._observe(JournalAnswered(self._monotonic() - asked_at_s, why))
        finally:
            self._is_sending = False
            for question in self._waiting:
                question.set(JournalAway("stopped"))
            self._waiting.clear()

    async def _answer(self, asked_together: Sequence[Sequence[_Question]]) -> str | None:
        """Answer them, each sequence by one run of the script; says why not, if some could not be answered."""
        answers = await self._execute([self._arguments(questions) for questions in asked_together])
        if isinstance(answers, JournalAway):
            for question in itertools.chain.from_iterable(asked_together):
                question.set(answers)
            return answers.why
        why = None
        alone: list[Sequence[_Question]] = []
        for questions, answer in zip(asked_together, answers, strict=True):
            if isinstance(answer, RedisError) and len(questions) > 1:
                # One record that cannot be used must not hold up the jobs that were asked about with it.
                alone += [(question,) for question in questions]
            elif isinstance(answer, RedisError):
                why = words_for(answer)
                questions[0].set(JournalAway(why))
            else:
                self._hand_out(questions, answer)
        return (await self._answer(alone) if alone else None) or why

    def _arguments(self, questions: Sequence[_Question]) -> Sequence[Any]:
        """What the script is run with: all their jobs."""
        command, account = questions[0].command, questions[0].account
        keys = [epoch_key(account), doubt_key(account)]
        keys += [record_key(account, job_id) for question in questions for job_id in question.job_ids]
        details = [detail for question in questions for detail in question.details]
        return (len(keys), *keys, command.value, *self._head(command, account), *details)

    def _head(self, command: _Command, account: str) -> Sequence[int]:
        match command:
            case _Command.CLAIM:
                return (self._keep_s, self._call_us_max, self._seen_us.get(account, 0))
            case _Command.RESOLVE:
                return (self._keep_s, self._call_us_max)
            case _Command.RECALL:
                return ()
            case _:
                return (self._keep_s,)

    def _hand_out(self, questions: Sequence[_Question], answer: Any) -> None:
        """Give each the part of the answer that is about its jobs."""
        at, command = 0, questions[0].command
        if command is _Command.CLAIM:
            account = questions[0].account
            self._seen_us[account] = max(self._seen_us.get(account, 0), answer[0])
            at = 1
        for question in questions:
            width = len(question.job_ids) * _WIDTHS[command]
            question.set(answer[at : at + width])
            at += width

    async def _execute(self, commands: list[Sequence[Any]]) -> list[Any] | JournalAway:
        """The answers, of which some may be errors."""
        try:
            answers = await self._pipelined(commands)
            unknown = [n for n, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
            if unknown:
                # A script that is not known was not run: loaded, it is asked for again.
                await self._redis.script_load(self._source)
                for n, answer in zip(unknown, await self._pipelined([commands[n] for n in unknown]), strict=True):
                    answers[n] = answer
        except REDIS_FAILURES as error:
            return JournalAway(words_for(error))
        return answers

    async def _pipelined(self, commands: list[Sequence[Any]]) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.evalsha(self._script.sha, *command)
            return list(await pipeline.execute(raise_on_error=False))


def _of_one_kind(questions: Iterable[_Question]) -> list[list[_Question]]:
    """Put together what one run of the script can answer: it costs more than what it does for a job."""
    together: dict[tuple[_Command, str], list[list[_Question]]] = {}
    for question in questions:
        runs = together.setdefault((question.command, question.account), [[]])
        if runs[-1] and sum(len(one.job_ids) for one in runs[-1]) + len(question.job_ids) > JOBS_TOGETHER_MAX:
            runs.append([])
        runs[-1].append(question)
    return [run for runs in together.values() for run in runs]


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
