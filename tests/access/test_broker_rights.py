"""What each user of the committed definitions may do in a real RabbitMQ, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aio_pika
import httpx
import pytest
from aio_pika.abc import AbstractChannel
from aiormq.exceptions import AMQPError, ChannelAccessRefused

from deploy.access.broker import ROLES, definitions_text
from deploy.access.installation import DEFINITIONS
from deploy.local import RabbitMQ
from deploy.local.rabbitmq_server import USER
from tests.deployed import PASSWORD, definitions, refused_by_broker
from worker.adapters.rabbitmq_connection import BrokerAddress, declare
from worker.adapters.rabbitmq_publisher import Publisher
from worker.core.delivery import Publication
from worker.core.topology import (
    EVENTS_EXCHANGE,
    REPORTS_EXCHANGE,
    Topology,
    for_receiving,
    for_sending,
    jobs_queues,
    journal_mark,
)

EVERYBODY = [role.name for role in ROLES]
Do = Callable[[AbstractChannel], Awaitable[Any]]


@pytest.fixture(scope="module")
def broker() -> Iterator[RabbitMQ]:
    with RabbitMQ(management=True, definitions=definitions()) as server:
        server.add_vhost("whole")
        yield server


def url_of(broker: RabbitMQ, user: str, vhost: str = "whole", password: str = PASSWORD) -> str:
    return f"amqp://{user}:{password}@127.0.0.1:{broker.port}/{vhost}"


@pytest.fixture
async def things(broker: RabbitMQ) -> None:
    """What there is to get at: an account's queues, and one of somebody else."""
    async with await aio_pika.connect(broker.url_of("whole")) as connection:
        channel = await connection.channel()
        raw = await channel.get_underlay_channel()
        await declare(raw, Topology((), jobs_queues("acme")), 10)
        await channel.declare_queue("upstream.shop", durable=True)
        await channel.declare_queue("other", durable=True)


@pytest.fixture
def bare_vhost(broker: RabbitMQ, numbers: Iterator[int]) -> str:
    """With the users' rights, and nothing in it."""
    name = f"bare-{next(numbers)}"
    broker._manage("PUT", f"/api/vhosts/{name}", "{}")
    for rights in definitions()["permissions"]:
        broker._manage("PUT", f"/api/permissions/{name}/{rights['user']}", json.dumps(rights))
    return name


# --- What each does ---------------------------------------------------------------------------------------


async def test_what_is_needed_can_be_declared_where_there_is_nothing(broker: RabbitMQ, bare_vhost: str) -> None:
    """By a worker; a receiver adds what is of reports alone, and has dead letters of reports go where all go."""
    sending = for_sending(["a-1_Z"])
    marked = Topology((*sending.exchanges, journal_mark("a-1_Z")), sending.queues)
    for user, declared in (("worker", marked), ("receiver", for_receiving())):
        async with await aio_pika.connect(url_of(broker, user, bare_vhost)) as connection:
            raw = await (await connection.channel()).get_underlay_channel()
            await declare(raw, declared, 10)
            await declare(raw, declared, 10)  # and again, as each connection does
    publisher = publisher_of(broker, "receiver", REPORTS_EXCHANGE, vhost=bare_vhost)
    await confirmed(publisher, [(REPORTS_EXCHANGE, "mms.dead"), (REPORTS_EXCHANGE, "mms.reports")])


async def test_a_receiver_does_not_declare_what_workers_declare(broker: RabbitMQ, bare_vhost: str) -> None:
    async with await aio_pika.connect(url_of(broker, "receiver", bare_vhost)) as connection:
        raw = await (await connection.channel()).get_underlay_channel()
        with pytest.raises(ChannelAccessRefused, match=r"exchange 'mms\.events'"):
            await declare(raw, for_receiving(), 10)


