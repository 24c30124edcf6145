"""Callbacks over real connections: certificates are checked, refusals are posted again, early is early."""

import asyncio
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
import trustme
from aiohttp import web

from loadtest.simulator.callback_plan import CallbackPlan, read_callbacks_file
from loadtest.simulator.config import SimulatorConfig
from loadtest.simulator.control_client import SimulatorControlError
from loadtest.simulator.http_front import reset_connection
from loadtest.simulator.process import SimulatorProcess
from loadtest.simulator.server import Simulator
from tests.simulator.sending import KEY, NUMBER, Client, form

QUICK: dict[str, Any] = {"rate_per_s": 1_000, "latency_ms": 0, "latency_spread_ms": 0, "seed": 1}


@dataclass
class Receiver:
    """Answers posts with `statuses`, then with 200; keeps what was posted, and when."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    posts: list[tuple[str, Any, float]] = field(default_factory=list)

    async def take(self, request: web.BaseRequest) -> web.StreamResponse:
        self.posts.append((request.path, orjson.loads(await request.read() or b"null"), time.monotonic()))
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status == 302 else None)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.posts) < count:  # noqa: ASYNC110 - the list tells nobody when it grows
                await asyncio.sleep(0.01)


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "receiver-ca.pem"))
    return authority


@asynccontextmanager
async def listening(authority: trustme.CA, host: str = "127.0.0.1") -> AsyncIterator[Receiver]:
    receiver = Receiver()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(host).configure_cert(context)
    server = web.Server(receiver.take, access_log=None)
    runner = web.ServerRunner(server)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    receiver.url = f"https://127.0.0.1:{runner.addresses[0][1]}/callbacks/acme/token"
    try:
        yield receiver
    finally:
        for connection in server.connections:
            reset_connection(connection.transport)  # no goodbye of TLS, for which nobody would wait
        await runner.cleanup()


@pytest.fixture
async def receiver(authority: trustme.CA) -> AsyncIterator[Receiver]:
    async with listening(authority) as started:
        yield started


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(SimulatorConfig(**QUICK)) as started:
        yield started


def plan_for(receiver: Receiver, tmp_path: Path, **values: Any) -> CallbackPlan:
    plain: dict[str, Any] = {"delay_s": 0.05, "spread_s": 0.0, "dispatched": 0.0, "quirks": False}
    plain |= {"retries_s": (0.05,), "tries_max": 100}
    return CallbackPlan(url=receiver.url, ca_file=str(tmp_path / "receiver-ca.pem"), **plain | values)


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - the record tells nobody when it changes
            await asyncio.sleep(0.01)


async def test_a_send_is_reported_and_refusals_are_posted_again(
    simulator: Simulator, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.statuses = [503, 302, 400]
    simulator.set_callbacks(KEY, plan_for(receiver, tmp_path))
    async with Client(simulator) as client:
        _, answer = await client.send()
    await receiver.until(4)
    (message,) = answer["data"]["messages"]
    told = [{"message_id": message["message_id"], "status": "Delivered", "recipient": NUMBER.lstrip("+")}]
    for path, body, _ in receiver.posts:
        assert path == "/callbacks/acme/token/reports"
        assert [{name: one[name] for name in told[0]} for one in body] == told
    await until(lambda: simulator.callbacks.summary().waiting == 0)
    (record,) = simulator.callbacks.records()
    assert (record.posts, record.taken, record.to) == (4, 1, NUMBER)
    assert record.due_at_us <= record.first_at_us < record.taken_at_us
    assert simulator.callbacks.summary().requests_refused == 3


async def test_early_reports_are_taken_before_the_client_has_its_answer(
    simulator: Simulator, receiver: Receiver, tmp_path: Path
) -> None:
    simulator.set_callbacks(KEY, plan_for(receiver, tmp_path, early=1.0, delay_s=60))
    async with Client(simulator) as client:
        status, _ = await client.send(form())
        answered_s = time.monotonic()
    assert status == 200
    ((_, _, posted_s),) = receiver.posts
    assert posted_s < answered_s


async def test_replies_are_in_the_inbox_and_posted_as_documented(
    simulator: Simulator, receiver: Receiver, tmp_path: Path
) -> None:
    simulator.set_callbacks(KEY, plan_for(receiver, tmp_path))
    (message_id,) = simulator.add_replies(KEY, [{"from": NUMBER, "body": "Thanks", "original_message_id": "m-1"}])
    await receiver.until(1)
    ((path, body, _),) = receiver.posts
    assert path == "/callbacks/acme/token/replies"
    assert len(body.pop("received_at")) == len("2026-11-22 03:04:05")
    assert body == {
        "from": NUMBER,
        "body": "Thanks",
        "message_id": message_id,
        "custom_string": "",
        "type": "MMS",
        "original_message_id": "m-1",
        "original_body": "",
    }
    assert [one.is_read for one in simulator.replies(KEY)] == [False]


async def test_a_receiver_whose_certificate_is_not_valid_is_told_nothing(
    simulator: Simulator, authority: trustme.CA, tmp_path: Path
) -> None:
    async with listening(trustme.CA()) as stranger, listening(authority, "other.example.com") as misnamed:
        simulator.set_callbacks("KEY-1", plan_for(stranger, tmp_path, tries_max=2))
        simulator.set_callbacks("KEY-2", plan_for(misnamed, tmp_path, tries_max=2))
        for key in ("KEY-1", "KEY-2"):
            simulator.add_replies(key, [{"body": "Hello"}])
        await until(lambda: simulator.callbacks.summary().given_up == 2)
        assert stranger.posts == misnamed.posts == []
    assert simulator.callbacks.summary().requests_refused == 4


async def test_a_receiver_that_is_away_is_told_when_it_is_back(
    simulator: Simulator, authority: trustme.CA, tmp_path: Path
) -> None:
    async with listening(authority) as gone:
        pass
    plan = plan_for(gone, tmp_path)
    simulator.set_callbacks(KEY, plan)
    simulator.add_replies(KEY, [{"body": "Hello"}])
    await until(lambda: simulator.callbacks.summary().requests_refused >= 2)
    async with listening(authority) as back:
        simulator.set_callbacks(KEY, plan_for(back, tmp_path))
        await back.until(1)
    assert simulator.callbacks.summary().given_up == 0


async def test_callbacks_of_the_settings_are_in_force_from_the_start_and_after_a_reset(
    receiver: Receiver, tmp_path: Path
) -> None:
    config = SimulatorConfig(**QUICK, callbacks={KEY: plan_for(receiver, tmp_path)})
    async with Simulator(config) as simulator, Client(simulator) as client:
        for count in (1, 2):
            await client.send()
            await receiver.until(count)
            await simulator.reset()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "cannot be read: it is not JSON."),
        (b'["secret"]', "must hold an object of plans by APPKEY."),
        (b'{"K": {"address": "https://127.0.0.1/secret"}}', "needs at least its url"),
        (b'{"K": {"url": "https://127.0.0.1/secret", "delay_s": "secret"}}', "numbers where numbers belong"),
        (b'{"K": {"url": "secret"}}', "The address of callbacks is"),
    ],
)
def test_a_wrong_callbacks_file_is_one_sentence_without_its_secret(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    file = tmp_path / "callbacks.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        read_callbacks_file(file)
    assert "secret" not in str(caught.value)


def test_a_callbacks_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"callbacks\.json cannot be read: No such file or directory\.$"):
        read_callbacks_file(tmp_path / "callbacks.json")


def test_a_callbacks_file_holds_plans_by_key(tmp_path: Path) -> None:
    file = tmp_path / "callbacks.json"
    file.write_bytes(b'{"K": {"url": "https://127.0.0.1/c", "delay_s": 2, "ca_file": "ca.pem"}}')
    assert read_callbacks_file(file) == {"K": CallbackPlan(url="https://127.0.0.1/c", delay_s=2, ca_file="ca.pem")}


async def test_whom_to_trust_must_be_readable(simulator: Simulator, receiver: Receiver, tmp_path: Path) -> None:
    for name, content in (("missing.pem", None), ("empty.pem", b"nothing")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="cannot be read"):
            simulator.set_callbacks(KEY, CallbackPlan(url=receiver.url, ca_file=str(tmp_path / name)))


async def test_what_breaks_the_posting_ends_the_simulator_with_its_reason(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_ended = asyncio.Event()

    async def break_it() -> None:
        async with Simulator(SimulatorConfig(**QUICK)) as simulator:
            simulator.set_callbacks(KEY, plan_for(receiver, tmp_path))
            monkeypatch.setattr(simulator.callbacks, "answered", lambda *_: 1 / 0)
            simulator.add_replies(KEY, [{"body": "Hello"}])
            async with asyncio.timeout(10):
                await simulator.serve(asyncio.Event())
            has_ended.set()

    with pytest.raises(ExceptionGroup) as seen:
        await break_it()
    assert seen.group_contains(ZeroDivisionError)
    assert has_ended.is_set()


@pytest.fixture(scope="module")
def process() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(rate_per_s=1_000, latency_ms=0, latency_spread_ms=0) as started:
        yield started


async def test_callbacks_are_steered_through_the_control_interface(
    process: SimulatorProcess, receiver: Receiver, tmp_path: Path
) -> None:
    control = process.control
    control.reset()
    control.set_callbacks(KEY, plan_for(receiver, tmp_path, finals={"Failed": 1.0}))
    ids = control.add_replies(KEY, [{"body": "one"}, {"body": "two"}])
    await receiver.until(2)
    await until(lambda: control.callback_summary().waiting == 0)
    assert [(record.kind, record.message_id, record.taken) for record in control.callbacks()] == [
        ("reply", message_id, 1) for message_id in ids
    ]
    assert control.callbacks(since=1)[0].message_id == ids[1]
    summary = control.callback_summary()
    assert (summary.replies, summary.replies_taken, summary.requests, summary.reports) == (2, 2, 2, 0)
    control.set_callbacks(KEY, None)
    control.add_replies(KEY, [{"body": "three"}])
    control.reset()
    assert control.callbacks() == []
    assert len(receiver.posts) == 2


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"delay_s": 1}, "needs at least its url"),
        ({"url": "https://h/x", "delay_s": "soon"}, "numbers where numbers belong"),
        ({"url": 5}, "numbers where numbers belong"),
        ({"url": "https://h/x", "finals": ["Delivered"]}, "numbers where numbers belong"),
        ({"url": "https://h/x", "shuffled": 1}, "shuffled is not known here"),
        ({"url": "https://h/x", "early": 2}, "early is between 0 and 1"),
        ({"url": "https://h/x", "ca_file": "/nowhere/ca.pem"}, "cannot be read"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(process: SimulatorProcess, body: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SimulatorControlError, match=sentence):
        process.control._ask("POST", f"/accounts/{KEY}/callbacks", body)  # what the client itself never sends
