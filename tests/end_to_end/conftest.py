"""The whole: real RabbitMQ, real Redis, the simulator over TLS, and the worker as its own process.

Broker and Redis are as the deployment has them (`tests/deployed.py`): each process has a user of its own over TLS, and
when a test ends, nothing may have been refused to one of them. ``MMS_TEST_DEPLOYED=0`` takes plain servers instead.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aio_pika
import httpx
import orjson
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from deploy.local import RabbitMQ, Redis
from deploy.local.redis_server import DATABASES
from loadtest.simulator.process import SimulatorProcess
from loadtest.worker_process import told_admin_url
from tests.conftest import make_or_skip
from tests.deployed import as_deployed, make_rabbitmq, make_redis, refused_by_broker, refused_by_redis
from tests.privacy import private_in, secrets_in

ROOT = Path(__file__).resolve().parent.parent.parent
START_S_MAX = 20.0
CALLBACK_TOKEN = "a-token-of-the-callbacks"


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQ]:
    """The session's RabbitMQ of the end-to-end tests, with the management interface."""
    with make_or_skip(lambda: make_rabbitmq(management=True)) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """The session's Redis of the end-to-end tests, which keeps nothing on disk."""
    with make_or_skip(make_redis) as server:
        yield server


@pytest.fixture
def amqp_url(rabbitmq: RabbitMQ, numbers: Iterator[int]) -> Iterator[str]:
    """The URL of a new vhost, which is deleted after the test."""
    vhost = f"test-{next(numbers)}"
    yield rabbitmq.add_vhost(vhost)
    refused = refused_by_broker(rabbitmq, vhost)
    rabbitmq.delete_vhost(vhost)
    assert refused == []


@pytest.fixture
def redis_url(redis_server: Redis, numbers: Iterator[int]) -> Iterator[str]:
    """The URL of an empty database that no other test uses now."""
    database = next(numbers) % DATABASES
    redis_server.flush(database)
    yield redis_server.url_of(database)
    assert refused_by_redis(redis_server) == []


@pytest.fixture
def own_rabbitmq() -> Iterator[RabbitMQ]:
    """A running RabbitMQ for this test alone (some 4 s to start), without the management interface."""
    with make_or_skip(make_rabbitmq) as server:
        yield server


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    """A running Redis for this test alone, with append-only persistence."""
    with make_or_skip(lambda: make_redis(append_only=True)) as server:
        yield server


class Worker:
    """One process of the product, which sends or receives. Its log is kept, and shown when a test fails."""

    def __init__(self, environment: dict[str, str], log: Path, command: str = "run") -> None:
        self._log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker", command], cwd=ROOT, env=environment, stdout=output, stderr=output
            )

    @property
    def admin(self) -> str:
        """Where it serves its metrics and its health, once it has said so."""
        told = told_admin_url(self.log())
        if told is None:
            pytest.fail(f"the worker has not started: {self.log()}")
        return told

    def wait_ready(self) -> None:
        until_s = time.monotonic() + START_S_MAX
        while time.monotonic() < until_s:
            assert self.process.poll() is None, f"the worker ended with {self.process.returncode}: {self.log()}"
            try:
                if (admin := told_admin_url(self.log())) and httpx.get(f"{admin}/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        pytest.fail(f"the worker was not ready within {START_S_MAX} s: {self.log()}")

    def log(self) -> str:
        return self._log.read_text()

    def metrics(self) -> dict[str, float]:
        lines = httpx.get(f"{self.admin}/metrics").text.splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, limit_s: float = 30) -> int:
        return self.process.wait(limit_s)

    def last_words(self) -> str:
        """Metrics and readiness, if it still lives."""
        if self.process.poll() is not None:
            return ""
        try:
            return "".join(httpx.get(f"{self.admin}/{page}", timeout=5).text for page in ("metrics", "readyz"))
        except httpx.TransportError:
            return ""

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)


class Receiver(Worker):
    """``callbacks``: the account's address, without TLS, but for its last word."""

    callbacks: str


