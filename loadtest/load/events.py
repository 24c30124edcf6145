"""What the workers told of the jobs: read out of the stream that keeps all events, in columns by the job's number."""

import asyncio
import time
from array import array
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aio_pika
import orjson
from aiormq.abc import DeliveredMessage

from loadtest.chaos.outside import BROKER_AWAY, EVENTS_QUEUE
from loadtest.failure import LoadTestError
from loadtest.load.jobs import number_of

CONNECT_S_MAX, READ_S_MAX = 10.0, 600.0
PREFETCH = 2_000
ACK_EVERY = 500
QUIET_S = 0.5
"""The stream is read to its end when nothing has come for so long."""
US_PER_S = 1_000_000
NONE, SENT, REFUSED, EXPIRED, DEAD, IN_DOUBT = range(6)
ENDS = {
    "mms.job.sent": SENT,
    "mms.job.refused": REFUSED,
    "mms.job.expired": EXPIRED,
    "mms.job.dead": DEAD,
    "mms.job.in_doubt": IN_DOUBT,
}
END_WORDS = ("nothing", "sent", "refused", "expired", "dead", "in doubt")
RESOLVED, RESENT = "mms.job.resolved", "resent"
OUTSIDE_MAX = 100
"""Of events about nobody's job, so many are remembered."""


@dataclass(frozen=True, slots=True)
class ToldDoubt:
    """One job was told to be in doubt: why, and since when (wall clock)."""

    job: int
    why: str
    since_us: int


@dataclass(slots=True)
class Told:
    """By the job's number: `end`, one of the numbers above, and `at_us`, when that was told first (wall clock).

    `others`: ends of one job beside its first, `again`: events that repeat one with the same id, `foreign`: of nobody's
    job, `resolutions`: of jobs in doubt.
    """

    jobs: int
    end: bytearray = field(init=False)
    at_us: "array[int]" = field(init=False)
    ended: int = 0
    again: int = 0
    foreign: list[str] = field(default_factory=list)
    foreign_count: int = 0
    others: defaultdict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    resolutions: dict[int, str] = field(default_factory=dict)
    doubts: set[ToldDoubt] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.end = bytearray(self.jobs)
        self.at_us = array("q", bytes(8 * self.jobs))

    def take(self, event: dict[str, Any]) -> None:
        """Note one event, a CloudEvent as parsed; those that are about no job are passed by."""
        kind, data = event["type"], event["data"]
        end = ENDS.get(kind)
        if end is None and kind != RESOLVED:
            return
        job = number_of(str(data["job_id"]))
        if job is None or job >= self.jobs:
            self.foreign_count += 1
            if len(self.foreign) < OUTSIDE_MAX:
                self.foreign.append(f"{kind} of {data['job_id']}")
        elif end is None:
            self._resolve(job, str(data["resolution"]))
        else:
            self._end(job, end, event)

    def _end(self, job: int, end: int, event: dict[str, Any]) -> None:
        if end == IN_DOUBT:
            doubt = ToldDoubt(job, str(event["data"]["why"]), microseconds(event["data"]["since"]))
            self.again += doubt in self.doubts
            self.doubts.add(doubt)
        if self.end[job] == NONE:
            self.end[job] = end
            self.at_us[job] = microseconds(event["time"])
            self.ended += 1
        elif self.end[job] != end:
            self.others[job].add(end)
        elif end != IN_DOUBT:
            self.again += 1

    def _resolve(self, job: int, resolution: str) -> None:
        self.again += self.resolutions.get(job) == resolution
        self.resolutions[job] = resolution


def microseconds(text: str) -> int:
    """Of RFC 3339."""
    return round(datetime.fromisoformat(text).timestamp() * US_PER_S)


class EventLog:
    """Reads on where it stopped."""

    def __init__(self, url: str, told: Told) -> None:
        self.told = told
        self._url = url
        self._next: int | None = None

    async def catch_up(self, on_count: Callable[[int], object] = lambda _: None) -> None:
        """Read until nothing comes for QUIET_S, or for READ_S_MAX; raises LoadTestError.

        `on_count` is told now and then how many jobs have ended.
        """
        give_up_at_s = time.monotonic() + READ_S_MAX
        try:
            async with await aio_pika.connect(self._url, timeout=CONNECT_S_MAX) as connection:
                channel = await connection.channel()
                # The library's own messages cost more than all that is done with them here.
                below = await channel.get_underlay_channel()
                await below.basic_qos(prefetch_count=PREFETCH)
                came = asyncio.Event()
                since_ack = 0

                async def take(message: DeliveredMessage) -> None:
                    nonlocal since_ack
                    came.set()
                    offset = (message.header.properties.headers or {}).get("x-stream-offset")
                    if isinstance(offset, int) and (self._next is None or offset >= self._next):
                        self._next = offset + 1
                        self.told.take(orjson.loads(message.body))
                    since_ack += 1
                    if since_ack >= ACK_EVERY and message.delivery_tag is not None:
                        since_ack = 0
                        await below.basic_ack(message.delivery_tag, multiple=True)

                arguments: dict[str, Any] = {"x-stream-offset": "first" if self._next is None else self._next}
                await below.basic_consume(EVENTS_QUEUE, take, arguments=arguments, timeout=CONNECT_S_MAX)
                while time.monotonic() < give_up_at_s and await _within(came, QUIET_S):
                    came.clear()
                    on_count(self.told.ended)
        except BROKER_AWAY as error:
            raise LoadTestError(f"The events cannot be read: {error!r}.") from error


async def _within(event: asyncio.Event, wait_s: float) -> bool:
    try:
        async with asyncio.timeout(wait_s):
            await event.wait()
    except TimeoutError:
        return False
    await asyncio.sleep(wait_s / 5)
    return True
