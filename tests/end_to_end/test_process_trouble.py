"""Worker processes that are told to stop, frozen, or killed all at once: nothing lost, half told, or sent twice."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import orjson
import pytest

from loadtest.proxy import Latency, Proxy
from tests.end_to_end.conftest import KILL, TERM, System, Upstream, Worker
from tests.jobs import job_body

Connect = Callable[[], Awaitable[Upstream]]

#: What a dead worker had under way is in doubt as soon as no call can last that long: 1 + 2 + 10 s.
SOON = {"MMS_CONNECT_TIMEOUT_S": "1", "MMS_READ_TIMEOUT_S": "2"}
END_S_MAX = 50.0


def jobs(count: int, prefix: str = "") -> list[bytes]:
    return [job_body(f"j{prefix}{n}", text=f"t{prefix}{n}") for n in range(count)]


def accepted(system: System) -> Counter[str]:
    """How often each job was accepted."""
    return Counter(one.text.replace("t", "j", 1) for one in system.simulator.control.accepted())


async def until(is_so: Callable[[], object], limit_s: float = END_S_MAX) -> None:
    async with asyncio.timeout(limit_s):
        while not is_so():  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.02)


async def ended(worker: Worker, limit_s: float) -> int:
    """Its exit code; what it tells is taken in meanwhile."""
    return await asyncio.to_thread(worker.wait, limit_s)


@pytest.mark.parametrize(
    "system", [{"unlimited": True, "latency_ms": 200, "latency_spread_ms": 100}], indirect=True, ids=["busy"]
)
async def test_sigterm_under_full_load_leaves_no_job_half_told(system: System, upstream: Connect) -> None:
    worker = system.start_worker(MMS_RATE_PER_S="150", MMS_DRAIN_S_MAX="10", **SOON)
    outside = await upstream()
    await outside.publish(*jobs(600))
    await outside.until_events(150)
    worker.signal(TERM)
    assert await ended(worker, 10) == 0, worker.log()
    sent = accepted(system)
    await outside.until_events(len(sent))
    waiting = [orjson.loads(message.body)["id"] for message in await outside.waiting("mms.jobs.acme")]
    assert outside.ends() == {job: ["sent"] for job in sent}
    assert sorted([*sent.elements(), *waiting]) == sorted(f"j{n}" for n in range(600))
    assert 150 < len(sent) < 600


async def test_sigterm_waits_for_a_stuck_call_as_long_as_a_call_may_take(system: System, upstream: Connect) -> None:
    worker = system.start_worker(MMS_DRAIN_S_MAX="8", **SOON)
    outside = await upstream()
    # Oldest first: once the others have ended, the stuck one's call is under way.
    await outside.publish(job_body("stuck", text="[[fault:never]]"), *jobs(10))
    await outside.until_events(10)
    worker.signal(TERM)
    assert await ended(worker, 8) == 0, worker.log()
    await outside.until_events(11)
    assert outside.ends() == {f"j{n}": ["sent"] for n in range(10)} | {"stuck": ["in_doubt"]}
    assert [orjson.loads(letter.body)["id"] for letter in await outside.waiting("mms.in_doubt")] == ["stuck"]


async def test_all_workers_killed_at_once_lose_nothing_and_send_nothing_twice(
    system: System, upstream: Connect
) -> None:
    for _ in range(3):
        system.start_worker(**SOON)
    outside = await upstream()
    await outside.publish(*jobs(150))
    await outside.until_events(30)
    for worker in system.workers:
        worker.signal(KILL)
    for worker in system.workers:
        worker.wait()
    system.start_worker(**SOON)
    await until(lambda: len(outside.ends()) == 150)
    ends = {job: set(kinds) for job, kinds in outside.ends().items()}
    in_doubt = {job for job, kinds in ends.items() if kinds == {"in_doubt"}}
    assert ends == {f"j{n}": {"in_doubt"} if f"j{n}" in in_doubt else {"sent"} for n in range(150)}
    # A third of 50 calls a second with 20 ms each, and what was claimed a moment ahead of its slot.
    assert len(in_doubt) <= 3 * 2
    times = accepted(system)
    assert max(times.values()) == 1
    assert ends.keys() - in_doubt <= times.keys()


@pytest.mark.parametrize(
    "system", [{"rate_per_s": 50, "latency_ms": 400, "latency_spread_ms": 0}], indirect=True, ids=["slow"]
)
async def test_a_frozen_worker_whose_work_moved_on_calls_for_none_of_it_when_it_wakes(
    system: System, upstream: Connect
) -> None:
    port = urlsplit(system.amqp_url).port
    assert port is not None
    with Proxy(port) as line:
        # Room for all jobs at once, so that each worker is handed half of them.
        room = {"MMS_HELD_BYTES_MAX": "256000000"}
        address = system.amqp_url.replace(f":{port}/", f":{line.port}/")
        frozen = system.start_worker(MMS_AMQP_URL=address, **SOON, **room)
        system.start_worker(**SOON, **room)
        outside = await upstream()
        await outside.publish(*jobs(120))
        await outside.until_events(20)
        frozen.signal(signal.SIGSTOP)
        line.down()  # as the broker would do after missed heartbeats
        line.up()
        await until(lambda: len(outside.ends()) == 120)
        in_doubt = {job for job, kinds in outside.ends().items() if "in_doubt" in kinds}
        assert in_doubt  # its calls were under way
        before = accepted(system)
        frozen.signal(signal.SIGCONT)
        await asyncio.to_thread(frozen.wait_ready)
        assert accepted(system) == before
        await outside.publish(*jobs(30, "new"))
        await until(lambda: len(outside.ends()) == 150)
    assert frozen.process.poll() is None
    assert max(accepted(system).values()) == 1
    for job, kinds in outside.ends().items():
        # That it was sent after all may be told later, and is no second end.
        assert set(kinds) - {"resolved"} == {"in_doubt" if job in in_doubt else "sent"}, job


@pytest.mark.parametrize("system", [{"rate_per_s": 55}], indirect=True, ids=["spare"])
async def test_a_rolling_replacement_of_four_workers_costs_no_call_more_than_it_needs(
    system: System, upstream: Connect
) -> None:
    count = 500
    port = urlsplit(system.redis_url).port
    assert port is not None
    with Proxy(port) as line:
        # So that jobs are claimed well before their slots, and a stop mostly meets some that are.
        line.add(Latency(15))
        system.redis_url = system.redis_url.replace(f":{port}/", f":{line.port}/")
        old = [system.start_worker() for _ in range(4)]
        outside = await upstream()
        await outside.publish(*jobs(count))
        await outside.until_events(30)
        for worker in old:
            system.start_worker()
            worker.signal(TERM)
            assert await ended(worker, 30) == 0, worker.log()
        assert len(outside.events) < count, "there was no load any more at the end"
        await outside.until_events(count)
    assert outside.ends() == {f"j{n}": ["sent"] for n in range(count)}
    assert (system.simulator.control.summary().calls, accepted(system).total()) == (count, count)
    assert await outside.waiting("mms.in_doubt") == []
