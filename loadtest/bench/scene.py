"""Where one thing is measured: a fresh vhost, an empty Redis and a simulator, on servers that serve the whole run."""

import itertools
import queue
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from deploy.local import RabbitMQ, Redis
from loadtest.bench.processes import give_precedence
from loadtest.bench.system import System, publish
from loadtest.simulator.process import SimulatorProcess

QUIET_MANAGEMENT = "management_agent.disable_metrics_collector = true"
"""The management interface makes the vhosts, and counts nothing: that would take time from what is measured."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One measurement's own. `settings`: what a worker needs on top of those that the system gives."""

    system: System
    amqp_url: str

    @property
    def settings(self) -> dict[str, str]:
        """The broker's URL with the vhost."""
        return {"MMS_AMQP_URL": self.amqp_url}


class Servers:
    """One RabbitMQ, and as many Redis as there are measurements at a time, since their commands are counted."""

    def __init__(self, broker: RabbitMQ, stores: list[Redis], folder: Path) -> None:
        self._broker = broker
        self._folder = folder
        self._free: queue.SimpleQueue[Redis] = queue.SimpleQueue()
        for store in stores:
            self._free.put(store)
        self._numbers = itertools.count(1)
        self._versions_of = (broker.url, stores[0].url)

    def versions(self) -> tuple[str, str]:
        """RabbitMQ's and Redis'. Raises LoadTestError, RedisError."""
        broker_url, store_url = self._versions_of
        with redis.Redis.from_url(store_url) as store:
            return publish(broker_url, (), lambda _: None, queue="hello"), str(store.info("server")["redis_version"])

    @contextmanager
    def scene(self, simulator: SimulatorProcess) -> Iterator[Scene]:
        """Set one up and start its simulator; all of it is gone after the block."""
        store = self._free.get_nowait()
        vhost = f"scene-{next(self._numbers)}"
        folder = self._folder / vhost
        folder.mkdir()
        store.flush(0)
        amqp_url = self._broker.add_vhost(vhost)
        try:
            with simulator:
                give_precedence(simulator.pid)
                yield Scene(System(self._broker, store, simulator, folder), amqp_url)
        finally:
            self._broker.delete_vhost(vhost)
            self._free.put(store)


@contextmanager
def servers(parallel: int) -> Iterator[Servers]:
    """Start them; all are gone after the block. Raises ServerError."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mms-bench-")))
        broker = stack.enter_context(RabbitMQ(management=True, config=QUIET_MANAGEMENT))
        stores = [stack.enter_context(Redis(append_only=True)) for _ in range(parallel)]
        yield Servers(broker, stores, folder)
