"""Receivers that take replies in, on ports in memory, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from worker.adapters.memory import MemoryApi, MemoryBroker, MemoryLimiter, MemoryServer, SeenCall
from worker.adapters.memory_held import MemoryTurn, MemoryTurns
from worker.adapters.memory_inbox import MemoryInbox
from worker.adapters.memory_sendings import MemoryReplyBook, MemorySendings
from worker.core.outcome import Response
from worker.core.replies import Reply
from worker.core.steps import ReplyPassed, ReplyStep, unwatched
from worker.flow.observations import Observation, RepliesPolled
from worker.flow.ports import Publishing
from worker.flow.questions import Questions
from worker.flow.replies import ReplyIntake
from worker.flow.reply_poller import ReplyPoller

AT = datetime(2026, 11, 22, 3, 4, 5, tzinfo=UTC)
A_WEEK_S = 604_800
EVERY_S = 30.0


def a_reply(message_id: str = "r1", *, sender: str = "+61400000001", answers: str | None = None) -> Reply:
    return Reply(message_id, sender, "Thanks!", "2019-04-08 17:37:49", answers)


async def nobody_sends(call: SeenCall) -> Response:
    raise AssertionError(call)


class KilledError(BaseException):
    """The process is gone: nothing of it runs on."""


@dataclass
class KilledAt:
    """Ends a receiver when ``step`` is passed for the ``nth`` time."""

    step: ReplyStep
    nth: int = 1

    def __call__(self, step: ReplyStep) -> None:
        if step is self.step:
            self.nth -= 1
            if self.nth == 0:
                raise KilledError


@dataclass
class Vendor:
    """What all receivers share: the API, the broker and what is remembered."""

    limit_per_s: float = 50.0
    is_newest_first: bool = True
    seen: list[Observation] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        clock = self.loop.time
        self.server = MemoryServer(["acme"])
        self.limiter = MemoryLimiter(limit_per_s={"acme": self.limit_per_s}, span_us=12_000, monotonic=clock)
        self.api = MemoryApi(nobody_sends, monotonic=clock)
        self.inbox = self.api.inbox = MemoryInbox(is_newest_first=self.is_newest_first)
        self.book = MemoryReplyBook(keep_s=A_WEEK_S, monotonic=clock)
        self.sendings = MemorySendings(keep_s=A_WEEK_S, noted_s_max=75.0, monotonic=clock)
        self.turns = MemoryTurns(monotonic=clock)
        self.processes = 0

    def receiver(self, *, passed: ReplyPassed = unwatched) -> Receiver:
        self.processes += 1
        return Receiver(self, f"p{self.processes}", passed)

    def told(self) -> list[str]:
        """The ids of the events, in the order of telling."""
        return [event["id"] for event in self.events()]

    def events(self) -> list[dict[str, Any]]:
        return [orjson.loads(body) for body in self.server.bodies("mms.events.log")]

    def observed(self, kind: type) -> list[Any]:
        return [seen for seen in self.seen if isinstance(seen, kind)]

    @property
    def last_round(self) -> RepliesPolled:
        polled: list[RepliesPolled] = self.observed(RepliesPolled)
        return polled[-1]


class Receiver:
    """One process."""

    def __init__(self, vendor: Vendor, name: str, passed: ReplyPassed) -> None:
        clock = vendor.loop.time
        self._vendor, self._passed = vendor, passed
        self.broker = MemoryBroker(vendor.server, monotonic=clock)
        self.intake = self.intake_over(self.broker)
        questions = Questions(
            account="acme", api=vendor.api, limiter=vendor.limiter, monotonic=clock, observe=vendor.seen.append
        )
        self.poller = ReplyPoller(
            questions=questions,
            intake=self.intake,
            turn=MemoryTurn(vendor.turns, name="replies:acme", holder=name),
            every_s=EVERY_S,
            region="AU",
            observe=vendor.seen.append,
            passed=passed,
        )

    def intake_over(self, publishing: Publishing) -> ReplyIntake:
        """One that publishes there."""
        return ReplyIntake(
            book=self._vendor.book,
            sendings=self._vendor.sendings,
            publishing=publishing,
            observe=self._vendor.seen.append,
            monotonic=self._vendor.loop.time,
            wall_clock=lambda: AT,
            passed=self._passed,
        )


def event_ids(message_ids: Sequence[str]) -> list[str]:
    return [f"{message_id}:mms.reply.received" for message_id in message_ids]
