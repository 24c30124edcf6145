"""RabbitMQ in trouble: nothing lost, nothing sent twice, told while it lasts, and well again without anyone's hand."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from urllib.parse import urlsplit

import aio_pika
import httpx
import orjson
import pytest
from aio_pika.abc import AbstractIncomingMessage

from deploy.local import RabbitMQ
from tests.deployed import make_rabbitmq, rights_of_a_worker
from tests.end_to_end.conftest import System, Upstream, Worker
from tests.jobs import job_body

Connect = Callable[[], Awaitable[Upstream]]

#: What a dead worker had under way is in doubt as soon as no call can last that long: 1 + 2 + 10 s.
SOON = {"MMS_CONNECT_TIMEOUT_S": "1", "MMS_READ_TIMEOUT_S": "2"}
END_S_MAX = 50.0
#: From when the broker answers again until the next call.
BACK_S_MAX = 10.0
MARKER = "POISON"
EVENT_LOG = "mms.events.log"


@pytest.fixture(scope="module")
def broker() -> Iterator[RabbitMQ]:
    """These tests end it, so it is theirs alone."""
    with make_rabbitmq(management=True) as server:
        yield server


@pytest.fixture
def amqp_url(broker: RabbitMQ, numbers: Iterator[int]) -> str:
    return broker.add_vhost(f"trouble-{next(numbers)}")


def jobs(count: int, prefix: str = "") -> list[bytes]:
    return [job_body(f"j{prefix}{n}", text=f"t{prefix}{n}") for n in range(count)]


def accepted(system: System) -> Counter[str]:
    """How often each job was accepted."""
    return Counter(one.text.replace("t", "j", 1) for one in system.simulator.control.accepted())


async def until(is_so: Callable[[], object], limit_s: float = END_S_MAX) -> None:
    async with asyncio.timeout(limit_s):
        while not is_so():  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.02)


def readiness(worker: Worker) -> tuple[int, str]:
    answer = httpx.get(f"{worker.admin}/readyz")
    return answer.status_code, answer.text


def calls(system: System) -> int:
    return system.simulator.control.summary().calls


async def publish(system: System, *bodies: bytes) -> None:
    """As a producer with a connection of its own, which the trouble does not meet."""
    async with await aio_pika.connect(system.amqp_url) as connection:
        exchange = await (await connection.channel()).get_exchange("mms.jobs", ensure=False)
        await asyncio.gather(*(exchange.publish(aio_pika.Message(body, delivery_mode=2), "acme") for body in bodies))


async def told(system: System, count: int) -> dict[str | None, set[str]]:
    """Job id to the types told about it, from the log of all events; waits for ``count`` jobs."""
    ends: dict[str | None, set[str]] = {}

    async def note(message: AbstractIncomingMessage) -> None:
        event = orjson.loads(message.body)
        ends.setdefault(event["data"]["job_id"], set()).add(event["type"].removeprefix("mms.job."))
        await message.ack()

    async with await aio_pika.connect(system.amqp_url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=500)
        log = await channel.get_queue(EVENT_LOG)
        await log.consume(note, arguments={"x-stream-offset": "first"})
        await until(lambda: len(ends) >= count)
    return ends


async def all_sent_once(system: System, count: int) -> None:
    names = {f"j{n}" for n in range(count)}
    assert await told(system, count) == {name: {"sent"} for name in names}
    assert accepted(system) == Counter(names)


RESTARTS: dict[str, Callable[[RabbitMQ], object]] = {
    "stopped": lambda broker: broker.stop(),
    "killed": lambda broker: broker.kill(),
}


@pytest.mark.parametrize("how", RESTARTS)
async def test_a_broker_that_ends_and_comes_back_costs_no_job_and_puts_none_in_doubt(
    system: System, broker: RabbitMQ, how: str
) -> None:
    workers = [system.start_worker(), system.start_worker()]
    await publish(system, *jobs(150))
    await until(lambda: calls(system) >= 50)
    await asyncio.to_thread(RESTARTS[how], broker)
    await until(lambda: all(readiness(worker)[0] == 503 for worker in workers))
    assert "not connected to the broker" in readiness(workers[0])[1]
    before = calls(system)
    await asyncio.sleep(0.5)
    assert calls(system) == before, "what cannot be told is not called for"
    await asyncio.to_thread(broker.start)
    await until(lambda: calls(system) > before, BACK_S_MAX)
    await all_sent_once(system, 150)
    await until(lambda: all(readiness(worker)[0] == 200 for worker in workers))


async def test_a_broker_with_an_alarm_stops_the_calls_and_goes_on_by_itself(system: System, broker: RabbitMQ) -> None:
    worker = system.start_worker()
    await publish(system, *jobs(150))
    await until(lambda: calls(system) >= 30)
    broker.control("set_vm_memory_high_watermark", "0.0000001")
    try:
        await until(lambda: worker.metrics()['mms_broker_blocked{role="publish"}'] == 1)
        assert readiness(worker) == (503, "the broker has an alarm and takes nothing in\n")
        await asyncio.sleep(0.5)  # what was under way ends
        before = calls(system)
        await asyncio.sleep(1.5)
        assert calls(system) == before < 150
        assert worker.metrics()['mms_broker_connected{role="publish"}'] == 1
    finally:
        broker.control("set_vm_memory_high_watermark", "0.9")
    await until(lambda: calls(system) > before, BACK_S_MAX)
    await all_sent_once(system, 150)
    assert worker.metrics()['mms_broker_blocked{role="publish"}'] == 0
    assert readiness(worker)[0] == 200


async def test_a_queue_that_is_deleted_is_there_again_and_what_the_worker_held_is_sent(
    system: System, upstream: Connect
) -> None:
    worker = system.start_worker()
    outside = await upstream()
    await outside.publish(*jobs(100))
    await outside.until_events(20)
    assert (await outside.waiting("mms.jobs.acme")) == [], "the worker holds them all"
    await outside.delete("mms.jobs.acme")
    await until(lambda: '"account_consumed_again"' in worker.log())
    assert "the broker cancelled the consumer of mms.jobs.acme" in worker.log()
    assert worker.metrics()['mms_consumer_active{queue="mms.jobs.acme"}'] == 1
    await outside.publish(*jobs(120)[100:])
    await outside.until_events(120)
    assert outside.ends() == {f"j{n}": ["sent"] for n in range(120)}
    assert accepted(system).total() == 120


async def test_an_account_whose_queue_became_another_one_stops_with_one_sentence_and_the_others_go_on(
    system: System, upstream: Connect
) -> None:
    both = '[accounts.acme]\napp_key = "key-acme"\nrate_per_s = 40\n[accounts.other]\napp_key = "key-other"\n'
    (system.folder / "accounts.toml").write_text(both)
    own = {"MMS_ACCOUNT": "", "MMS_APP_KEY": "", "MMS_RATE_PER_S": ""}
    worker = system.start_worker(MMS_ACCOUNTS_FILE=str(system.folder / "accounts.toml"), **own)
    outside = await upstream()
    await until(lambda: worker.metrics()['mms_consumer_active{queue="mms.jobs.acme"}'] == 1)
    await outside.delete("mms.jobs.acme")
    await outside.declare("mms.jobs.acme")
    await until(lambda: "other properties" in worker.log())
    assert worker.metrics()['mms_consumer_active{queue="mms.jobs.acme"}'] == 0
    assert "takes no jobs of acme: The queue mms.jobs.acme exists" in readiness(worker)[1]
    await outside.publish(*jobs(10, "o"), key="other")
    await outside.until_events(10)
    await outside.delete("mms.jobs.acme")
    await until(lambda: worker.metrics()['mms_consumer_active{queue="mms.jobs.acme"}'] == 1)
    await outside.publish(*jobs(10))
    await outside.until_events(20)
    assert {tuple(kinds) for kinds in outside.ends().values()} == {("sent",)}
    assert sum("other properties" in line for line in worker.log().splitlines()) == 1


async def test_without_permission_nothing_is_sent_until_it_is_given_back(system: System, broker: RabbitMQ) -> None:
    worker = system.start_worker()
    vhost = urlsplit(system.amqp_url).path.removeprefix("/")
    await publish(system, *jobs(150))
    await until(lambda: calls(system) >= 30)
    user, rights = rights_of_a_worker()
    broker.control("clear_permissions", "-p", vhost, user)
    broker.control("close_all_connections", "--vhost", vhost, "permission revoked")
    await until(lambda: "does not let this user into the virtual host" in worker.log())
    before = calls(system)
    await asyncio.sleep(0.5)
    assert calls(system) == before < 150
    assert readiness(worker)[0] == 503
    broker.control("set_permissions", "-p", vhost, user, *rights)
    await until(lambda: calls(system) > before, BACK_S_MAX)
    await all_sent_once(system, 150)


async def test_jobs_that_are_published_twice_are_sent_once(system: System, upstream: Connect) -> None:
    worker = system.start_worker()
    outside = await upstream()
    await outside.publish(*jobs(20), *jobs(20))
    await outside.until_events(20)
    await outside.publish(*jobs(20))
    await until(lambda: finished(worker) == 60)
    # What is told again, since its end was not known everywhere yet, has the same id.
    assert {job: set(kinds) for job, kinds in outside.ends().items()} == {f"j{n}": {"sent"} for n in range(20)}
    assert len({event["id"] for event in outside.events}) == 20
    assert accepted(system).total() == calls(system) == 20


def finished(worker: Worker) -> float:
    """How many deliveries have ended, in whatever way."""
    return sum(value for name, value in worker.metrics().items() if name.startswith("mms_jobs_finished_total"))


async def test_letters_that_the_broker_refuses_are_told_once_it_takes_them(
    system: System, upstream: Connect, broker: RabbitMQ
) -> None:
    """A queue that is full answers a publish with a nack."""
    worker = system.start_worker()
    vhost = urlsplit(system.amqp_url).path.removeprefix("/")
    outside = await upstream()
    full = '{"max-length": 1, "overflow": "reject-publish"}'
    broker.control("set_policy", "-p", vhost, "full", r"^mms\.dead$", full, "--apply-to", "queues")
    broken: set[bytes] = set()
    while worker.metrics()['mms_publish_failures_total{reason="other"}'] == 0:
        # How many more a full queue still takes is the broker's affair.
        assert len(broken) < 100
        broken.add(b"broken %d" % len(broken))
        await outside.publish(b"broken %d" % (len(broken) - 1))
    await outside.publish(*jobs(20))
    await until(lambda: len([job for job in outside.ends() if job]) == 20)
    letters: set[bytes] = set()
    async with asyncio.timeout(END_S_MAX):
        while len(letters) < len(broken):
            for letter in await outside.waiting("mms.dead"):
                letters.add(letter.body)
                await letter.ack()
    await outside.until_events(len(broken) + 20)
    assert letters == broken
    assert outside.ends() == {None: ["dead"] * len(broken)} | {f"j{n}": ["sent"] for n in range(20)}
    assert worker.metrics()['mms_broker_losses_total{role="publish"}'] == 0


async def test_a_message_that_ends_each_worker_is_buried_and_its_neighbours_are_sent_once(
    system: System, upstream: Connect
) -> None:
    system.start_worker().end()  # declares everything
    outside = await upstream()
    neighbours, poison = jobs(50), job_body(f"{MARKER}-1", text="boom")
    await outside.publish(*neighbours[:25], poison, *neighbours[25:])
    deaths = 0
    while deaths < 10:
        # All are handed over at once: with less room the first ones are called for before the rest is here.
        worker = system.launch_worker(MMS_FAILPOINT=f"decode:{MARKER}", MMS_HELD_BYTES_MAX="256000000", **SOON)
        await until(partial(has_ended_or_buried, worker, outside))
        if worker.process.poll() is None:
            break
        deaths += 1
    await until(lambda: len(outside.ends()) == 51)
    assert 3 < deaths < 8
    (letter,) = await outside.waiting("mms.dead")
    assert letter.body == poison
    assert letter.headers["x-mms-reasons"] == [
        "its worker died 2 times while it looked at this message, so it was not looked at again"
    ]
    (dead,) = [event for event in outside.events if event["type"] == "mms.job.dead"]
    assert (dead["data"]["job_id"], dead["data"]["reasons"]) == (None, letter.headers["x-mms-reasons"])
    # None was in a call when a worker died: while what may end the process is looked at, none leaves.
    sent = {f"j{n}" for n in range(50)}
    assert {job: set(kinds) for job, kinds in outside.ends().items() if job} == {job: {"sent"} for job in sent}
    assert accepted(system) == Counter(sent)


def has_ended_or_buried(worker: Worker, outside: Upstream) -> bool:
    return worker.process.poll() is not None or is_buried(outside)


def is_buried(outside: Upstream) -> bool:
    return any(event["type"] == "mms.job.dead" for event in outside.events)
