"""Where operators look there is no phone number, no text of a message, no token and no key, whatever comes in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aio_pika
import httpx
import orjson
import pytest

from loadtest.simulator.faults import Fault
from tests.end_to_end.conftest import CALLBACK_TOKEN, TERM, Receiver, System, Upstream, Worker
from tests.end_to_end.vendor import until
from tests.jobs import job_body
from tests.privacy import private_in
from worker.core.delivery import Publication
from worker.core.reports import Report
from worker.core.waiting_reports import WaitingReport, put_aside

NUMBER = "+61498765432"
TEXT = "A private word"
GUESS = "a-guess-of-some-token"
#: As nobody may tell it, in whole or in part.
SECRETS = {"98765432", TEXT[1:], CALLBACK_TOKEN, GUESS[:15], "key-acme"}
#: Three jobs, and five of what somebody put into the queue of reports.
DEAD_LETTERS = 8

MANGLED: dict[str, Any] = {"message_id": "m-1", "status": "Delivered", "recipient": NUMBER}
#: What nobody can read, or not all of it, with what is private in every place.
REPORTS = [
    b'[{"recipient": "%s", ' % NUMBER.encode(),
    b"\xff%s" % NUMBER.encode(),
    orjson.dumps(NUMBER),
    orjson.dumps([NUMBER, [NUMBER], {NUMBER: TEXT}]),
    orjson.dumps({**MANGLED, "recipient": NUMBER * 10}),
    orjson.dumps({**MANGLED, "recipient": {NUMBER: TEXT}}),
    orjson.dumps({**MANGLED, "recipient": f"{NUMBER}\n"}),
    orjson.dumps({**MANGLED, "message_id": f"{NUMBER}\n{TEXT}"}),
    orjson.dumps({**MANGLED, "status": [TEXT]}),
    orjson.dumps({**MANGLED, "status": TEXT * 10}),
    orjson.dumps([MANGLED] * 1_001),
]
REPLIES = [
    orjson.dumps({"from": NUMBER, "body": TEXT}),
    orjson.dumps({"from": [NUMBER], "body": TEXT, "message_id": "r"}),
    orjson.dumps({"from": NUMBER, "body": {TEXT: NUMBER}, "message_id": "r"}),
    orjson.dumps({"from": NUMBER * 10, "body": TEXT, "message_id": "r"}),
]


class Hand:
    """Puts messages into queues, and looks at what is in them."""

    def __init__(self, channel: aio_pika.abc.AbstractChannel) -> None:
        self._channel = channel

    async def put(self, queue: str, body: bytes, headers: Any = None) -> None:
        message = aio_pika.Message(body, headers=dict(headers or {}), delivery_mode=2)
        await self._channel.default_exchange.publish(message, queue)

    async def headers(self, queue: str) -> list[str]:
        declared = await self._channel.get_queue(queue, ensure=False)
        found = []
        while (message := await declared.get(fail=False)) is not None:
            found.append(str(message.headers))
        return found


@pytest.mark.parametrize("system", [{"rate_per_s": 50, "envelope": "error"}], indirect=True)
async def test_logs_metrics_answers_and_headers_hold_nothing_private(
    system: System, upstream: Callable[[], Awaitable[Upstream]]
) -> None:
    control = system.simulator.control
    worker = system.start_worker(MMS_LOG_LEVEL="debug", MMS_READ_TIMEOUT_S="2")
    receiver = system.start_receiver(MMS_LOG_LEVEL="debug", MMS_REPLIES_POLL_S="1")
    outside = await upstream()
    opted_out = NUMBER.replace("98", "97", 1)
    control.opt_out(NUMBER)
    control.add_fault(Fault("reset_after_accept", marker="in doubt"))
    await outside.publish(
        job_body("refused", to=[NUMBER], text=TEXT),
        job_body("doubt", to=[opted_out, "+61412398765"], text=f"{TEXT} in doubt"),
        job_body("wrong", to=["+61400000001"], text=TEXT * 100, subject=TEXT * 5),
        job_body("other", to=["+61400000001"], text=TEXT),
        job_body("other", to=["+61400000001"], text=f"{TEXT}, another one"),
        orjson.dumps([NUMBER, TEXT]),
    )
    await outside.until_events(6)
    answers = await posted(receiver)
    control.add_replies("key-acme", [{"from": NUMBER, "body": TEXT, "message_id": "x" * 500}])
    control.add_replies("key-acme", [{"from": NUMBER, "body": TEXT, "message_id": "r-1"}])
    await until(lambda: '"replies_not_polled"' in receiver.log())
    control.revoke("key-acme")
    await outside.publish(job_body("last", to=["+61498765432"], text=TEXT))
    await until(lambda: '"account_suspended"' in worker.log())
    async with await aio_pika.connect(system.amqp_url) as connection:
        hand = Hand(await connection.channel())
        waiting = put_aside(WaitingReport("acme", Report("m", NUMBER, "delivered", {"text": TEXT})))
        for body in (b"{", b"[1]", orjson.dumps({"to": NUMBER, "text": TEXT}), cut(waiting)):
            await hand.put("mms.reports", body, waiting.headers)
        await hand.put("mms.reports", waiting.body)
        held: list[str] = []
        async with asyncio.timeout(20):
            while len(held) < DEAD_LETTERS:
                held += await hand.headers("mms.dead")
                await asyncio.sleep(0.05)
        held += await hand.headers("mms.in_doubt")
    assert len(held) == DEAD_LETTERS + 1
    shown = {
        "answers": "\n".join(answers),
        "the worker's metrics": metrics_of(worker),
        "the receiver's metrics": metrics_of(receiver),
        "headers": "\n".join(held),
    }
    for process in (receiver, worker):
        process.signal(TERM)
        process.wait()
        shown[f"the log of {process.admin}"] = process.log()
    assert {where: found for where, words in shown.items() if (found := private_in(words, SECRETS))} == {}
    assert private_in(f"x {NUMBER[:6]} {NUMBER[6:]} {TEXT} {CALLBACK_TOKEN} {GUESS} key-acme", SECRETS) > SECRETS


def metrics_of(process: Worker) -> str:
    return httpx.get(f"{process.admin}/metrics").text


async def posted(receiver: Receiver) -> list[str]:
    """All that is wrong, and some that is right; what was answered."""
    bodies = [("reports", body) for body in REPORTS] + [("replies", body) for body in REPLIES]
    answers = [await posted_to(f"{receiver.callbacks}/{kind}", body) for kind, body in bodies]
    assert {answer.status_code for answer in answers} == {400}
    right = [await posted_to(f"{receiver.callbacks}/reports", orjson.dumps(MANGLED))]
    right += [await posted_to(f"{receiver.callbacks}/reports/{NUMBER}", orjson.dumps(MANGLED))]
    right += [await posted_to(receiver.callbacks.replace(CALLBACK_TOKEN, GUESS) + "/reports", b"[]")]
    right += [await posted_to(f"{receiver.callbacks}/reports", b" " * 1_048_577)]
    assert [answer.status_code for answer in right] == [200, 404, 404, 413]
    return [f"{answer.headers} {answer.text}" for answer in answers + right]


async def posted_to(url: str, body: bytes = b"") -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.post(url, content=body)


def cut(publication: Publication) -> bytes:
    return publication.body[:-3]
