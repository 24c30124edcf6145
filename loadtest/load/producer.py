"""The producer, a process of its own: publishes each job at its intended moment, whatever the system does.

`python -m loadtest.load.producer` reads its task as one line of JSON, connects, says that it is ready, reads when to
begin, and tells now and then how far it is. Only the broker can hold it up, by being away or by not confirming: it is
late then, and tells by how much.
"""

import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractExchange
from aio_pika.exceptions import AMQPError
from hdrh.histogram import HdrHistogram

from loadtest.bench.jobs import BenchJob
from loadtest.bench.system import publish
from loadtest.failure import LoadTestError
from loadtest.load.jobs import JobMaker
from loadtest.load.latency import LONGEST_US, US_PER_MS, histogram
from loadtest.load.scenario import Scenario
from loadtest.load.scenario_files import scenario_from
from loadtest.publishing import ANSWER_S_MAX, JOBS_EXCHANGE, publish_all

CONNECT_S_MAX, AGAIN_S, AWAY_S_MAX = 5.0, 0.3, 120.0
AT_ONCE_MAX = 200
"""Jobs that are due together, and published together."""
UNDER_WAY_MAX = 100
"""Such lots without a confirm: beyond that the broker does hold it up."""
TELL_EVERY_S = 0.5
NS_PER_US, US_PER_S = 1_000, 1_000_000
BROKER_AWAY = (AMQPError, OSError, TimeoutError, LoadTestError, RuntimeError, asyncio.InvalidStateError, ExceptionGroup)


@dataclass(frozen=True, slots=True)
class Task:
    """What the parent wants. `part`: the jobs "before", as fast as they are confirmed, or the "schedule"."""

    url: str
    scenario: Scenario
    seed: int
    media: dict[str, str]
    part: str

    @classmethod
    def of(cls, line: str) -> "Task":
        """Out of the line that `as_line` made."""
        told: dict[str, Any] = json.loads(line)
        return cls(told["url"], scenario_from(told["scenario"]), told["seed"], told["media"], told["part"])

    def as_line(self) -> str:
        """One line, for another process."""
        told = {
            "url": self.url,
            "scenario": self.scenario.model_dump(mode="json"),
            "seed": self.seed,
            "media": self.media,
            "part": self.part,
        }
        return json.dumps(told) + "\n"

    @property
    def maker(self) -> JobMaker:
        """Of its jobs."""
        return JobMaker(self.scenario.jobs, self.scenario.accounts, self.media)

    def jobs_before(self) -> Iterator[BenchJob]:
        """Those that wait before the workers start, of the accounts in turn."""
        maker, accounts = self.maker, len(self.scenario.accounts)
        return (maker.make(job, job % accounts) for job in range(self.scenario.before))


@dataclass(slots=True)
class Due:
    """A job and when it is to be published, on the monotonic clock."""

    job: BenchJob
    at_s: float


