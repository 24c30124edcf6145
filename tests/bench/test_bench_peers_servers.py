"""The floor's parts and the peers' calls, against the real servers and the simulator."""

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import aio_pika
import pytest
import redis
from redis.asyncio import Redis

from deploy.local import RabbitMQ
from deploy.local import Redis as RedisServer
from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.jobs import make_jobs, noise_png
from loadtest.bench.peers.contenders import Studio, put_jobs, require_results, running
from loadtest.bench.peers.floor import EVENT, Asked, bare_alone, call_alone, consume_alone, publish_alone, store_alone
from loadtest.bench.peers.floor_parts import ACKS_TOGETHER, Calls, Store, Taken, connect, publish
from loadtest.bench.peers.judge import watch
from loadtest.bench.peers.rows import Row
from loadtest.bench.scene import Scene
from loadtest.bench.system import System
from loadtest.rivals.peers.sending import (
    AiohttpSender,
    AsyncHttpxSender,
    HttpxSender,
    Result,
    async_sender,
    result_of,
)
from loadtest.rivals.peers.surroundings import Surroundings
from loadtest.simulator.process import SimulatorProcess

JOB = json.loads(next(make_jobs(1, media={"url": "https://h/p.png"}, recipients=2)).body)
PICTURE = noise_png(8, seed=1)
QUEUE = "floor.jobs"
ALL_S_MAX = 20.0


@pytest.fixture(scope="module")
def process() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(unlimited=True, latency_ms=0, latency_spread_ms=0) as started:
        yield started


@pytest.fixture
def simulator(process: SimulatorProcess) -> SimulatorProcess:
    process.control.reset()
    return process


@pytest.fixture
def here(simulator: SimulatorProcess, amqp_url: str, tmp_path: Path) -> Surroundings:
    picture_file = tmp_path / "picture.png"
    picture_file.write_bytes(PICTURE)
    return Surroundings(
        amqp_url, simulator.api_url, str(simulator.ca_file), "peer-key", str(picture_file), in_flight=4, http="httpx"
    )


@pytest.fixture
def asked(redis_url: str) -> Asked:
    return Asked("any", redis_url, QUEUE, exchange="", routing_key=QUEUE, count=20)


# --- The peers' calls ------------------------------------------------------------------------------------


def require_the_call(simulator: SimulatorProcess, result: Result) -> None:
    accepted = simulator.control.accepted()
    assert [(one.account, one.to, one.text) for one in accepted] == [
        ("peer-key", number, JOB["text"]) for number in JOB["to"]
    ]
    assert (result["type"], result["job_id"]) == ("sent", JOB["id"])
    # The API gives some numbers back without their plus.
    told = [(one["to"].removeprefix("+"), one["message_id"]) for one in result["recipients"]]
    assert told == [(one.to.removeprefix("+"), one.message_id) for one in accepted]


@pytest.mark.parametrize(("library", "kind"), [("httpx", AsyncHttpxSender), ("aiohttp", AiohttpSender)])
async def test_a_peer_sends_what_the_job_says(
    library: str, kind: type, here: Surroundings, simulator: SimulatorProcess
) -> None:
    sender = async_sender(replace(here, http=library))
    assert type(sender) is kind
    require_the_call(simulator, await sender.send(JOB))
    await sender.close()


def test_a_peer_of_threads_sends_the_same(here: Surroundings, simulator: SimulatorProcess) -> None:
    sender = HttpxSender(here)
    require_the_call(simulator, sender.send(JOB))
    sender.close()


def test_a_result_needs_the_message_ids() -> None:
    with pytest.raises(KeyError):
        result_of(JOB, {"data": {}})


# --- One contender, from its jobs to its figures ---------------------------------------------------------


