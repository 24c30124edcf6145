"""The private servers, the simulator and the workers of one measurement."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aio_pika
import uvloop
from aio_pika.exceptions import AMQPError
from rich.console import Console

from deploy.local import RabbitMQ, Redis
from loadtest.bench.jobs import BenchJob
from loadtest.failure import LoadTestError
from loadtest.publishing import ANSWER_S_MAX, JOBS_EXCHANGE, publish_all
from loadtest.simulator.process import SimulatorProcess
from loadtest.terminal import CountedStep, step
from loadtest.worker_process import WorkerProcess


@dataclass(frozen=True, slots=True)
class System:
    """All of it, running; the workers are started when they are wanted."""

    broker: RabbitMQ
    store: Redis
    simulator: SimulatorProcess
    folder: Path

    @property
    def servers(self) -> dict[str, int]:
        """Process ids, by the name in tables."""
        return {"simulator": self.simulator.pid, "rabbitmq": self.broker.pid, "redis": self.store.pid}

    @property
    def addresses(self) -> dict[str, str]:
        """A worker's settings that lead it here."""
        return {
            "MMS_AMQP_URL": self.broker.url,
            "MMS_REDIS_URL": self.store.url,
            "MMS_API_URL": self.simulator.api_url,
            "MMS_API_CA_FILE": str(self.simulator.ca_file),
        }

    def worker(self, name: str, settings: Mapping[str, str], *, command: str = "run") -> WorkerProcess:
        """A worker of this system, not started yet; or a receiver, when `command` is "receive"."""
        return WorkerProcess(
            name,
            command=command,
            folder=self.folder,
            settings={**self.addresses, "MMS_APP_KEY": "bench-key", **settings},
        )

    def declare_queues(self, settings: Mapping[str, str]) -> None:
        """Have a worker run for a moment, which declares what it needs in the broker. Raises LoadTestError."""
        with self.worker("first worker", settings) as worker:
            worker.wait_until_ready()
            worker.ask_to_stop()
            worker.wait_until_stopped()


@contextmanager
def private_system(console: Console, simulator: SimulatorProcess) -> Iterator[System]:
    """Start everything but the workers; all of it is gone after the block. Raises ServerError and its like."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mms-bench-")))
        with step(console, "RabbitMQ, Redis and the API's simulator, private ones"):
            broker = stack.enter_context(RabbitMQ())
            store = stack.enter_context(Redis(append_only=True))
            stack.enter_context(simulator)
        yield System(broker, store, simulator, folder)


def publish_backlog(
    system: System, jobs: Iterable[BenchJob], count: int, *, settings: Mapping[str, str], console: Console
) -> str:
    """Put all jobs onto the queue, which a worker that runs for a moment declares. The broker's version."""
    with step(console, "Queues, declared by a worker"):
        system.declare_queues(settings)
    with CountedStep(console, "publishing", count) as bar:
        return publish(system.broker.url, jobs, bar.show)


def publish(url: str, jobs: Iterable[BenchJob], on_count: Callable[[int], None], *, queue: str | None = None) -> str:
    """Publish all to the exchange of jobs, or to a queue of that name; the broker's version.

    `on_count` is told how many are under way or done, now and then. Raises LoadTestError.
    """
    return uvloop.run(_publish(url, jobs, on_count, queue))


async def _publish(url: str, jobs: Iterable[BenchJob], on_count: Callable[[int], None], queue: str | None) -> str:
    published = 0

    def note(_name: str) -> None:
        nonlocal published
        published += 1
        if published % 100 == 0:
            on_count(published)

    try:
        async with await aio_pika.connect(url, timeout=ANSWER_S_MAX) as connection:
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            if queue is None:
                exchange = await channel.get_exchange(JOBS_EXCHANGE)
            else:
                # As most declare it: durable, and of the kind that the broker takes when nothing is said.
                await channel.declare_queue(queue, durable=True)
                exchange = channel.default_exchange
            await publish_all(exchange, jobs, note)
            transport = connection.transport
            told = {} if transport is None else transport.connection.server_properties
    except (AMQPError, OSError, TimeoutError) as error:
        raise LoadTestError(f"The broker does not answer as it should: {error!r}.") from error
    version = told.get("version", "unknown")
    return version.decode() if isinstance(version, bytes) else str(version)


@contextmanager
def running_workers(
    system: System, number: int, *, settings: Mapping[str, str], console: Console
) -> Iterator[list[WorkerProcess]]:
    """Start so many workers at a time, and hand them over when all are ready."""
    with ExitStack() as stack:
        with step(console, "1 worker" if number == 1 else f"{number} workers"):
            workers = [
                stack.enter_context(system.worker(f"worker {place}", settings)) for place in range(1, number + 1)
            ]
            for worker in workers:
                worker.wait_until_ready()
        yield workers


def stop_workers(workers: Iterable[WorkerProcess]) -> None:
    """Have all of them end their calls and stop."""
    workers = list(workers)
    for worker in workers:
        worker.ask_to_stop()
    for worker in workers:
        worker.wait_until_stopped()