@pytest.mark.usefixtures("things")
@pytest.mark.parametrize(("user", "declared"), [("worker", for_sending(["acme"])), ("receiver", for_receiving())])
async def test_what_the_definitions_hold_is_what_the_product_declares(
    broker: RabbitMQ, user: str, declared: Topology
) -> None:
    """With other properties the declarations would be refused."""
    async with await aio_pika.connect(url_of(broker, user)) as connection:
        await declare(await (await connection.channel()).get_underlay_channel(), declared, 10)


@pytest.mark.usefixtures("things")
@pytest.mark.parametrize(
    ("user", "probe", "targets"),
    [
        ("worker", "", [("mms.events", "x"), ("mms.jobs", "acme"), ("", "mms.dead"), ("", "mms.in_doubt")]),
        ("worker", "", [(f"mms.retry.{delay_s}s", "acme") for delay_s in (1, 5, 15, 60, 300)]),
        (
            "receiver",
            REPORTS_EXCHANGE,
            [
                (EVENTS_EXCHANGE, "mms.message.report.acme"),
                *((REPORTS_EXCHANGE, key) for key in ("mms.reports", "mms.reports.wait.3s", "mms.reports.wait.20s")),
                (REPORTS_EXCHANGE, "mms.dead"),
            ],
        ),
    ],
)
async def test_what_it_publishes_is_taken_and_confirmed(
    broker: RabbitMQ, user: str, probe: str, targets: list[tuple[str, str]]
) -> None:
    await confirmed(publisher_of(broker, user, probe), targets)


def publisher_of(broker: RabbitMQ, user: str, probe: str, vhost: str = "whole") -> Publisher:
    return Publisher(
        address=BrokerAddress(url_of(broker, user, vhost), "test", timeout_s=10),
        topology=Topology((), ()),
        timeout_s=10,
        observe=lambda _: None,
        monotonic=lambda: 0.0,
        probe_exchange=probe,
    )


async def confirmed(publisher: Publisher, targets: list[tuple[str, str]]) -> None:
    await publisher.link.open()
    try:
        for confirm in publisher.publish_many([Publication(*target, b"x", {}) for target in targets]):
            await confirm
    finally:
        await publisher.link.close()


@pytest.mark.usefixtures("things")
async def test_an_upstream_system_publishes_and_follows_events_in_a_queue_of_its_own(broker: RabbitMQ) -> None:
    async with await aio_pika.connect(url_of(broker, "upstream")) as connection:
        channel = await connection.channel()
        arguments: dict[str, Any] = {"x-queue-type": "quorum"}
        queues = [
            await channel.declare_queue("upstream.shop.messages", durable=True, arguments=arguments),
            await channel.declare_queue(exclusive=True),
        ]
        for queue in queues:
            await queue.bind("mms.events", "mms.job.#")
        jobs = await channel.get_exchange("mms.jobs", ensure=False)
        await jobs.publish(aio_pika.Message(b"{}"), "acme")
    async with await aio_pika.connect(url_of(broker, "worker")) as connection:
        channel = await connection.channel()
        events = await channel.get_exchange("mms.events", ensure=False)
        await events.publish(aio_pika.Message(b"told"), "mms.job.sent.acme")
    async with await aio_pika.connect(url_of(broker, "upstream")) as connection:
        queue = await (await connection.channel()).get_queue("upstream.shop.messages", ensure=False)
        message = await queue.get(timeout=10)
        assert message is not None
        assert message.body == b"told"


@pytest.mark.usefixtures("things")
def test_a_monitor_sees_queues_and_changes_nothing(broker: RabbitMQ) -> None:
    address = broker.management_url.split("@")[1]
    with httpx.Client(base_url=f"http://{address}", auth=("monitor", PASSWORD), trust_env=False) as client:
        assert client.get("/api/queues/whole/mms.jobs.acme").json()["name"] == "mms.jobs.acme"
        assert client.get("/api/overview").status_code == 200
        assert client.delete("/api/queues/whole/mms.jobs.acme").status_code == 401
        assert client.put("/api/users/me", json={"password": "x", "tags": ""}).status_code == 401


# --- What is refused --------------------------------------------------------------------------------------


