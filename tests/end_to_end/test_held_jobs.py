"""Dead letters and jobs in doubt, as an operator looks at them and acts on them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import aio_pika
import orjson
import pytest
from redis.asyncio import Redis

from loadtest.simulator.faults import Fault
from tests.end_to_end.conftest import ROOT, TERM, System, Upstream
from tests.jobs import job_body
from worker.adapters.redis_journal import record_key

Connect = Callable[[], Awaitable[Upstream]]


async def said(system: System, *arguments: str, code: int = 0, **settings: str) -> str:
    done = await asyncio.to_thread(lambda: system.command(*arguments, given=b"", **settings))
    words = (done.stdout + done.stderr).decode()
    assert done.returncode == code, words
    assert "Traceback" not in words
    return " ".join(words.split())


async def listed(system: System, of: str, *filters: str) -> list[dict[str, Any]]:
    done = await asyncio.to_thread(lambda: system.command(of, "list", "--json", *filters))
    assert done.returncode == 0, done.stderr
    return [orjson.loads(line) for line in done.stdout.splitlines()]


async def ids(system: System, of: str, *filters: str) -> list[str]:
    return [row["id"] for row in await listed(system, of, *filters)]


class Hand:
    """Somebody who puts messages into queues."""

    def __init__(self, channel: aio_pika.abc.AbstractChannel) -> None:
        self._channel = channel

    async def put(self, queue: str, body: bytes, headers: Mapping[str, Any]) -> None:
        message = aio_pika.Message(body, headers=dict(headers), delivery_mode=2)
        await self._channel.default_exchange.publish(message, queue)


@pytest.fixture
async def hand(system: System) -> AsyncIterator[Hand]:
    async with await aio_pika.connect(system.amqp_url) as connection:
        yield Hand(await connection.channel())


async def depth(system: System, queue: str) -> int:
    async with await aio_pika.connect(system.amqp_url) as connection:
        declared = await (await connection.channel()).declare_queue(queue, passive=True)
        return declared.declaration_result.message_count or 0


async def until_held(system: System, queue: str, count: int) -> None:
    async with asyncio.timeout(20):
        while await depth(system, queue) != count:  # noqa: ASYNC110 - another process's count
            await asyncio.sleep(0.05)


def resolutions(outside: Upstream) -> list[tuple[str, str, str, str]]:
    return [
        (event["id"], event["data"]["resolution"], event["data"]["by"], event["data"]["evidence"])
        for event in outside.events
        if event["type"] == "mms.job.resolved"
    ]


COMMANDS = [("dead-letters", "list"), ("dead-letters", "retry"), ("dead-letters", "drop"),
            ("in-doubt", "list"), ("in-doubt", "resend"), ("in-doubt", "settle")]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
async def test_help_has_examples(system: System, command: tuple[str, str]) -> None:
    words = await said(system, *command, "--help")
    assert "Examples" in words
    assert f"mms-worker {' '.join(command)}" in words


async def test_before_a_worker_ran_the_missing_queue_is_one_sentence(system: System) -> None:
    async with await aio_pika.connect(system.amqp_url) as connection:
        await (await connection.channel()).queue_delete("mms.dead")  # definitions may have declared it
    words = await said(system, "dead-letters", "list", code=2)
    assert "has no queue mms.dead" in words
    assert "no duration" in await said(system, "in-doubt", "list", "--older-than", "soon", code=2)


# --- Dead letters ----------------------------------------------------------------------------------------


async def test_dead_letters_are_listed_without_numbers_and_nothing_changes(system: System, upstream: Connect) -> None:
    system.start_worker()
    outside = await upstream()
    await outside.publish(job_body("wrong", to=["0499", "041234567890123", "0400000001"]), key="acme.urgent")
    await outside.publish(b"no job", job_body("empty", text=""))
    await until_held(system, "mms.dead", 3)
    rows = {row["id"]: row for row in await listed(system, "dead-letters")}
    assert set(rows) == {"wrong", None, "empty"}
    wrong = rows["wrong"]
    assert (wrong["account"], wrong["lane"], wrong["recipients"], wrong["attempts"]) == ("acme", "urgent", 3, 0)
    assert "to[1]" in wrong["why"]
    assert 0 <= wrong["age_s"] < 60
    words = await said(system, "dead-letters", "list")
    assert "3 of 3 in mms.dead" in words
    for secret in ("0499", "0412345678", "41234567"):
        assert secret not in words + str(rows)
    assert await ids(system, "dead-letters", "--reason", "text: is EMPTY") == ["empty"]
    assert await ids(system, "dead-letters", "--account", "nobody") == []
    assert await ids(system, "dead-letters", "--older-than", "1h") == []
    assert len(await ids(system, "dead-letters", "--newer-than", "1h", "--limit", "2")) == 2
    words = await said(system, "dead-letters", "list", "--limit", "2")
    assert "3 of 3 in mms.dead" in words
    assert "Only the first 2 are shown" in words
    assert await depth(system, "mms.dead") == 3


async def test_dead_letters_whose_cause_is_gone_are_sent_once_each(
    system: System, upstream: Connect, hand: Hand
) -> None:
    system.start_worker(MMS_ATTEMPTS_MAX="1")
    outside = await upstream()
    system.simulator.control.outage("refuse")
    await outside.publish(job_body("a", text="a"), key="acme.urgent")
    await until_held(system, "mms.dead", 1)
    system.simulator.control.outage(None)
    for name in "bc":
        await hand.put("mms.dead", job_body(name, text=name), {"x-mms-account": "acme", "x-mms-attempts": 8})
    words = await said(system, "dead-letters", "retry", "--id", "a", "--id", "b")
    assert "Nothing was changed. Add --yes" in words
    assert "2 of 3" in words
    assert await depth(system, "mms.dead") == 3
    assert "2 retried." in await said(system, "dead-letters", "retry", "--id", "a", "--id", "b", "--yes")
    await outside.until_events(3)
    assert outside.ends() == {"a": ["dead", "sent"], "b": ["sent"]}
    assert await ids(system, "dead-letters") == ["c"]
    assert sorted(one.text for one in system.simulator.control.accepted()) == ["a", "b"]


async def test_what_comes_back_again_and_again_stays(system: System, upstream: Connect) -> None:
    system.start_worker()
    outside = await upstream()
    await outside.publish(job_body("wrong", text=""), job_body("other", text=""))
    await until_held(system, "mms.dead", 2)
    for n in range(1, 4):
        assert "1 retried." in await said(system, "dead-letters", "retry", "--id", "wrong", "--yes")
        await until_held(system, "mms.dead", 2)
        assert [row["redrives"] for row in await listed(system, "dead-letters", "--id", "wrong")] == [n]
    assert "wrong stays: it was retried 3 times before" in await said(system, "dead-letters", "retry")
    words = await said(system, "dead-letters", "retry", "--id", "wrong", "--yes", code=1)
    assert "wrong stays: it was retried 3 times before" in words
    assert "none done, 1 left where they were." in words
    assert "1 retried." in await said(system, "dead-letters", "retry", "--id", "wrong", "--force", "--yes")


async def test_what_the_broker_moved_there_and_what_is_nobodys(system: System, upstream: Connect, hand: Hand) -> None:
    system.start_worker()
    outside = await upstream()
    death = {"queue": "mms.jobs.acme.urgent", "reason": "delivery_limit", "count": 1, "exchange": "mms.jobs"}
    await hand.put("mms.dead", job_body("moved"), {"x-death": [death], "x-mms-attempts": 2})
    await hand.put("mms.dead", job_body("gone"), {"x-mms-account": "nobody", "x-mms-reasons": ["no picture"]})
    await hand.put("mms.dead", b"\x00", {})
    (row,) = await listed(system, "dead-letters", "--reason", "handed out too often")
    assert (row["id"], row["account"], row["lane"]) == ("moved", "acme", "urgent")
    words = await said(system, "dead-letters", "retry", "--yes", code=1)
    assert "2 retried, 1 left where they were." in words
    assert "a job without an id stays: it does not say whose it is" in words
    await outside.until_events(1)
    assert outside.ends() == {"moved": ["sent"]}
    ((body, headers),) = [(one.body, one.headers) for one in await outside.waiting("mms.unroutable")]
    assert body == job_body("gone")
    # The broker counts deliveries there.
    assert {name: value for name, value in headers.items() if name != "x-delivery-count"} == {"x-mms-redrives": 1}


async def test_dropped_letters_are_gone_and_the_others_stay_in_their_order(
    system: System, upstream: Connect, hand: Hand
) -> None:
    system.start_worker()
    await upstream()
    for n in range(50):
        await hand.put("mms.dead", job_body(f"j{n}"), {"x-mms-account": "acme", "x-mms-reasons": [f"reason {n % 5}."]})
    words = await said(system, "dead-letters", "drop", "--reason", "reason 2.", "--limit", "4")
    assert "Add --yes to throw them away" in words
    assert "4 dropped." in await said(system, "dead-letters", "drop", "--reason", "reason 2.", "--limit", "4", "--yes")
    left = [f"j{n}" for n in range(50) if n % 5 != 2 or n > 20]
    assert await ids(system, "dead-letters") == left


async def test_an_interrupted_retry_says_so_and_loses_nothing(system: System, hand: Hand, upstream: Connect) -> None:
    system.start_worker()
    outside = await upstream()
    for n in range(30):
        await hand.put("mms.dead", job_body(f"j{n}", text=f"t{n}"), {"x-mms-account": "acme"})
    retrying = subprocess.Popen(  # noqa: ASYNC220 - started and signalled, as a person does
        [sys.executable, "-m", "worker", "dead-letters", "retry", "--per-s", "5", "--yes"],
        cwd=ROOT,
        env=system.environment("dead-letters"),
        stderr=subprocess.PIPE,
    )
    await outside.until_events(3)
    retrying.send_signal(2)
    _, words = await asyncio.to_thread(lambda: retrying.communicate(timeout=10))
    assert retrying.returncode == 130, words
    assert b"Interrupted." in words
    assert b"retried" in words
    assert b"Traceback" not in words
    assert "retried." in await said(system, "dead-letters", "retry", "--yes")
    await outside.until_events(30)
    assert outside.ends() == {f"j{n}": ["sent"] for n in range(30)}
    assert len(system.simulator.control.accepted()) == 30


# --- In doubt --------------------------------------------------------------------------------------------


async def held_in_doubt(system: System, upstream: Connect, *names: str) -> Upstream:
    system.start_worker()
    outside = await upstream()
    system.simulator.control.add_fault(Fault("502_page"))
    for name in names:
        await outside.publish(job_body(name, text=name, reference=f"crm:{name}"))
        await outside.until_events(len(outside.events) + 1)
    system.simulator.control.clear_faults()
    await until_held(system, "mms.in_doubt", len(names))
    return outside


async def test_a_job_in_doubt_that_is_resent_is_told_and_sent_once_more(system: System, upstream: Connect) -> None:
    outside = await held_in_doubt(system, upstream, "a", "b")
    (row, _) = await listed(system, "in-doubt")
    assert (row["id"], row["account"], row["attempts"], row["recipients"]) == ("a", "acme", 1, 1)
    words = await said(system, "in-doubt", "resend", "--id", "a")
    assert "Nothing was changed. Add --yes to have them sent again." in words
    assert await depth(system, "mms.in_doubt") == 2
    words = await said(system, "in-doubt", "resend", "--id", "a", "--evidence", "no trace of it", "--yes")
    assert "1 resent." in words
    await outside.until_events(4)
    assert outside.ends() == {"a": ["in_doubt", "resolved", "sent"], "b": ["in_doubt"]}
    assert resolutions(outside) == [("a:mms.job.resolved:1", "resent", "operator", "no trace of it")]
    assert await ids(system, "in-doubt") == ["b"]
    assert [call.operation for call in system.simulator.control.calls()].count("send-mms") == 3


async def test_a_job_that_is_held_twice_is_sent_once_more_and_what_is_left_over_goes(
    system: System, upstream: Connect, hand: Hand
) -> None:
    outside = await held_in_doubt(system, upstream, "a")
    (message,) = await outside.waiting("mms.in_doubt")
    await message.nack()
    for _ in range(2):
        await hand.put("mms.in_doubt", message.body, message.headers)
    await until_held(system, "mms.in_doubt", 3)
    (worker,) = system.workers
    worker.signal(TERM)
    assert worker.wait() == 0
    # The second one finds the job released, as after a resend that broke off, and goes on with that.
    assert "2 resent." in await said(system, "in-doubt", "resend", "--limit", "2", "--yes")
    assert await depth(system, "mms.jobs.acme") == 2
    system.start_worker()
    await outside.until_events(4)
    await asyncio.sleep(6)  # the copy that came second was put back for 5 s, or found the job told
    assert outside.ends() == {"a": ["in_doubt", "resolved", "resolved", "sent"]}
    assert {one[0] for one in resolutions(outside)} == {"a:mms.job.resolved:1"}
    assert len(system.simulator.control.accepted()) == 1
    assert "1 left over." in await said(system, "in-doubt", "resend", "--yes")
    assert await depth(system, "mms.in_doubt") == 0
    assert await depth(system, "mms.jobs.acme") == 0


@pytest.mark.parametrize(("settled_as", "resolution"), [("sent", "sent"), ("given-up", "given_up")])
async def test_a_job_in_doubt_that_is_settled_is_told_and_never_sent(
    system: System, upstream: Connect, settled_as: str, resolution: str
) -> None:
    outside = await held_in_doubt(system, upstream, "a")
    assert "Add --yes to settle" in await said(system, "in-doubt", "settle", "--as", settled_as)
    words = await said(system, "in-doubt", "settle", "--as", settled_as, "--evidence", "seen", "--yes")
    assert "1 settled." in words
    await outside.until_events(2)
    assert resolutions(outside) == [("a:mms.job.resolved:1", resolution, "operator", "seen")]
    assert await depth(system, "mms.in_doubt") == 0
    async with Redis.from_url(system.redis_url) as redis:
        record = await redis.get(record_key("acme", "a"))
    assert isinstance(record, bytes)
    assert record.endswith(f"|{resolution}|".encode()), "the journal does not know that it is told"
    await outside.publish(job_body("a", text="a", reference="crm:a"), job_body("b"))
    await outside.until_events(3)
    await asyncio.sleep(0.5)
    assert outside.ends() == {"a": ["in_doubt", "resolved"], "b": ["sent"]}


async def test_without_redis_nothing_is_resolved(system: System, upstream: Connect, unused_tcp_port: int) -> None:
    await held_in_doubt(system, upstream, "a")
    away = f"redis://127.0.0.1:{unused_tcp_port}/0"
    words = await said(system, "in-doubt", "resend", "--yes", code=2, MMS_REDIS_URL=away)
    assert "MMS_REDIS_URL" in words
    assert await ids(system, "in-doubt") == ["a"]
