"""The journal on Redis: one Lua script (the decisions: ``core/journal.py``), commands in groups.

While one group is on its way the next one gathers, so that what a job costs does not grow with the rate. A command
whose answer is lost may have been carried out; each may be repeated: a claim is recognised by its token, an outcome by
itself, and a resolution that was carried out by the record that comes with the second answer.

Redis must not forget: append-only and without eviction (``mms-worker check`` looks). What it forgets all the same is
noticed by ``epoch``: no memory at all, or less of it than this worker was last told.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from worker.adapters.redis_connection import REDIS_FAILURES, words_for
from worker.core.journal import Claim, Record, Resolution, Resolved, Told, Verdict, read, written
from worker.flow.observations import JournalAnswered, Observer
from worker.flow.ports import Claimed, JournalAway, Monotonic
from worker.flow.tasks import Tasks

#: So many commands go together at most, and so many ends are told in one command.
GROUP_MAX = 64
TELL_TOGETHER_MAX = 500
#: What is told leaves with the next command, or after this.
TELL_S = 0.1
#: Ends that could not be told to the journal are kept up to this number, and told when it is back.
UNTOLD_MAX = 20_000

_Answer = asyncio.Future[Any]


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
        self._waiting: deque[tuple[Sequence[Any], _Answer]] = deque()
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
        details: list[Any] = [self._keep_s, self._call_us_max, self._seen_us.get(account, 0)]
        for one in claims:
            details += [one.token, one.fingerprint, int(one.redelivered), one.published_us, one.job_id]
        answer = await self._ask("claim", account, [one.job_id for one in claims], details)
        if isinstance(answer, JournalAway):
            return answer
        self._seen_us[account] = max(self._seen_us.get(account, 0), answer[0])
        return [
            Claimed(Verdict(verdict), read(text.decode(errors="replace")))
            for verdict, text in zip(answer[1::2], answer[2::2], strict=True)
        ]

    async def conclude(self, account: str, outcomes: Sequence[tuple[Claim, Record]]) -> list[bool] | JournalAway:
        """Write down what came of claims; False where another one has decided meanwhile."""
        details: list[Any] = [self._keep_s]
        for one, record in outcomes:
            details += [one.token, written(record), one.job_id]
        answer = await self._ask("conclude", account, [one.job_id for one, _ in outcomes], details)
        return answer if isinstance(answer, JournalAway) else [bool(is_ours) for is_ours in answer]

    def tell(self, account: str, ends: Iterable[Told]) -> None:
        """These ends are told: their records may shrink. Soon, and never fails."""
        self._to_tell[account] += ends
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(TELL_S, self._send_told)

    async def resolve(self, account: str, resolutions: Sequence[Resolution]) -> list[Resolved] | JournalAway:
        """Resolve jobs in doubt; the answers are in the same order."""
        details: list[Any] = [self._keep_s, self._call_us_max]
        for one in resolutions:
            details += [one.fingerprint, one.end, one.job_id]
        answer = await self._ask("resolve", account, [one.job_id for one in resolutions], details)
        if isinstance(answer, JournalAway):
            return answer
        return [
            Resolved(bool(is_done), read(text.decode(errors="replace")))
            for is_done, text in zip(answer[::2], answer[1::2], strict=True)
        ]

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
        details: list[Any] = [self._keep_s]
        for end in ends:
            details += [end.token, end.fingerprint, end.end]
        answer = await self._ask("tell", account, [end.job_id for end in ends], details)
        if isinstance(answer, JournalAway) and sum(map(len, self._to_tell.values())) < UNTOLD_MAX:
            self.tell(account, ends)

    async def _ask(self, command: str, account: str, job_ids: Sequence[str], details: Sequence[Any]) -> Any:
        keys = [epoch_key(account), doubt_key(account), *(record_key(account, job_id) for job_id in job_ids)]
        answer: _Answer = asyncio.get_running_loop().create_future()
        self._waiting.append(((len(keys), *keys, command, *details), answer))
        if not self._is_sending:
            self._is_sending = True
            self._tasks.start(self._send())
        return await answer

    async def _send(self) -> None:
        """Group after group, until none waits."""
        try:
            while self._waiting:
                group = [self._waiting.popleft() for _ in range(min(GROUP_MAX, len(self._waiting)))]
                asked_at_s = self._monotonic()
                answers = await self._execute([command for command, _ in group])
                failed = next((answer for answer in answers if isinstance(answer, JournalAway)), None)
                self._observe(JournalAnswered(self._monotonic() - asked_at_s, failed.why if failed else None))
                for (_, future), answer in zip(group, answers, strict=True):
                    if not future.done():
                        future.set_result(answer)
        finally:
            self._is_sending = False
            for _, future in self._waiting:
                if not future.done():
                    future.set_result(JournalAway("stopped"))
            self._waiting.clear()

    async def _execute(self, commands: list[Sequence[Any]]) -> list[Any]:
        try:
            answers = await self._pipelined(commands)
            unknown = [n for n, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
            if unknown:
                # A script that is not known was not run: loaded, it is asked for again.
                await self._redis.script_load(self._source)
                for n, answer in zip(unknown, await self._pipelined([commands[n] for n in unknown]), strict=True):
                    answers[n] = answer
        except REDIS_FAILURES as error:
            return [JournalAway(words_for(error))] * len(commands)
        return [JournalAway(words_for(answer)) if isinstance(answer, RedisError) else answer for answer in answers]

    async def _pipelined(self, commands: list[Sequence[Any]]) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.evalsha(self._script.sha, *command)
            return list(await pipeline.execute(raise_on_error=False))


def record_key(account: str, job_id: str) -> str:
    """Where a job's record lives. The account in braces keeps an account's keys together in a cluster."""
    return f"mms:job:{{{account}}}:{job_id}"


def epoch_key(account: str) -> str:
    """When the journal's memory of the account began, and when it was last used."""
    return f"mms:journal:{{{account}}}"


def doubt_key(account: str) -> str:
    """The account's jobs in doubt, by since when."""
    return f"mms:in_doubt:{{{account}}}"