@dataclass
class System:
    """A broker, a Redis, a simulator, and as many workers as a test starts."""

    amqp_url: str
    redis_url: str
    simulator: SimulatorProcess
    folder: Path
    port: Callable[[], int]
    workers: list[Worker] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)
    #: What commands have said, and what was told of the product elsewhere.
    told: list[str] = field(default_factory=list)

    def environment(self, command: str = "run", **settings: str) -> dict[str, str]:
        """What ``command`` begins with; in a deployment each has a login of its own."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MMS_")}
        environment = {
            **inherited,
            "MMS_AMQP_URL": self.amqp_url,
            "MMS_REDIS_URL": self.redis_url,
            "MMS_API_URL": self.simulator.api_url,
            "MMS_API_CA_FILE": str(self.simulator.ca_file),
            "MMS_ACCOUNT": "acme",
            "MMS_APP_KEY": "key-acme",
            "MMS_RATE_PER_S": "50",
            "MMS_ADMIN_PORT": "0",
            **settings,
        }
        given = as_deployed(environment, command)
        self.secrets |= secrets_in(given)
        return given

    def start_worker(self, **settings: str) -> Worker:
        """Start one, and wait until it is ready."""
        worker = self.launch_worker(**settings)
        worker.wait_ready()
        return worker

    def launch_worker(self, **settings: str) -> Worker:
        """Start one that is to die soon, and may never be ready."""
        worker = Worker(self.environment(**settings), self.folder / f"worker-{len(self.workers)}.log")
        self.workers.append(worker)
        return worker

    def start_receiver(self, **settings: str) -> Receiver:
        """Start one that asks for no replies by itself, and wait until it is ready."""
        receiver = self.launch_receiver(**settings)
        receiver.wait_ready()
        return receiver

    def launch_receiver(self, **settings: str) -> Receiver:
        """Start one that is to die soon, and may never be ready."""
        port = str(self.port())
        polling = {"MMS_REPLIES_POLL_S": "0", "MMS_CALLBACK_TOKEN": CALLBACK_TOKEN, "MMS_RECEIVE_PORT": port}
        environment = self.environment("receive", **polling | settings)
        receiver = Receiver(environment, self.folder / f"receiver-{len(self.workers)}.log", "receive")
        receiver.callbacks = f"http://127.0.0.1:{port}/callbacks/acme/{CALLBACK_TOKEN}"
        self.workers.append(receiver)
        return receiver

    def command(self, *arguments: str, given: bytes = b"", **settings: str) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            [sys.executable, "-m", "worker", *arguments],
            cwd=ROOT,
            env=self.environment(arguments[0], **settings),
            input=given,
            capture_output=True,
            timeout=30,
            check=False,
        )
        if arguments[0] != "schema" and "--help" not in arguments:  # they name an example
            self.told.append((done.stdout + done.stderr).decode(errors="replace"))
        return done

    def private(self) -> set[str]:
        """What no log, metric, readiness or command may tell, and has told all the same."""
        told = [
            *self.told,
            *(worker.log() for worker in self.workers),
            *(worker.last_words() for worker in self.workers),
        ]
        return {found for words in told for found in private_in(words, self.secrets)}


@pytest.fixture
def system(
    amqp_url: str,
    redis_url: str,
    tmp_path: Path,
    unused_tcp_port_factory: Callable[[], int],
    request: pytest.FixtureRequest,
) -> Iterator[System]:
    options = getattr(request, "param", {"rate_per_s": 50})
    with SimulatorProcess(directory=tmp_path / "simulator", **options) as simulator:
        started = System(amqp_url, redis_url, simulator, tmp_path, unused_tcp_port_factory)
        try:
            yield started
            assert started.private() == set()
        finally:
            for worker in started.workers:
                worker.end()
            for worker in started.workers:
                sys.stdout.write(worker.log())  # shown by pytest when the test failed


class Upstream:
    """A producer, and a consumer of the events."""

    def __init__(self, channel: AbstractChannel, events: list[dict[str, Any]]) -> None:
        self._channel = channel
        self.events = events

    async def publish(self, *bodies: bytes, key: str = "acme") -> None:
        exchange = await self._channel.get_exchange("mms.jobs", ensure=False)
        await asyncio.gather(*(exchange.publish(aio_pika.Message(body, delivery_mode=2), key) for body in bodies))

    async def until_events(self, count: int, limit_s: float = 30) -> None:
        try:
            async with asyncio.timeout(limit_s):
                while len(self.events) < count:  # noqa: ASYNC110 - the list is filled by the broker
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pytest.fail(f"{len(self.events)} of {count} events after {limit_s} s: {self.ends()}")

    def ends(self) -> dict[str | None, list[str]]:
        """Job id to the types told about it."""
        told: dict[str | None, list[str]] = {}
        for event in self.events:
            told.setdefault(event["data"]["job_id"], []).append(event["type"].removeprefix("mms.job."))
        return told

    async def declare(self, queue: str) -> None:
        """Declare ``queue`` in a way that the worker does not."""
        await self._channel.declare_queue(queue, durable=True)

    async def delete(self, queue: str) -> None:
        """Delete ``queue``."""
        await self._channel.queue_delete(queue)

    async def waiting(self, queue: str) -> list[AbstractIncomingMessage]:
        """Take what waits in ``queue``."""
        declared = await self._channel.get_queue(queue, ensure=False)
        messages = []
        while (message := await declared.get(fail=False)) is not None:
            messages.append(message)
        return messages


@pytest.fixture
async def upstream(system: System) -> AsyncIterator[Callable[[], Any]]:
    """Connect once the first worker has declared what lives in the broker: ``await upstream()``."""
    async with await aio_pika.connect(system.amqp_url) as connection:

        async def connect() -> Upstream:
            channel = await connection.channel()
            events: list[dict[str, Any]] = []

            async def note(message: AbstractIncomingMessage) -> None:
                events.append(orjson.loads(message.body))

            queue = await channel.declare_queue(exclusive=True)
            await queue.bind("mms.events", "#")
            await queue.consume(note, no_ack=True)
            return Upstream(channel, events)

        yield connect


TERM, KILL = signal.SIGTERM, signal.SIGKILL
