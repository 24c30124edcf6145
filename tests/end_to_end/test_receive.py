"""The receiver as a process: what the vendor posts becomes events, and nothing is said to be taken that is not safe."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest
import trustme

from deploy.local import RabbitMQ, Redis
from tests.end_to_end.conftest import CALLBACK_TOKEN, TERM, Receiver, System, Upstream
from tests.end_to_end.vendor import events, until, until_answered
from tests.jobs import A_NUMBER, job_body

Connect = Callable[[], Awaitable[Upstream]]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        yield client


def report(message_id: str = "m-1", status: str = "Delivered", to: str = "61400000001") -> dict[str, str]:
    return {"message_id": message_id, "status": status, "recipient": to, "custom_string": "", "source": "x"}


def readiness(receiver: Receiver) -> tuple[int, str]:
    answer = httpx.get(f"{receiver.admin}/readyz")
    return answer.status_code, answer.text


async def test_a_job_is_sent_reported_and_replied_to_and_each_event_names_it(
    system: System, upstream: Connect, client: httpx.AsyncClient
) -> None:
    system.start_worker()
    receiver = system.start_receiver()
    outside = await upstream()
    await outside.publish(job_body("j-1", reference="crm:1"))
    await outside.until_events(1)
    (message_id,) = [one["message_id"] for one in outside.events[0]["data"]["recipients"]]
    for status in ("Dispatched", "DELIVERED", "Delivered", "Dispatched"):
        answer = await client.post(f"{receiver.callbacks}/reports", json=[report(message_id, status)])
        assert answer.status_code == 200
    reply = {"from": A_NUMBER, "body": "Thanks 🎁", "received_at": "2024-09-18 07:15:36", "message_id": "r-1"}
    reply |= {"type": "MMS", "original_message_id": message_id, "original_body": "Your parcel"}
    for _ in range(2):
        assert (await client.post(f"{receiver.callbacks}/replies", json=reply)).status_code == 200
    await outside.until_events(4)
    told = [(event["type"], event["data"]["job_id"], event["data"]["reference"]) for event in outside.events]
    assert told == [
        ("mms.job.sent", "j-1", "crm:1"),
        ("mms.message.report", "j-1", "crm:1"),
        ("mms.message.report", "j-1", "crm:1"),
        ("mms.reply.received", "j-1", "crm:1"),
    ]
    assert [event["data"]["status"] for event in outside.events[1:3]] == ["dispatched", "delivered"]
    assert (outside.events[3]["data"]["from"], outside.events[3]["data"]["text"]) == (A_NUMBER, "Thanks 🎁")
    metrics = receiver.metrics()
    assert metrics['mms_reports_total{account="acme",status="delivered"}'] == 1
    assert metrics['mms_reports_repeated_total{account="acme"}'] == 2
    assert metrics['mms_replies_total{account="acme",way="callback"}'] == 1
    assert metrics['mms_callback_requests_total{result="taken"}'] == 6
    assert "+614" not in receiver.log()
    assert "61400000001" not in receiver.log()


async def test_what_is_wrong_is_answered_as_such(system: System, client: httpx.AsyncClient) -> None:
    receiver = system.start_receiver()
    strange = receiver.callbacks.replace(CALLBACK_TOKEN, "another-token-than-ours")
    for url, body, expected in (
        (f"{strange}/reports", b"[]", 404),
        (f"{receiver.callbacks}/letters", b"[]", 404),
        (f"{receiver.callbacks}/reports", b"[{", 400),
        (f"{receiver.callbacks}/replies", b"[1]", 400),
        (f"{receiver.callbacks}/reports", b" " * 1_048_577, 413),
        (f"{receiver.callbacks}/reports", b"[]", 200),
    ):
        answer = await client.post(url, content=body)
        assert answer.status_code == expected
        if expected == 400:
            assert len(answer.json()["reasons"]) == 1
    metrics = receiver.metrics()
    counts = {name: metrics[f'mms_callback_requests_total{{result="{name}"}}'] for name in ("malformed", "too_large")}
    assert counts == {"malformed": 2, "too_large": 1}
    assert metrics['mms_callback_requests_total{result="unknown_address"}'] == 2
    assert CALLBACK_TOKEN not in receiver.log()
    assert "another-token" not in receiver.log()


async def test_sigterm_answers_what_is_in_hand_and_ends_with_exit_code_0(
    system: System, client: httpx.AsyncClient
) -> None:
    receiver = system.start_receiver()
    assert (await client.post(f"{receiver.callbacks}/reports", json=[report()])).status_code == 200
    receiver.signal(TERM)
    assert receiver.wait() == 0
    assert '"drain_ended"' in receiver.log()


async def test_sigterm_under_load_loses_nothing_and_tells_nothing_twice(
    system: System, client: httpx.AsyncClient
) -> None:
    ending, staying = system.start_receiver(), system.start_receiver()
    message_ids = [f"r-{number}" for number in range(600)]
    answered: dict[str, int | None] = {}

    async def post(message_id: str, to: Receiver) -> int | None:
        """The status; None when there was no answer."""
        try:
            return (await client.post(f"{to.callbacks}/replies", json=[reply(message_id)])).status_code
        except httpx.TransportError:
            return None

    async def post_some(some: list[str]) -> None:
        for message_id in some:
            answered[message_id] = await post(message_id, ending)

    posting = [asyncio.ensure_future(post_some(message_ids[first::20])) for first in range(20)]
    await until(lambda: len(answered) > 100)
    ending.signal(TERM)
    await asyncio.gather(*posting)
    assert await asyncio.to_thread(ending.wait) == 0
    assert set(answered.values()) == {200, None}
    for message_id in message_ids:
        if answered[message_id] != 200:
            assert await post(message_id, staying) == 200
    found = await events(system.amqp_url, lambda found: len(found) >= len(message_ids))
    assert sorted(event["data"]["message_id"] for event in found) == sorted(message_ids)


def test_without_a_token_it_does_not_start(system: System) -> None:
    ended = system.command("receive")
    assert ended.returncode == 2
    assert b"MMS_CALLBACK_TOKEN" in ended.stderr
    assert b"Traceback" not in ended.stderr


async def test_sighup_brings_other_tokens_and_another_certificate(system: System) -> None:
    ca = trustme.CA()
    token, cert, key = (system.folder / name for name in ("token", "cert.pem", "key.pem"))
    token.write_text(CALLBACK_TOKEN)
    first = renew(ca, cert, key)
    receiver = system.start_receiver(
        MMS_CALLBACK_TOKEN="",
        MMS_CALLBACK_TOKEN_FILE=str(token),
        MMS_RECEIVE_CERT_FILE=str(cert),
        MMS_RECEIVE_KEY_FILE=str(key),
    )
    trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ca.configure_trust(trusted)
    old = f"https{receiver.callbacks.removeprefix('http')}/reports"
    new = old.replace(CALLBACK_TOKEN, "another-token-from-now-on")
    assert await shown(old, trusted) == (200, first)
    token.write_text("too-short")
    receiver.signal(1)
    await until(lambda: '"reload_refused"' in receiver.log())
    assert await shown(old, trusted) == (200, first)
    token.write_text("another-token-from-now-on\n")
    second = renew(ca, cert, key)
    receiver.signal(1)
    await until(lambda: receiver.metrics()['mms_reloads_total{result="applied"}'] == 1)
    assert await shown(old, trusted) == (404, second)
    assert await shown(new, trusted) == (200, second)


def renew(ca: trustme.CA, cert: Path, key: Path) -> bytes:
    """Write another certificate, and return it as it is shown."""
    issued = ca.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    return ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())


async def shown(url: str, trusted: ssl.SSLContext) -> tuple[int, bytes]:
    """The answer to a post on a new connection, and the certificate that is shown there."""
    async with httpx.AsyncClient(trust_env=False, verify=trusted) as client:
        answer = await client.post(url, content=b"[]")
        line = answer.extensions["network_stream"].get_extra_info("ssl_object")
        return answer.status_code, line.getpeercert(binary_form=True)


class TestServersThatGoAway:
    """Whatever is not safe is answered with 503, and taken when it is posted again."""

    @pytest.fixture
    def amqp_url(self, own_rabbitmq: RabbitMQ) -> str:
        return own_rabbitmq.url

    @pytest.fixture
    def redis_url(self, own_redis: Redis) -> str:
        return own_redis.url

    async def test_without_broker_or_store_nothing_is_taken_and_all_of_it_is_once_they_are_back(
        self, system: System, client: httpx.AsyncClient, own_rabbitmq: RabbitMQ, own_redis: Redis
    ) -> None:
        receiver = system.start_receiver()

        async def post(message_id: str) -> httpx.Response:
            return await client.post(f"{receiver.callbacks}/replies", json=[reply(message_id)])

        own_redis.stop()
        answer = await post("r-1")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        await until(lambda: readiness(receiver)[0] == 503)
        assert "Redis does not answer" in readiness(receiver)[1]
        own_redis.start()
        await until_answered(lambda: post("r-1"), 200)
        own_rabbitmq.stop()
        assert (await post("r-2")).status_code == 503
        await until(lambda: "broker" in readiness(receiver)[1])
        own_rabbitmq.start()
        await until_answered(lambda: post("r-2"), 200)
        await until(lambda: readiness(receiver)[0] == 200)
        found = await events(system.amqp_url, lambda found: len({event["id"] for event in found}) == 2)
        assert {event["data"]["message_id"] for event in found} == {"r-1", "r-2"}
        assert receiver.metrics()['mms_callback_requests_total{result="not_taken"}'] >= 2


def reply(message_id: str) -> dict[str, str]:
    return {"from": A_NUMBER, "body": "yes", "message_id": message_id}
