"""The simulator over real TLS connections: arrivals, the limit, and every fault as it looks from outside."""

import asyncio
import base64
import ssl
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from loadtest.simulator.config import SimulatorConfig
from loadtest.simulator.faults import FAULT_KINDS, Fault
from loadtest.simulator.server import Simulator
from tests.simulator.sending import CONTENT_TYPE, KEY, Client, form

QUICK: dict[str, Any] = {"latency_ms": 0, "latency_spread_ms": 0, "seed": 1}
BASIC = {"Authorization": "Basic " + base64.b64encode(f"{KEY}:secret".encode()).decode()}


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(SimulatorConfig(rate_per_s=1_000, **QUICK)) as started:
        yield started


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[Client]:
    async with Client(simulator) as opened:
        yield opened


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - the ledger tells nobody when it changes
            await asyncio.sleep(0.005)


async def connect(simulator: Simulator) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A bare TLS connection."""
    host, port = simulator.api_url.removeprefix("https://").partition("/")[0].split(":")
    context = ssl.create_default_context(cafile=str(simulator.ca_file))
    return await asyncio.open_connection(host, int(port), ssl=context)


def head(body: bytes) -> bytes:
    lines = ["POST /api/v3/send-mms HTTP/1.1", "Host: x", f"Authorization: {BASIC['Authorization']}"]
    return "\r\n".join([*lines, f"Content-Type: {CONTENT_TYPE}", f"Content-Length: {len(body)}", "", ""]).encode()


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    answer = await reader.readuntil(b"\r\n\r\n")
    length = int(answer.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    return answer + await reader.readexactly(length)


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        (BASIC, 200, "SUCCESS"),
        ({"APPKEY": KEY}, 200, "SUCCESS"),
        ({}, 401, "AUTH_FAILED_NO_DATA"),
        ({"Authorization": "Bearer x"}, 401, "AUTH_FAILED_NO_DATA"),
        ({"APPKEY": "k" * 200}, 401, "AUTH_FAILED"),
    ],
)
async def test_credentials_are_basic_or_the_header(
    client: Client, headers: dict[str, str], status: int, code: str
) -> None:
    answered, answer = await client.send(headers=headers)
    assert (answered, answer["meta"]["status"]) == (status, code)


async def test_a_client_that_does_not_trust_the_authority_cannot_connect(simulator: Simulator) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(f"{simulator.api_url}/account")


async def test_the_account_is_told_with_balances_as_strings(simulator: Simulator, client: Client) -> None:
    simulator.set_credit(KEY, 1_006)
    status, answer = await client.request("GET", "/account", b"", BASIC)
    assert (status, answer["meta"]["status"], answer["msg"]) == (200, "SUCCESS", "Here's your account")
    assert answer["data"]["mms_balance"] == "1006.00"


@pytest.mark.parametrize(("method", "path"), [("GET", "/send-mms"), ("POST", "/nothing"), ("GET", "/account/")])
async def test_what_there_is_not_is_404_in_the_envelope_and_counts(
    simulator: Simulator, client: Client, method: str, path: str
) -> None:
    status, answer = await client.request(method, path, b"", BASIC)
    assert (status, answer["meta"]) == (404, {"code": 404, "status": "NOT_IMPLEMENTED"})
    assert simulator.ledger.summary().worst_rolling_second_admitted == 1


async def test_the_limit_is_over_all_connections_and_a_429_has_no_side_effect() -> None:
    async with Simulator(SimulatorConfig(rate_per_s=5, **QUICK)) as simulator, Client(simulator) as client:
        statuses = [status for status, _ in await asyncio.gather(*(client.send() for _ in range(20)))]
        summary = simulator.ledger.summary()
    assert (statuses.count(200), statuses.count(429)) == (5, 15)
    assert (summary.recipients_accepted, summary.throttled_calls, summary.worst_rolling_second) == (5, 15, 20)
    assert summary.calls_by_result == {"OVER_LIMIT": 15, "SUCCESS": 5}


async def test_a_connection_serves_many_calls(simulator: Simulator) -> None:
    reader, writer = await connect(simulator)
    for _ in range(3):
        writer.write(head(form()) + form())
        assert (await read_answer(reader)).startswith(b"HTTP/1.1 200")
    writer.close()


@pytest.mark.parametrize(
    ("version", "connection"), [("HTTP/1.1", "close"), ("HTTP/1.0", "close"), ("HTTP/1.0", "keep-alive")]
)
async def test_a_client_may_ask_in_other_ways(simulator: Simulator, version: str, connection: str) -> None:
    reader, writer = await connect(simulator)
    asked = head(form()).replace(b"HTTP/1.1", version.encode(), 1)
    writer.write(asked.replace(b"Host: x", f"Host: x\r\nConnection: {connection}".encode(), 1) + form())
    answer = await read_answer(reader)
    assert answer.startswith(f"{version} 200 OK\r\n".encode())
    is_what_the_version_means_anyway = (version, connection) == ("HTTP/1.0", "close")
    assert (f"\r\nConnection: {connection}\r\n".encode() in answer) != is_what_the_version_means_anyway
    if connection == "close":
        assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


async def test_a_query_and_a_path_in_other_letters_are_understood(simulator: Simulator, client: Client) -> None:
    status, answer = await client.request("GET", "/get%2Dresponses?page=1&type=mms", b"", BASIC)
    assert (status, answer["msg"]) == (200, "No Response are available!")
    status, _ = await client.request("GET", "/get-responses?page=none", b"", BASIC)
    assert status == 400
    assert simulator.ledger.calls()[0].operation == "get-responses"


async def test_a_call_counts_when_it_arrives_and_not_when_its_body_is_whole(simulator: Simulator) -> None:
    reader, writer = await connect(simulator)
    body = form()
    writer.write(head(body) + body[:100])
    await until(lambda: len(simulator.ledger.calls()) == 1)
    (call,) = simulator.ledger.calls()
    assert (call.result, simulator.ledger.summary().worst_rolling_second) == ("open", 1)
    writer.write(body[100:])
    await read_answer(reader)
    (call_now,) = simulator.ledger.calls()
    assert (call_now.result, call_now.at_us) == ("SUCCESS", call.at_us)
    assert abs(call.at_us / 1e6 - time.time()) < 5
    writer.close()


async def test_a_client_that_leaves_during_its_upload_is_recorded_and_nothing_accepted(simulator: Simulator) -> None:
    _, writer = await connect(simulator)
    writer.write(head(form()) + form()[:100])
    await until(lambda: len(simulator.ledger.calls()) == 1)
    writer.transport.abort()
    await until(lambda: simulator.ledger.calls()[0].result == "broken_off")
    assert simulator.ledger.accepted() == []


async def test_a_body_over_every_bound_is_refused(simulator: Simulator, client: Client) -> None:
    status, answer = await client.send(bytes(1_200_000))
    assert (status, answer["meta"]["status"]) == (400, "FIELD_INVALID")
    assert simulator.ledger.summary().calls_by_result == {"FIELD_INVALID": 1}


async def test_spread_holds_calls_back_before_they_count() -> None:
    config = SimulatorConfig(rate_per_s=1_000, spread_ms=200, **QUICK)
    async with Simulator(config) as simulator, Client(simulator) as client:
        await asyncio.gather(*(client.send() for _ in range(20)))
        at_us = [call.at_us for call in simulator.ledger.calls()]
    assert at_us == sorted(at_us)
    assert 100_000 < at_us[-1] - at_us[0] < 2_000_000


# What each fault looks like to a client: a status, or an exception.
SEEN: dict[str, int | type[Exception]] = {
    "500_after_accept": 500,
    "500_before_accept": 500,
    "reset_after_accept": aiohttp.ClientOSError,
    "reset_before_accept": aiohttp.ClientOSError,
    "late": 200,
    "never": TimeoutError,
    "never_before_accept": TimeoutError,
    "truncated_200": aiohttp.ClientPayloadError,
    "html_200": 200,
    "200_with_error_code": 200,
    "429_bare": 429,
    "429_retry_after": 429,
    "502_page": 502,
    "redirect": 302,
    "no_credit": 400,
    "slow_body": TimeoutError,
    "slow_head": TimeoutError,
    "unknown_fields": 200,
}


@pytest.mark.parametrize("kind", FAULT_KINDS)
async def test_each_fault_looks_from_outside_as_it_should(client: Client, kind: str) -> None:
    body = form(text=f"[[fault:{kind}{':0.2' if kind == 'late' else ''}]]")
    seen = SEEN[kind]
    if isinstance(seen, int):
        status, answer = await client.send(body)
        assert status == seen
        assert isinstance(answer, bytes) is (kind in ("html_200", "429_bare", "502_page", "redirect"))
    else:
        with pytest.raises(seen):
            await client.send(body, timeout_s=0.3)
    assert (await client.send())[0] == 200


async def test_a_late_answer_is_as_late_as_it_says(client: Client) -> None:
    started = time.monotonic()
    status, answer = await client.send(form(text="[[fault:late:0.4]]"))
    assert (status, answer["meta"]["status"]) == (200, "SUCCESS")
    assert 0.39 <= time.monotonic() - started < 2


async def test_retry_after_is_told_and_the_code_of_a_200_too(simulator: Simulator, client: Client) -> None:
    simulator.add_fault(Fault("429_retry_after", count=1, after_s=7))
    async with client.session.post(
        f"{simulator.api_url}/send-mms", data=form(), headers={**BASIC, "Content-Type": CONTENT_TYPE}
    ) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
    status, told = await client.send(form(text="[[fault:200_with_error_code:OVER_LIMIT]]"))
    assert (status, told["meta"]) == (200, {"code": 429, "status": "OVER_LIMIT"})


async def test_a_slow_body_comes_byte_by_byte_after_its_head(simulator: Simulator) -> None:
    reader, writer = await connect(simulator)
    body = form(text="[[fault:slow_body:0.05]]")
    writer.write(head(body) + body)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    assert [len(await reader.read(100)) for _ in range(3)] == [1, 1, 1]
    writer.transport.abort()


async def test_a_slow_head_comes_byte_by_byte_and_then_the_body(simulator: Simulator) -> None:
    reader, writer = await connect(simulator)
    body = form(text="[[fault:slow_head:0.005]]")
    writer.write(head(body) + body)
    assert [len(await reader.read(100)) for _ in range(3)] == [1, 1, 1]
    answer = await reader.read()
    assert b"Content-Length" in answer
    assert answer.endswith(b"}")
    writer.transport.abort()


async def test_an_outage_that_refuses_cuts_open_connections_and_ends(simulator: Simulator, client: Client) -> None:
    hanging = asyncio.create_task(client.send(form(text="[[fault:never]]")))
    await until(lambda: len(simulator.ledger.accepted()) == 1)
    idle_reader, idle_writer = await connect(simulator)
    await simulator.outage("refuse")
    with pytest.raises(aiohttp.ClientOSError):
        await hanging
    with pytest.raises(ConnectionResetError):
        await idle_reader.read()
    idle_writer.transport.abort()
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.send()
    await simulator.outage(None)
    assert (await client.send())[0] == 200


async def test_an_outage_of_502_pages_counts_against_no_limit(simulator: Simulator, client: Client) -> None:
    await simulator.outage("502")
    assert [(await client.send())[0] for _ in range(2)] == [502, 502]
    assert (await client.request("GET", "/account", b"", BASIC))[0] == 502
    await simulator.outage(None)
    assert (await client.send())[0] == 200
    summary = simulator.ledger.summary()
    assert (summary.worst_rolling_second_admitted, summary.calls_by_result) == (1, {"SUCCESS": 1, "outage_502": 3})


async def test_an_outage_that_hangs_answers_nothing(simulator: Simulator, client: Client) -> None:
    await simulator.outage("hang")
    with pytest.raises(TimeoutError):
        await client.send(timeout_s=0.2)
    await simulator.outage(None)
    assert (await client.send())[0] == 200
    assert simulator.ledger.summary().recipients_accepted == 1


async def test_a_reset_puts_everything_back(simulator: Simulator) -> None:
    simulator.add_fault(Fault("502_page"))
    simulator.revoke(KEY)
    async with Client(simulator) as client:
        assert (await client.send())[0] == 401
    await simulator.outage("refuse")
    await simulator.reset()
    async with Client(simulator) as client:
        assert (await client.send())[0] == 200
    assert simulator.ledger.summary().calls == 1
