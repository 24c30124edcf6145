"""Ten thousand reports through two receivers, with all that can go wrong: each is told, and none twice.

A third of them comes twice or more, all are shuffled, every tenth message is reported before its send is answered, one
receiver is killed and the broker restarted on the way. The vendor repeats whatever was not answered with 200.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from deploy.local import RabbitMQ
from tests.end_to_end.conftest import KILL, System
from tests.end_to_end.vendor import Vendor, events, until
from worker.adapters.redis_groups import RedisGroups
from worker.adapters.redis_sendings import RedisSendings
from worker.core.sendings import Trace
from worker.flow.ports import JournalAway

MESSAGES = 5_000
STATUSES = ("Dispatched", "Delivered")
EARLY_EVERY = 10
ENTRIES_MAX = 30


@dataclass(frozen=True, slots=True)
class Message:
    """One that was sent: to whom, and of which job."""

    number: int

    @property
    def message_id(self) -> str:
        return f"m-{self.number}"

    @property
    def to(self) -> str:
        return f"+61400{self.number:06}"

    @property
    def trace(self) -> Trace:
        return Trace(self.to, self.message_id, f"j-{self.number}", f"crm:{self.number}")

    def report(self, status: str) -> dict[str, str]:
        return {"message_id": self.message_id, "status": status, "recipient": self.to.removeprefix("+")}


@pytest.fixture
def amqp_url(own_rabbitmq: RabbitMQ) -> str:
    return own_rabbitmq.url


@asynccontextmanager
async def sendings(redis_url: str) -> Any:
    """As the sending workers have it."""
    failures: list[BaseException] = []
    async with Redis.from_url(redis_url) as redis:
        groups = RedisGroups(redis=redis, monotonic=time.monotonic, observe=lambda _: None, on_failure=failures.append)
        yield RedisSendings(groups=groups, keep_s=172_800, noted_s_max=80.0)
        await groups.close()
    assert failures == []


async def note(remembered: RedisSendings, messages: Iterable[Message]) -> None:
    """What a worker notes when a send is answered."""
    traces = [message.trace for message in messages]
    for begin in range(0, len(traces), 500):
        assert not isinstance(await remembered.note("acme", traces[begin : begin + 500]), JournalAway)


def portions(entries: list[dict[str, str]], dice: random.Random) -> Iterator[list[dict[str, str]]]:
    """Bodies of callbacks: a few reports in each."""
    while entries:
        size = dice.randint(1, ENTRIES_MAX)
        yield entries[:size]
        entries = entries[size:]


@pytest.mark.timeout(240)
async def test_each_of_ten_thousand_reports_is_told_and_none_is_lost(system: System, own_rabbitmq: RabbitMQ) -> None:
    dice = random.Random(4711)  # noqa: S311 - a seed, not a secret
    messages = [Message(number) for number in range(MESSAGES)]
    early = messages[::EARLY_EVERY]
    reports = [message.report(status) for message in messages for status in STATUSES]
    posted = reports + dice.sample(reports, len(reports) // 3)
    dice.shuffle(posted)
    thirds = [list(portions(posted[begin::3], dice)) for begin in range(3)]
    receivers = [system.start_receiver(), system.start_receiver()]
    async with sendings(system.redis_url) as remembered, httpx.AsyncClient(trust_env=False, timeout=20) as client:
        vendor = Vendor(client, lambda: [one.callbacks for one in receivers if one.process.poll() is None])
        await note(remembered, set(messages) - set(early))
        await asyncio.gather(vendor.post_all("reports", thirds[0]), kill_soon(receivers[0]))
        await note(remembered, answered_now(early, thirds[0]))
        receivers.append(system.start_receiver())
        await asyncio.gather(vendor.post_all("reports", thirds[1]), asyncio.to_thread(own_rabbitmq.restart))
        await note(remembered, answered_now(early, thirds[1]))
        await vendor.post_all("reports", thirds[2])
        await note(remembered, early)
    found = await events(system.amqp_url, lambda found: len({event["id"] for event in found}) >= len(reports))
    check(found, messages)
    assert vendor.repeats > 0
    await until(lambda: all(one.metrics()["mms_surprises_total"] == 0 for one in receivers[1:]))


def answered_now(early: list[Message], bodies: list[list[dict[str, str]]]) -> list[Message]:
    """Those of which a report was posted: it was taken, and lies in the broker."""
    reported = {entry["message_id"] for body in bodies for entry in body}
    return [message for message in early if message.message_id in reported]


async def kill_soon(receiver: Any) -> None:
    """Once it has told some, and surely has some in hand."""
    await until(lambda: receiver.metrics()['mms_reports_total{account="acme",status="delivered"}'] > 100)
    receiver.signal(KILL)
    await asyncio.to_thread(receiver.wait)


def check(found: list[dict[str, Any]], messages: list[Message]) -> None:
    """Each report is one event, with its job; and no intermediate one looks as if it came last."""
    expected = {(one.message_id, one.to, status.lower()) for one in messages for status in STATUSES}
    copies = Counter(event["id"] for event in found)
    told = {event["id"]: (event["data"]["message_id"], event["data"]["to"], event["data"]["status"]) for event in found}
    assert {event["type"] for event in found} == {"mms.message.report"}
    assert len(told) == len(expected)
    assert set(told.values()) == expected
    # A crash between confirm and note repeats events with the same ids; in quiet running there are no repeats.
    repeated = sum(copies.values()) - len(copies)
    assert repeated <= 32 * ENTRIES_MAX
    jobs = {one.message_id: (f"j-{one.number}", f"crm:{one.number}") for one in messages}
    for event in found:
        data = event["data"]
        assert (data["job_id"], data["reference"]) == jobs[data["message_id"]]
    finals: set[str] = set()
    for event in found:
        data = event["data"]
        if data["status"] == "delivered":
            assert data["superseded_by"] is None
            finals.add(data["message_id"])
        else:
            # Who was killed may have been about to tell the final one: then that comes later, and is known already.
            assert data["superseded_by"] == "delivered" or (
                data["superseded_by"] is None and data["message_id"] not in finals
            )
