"""The whole as it is deployed: TLS alone, a user for each process, and no right that is not used or is missing."""

from __future__ import annotations

import asyncio
from typing import Any, Self

import aio_pika
import httpx
import orjson
import pytest
from redis import Redis as Client

from deploy.access.store import ROLES
from deploy.local import Redis
from loadtest.simulator.faults import Fault
from tests.deployed import IS_DEPLOYED, as_user, refused_by_redis
from tests.end_to_end.conftest import TERM, System
from tests.jobs import job_body

pytestmark = pytest.mark.skipif(not IS_DEPLOYED, reason="MMS_TEST_DEPLOYED=0")

#: A message that has come back three times is noted; what is in doubt is looked through every minute, and when a report
#: resolves it. Other tests do that. Its file of users is read again when it holds another password.
SELDOM = {"incrby", "zscore", "acl|load"}


@pytest.fixture
def redis_url(own_redis: Redis) -> str:
    return own_redis.url_of(1)


class Shop:
    """An upstream system: publishes jobs and follows events with its own login, over TLS."""

    def __init__(self, system: System) -> None:
        self._url = as_user(system.amqp_url, "upstream")
        self.events: list[dict[str, Any]] = []

    async def __aenter__(self) -> Self:
        self._connection = await aio_pika.connect(self._url)
        self._channel = await self._connection.channel()
        queue = await self._channel.declare_queue("upstream.shop", durable=True)
        await queue.bind("mms.events", "#")
        await queue.consume(self._note, no_ack=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    async def _note(self, message: Any) -> None:
        self.events.append(orjson.loads(message.body))

    async def publish(self, *bodies: bytes, key: str = "acme") -> None:
        jobs = await self._channel.get_exchange("mms.jobs", ensure=False)
        for body in bodies:
            await jobs.publish(aio_pika.Message(body, delivery_mode=2), key)

    async def until(self, *types: str, limit_s: float = 30) -> None:
        """Wait until there is an event of each of ``types``."""
        async with asyncio.timeout(limit_s):
            while not set(types) <= {event["type"] for event in self.events}:  # noqa: ASYNC110 - the broker fills it
                await asyncio.sleep(0.05)


async def commanded(system: System, *arguments: str, **settings: Any) -> str:
    done = await asyncio.to_thread(lambda: system.command(*arguments, **settings))
    words = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, words
    return words


async def test_every_part_works_with_its_own_login_and_uses_every_right(system: System, own_redis: Redis) -> None:
    soon = {"MMS_CONNECT_TIMEOUT_S": "1", "MMS_READ_TIMEOUT_S": "1"}
    worker = system.start_worker(**soon)
    receiver = system.start_receiver(MMS_REPLIES_POLL_S="1", **soon)
    async with Shop(system) as shop:
        system.simulator.control.add_fault(Fault("500_after_accept", count=1))
        await shop.publish(job_body("in-doubt"))
        await shop.until("mms.job.in_doubt")
        system.simulator.control.add_fault(Fault("429_retry_after", count=1, after_s=1))
        await shop.publish(b"broken", job_body("urgent", to=["+61400000002"]))
        await shop.publish(
            job_body("first", to=["+61400000001"]), job_body("first", to=["+61400000001"]), key="acme.urgent"
        )
        await shop.until("mms.job.sent", "mms.job.dead")
        message_id = sent(shop, "first")
        await post(receiver.callbacks, "reports", reported(message_id, "+61400000001"))
        await post(receiver.callbacks, "reports", reported("of-nobody", "+61400000009"))
        await post(receiver.callbacks, "replies", replied(message_id))
        await shop.until("mms.message.report", "mms.reply.received")
        system.simulator.control.add_replies("key-acme", [{"from": "+61400000001", "body": "polled"}])
        status = orjson.loads(await commanded(system, "status", "--json"))
        assert status["problems"] == []
        assert status["accounts"][0]["in_doubt"] == 1
        await commanded(system, "account")
        assert "✗" not in await commanded(system, "check", MMS_REDIS_URL=own_redis.url)
        assert "1 " in await commanded(system, "in-doubt", "settle", "--as", "given-up", "--yes", **soon)
        assert "1 " in await commanded(system, "dead-letters", "retry", "--yes")
        await shop.until("mms.job.resolved")
        worker.signal(TERM)
        assert worker.wait() == 0
        receiver.signal(TERM)
        assert receiver.wait() == 0
    assert refused_by_redis(own_redis) == []
    permitted = {command for role in ROLES for command in role.commands}
    assert permitted - used(own_redis) - SELDOM == set()


def used(store: Redis) -> set[str]:
    """Commands that were carried out, those within scripts among them."""
    with Client.from_url(store.url, decode_responses=True) as client:
        return {name.removeprefix("cmdstat_") for name in client.info("commandstats")}


def sent(shop: Shop, job_id: str) -> str:
    """Under which message; a repeat of its event says the same."""
    told = (each["data"] for each in shop.events if each["type"] == "mms.job.sent")
    (message_id,) = {data["recipients"][0]["message_id"] for data in told if data["job_id"] == job_id}
    return str(message_id)


async def post(callbacks: str, kind: str, entry: dict[str, Any]) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"{callbacks}/{kind}", json=[entry])
    assert answer.status_code == 200, answer.text


def reported(message_id: str, to: str) -> dict[str, Any]:
    return {"message_id": message_id, "to": to, "status": "delivered"}


def replied(message_id: str) -> dict[str, Any]:
    return {"message_id": "r1", "original_message_id": message_id, "from": "+61400000001", "body": "thanks"}