def test_the_judge_sees_all_that_a_peer_does(
    rabbitmq: RabbitMQ, redis_server: RedisServer, amqp_url: str, here: Surroundings, tmp_path: Path
) -> None:
    jobs, in_flight, latency_ms = 130, 4, 100
    row = Row("peer", "loop-aiohttp", 1, in_flight)
    studio = Studio(Path(sys.executable), Path(here.picture_file), {"url": "https://h/p.png"}, {})
    shown: list[int] = []
    with SimulatorProcess(unlimited=True, latency_ms=latency_ms, latency_spread_ms=0) as simulator:
        scene = Scene(System(rabbitmq, redis_server, simulator, tmp_path), amqp_url)
        put_jobs(row, scene, studio, jobs, shown.append)
        with running(row, scene, studio) as contender:
            seen = watch(scene.system, contender, jobs, shown.append)
            require_results(row, scene, jobs)
            with pytest.raises(NotMeasuredError, match=f"{jobs + 1} jobs were sent, and {jobs} results"):
                require_results(row, scene, jobs + 1, wait_s_max=0.0)
    assert shown[-1] == jobs
    assert (seen.recipients_per_call, seen.sent_twice, seen.processes) == (1, 0, 1)
    # No more at a time than it was told to.
    assert seen.jobs_per_s <= in_flight / (latency_ms / 1_000) * 1.05
    assert 0 < seen.cores["sender"] < 1
    assert seen.total_bytes > 10_000_000


# --- The floor's parts -----------------------------------------------------------------------------------


async def depth(url: str) -> int:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        declared = await channel.declare_queue(QUEUE, passive=True)
        return declared.declaration_result.message_count or 0


async def fill(url: str, count: int) -> None:
    async with await connect(url) as connection:
        channel = await connection.channel(publisher_confirms=True)
        await channel.queue_declare(QUEUE, durable=True)
        for number in range(count):
            await publish(channel, "", QUEUE, b"%d" % number)


async def test_only_what_is_done_without_a_gap_is_acknowledged(amqp_url: str) -> None:
    count = ACKS_TOGETHER * 2
    await fill(amqp_url, count)
    async with await connect(amqp_url) as connection:
        channel = await connection.channel()
        taken = Taken(channel)
        await taken.begin(QUEUE, prefetch=count)
        async with asyncio.timeout(ALL_S_MAX):
            deliveries = [await taken.waiting.get() for _ in range(count)]
        for delivery in reversed(deliveries[:60] + deliveries[61:]):
            await taken.done(delivery)
        await taken.acknowledge()
        await channel.basic_qos(prefetch_count=1)  # answered once all before it is done
    assert await depth(amqp_url) == count - 60


async def test_the_floors_messages_are_persistent(amqp_url: str) -> None:
    await fill(amqp_url, 1)
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        queue = await channel.get_queue(QUEUE)
        message = await queue.get(timeout=ALL_S_MAX)
    assert message is not None
    assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT


async def test_commands_that_leave_together_get_their_own_answers(redis_url: str) -> None:
    store = Store(redis_url)
    await store.do("SET", "text", "x")
    told = await asyncio.gather(
        *(store.do("INCR", f"counter:{number % 40}") for number in range(100)),
        store.do("INCR", "text"),
        return_exceptions=True,
    )
    assert told[:100] == [1] * 40 + [2] * 40 + [3] * 20
    assert isinstance(told[100], redis.ResponseError)
    await store.close()


async def test_the_floors_calls_are_accepted(here: Surroundings, simulator: SimulatorProcess) -> None:
    calls = Calls(here)
    answers = [json.loads(await calls.make()) for _ in range(3)]
    await calls.close()
    assert [answer["meta"]["status"] for answer in answers] == ["SUCCESS"] * 3
    assert simulator.control.summary().accepted_calls == 3


async def test_each_part_alone_does_as_much_as_it_was_asked(
    here: Surroundings, asked: Asked, simulator: SimulatorProcess
) -> None:
    await fill(here.amqp_url, asked.count)
    consumed = await consume_alone(here, asked)
    assert await depth(here.amqp_url) == 0
    published = await publish_alone(here, asked)
    # Those that came before it was measured as well.
    assert await depth(here.amqp_url) >= asked.count
    called = await call_alone(here, asked)
    assert simulator.control.summary().accepted_calls == asked.count + here.in_flight
    bare = await bare_alone(here, asked)
    assert simulator.control.summary().accepted_calls == 2 * asked.count + here.in_flight
    stored = await store_alone(here, asked)
    async with Redis.from_url(asked.redis_url) as store:
        assert len(await store.keys("alone:*")) == asked.count + here.in_flight
    for spent in (consumed, published, called, bare, stored):
        assert spent.count == asked.count
        assert spent.seconds > 0


def test_an_event_is_as_large_as_one_of_ours() -> None:
    assert 300 < len(EVENT) < 600