def publish(exchange: str, key: str) -> Do:
    async def do(channel: AbstractChannel) -> None:
        raw = await channel.get_underlay_channel()
        await raw.basic_publish(b"x", exchange=exchange, routing_key=key)

    return do


def take(queue: str) -> Do:
    async def do(channel: AbstractChannel) -> None:
        await (await channel.get_queue(queue, ensure=False)).get(fail=False)

    return do


def follow(queue: str) -> Do:
    async def do(channel: AbstractChannel) -> None:
        await (await channel.get_underlay_channel()).basic_consume(queue, lambda _: None)  # type: ignore[arg-type,return-value]

    return do


def make(queue: str) -> Do:
    async def do(channel: AbstractChannel) -> None:
        await channel.declare_queue(queue, durable=True)

    return do


def drop(queue: str) -> Do:
    return lambda channel: channel.queue_delete(queue)


def make_with_dead_letters(queue: str, exchange: str, key: str) -> Do:
    async def do(channel: AbstractChannel) -> None:
        arguments: dict[str, Any] = {"x-dead-letter-exchange": exchange, "x-dead-letter-routing-key": key}
        await channel.declare_queue(queue, durable=True, arguments=arguments)

    return do


def hear(queue: str, exchange: str) -> Do:
    """Have what is published there come into that queue as well."""

    async def do(channel: AbstractChannel) -> None:
        await (await channel.get_underlay_channel()).queue_bind(queue, exchange, routing_key="#")

    return do


def unhear(queue: str, exchange: str) -> Do:
    async def do(channel: AbstractChannel) -> None:
        await (await channel.get_underlay_channel()).queue_unbind(queue, exchange, routing_key="#")

    return do


def drop_exchange(exchange: str) -> Do:
    return lambda channel: channel.exchange_delete(exchange)


def empty(queue: str) -> Do:
    async def do(channel: AbstractChannel) -> None:
        await (await channel.get_queue(queue, ensure=False)).purge()

    return do


REFUSED: dict[str, dict[str, Do]] = {
    "worker": {
        "reads dead letters": take("mms.dead"),
        "reads the event log": follow("mms.events.log"),
        "reads others' queues": take("upstream.shop"),
        "drops others' queues": drop("upstream.shop"),
        "empties others' queues": empty("other"),
        "makes a queue of any name": make("anything"),
        "makes a name that looks like ours": make("mms.deadly"),
        "makes a queue below an account's": make("mms.jobs.acme.urgent.more"),
        "tells reports": publish("mms.reports", "mms.reports"),
    },
    "receiver": {
        "makes a job": publish("mms.jobs", "acme"),
        "makes a job the other way": publish("", "mms.jobs.acme"),
        "reads jobs": take("mms.jobs.acme"),
        "follows jobs": follow("mms.jobs.acme"),
        "drops jobs": drop("mms.jobs.acme"),
        "empties jobs": empty("mms.jobs.acme"),
        "reads dead letters": take("mms.dead"),
        "reads what is in doubt": take("mms.in_doubt"),
        "drops what is in doubt": drop("mms.in_doubt"),
        "drops dead letters": drop("mms.dead"),
        "empties dead letters": empty("mms.dead"),
        "drops the event log": drop("mms.events.log"),
        "drops the exchange of jobs": drop_exchange("mms.jobs"),
        "drops the exchange of events": drop_exchange("mms.events"),
        "reads the event log": follow("mms.events.log"),
        "hears what became of jobs": hear("mms.reports", "mms.events"),
        "hears jobs": hear("mms.reports", "mms.jobs"),
        "keeps events out of the log": unhear("mms.events.log", "mms.events"),
        "makes a queue of any name": make("anything"),
    },
    "upstream": {
        "reads jobs": take("mms.jobs.acme"),
        "empties jobs": empty("mms.jobs.acme"),
        "drops jobs": drop("mms.jobs.acme"),
        "makes an account": make("mms.jobs.mine"),
        "tells an event": publish("mms.events", "mms.job.sent.acme"),
        "publishes past the exchange": publish("", "mms.jobs.acme"),
        "reads dead letters": take("mms.dead"),
        "drops the exchange of jobs": drop_exchange("mms.jobs"),
        "makes a queue of any name": make("shop"),
        "makes a name that looks like its own": make("xupstream.shop"),
        "has dead letters go past the exchange": make_with_dead_letters("upstream.d", "", "mms.jobs.acme"),
        "has dead letters tell events": make_with_dead_letters("upstream.e", "mms.events", "mms.job.sent.acme"),
        "hears others' jobs": hear("upstream.shop", "mms.jobs"),
        "hears what goes round": hear("upstream.shop", "mms.retry.5s"),
        "keeps events out of the log": unhear("mms.events.log", "mms.events"),
        "drops the event log": drop("mms.events.log"),
    },
    "operator": {
        "reads jobs": take("mms.jobs.acme"),
        "drops dead letters at once": drop("mms.dead"),
        "drops an exchange": drop_exchange("mms.events"),
        "makes a queue": make("mms.dead"),
        "publishes past the exchange": publish("", "mms.jobs.acme"),
    },
    "monitor": {
        "reads dead letters": take("mms.dead"),
        "makes a job": publish("mms.jobs", "acme"),
        "makes a queue": make("anything"),
    },
}


