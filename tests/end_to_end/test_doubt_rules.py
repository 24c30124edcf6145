"""Jobs in doubt that a running worker decides on by itself: by its account's rule, and what others resolved."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import aio_pika
import pytest
from redis.asyncio import Redis

from loadtest.simulator.faults import Fault
from tests.end_to_end.conftest import TERM, System, Upstream
from tests.jobs import job_body
from worker.adapters.redis_journal import doubt_key

Connect = Callable[[], Awaitable[Upstream]]
LONG_AGO_S = 2_000.0


async def depth(system: System, queue: str) -> int:
    async with await aio_pika.connect(system.amqp_url) as connection:
        declared = await (await connection.channel()).declare_queue(queue, passive=True)
        return declared.declaration_result.message_count or 0


async def until(is_so: Callable[[], Awaitable[bool]], limit_s: float = 20) -> None:
    async with asyncio.timeout(limit_s):
        while not await is_so():  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)


async def held_in_doubt(system: System, upstream: Connect, *names: str) -> Upstream:
    """Jobs of which a worker without a rule did not hear what came of them; and that worker is gone."""
    worker = system.start_worker()
    outside = await upstream()
    system.simulator.control.add_fault(Fault("502_page"))
    for name in names:
        await outside.publish(job_body(name, text=name, reference=f"crm:{name}"))
        await outside.until_events(len(outside.events) + 1)
    system.simulator.control.clear_faults()

    async def are_held() -> bool:
        return await depth(system, "mms.in_doubt") == len(names)

    await until(are_held)
    worker.signal(TERM)
    assert await asyncio.to_thread(worker.wait) == 0
    return outside


async def let_time_pass(system: System, *names: str) -> None:
    """Have these jobs be in doubt since long ago, and let a worker look for them at once."""
    async with await aio_pika.connect(system.amqp_url) as connection, Redis.from_url(system.redis_url) as redis:
        channel = await connection.channel()
        queue = await channel.get_queue("mms.in_doubt", ensure=False)
        since = datetime.now(UTC) - timedelta(seconds=LONG_AGO_S)
        for _ in range(await depth(system, "mms.in_doubt")):
            message = await queue.get()
            headers = dict(message.headers)
            if any(f'"{name}"'.encode() in message.body for name in names):
                headers["x-mms-in-doubt-since"] = since.isoformat(timespec="milliseconds")
            copy = aio_pika.Message(message.body, headers=headers, delivery_mode=2)
            await channel.default_exchange.publish(copy, "mms.in_doubt")
            await message.ack()
        await redis.zadd(doubt_key("acme"), dict.fromkeys(names, since.timestamp() * 1e6))
        if turns := await redis.keys("mms:turn:*"):
            await redis.delete(*turns)


def resolutions(outside: Upstream) -> list[tuple[str, str, str]]:
    return [
        (event["id"], event["data"]["resolution"], event["data"]["by"])
        for event in outside.events
        if event["type"] == "mms.job.resolved"
    ]


def rule(name: str) -> dict[str, Any]:
    return {"MMS_IN_DOUBT_RULE": name, "MMS_IN_DOUBT_AFTER_S": "1000"}


async def test_what_is_too_long_in_doubt_is_sent_again_and_the_others_stay(system: System, upstream: Connect) -> None:
    outside = await held_in_doubt(system, upstream, "old", "young")
    await let_time_pass(system, "old")
    worker = system.start_worker(**rule("resend"))
    await outside.until_events(4)
    assert outside.ends() == {"old": ["in_doubt", "resolved", "sent"], "young": ["in_doubt"]}
    assert resolutions(outside) == [("old:mms.job.resolved:1", "resent", "rule")]
    evidence = next(event["data"]["evidence"] for event in outside.events if event["type"] == "mms.job.resolved")
    assert evidence.startswith("the account's rule resend, after 1000 s")
    assert await depth(system, "mms.in_doubt") == 1
    assert worker.metrics()['mms_in_doubt_resolved_total{account="acme",resolution="resent"}'] == 1
    assert [one.text for one in system.simulator.control.accepted()] == ["old"]


async def test_what_is_too_long_in_doubt_is_given_up_by_one_of_two_workers(system: System, upstream: Connect) -> None:
    outside = await held_in_doubt(system, upstream, "a", "b")
    await let_time_pass(system, "a", "b")
    for _ in range(2):
        system.start_worker(**rule("give_up"))
    await outside.until_events(4)
    await asyncio.sleep(1)
    assert sorted(resolutions(outside)) == [
        ("a:mms.job.resolved:1", "given_up", "rule"),
        ("b:mms.job.resolved:1", "given_up", "rule"),
    ]
    assert await depth(system, "mms.in_doubt") == 0
    assert system.simulator.control.accepted() == []


async def test_status_and_metrics_say_how_many_are_in_doubt_and_since_when(system: System, upstream: Connect) -> None:
    await held_in_doubt(system, upstream, "a")
    await let_time_pass(system, "a")
    done = await asyncio.to_thread(system.command, "status", COLUMNS="120")
    words = done.stdout.decode()
    assert "acme: 1 in doubt, the oldest for 33 min" in words, words
    worker = system.start_worker()

    async def is_counted() -> bool:
        return worker.metrics().get('mms_in_doubt_jobs{account="acme"}') == 1

    await until(is_counted)
    since_s = worker.metrics()['mms_in_doubt_oldest_timestamp_seconds{account="acme"}']
    assert since_s == pytest.approx(datetime.now(UTC).timestamp() - LONG_AGO_S, abs=30)


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"MMS_IN_DOUBT_RULE": "send"}, "MMS_IN_DOUBT_RULE must be hold or resend or give_up"),
        ({"MMS_IN_DOUBT_AFTER_S": "300"}, "must be at least 500"),
    ],
)
async def test_a_wrong_rule_is_one_sentence(system: System, changed: dict[str, str], part: str) -> None:
    done = await asyncio.to_thread(lambda: system.command("run", **(rule("resend") | changed)))
    assert done.returncode == 2
    assert part in " ".join(done.stderr.decode().split())
