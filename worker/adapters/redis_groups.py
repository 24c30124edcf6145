"""What is asked of Lua scripts, in groups: one round trip for many questions, and one run of a script for those alike.

While one group is on its way the next one gathers, and what is asked alike about one account goes in one run of its
script, so that what a question costs does not grow with the rate. Within a group each script is asked in the order in
which it was first asked; so what is asked at once, of several scripts, is done in the order of asking, unless something
like the second was waiting alone already. All of a group is there within the same moment in any case.

A question whose answer is lost may have been carried out: whoever asks says what follows from that.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from worker.adapters.redis_connection import REDIS_FAILURES, words_for
from worker.flow.observations import JournalAnswered, Observer
from worker.flow.ports import JournalAway, Monotonic
from worker.flow.tasks import Tasks

#: So many questions go together at most.
GROUP_MAX = 64
#: One run of a script is about so many keys at most, or those of one question: a millisecond of Redis.
KEYS_TOGETHER_MAX = 64


def as_told(answer: Any) -> Any:
    """An answer as the script gives it."""
    return answer


@dataclass(slots=True, eq=False)
class Question:
    """What is asked of a script about keys of one account. ``details``: what else there is to say, for all of them.

    ``read`` makes of the script's answer what the asker wants.
    """

    script: GroupedScript
    command: str
    account: str
    keys: Sequence[str]
    details: Sequence[Any]
    read: Callable[[Any], Any]
    answer: asyncio.Future[Any]

    def set(self, answer: Any) -> None:
        """Answer it, if somebody still waits."""
        if self.answer.done():
            return
        try:
            self.answer.set_result(answer if isinstance(answer, JournalAway) else self.read(answer))
        except Exception as surprise:  # noqa: BLE001 - it is for whoever asked
            self.answer.set_exception(surprise)


class GroupedScript(Protocol):
    """A script that answers several questions in one run."""

    @property
    def source(self) -> str:
        """The script itself."""

    def arguments(self, command: str, account: str, questions: Sequence[Question]) -> Sequence[Any]:
        """What EVALSHA takes after the script's name, for all of ``questions``."""

    def answers(self, command: str, account: str, questions: Sequence[Question], answer: Any) -> Iterable[Any]:
        """The answer of the run in parts: one for each question."""


class RedisGroups:
    """Asks, for all that share it. A question that could not be answered is answered ``JournalAway``."""

    def __init__(
        self, *, redis: Redis, monotonic: Monotonic, observe: Observer, on_failure: Callable[[BaseException], None]
    ) -> None:
        self.redis = redis
        self._monotonic = monotonic
        self._observe = observe
        self._shas: dict[str, str] = {}
        self._waiting: deque[Question] = deque()
        self._tasks = Tasks(on_failure)
        self._is_sending = False

    async def warm_up(self, script: GroupedScript) -> None:
        """Have ``script`` known and a connection open. Never fails: the first answer says why."""
        with contextlib.suppress(*REDIS_FAILURES):
            await self.redis.script_load(script.source)

    def ask(
        self,
        script: GroupedScript,
        command: str,
        account: str,
        keys: Sequence[str],
        details: Sequence[Any],
        *,
        read: Callable[[Any], Any] = as_told,
    ) -> asyncio.Future[Any]:
        """Ask with the next group. The future's result is what ``read`` makes of the answer, or ``JournalAway``."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(Question(script, command, account, keys, details, read, answer))
        if not self._is_sending:
            self._is_sending = True
            self._tasks.start(self._send())
        return answer

    async def close(self) -> None:
        """Whoever still waits is told that there is no answer."""
        await self._tasks.cancel()

    async def _send(self) -> None:
        """Group after group, until none waits."""
        group: list[Question] = []
        try:
            while self._waiting:
                group = [self._waiting.popleft() for _ in range(min(GROUP_MAX, len(self._waiting)))]
                asked_at_s = self._monotonic()
                why = await self._answer(_alike(group))
                self._observe(JournalAnswered(self._monotonic() - asked_at_s, why))
        finally:
            self._is_sending = False
            for question in (*group, *self._waiting):
                question.set(JournalAway("stopped"))
            self._waiting.clear()

    async def _answer(self, asked_together: Sequence[Sequence[Question]]) -> str | None:
        """Answer them, each sequence by one run of its script; says why not, if some could not be answered."""
        answers = await self._execute(asked_together)
        if isinstance(answers, JournalAway):
            for question in itertools.chain.from_iterable(asked_together):
                question.set(answers)
            return answers.why
        why = None
        alone: list[Sequence[Question]] = []
        for questions, answer in zip(asked_together, answers, strict=True):
            first = questions[0]
            if isinstance(answer, RedisError) and len(questions) > 1:
                # One key that cannot be used must not hold up what was asked with it.
                alone += [(question,) for question in questions]
            elif isinstance(answer, RedisError):
                why = words_for(answer)
                first.set(JournalAway(why))
            else:
                parts = first.script.answers(first.command, first.account, questions, answer)
                for question, part in zip(questions, parts, strict=True):
                    question.set(part)
        return (await self._answer(alone) if alone else None) or why

    async def _execute(self, asked_together: Sequence[Sequence[Question]]) -> list[Any] | JournalAway:
        """The answers of the runs, of which some may be errors."""
        firsts = [questions[0] for questions in asked_together]
        runs = [
            (self._sha(first.script), *first.script.arguments(first.command, first.account, questions))
            for first, questions in zip(firsts, asked_together, strict=True)
        ]
        try:
            answers = await self._pipelined(runs)
            unknown = [n for n, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
            if unknown:
                # A script that is not known was not run: loaded, it is asked for again.
                for source in {firsts[n].script.source for n in unknown}:
                    await self.redis.script_load(source)
                for n, answer in zip(unknown, await self._pipelined([runs[n] for n in unknown]), strict=True):
                    answers[n] = answer
        except REDIS_FAILURES as error:
            return JournalAway(words_for(error))
        return answers

    async def _pipelined(self, runs: Sequence[Sequence[Any]]) -> list[Any]:
        async with self.redis.pipeline(transaction=False) as pipeline:
            for run in runs:
                pipeline.evalsha(*run)
            return list(await pipeline.execute(raise_on_error=False))

    def _sha(self, script: GroupedScript) -> str:
        source = script.source
        if source not in self._shas:
            self._shas[source] = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
        return self._shas[source]


def _alike(questions: Iterable[Question]) -> list[list[Question]]:
    """Put together what one run of a script can answer: it costs more than what it does for a key."""
    together: dict[tuple[GroupedScript, str, str], list[list[Question]]] = {}
    for question in questions:
        runs = together.setdefault((question.script, question.command, question.account), [[]])
        if runs[-1] and sum(len(one.keys) for one in runs[-1]) + len(question.keys) > KEYS_TOGETHER_MAX:
            runs.append([])
        runs[-1].append(question)
    return [run for runs in together.values() for run in runs]
