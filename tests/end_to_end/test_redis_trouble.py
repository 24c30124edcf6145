"""Redis in trouble: sending stops within a second, says so, resumes by itself, without a burst and with every job."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from redis import Redis as RedisClient

from deploy.local import Redis
from loadtest.proxy import Latency, Proxy
from loadtest.simulator.process import SimulatorProcess
from tests.deployed import let_follow, make_redis
from tests.end_to_end.conftest import KILL, System, Upstream, Worker
from tests.jobs import job_body
from worker.adapters.redis_limiter import bucket_key

Connect = Callable[[], Awaitable[Upstream]]
Act = Callable[[Redis, RedisClient], object]

#: The API allows a tenth more than the workers keep to: what it refuses is a burst, and not a hiccup of this machine.
API_LIMIT_PER_S = 55
JOBS = 350
#: Long enough for the time-outs to pass and for nothing to be left that was promised before.
TROUBLE_S = 4.0
#: What a dead worker had under way is in doubt as soon as no call can last that long: 1 + 2 + 10 s.
SOON = {"MMS_CONNECT_TIMEOUT_S": "1", "MMS_READ_TIMEOUT_S": "2"}


@pytest.fixture
def system(
    amqp_url: str,
    own_redis: Redis,
    tmp_path: Path,
    unused_tcp_port_factory: Callable[[], int],
    request: pytest.FixtureRequest,
) -> Iterator[System]:
    options = getattr(request, "param", {})
    with SimulatorProcess(directory=tmp_path / "simulator", rate_per_s=API_LIMIT_PER_S, **options) as simulator:
        started = System(amqp_url, own_redis.url, simulator, tmp_path, unused_tcp_port_factory)
        yield started
        assert started.private() == set()
        for worker in started.workers:
            worker.end()


def key_of_another_type(_: Redis, client: RedisClient) -> None:
    client.rename(bucket_key("acme"), "kept")
    client.set(bucket_key("acme"), "not a hash")


def key_as_it_was(_: Redis, client: RedisClient) -> None:
    client.rename("kept", bucket_key("acme"))


TROUBLES: dict[str, tuple[Act, Act]] = {
    "gone": (lambda redis, _: redis.kill(), lambda redis, _: redis.start()),
    "hanging": (lambda redis, _: redis.pause(), lambda redis, _: redis.resume()),
    "read-only": (
        lambda _, client: client.replicaof("127.0.0.1", "1"),
        lambda _, client: client.replicaof("NO", "ONE"),
    ),
    "out of memory": (
        lambda _, client: client.config_set("maxmemory", "1"),
        lambda _, client: client.config_set("maxmemory", "0"),
    ),
    "a key of another type": (key_of_another_type, key_as_it_was),
}


def moments_s(system: System) -> list[float]:
    return [call.at_us / 1e6 for call in system.simulator.control.calls()]


async def sent_some(system: System, count: int) -> None:
    async with asyncio.timeout(20):
        while system.simulator.control.summary().calls < count:  # noqa: ASYNC110 - another process's count
            await asyncio.sleep(0.02)


def readiness(worker: Worker) -> tuple[int, str]:
    answer = httpx.get(f"{worker.admin}/readyz")
    return answer.status_code, answer.text


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_sending_stops_says_so_and_resumes(
    system: System, upstream: Connect, own_redis: Redis, trouble: str
) -> None:
    workers = [system.start_worker(), system.start_worker()]
    outside = await upstream()
    begin, end = TROUBLES[trouble]
    with RedisClient.from_url(own_redis.url) as client:
        await outside.publish(*(job_body(f"j{n}", text=f"t{n}") for n in range(JOBS)))
        await sent_some(system, 50)
        begin(own_redis, client)
        begun_s = time.time()
        await asyncio.sleep(TROUBLE_S)
        for worker in workers:
            assert worker.metrics()['mms_ratelimit_mode{mode="stopped"}'] == 1
            assert readiness(worker)[0] == 503
            assert "Redis" in readiness(worker)[1]
        end(own_redis, client)
        ended_s = time.time()
        await outside.until_events(JOBS)
    while_away = [at_s - begun_s for at_s in moments_s(system) if begun_s < at_s < ended_s]
    assert max(while_away, default=0) < 1
    assert min(at_s for at_s in moments_s(system) if at_s > ended_s) - ended_s < 5
    await all_sent_once_within_the_limit(system, outside)
    assert [readiness(worker)[0] for worker in workers] == [200, 200]


def restarted_without_its_data(redis: Redis, client: RedisClient) -> None:
    client.flushall()
    redis.restart()


LOSSES: dict[str, Act] = {
    "flushed": lambda _, client: client.flushall(),
    "restarted without its data": restarted_without_its_data,
    "scripts forgotten": lambda _, client: client.script_flush(),
}


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_redis_that_lost_its_memory_makes_no_burst_and_no_stall(
    system: System, upstream: Connect, own_redis: Redis, loss: str
) -> None:
    for _ in range(2):
        system.start_worker()
    outside = await upstream()
    with RedisClient.from_url(own_redis.url) as client:
        await outside.publish(*(job_body(f"j{n}", text=f"t{n}") for n in range(JOBS)))
        await sent_some(system, 50)
        LOSSES[loss](own_redis, client)
        lost_s = time.time()
        await outside.until_events(JOBS)
    await all_sent_once_within_the_limit(system, outside)
    after = [at_s for at_s in moments_s(system) if at_s > lost_s + 1]
    assert after[0] - lost_s < 5


async def test_readiness_follows_redis_also_while_nothing_is_sent(system: System, own_redis: Redis) -> None:
    worker = system.start_worker()
    own_redis.pause()
    await until_readiness(worker, 503)
    own_redis.resume()
    await until_readiness(worker, 200)


def test_a_wrong_password_at_the_start_is_one_sentence(system: System, own_redis: Redis) -> None:
    with RedisClient.from_url(own_redis.url) as client:
        client.config_set("requirepass", "another")
    parts = urlsplit(own_redis.url)
    wrong = parts._replace(netloc=f":s3cret@{parts.hostname}:{parts.port}").geturl()
    done = system.command("run", MMS_REDIS_URL=wrong)
    words = " ".join((done.stdout + done.stderr).decode().split())
    assert done.returncode == 2, words
    assert "refused the login" in words
    assert "MMS_REDIS_URL" in words
    for unwanted in ("s3cret", "Traceback"):
        assert unwanted not in words


async def until_readiness(worker: Worker, status: int) -> None:
    async with asyncio.timeout(5):
        while readiness(worker)[0] != status:  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.1)


def through(line: Proxy, redis: Redis) -> str:
    return redis.url.replace(f":{redis.port}/", f":{line.port}/")


async def test_a_redis_that_is_far_away_costs_no_job_and_makes_no_burst(
    system: System, upstream: Connect, own_redis: Redis
) -> None:
    with Proxy(own_redis.port) as line:
        system.redis_url = through(line, own_redis)
        workers = [system.start_worker(), system.start_worker()]
        outside = await upstream()
        await outside.publish(*(job_body(f"j{n}", text=f"t{n}") for n in range(JOBS)))
        await sent_some(system, 20)
        for there_and_back_ms in (50, 300, 5_000):
            far = Latency(there_and_back_ms / 2)
            line.add(far)
            await asyncio.sleep(TROUBLE_S / 2)
            is_stopped = [worker.metrics()['mms_ratelimit_mode{mode="stopped"}'] for worker in workers]
            assert is_stopped == [there_and_back_ms > 1_000] * 2, there_and_back_ms
            line.remove(far)
        await outside.until_events(JOBS)
    await all_sent_once_within_the_limit(system, outside)


@pytest.mark.parametrize("system", [{"latency_ms": 300}], indirect=True, ids=["calls under way"])
async def test_a_failover_to_a_replica_that_lags_sends_nothing_twice(
    system: System, upstream: Connect, own_redis: Redis
) -> None:
    """The replica knows nothing of the latest calls; a worker that had some of them under way dies as well."""
    with make_redis(append_only=True) as replica, Proxy(own_redis.port) as line:
        system.redis_url = through(line, own_redis)
        victim, _ = system.start_worker(**SOON), system.start_worker(**SOON)
        outside = await upstream()
        with RedisClient.from_url(own_redis.url) as master, RedisClient.from_url(replica.url) as client:
            master.config_set("repl-diskless-sync-delay", "0")
            let_follow(client, own_redis)
            client.replicaof("127.0.0.1", str(own_redis.port))
            await outside.publish(*(job_body(f"j{n}", text=f"t{n}") for n in range(JOBS)))
            async with asyncio.timeout(10):
                while client.info("replication").get("master_link_status") != "up":  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            await sent_some(system, 50)
            client.replicaof("NO", "ONE")  # what the master learns from here on is lost
        await sent_some(system, system.simulator.control.summary().calls + 40)
        line.down()
        victim.signal(KILL)
        own_redis.kill()
        line.lead_to(replica.port)
        line.up()
        failed_over_s = time.time()
        async with asyncio.timeout(40):
            while len(outside.ends()) < JOBS:  # noqa: ASYNC110 - the broker fills it
                await asyncio.sleep(0.05)
        await asyncio.sleep(1)
    ends = {job: set(kinds) for job, kinds in outside.ends().items()}
    in_doubt = {job for job, kinds in ends.items() if kinds == {"in_doubt"}}
    assert ends == {f"j{n}": {"in_doubt"} if f"j{n}" in in_doubt else {"sent"} for n in range(JOBS)}
    accepted = Counter(one.text.replace("t", "j", 1) for one in system.simulator.control.accepted())
    assert max(accepted.values()) == 1
    # What the dead worker had in hand was handed out before, and nobody knows any more what it did with it.
    assert accepted.keys() & in_doubt
    assert ends.keys() - in_doubt <= accepted.keys()
    assert system.simulator.control.summary().worst_rolling_second <= API_LIMIT_PER_S
    assert min(at_s for at_s in moments_s(system) if at_s > failed_over_s + 0.5) - failed_over_s < 5


async def all_sent_once_within_the_limit(system: System, outside: Upstream) -> None:
    assert outside.ends() == {f"j{n}": ["sent"] for n in range(JOBS)}
    summary = system.simulator.control.summary()
    assert (summary.duplicates, summary.throttled_calls) == (0, 0)
    assert summary.worst_rolling_second <= API_LIMIT_PER_S