@pytest.mark.usefixtures("things")
@pytest.mark.parametrize(
    ("user", "what"), [(user, what) for user, attempts in REFUSED.items() for what in attempts], ids=str
)
async def test_everything_else_is_refused(broker: RabbitMQ, user: str, what: str) -> None:
    connection = await aio_pika.connect(url_of(broker, user))
    try:
        with pytest.raises(ChannelAccessRefused):
            await REFUSED[user][what](await connection.channel())
    finally:
        await connection.close()


async def test_a_refusal_is_found_in_the_log(broker: RabbitMQ, bare_vhost: str) -> None:
    """By this, end-to-end tests know that a right is missing, also where everything went well in the end."""
    await (await aio_pika.connect(url_of(broker, "worker", bare_vhost))).close()
    assert refused_by_broker(broker, bare_vhost) == []
    async with await aio_pika.connect(url_of(broker, "worker", bare_vhost)) as connection:
        with pytest.raises(ChannelAccessRefused):
            await make("anything")(await connection.channel())
    (told,) = refused_by_broker(broker, bare_vhost)
    assert "'anything'" in told


@pytest.mark.parametrize("user", EVERYBODY)
async def test_nobody_gets_into_another_virtual_host(broker: RabbitMQ, user: str) -> None:
    broker._manage("PUT", "/api/vhosts/elsewhere", "{}")
    with pytest.raises((AMQPError, ConnectionError)):
        await aio_pika.connect(url_of(broker, user, "elsewhere"))


async def test_with_the_committed_file_nobody_can_log_in(broker: RabbitMQ) -> None:
    committed = json.loads(DEFINITIONS.read_text())
    assert [user["name"] for user in committed["users"]] == EVERYBODY
    broker._manage("POST", "/api/definitions", json.dumps({**committed, "vhosts": [{"name": "mms"}]}))
    try:
        for user in EVERYBODY:
            for password in (PASSWORD, "", user):
                with pytest.raises((AMQPError, ConnectionError)):
                    await aio_pika.connect(url_of(broker, user, "mms", password))
    finally:
        broker._manage("POST", "/api/definitions", json.dumps(definitions()))
    await (await aio_pika.connect(url_of(broker, "worker", "mms"))).close()


# --- The file ---------------------------------------------------------------------------------------------


def test_the_committed_file_is_what_is_said_of_the_roles() -> None:
    assert DEFINITIONS.read_text() == definitions_text()


def test_no_right_is_a_pattern_that_takes_everything() -> None:
    for rights in definitions()["permissions"]:
        for what in ("configure", "write", "read"):
            pattern = re.compile(rights[what])
            for name in ("", "anything", "amq.topic", "mms", "mmsxdead", "mms.journal", "mms.jobs.a b", USER):
                assert not pattern.search(name) or (name, rights[what]) == ("", "^$"), (rights["user"], what, name)
