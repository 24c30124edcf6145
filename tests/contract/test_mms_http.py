"""The API's client against the simulator: what is sent arrives, both ways to authenticate, both envelopes."""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import orjson
import pytest
import trustme

from loadtest.simulator.config import SimulatorConfig
from loadtest.simulator.faults import Fault, FaultKind
from loadtest.simulator.server import Simulator
from tests.contract.test_http_transport import serving
from tests.jobs import A_PICTURE
from worker.adapters.http_transport import TransportLimits
from worker.adapters.mms_http import MmsHttpApi
from worker.core.accounts import Credentials
from worker.core.batch import CallContent
from worker.core.envelope import Envelope
from worker.core.outcome import (
    Accepted,
    Answer,
    InDoubt,
    NeverLeft,
    NotSent,
    Outcome,
    Refused,
    Suspended,
    Throttled,
    classify,
    classify_account,
)
from worker.core.responses import RepliesPage, read_question, read_replies

NUMBERS = ("+61400000001", "+61400000002")
CONTENT = CallContent(subject="Grüße", text="Zeile 1\r\nZeile 2 🎁 مرحبا", picture=A_PICTURE)


@asynccontextmanager
async def api_of(
    simulator: Simulator, *, auth: Literal["basic", "appkey"] = "basic", app_key: str = "key-1"
) -> AsyncIterator[MmsHttpApi]:
    api = MmsHttpApi(
        api_url=simulator.api_url,
        credentials={"acme": Credentials(app_key=app_key, app_secret="", auth=auth)},
        user_agent="test",
        ssl_context=ssl.create_default_context(cafile=str(simulator.ca_file)),
        limits=TransportLimits(connections_max=4, connect_timeout_s=1, read_timeout_s=1, keepalive_s=15),
        connections_ahead=2,
    )
    try:
        yield api
    finally:
        await api.aclose()


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(SimulatorConfig(rate_per_s=1000, latency_ms=1, latency_spread_ms=0)) as simulator:
        yield simulator


async def send(api: MmsHttpApi, content: CallContent = CONTENT, numbers: tuple[str, ...] = NUMBERS) -> Outcome:
    return classify(await api.send("acme", content, numbers))


@pytest.mark.parametrize("auth", ["basic", "appkey"])
@pytest.mark.parametrize("envelope", ["meta", "error"])
async def test_what_is_sent_arrives_as_it_was(
    auth: Literal["basic", "appkey"], envelope: Literal["meta", "error"]
) -> None:
    config = SimulatorConfig(rate_per_s=1000, latency_ms=1, latency_spread_ms=0, envelope=envelope)
    async with Simulator(config) as simulator, api_of(simulator, auth=auth) as api:
        outcome = await send(api)
        assert isinstance(outcome, Accepted)
        assert set(outcome.message_ids) == set(NUMBERS)
        assert all(outcome.message_ids.values())
        accepted = simulator.ledger.accepted()
        assert [one.to for one in accepted] == list(NUMBERS)
        (first, _) = accepted
        assert (first.account, first.subject, first.text) == ("key-1", CONTENT.subject, CONTENT.text)
        assert first.picture_sha256 == hashlib.sha256(A_PICTURE.data).hexdigest()


async def test_a_call_without_a_subject(simulator: Simulator) -> None:
    async with api_of(simulator) as api:
        assert isinstance(await send(api, CallContent(None, "hi", A_PICTURE)), Accepted)
        assert not simulator.ledger.accepted()[0].subject


async def test_an_account_is_asked_for(simulator: Simulator) -> None:
    async with api_of(simulator) as api:
        assert isinstance(classify_account(await api.account("acme")), Accepted)
        simulator.revoke("key-1")
        assert isinstance(classify_account(await api.account("acme")), Suspended)


async def test_questions_about_replies_are_asked_as_the_vendor_documents_them() -> None:
    ca, asked = trustme.CA(), []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = re.search(r"(?i)content-length: (\d+)", head)
            asked.append((head, await reader.readexactly(int(length[1]) if length else 0)))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    context = ssl.create_default_context()
    ca.configure_trust(context)
    async with serving(answer, ca) as server:
        api = MmsHttpApi(
            api_url=server.url.removesuffix("/send-mms") + "/api/v3",
            credentials={"acme": Credentials(app_key="key-1", app_secret="", auth="appkey")},
            user_agent="test",
            ssl_context=context,
            limits=TransportLimits(connections_max=4, connect_timeout_s=1, read_timeout_s=1, keepalive_s=15),
            connections_ahead=2,
        )
        assert await api.responses("acme", 3) == Answer(200, b"{}")
        assert await api.mark_read("acme", ["a-1", "b-2"]) == Answer(200, b"{}")
        await api.aclose()
    (page, of_page), (mark, of_mark) = asked
    assert page.startswith("GET /api/v3/get-responses?page=3&type=mms HTTP/1.1\r\n")
    assert of_page == b""
    assert mark.startswith("POST /api/v3/inbound-read-bulk HTTP/1.1\r\n")
    assert orjson.loads(of_mark) == {"message_id": ["a-1", "b-2"]}
    assert "content-type: application/json\r\n" in mark.lower()
    assert all("appkey: key-1\r\n" in head.lower() for head in (page, mark))