@dataclass(slots=True)
class OpenLoop:
    """Publishes a schedule. `confirmed`: jobs; `behind_us`: how late each was published first."""

    task: Task
    began_s: float
    confirmed: int = 0
    republished: int = 0
    behind_us: HdrHistogram = field(default_factory=histogram)
    _again: deque[Due] = field(default_factory=deque)
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)
    _connection: AbstractConnection | None = None
    _exchange: AbstractExchange | None = None

    async def run(self) -> None:
        """Until all is confirmed. Raises LoadTestError when the broker is away for too long."""
        plan = self._plan()
        upcoming = next(plan, None)
        while upcoming is not None or self._again or self._under_way:
            now_s = time.monotonic()
            lot = self._taken_again()
            while upcoming is not None and upcoming.at_s <= now_s and len(lot) < AT_ONCE_MAX:
                lot.append(upcoming)
                upcoming = next(plan, None)
            if lot:
                await self._send(lot)
            elif upcoming is not None:
                await asyncio.sleep(max(0.0, upcoming.at_s - time.monotonic()))
            else:
                await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
        await self._disconnect()

    def _plan(self) -> Iterator[Due]:
        maker, first = self.task.maker, self.task.scenario.before
        for number, intended in enumerate(self.task.scenario.schedule(self.task.seed), first):
            yield Due(maker.make(number, intended.account), self.began_s + intended.at_us / US_PER_S)

    def _taken_again(self) -> list[Due]:
        count = min(len(self._again), AT_ONCE_MAX)
        return [self._again.popleft() for _ in range(count)]

    async def _send(self, lot: list[Due]) -> None:
        if len(self._under_way) >= UNDER_WAY_MAX:
            await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
        exchange = await self.connected()
        sending = asyncio.create_task(self._confirmed(exchange, lot))
        self._under_way.add(sending)
        sending.add_done_callback(self._under_way.discard)

    async def _confirmed(self, exchange: AbstractExchange, lot: list[Due]) -> None:
        at_s = {due.job.name: due.at_s for due in lot}

        def note(name: str) -> None:
            late_us = int((time.monotonic() - at_s[name]) * US_PER_S)
            self.behind_us.record_value(min(max(late_us, 1), LONGEST_US))

        try:
            await publish_all(exchange, (due.job for due in lot), note)
        except BROKER_AWAY:
            # Some of them may have been taken in: a producer that cannot know publishes them again, with the same id.
            self.republished += len(lot)
            self._again.extend(lot)
            if exchange is self._exchange:
                self._exchange = None
        else:
            self.confirmed += len(lot)

    async def connected(self) -> AbstractExchange:
        """Where to publish, on a connection that was not given up; raises LoadTestError after AWAY_S_MAX."""
        give_up_at_s = time.monotonic() + AWAY_S_MAX
        while self._exchange is None:
            await self._disconnect()
            try:
                self._connection = await aio_pika.connect(self.task.url, timeout=CONNECT_S_MAX)
                channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
                self._exchange = await channel.get_exchange(JOBS_EXCHANGE, ensure=False)
            except BROKER_AWAY as error:
                if time.monotonic() > give_up_at_s:
                    raise LoadTestError(f"The broker was away for {AWAY_S_MAX:.0f} s: {error!r}.") from error
                await asyncio.sleep(AGAIN_S)
        return self._exchange

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*BROKER_AWAY):
                async with asyncio.timeout(ANSWER_S_MAX):
                    await connection.close()


def main() -> int:
    """The process; the exit code."""
    task = Task.of(sys.stdin.readline())
    try:
        if task.part == "before":
            _publish_before(task)
        else:
            asyncio.run(_publish_schedule(task))
    except LoadTestError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _publish_before(task: Task) -> None:
    _tell(ready=True)
    sys.stdin.readline()
    began_s, next_s = time.monotonic(), 0.0

    def on_count(count: int) -> None:
        nonlocal next_s
        if (now_s := time.monotonic()) >= next_s:
            next_s = now_s + TELL_EVERY_S
            _tell(published=count)

    publish(task.url, task.jobs_before(), on_count)
    _tell(published=task.scenario.before, done=True, seconds=time.monotonic() - began_s)


async def _publish_schedule(task: Task) -> None:
    # What the schedule is made of is imported and connected before the moment counts.
    loop = OpenLoop(task, 0.0)
    await loop.connected()
    _tell(ready=True)
    start_us = int(await asyncio.to_thread(sys.stdin.readline))
    loop.began_s = time.monotonic() + start_us / US_PER_S - time.time_ns() / NS_PER_US / US_PER_S
    telling = asyncio.create_task(_tell_now_and_then(loop))
    try:
        await loop.run()
    finally:
        telling.cancel()
    behind = loop.behind_us
    _tell(
        published=loop.confirmed,
        done=True,
        republished=loop.republished,
        behind_ms_p99=behind.get_value_at_percentile(99.0) / US_PER_MS,
        behind_ms_max=behind.get_max_value() / US_PER_MS,
    )


async def _tell_now_and_then(loop: OpenLoop) -> None:
    while True:
        await asyncio.sleep(TELL_EVERY_S)
        _tell(published=loop.confirmed)


def _tell(**told: object) -> None:
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    sys.exit(main())
