"""One worker's flow on ports in memory, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import orjson

from worker.adapters.memory import (
    MemoryApi,
    MemoryBroker,
    MemoryLimiter,
    MemoryMedia,
    MemoryServer,
    MemorySuspects,
    SeenCall,
)
from worker.adapters.memory_journal import MemoryJournal
from worker.adapters.memory_sendings import MemorySendings
from worker.core.accounts import Account
from worker.core.job import decode
from worker.core.outcome import Answer, Response
from worker.core.picture import Picture
from worker.core.steps import Passed, unwatched
from worker.flow.account import AccountSender, SendLimits
from worker.flow.drain import DrainLimits
from worker.flow.held import HeldBytes
from worker.flow.observations import Observation
from worker.flow.pipeline import Pipeline, Read, Rules
from worker.flow.ports import MediaRefused, MediaUnavailable
from worker.flow.quarantine import Quarantine
from worker.flow.remembrance import Remembrance
from worker.flow.roster import Roster

CALL_S_MAX = 45.0
START = datetime(2026, 11, 22, 3, 4, 5, tzinfo=UTC)


def accept(call: SeenCall) -> Answer:
    """The API's answer that takes every number."""
    messages = [{"message_id": f"id-{number}", "to": number} for number in call.numbers]
    body = {"meta": {"code": 200, "status": "SUCCESS"}, "data": {"messages": messages, "success_number": len(messages)}}
    return Answer(200, orjson.dumps(body))


async def accept_at_once(call: SeenCall) -> Response:
    await asyncio.sleep(0.02)
    return accept(call)


@dataclass
class Stage:
    """A worker, its broker, its API, and what was observed."""

    answer: Callable[[SeenCall], Awaitable[Response]] = accept_at_once
    limit_per_s: float = 10.0
    calls_max: int = 8
    recipients_max: int = 1
    broker_kind: type[MemoryBroker] = MemoryBroker
    prefetch: int = 128
    held_bytes_max: int = 1_000_000_000
    hold_s_max: float = 600.0
    is_started: bool = True
    passed: Passed = unwatched
    read: Read = decode
    #: Another worker, whose broker's server, limiter, journal and sendings this one shares.
    beside: Stage | None = None
    media: dict[str, Picture | MediaRefused | MediaUnavailable] = field(default_factory=dict)
    media_delay_s: dict[str, float] = field(default_factory=dict)
    seen: list[Observation] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    server: MemoryServer = field(init=False)
    limiter: MemoryLimiter = field(init=False)
    journal: MemoryJournal = field(init=False)
    sendings: MemorySendings = field(init=False)
    suspects: MemorySuspects = field(init=False)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        self.server = self.beside.server if self.beside else MemoryServer(["acme"])
        self.broker = self.broker_kind(self.server, prefetch=self.prefetch, monotonic=loop.time)
        own_limiter = MemoryLimiter(limit_per_s={"acme": self.limit_per_s}, span_us=25_000, monotonic=loop.time)
        self.limiter = self.beside.limiter if self.beside else own_limiter
        at_start_s = START.timestamp() - started_s
        own_journal = MemoryJournal(call_s_max=CALL_S_MAX, monotonic=lambda: at_start_s + loop.time())
        self.journal = self.beside.journal if self.beside else own_journal
        own_sendings = MemorySendings(
            keep_s=259_200, noted_s_max=CALL_S_MAX + 30, monotonic=lambda: at_start_s + loop.time()
        )
        self.sendings = self.beside.sendings if self.beside else own_sendings
        self.api = MemoryApi(self.answer, monotonic=loop.time)
        media = MemoryMedia(self.media)
        media.delay_s = self.media_delay_s
        self.pipeline = Pipeline(
            broker=self.broker,
            api=self.api,
            media=media,
            journal=self.journal,
            sendings=self.sendings,
            process=f"w{id(self)}",
            rules=Rules(region="AU", attempts_max=3),
            observe=self.seen.append,
            monotonic=loop.time,
            wall_clock=lambda: START + timedelta(seconds=loop.time() - started_s),
            chance=lambda: 0.0,
            passed=self.passed,
            read=self.read,
        )
        self.held = HeldBytes(self.held_bytes_max)
        self.suspects = self.beside.suspects if self.beside else MemorySuspects()
        self.quarantine = Quarantine(
            suspects=self.suspects,
            is_ours=self.broker.is_ours,
            wait_s_max=self.hold_s_max,
            observe=self.seen.append,
        )
        self.sender = self.sender_of("acme", self.prefetch)
        if self.is_started:
            await self.sender.start()
        return self

    def sender_of(self, account: str, prefetch: int) -> AccountSender:
        """A sender on the stage's ports, not started."""
        return AccountSender(
            account=account,
            limits=SendLimits(
                recipients_max=self.recipients_max,
                calls_max=self.calls_max,
                prefetch=prefetch,
                hold_s_max=self.hold_s_max,
            ),
            held=self.held,
            quarantine=self.quarantine,
            pipeline=self.pipeline,
            broker=self.broker,
            limiter=self.limiter,
            monotonic=asyncio.get_running_loop().time,
            observe=self.seen.append,
            on_failure=self.failures.append,
            passed=self.passed,
        )

    def roster(self, make_sender: Callable[[Account], AccountSender], limits: DrainLimits) -> Roster:
        """A roster on the stage's ports."""
        return Roster(
            make_sender=make_sender,
            broker=self.broker,
            limiter=self.limiter,
            api=self.api,
            remembrance=Remembrance(broker=self.broker, journal=self.journal),
            limits=limits,
            observe=self.seen.append,
            on_failure=self.failures.append,
        )

    async def __aexit__(self, *_: object) -> None:
        self.sender.stop()
        await self.sender.withdraw()
        self.sender.abort()
        await self.sender.finish(60)
        self.broker.close()
        if self.failures:
            raise self.failures[0]

    def events(self) -> list[dict[str, Any]]:
        return [orjson.loads(body) for body in self.server.bodies("mms.events.log")]

    def ends(self) -> list[tuple[str, str]]:
        """(job id, event type) in the order of telling."""
        return [(event["data"]["job_id"], event["type"]) for event in self.events()]

    def observed(self, kind: type) -> list[Any]:
        return [seen for seen in self.seen if isinstance(seen, kind)]

    async def until(self, is_so: Callable[[], bool], limit_s: float = 3600) -> None:
        """Let virtual time pass until ``is_so``."""
        async with asyncio.timeout(limit_s):
            while not is_so():  # noqa: ASYNC110 - virtual time: the poll costs nothing, and keeps tests simple
                await asyncio.sleep(0.01)