@pytest.mark.parametrize("envelope", ["meta", "error"])
async def test_replies_are_read_by_pages_and_marked(envelope: Literal["meta", "error"]) -> None:
    config = SimulatorConfig(rate_per_s=1000, latency_ms=1, latency_spread_ms=0, envelope=envelope)
    async with Simulator(config) as simulator, api_of(simulator) as api:

        async def page(number: int) -> RepliesPage:
            envelope = read_question(await api.responses("acme", number))
            assert isinstance(envelope, Envelope)
            read = read_replies(envelope, region="AU")
            assert read is not None
            return read

        assert await page(1) == RepliesPage((), 0, 0, ())
        ids = simulator.add_replies("key-1", [{"from": "+61412345678", "body": "ja"} for _ in range(30)])
        pages = [await page(number) for number in (1, 2)]
        assert [(one.pages, one.entries, one.mistakes) for one in pages] == [(2, 25, ()), (2, 5, ())]
        shown = [reply.message_id for one in pages for reply in one.replies]
        assert shown == ids[::-1]
        assert isinstance(read_question(await api.mark_read("acme", shown[:29])), Envelope)
        assert [reply.message_id for reply in (await page(1)).replies] == ids[:1]
        assert isinstance(read_question(await api.mark_read("acme", ["nobody's"])), Refused)


async def test_connections_are_open_before_the_first_call(simulator: Simulator) -> None:
    async with api_of(simulator) as api:
        await api.warm_up("acme", calls_per_s=15)
        connector = api._clients["acme"].transport._connector
        assert len(connector._conns) == 1  # one host
        assert sum(map(len, connector._conns.values())) == 2
        assert simulator.ledger.calls() == []


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("500_after_accept", InDoubt),
        ("500_before_accept", InDoubt),
        ("reset_after_accept", InDoubt),
        ("reset_before_accept", InDoubt),
        ("never", InDoubt),
        ("never_before_accept", InDoubt),
        ("slow_body", InDoubt),
        ("truncated_200", InDoubt),
        ("html_200", InDoubt),
        ("502_page", InDoubt),
        ("redirect", InDoubt),
        ("200_with_error_code", Refused),
        ("429_bare", Throttled),
        ("429_retry_after", Throttled),
        ("no_credit", Suspended),
        ("unknown_fields", Accepted),
    ],
)
async def test_each_fault_of_the_api_has_its_class(
    simulator: Simulator, kind: FaultKind, outcome: type[Outcome]
) -> None:
    simulator.add_fault(Fault(kind=kind, count=1))
    async with api_of(simulator) as api:
        assert isinstance(await send(api), outcome)
        assert isinstance(await send(api), Accepted)


async def test_an_opted_out_number_is_left_out_and_none_left_is_refused(simulator: Simulator) -> None:
    simulator.opt_out(NUMBERS[0])
    async with api_of(simulator) as api:
        outcome = await send(api)
        assert isinstance(outcome, Accepted)
        assert set(outcome.message_ids) == {NUMBERS[1]}
        assert isinstance(await send(api, numbers=NUMBERS[:1]), Refused)


async def test_a_closed_door_is_not_sent(simulator: Simulator) -> None:
    await simulator.outage("refuse")
    async with api_of(simulator) as api:
        reply = await api.send("acme", CONTENT, NUMBERS)
        assert isinstance(reply, NeverLeft)
        assert isinstance(classify(reply), NotSent)


async def test_the_next_call_uses_a_changed_key_on_the_same_connection(simulator: Simulator) -> None:
    async with api_of(simulator) as api:
        assert isinstance(await send(api), Accepted)
        transport = api._clients["acme"].transport
        api.set_credentials("acme", Credentials("key-2", "", "appkey"))
        assert isinstance(await send(api), Accepted)
        assert isinstance(classify_account(await api.account("acme")), Accepted)
        assert [one.account for one in simulator.ledger.accepted()] == ["key-1", "key-1", "key-2", "key-2"]
        assert api._clients["acme"].transport is transport


async def test_an_added_account_has_connections_of_its_own_and_a_forgotten_one_none(simulator: Simulator) -> None:
    async with api_of(simulator) as api:
        api.set_credentials("other", Credentials("key-2", "", "basic"))
        simulator.add_fault(Fault(kind="never", account="key-1", count=4))
        hanging = [asyncio.create_task(send(api)) for _ in range(4)]  # all connections of the account
        await asyncio.sleep(0.1)
        assert isinstance(classify(await api.send("other", CONTENT, NUMBERS)), Accepted)
        assert all(isinstance(outcome, InDoubt) for outcome in await asyncio.gather(*hanging))
        other = api._clients["other"].transport
        await api.forget("other")
        await api.forget("other")
        assert other._connector.closed
        assert isinstance(await send(api), Accepted)
