"""Who sends: our workers, or a rival's processes, started, read and stopped alike."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import httpx

from loadtest.bench.limit.cells import Cell
from loadtest.bench.limit.figures import SenderReading
from loadtest.bench.limit.stage import Stage
from loadtest.bench.readings import open_http, require_running, take
from loadtest.bench.scene import Scene
from loadtest.bench.watching import require_all_sent
from loadtest.worker_process import WorkerProcess


class Senders(Protocol):
    """Processes that send. Both methods raise NotMeasuredError when one has ended."""

    def require_running(self) -> None:
        """Look whether all run."""
        ...

    def read(self) -> tuple[SenderReading, ...]:
        """What each has done so far."""
        ...


@dataclass(frozen=True, slots=True)
class OurWorkers:
    """Implements Senders."""

    workers: Sequence[WorkerProcess]
    http: httpx.Client = field(repr=False)

    def require_running(self) -> None:
        """As the protocol says."""
        for worker in self.workers:
            require_running(worker)

    def read(self) -> tuple[SenderReading, ...]:
        """As the protocol says; NotMeasuredError also when a job ended otherwise than sent."""
        reading = require_all_sent(take(self.http, self.workers, {}))
        return tuple(SenderReading(worker.sent, worker.cpu_s) for worker in reading.workers)


def worker_settings(scene: Scene, cell: Cell) -> dict[str, str]:
    """A worker's settings that are not the system's own."""
    return {**scene.settings, "MMS_RATE_PER_S": str(cell.rate_per_s)}


def declare_queues(scene: Scene, cell: Cell, stage: Stage) -> None:
    """Have a worker run for a moment, which declares what it needs in the broker. Raises LoadTestError."""
    stage.show("queues")
    scene.system.declare_queues(worker_settings(scene, cell))
    scene.system.store.flush(0)


@contextmanager
def our_workers(scene: Scene, cell: Cell, stage: Stage) -> Iterator[OurWorkers]:
    """Start them, and hand them over when all are ready; they are killed after the block. Raises LoadTestError."""
    stage.show("starting")
    settings = worker_settings(scene, cell)
    with ExitStack() as stack:
        workers = [
            stack.enter_context(scene.system.worker(f"worker {place}", settings))
            for place in range(1, cell.workers + 1)
        ]
        for worker in workers:
            worker.wait_until_ready()
            stage.check()
        yield OurWorkers(workers, stack.enter_context(open_http()))
