"""The processes of a run, each at an address of its own: whoever ends is followed by another, as a supervisor does."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.ports import LOOPBACK, free_port
from loadtest.worker_process import WorkerProcess

LOOK_S = 0.1
AGAIN_S = 1.0


@dataclass(slots=True)
class Place:
    """A process that is always there; `job` is what Prometheus calls it."""

    name: str
    job: str
    command: str
    settings: Mapping[str, str]
    folder: Path
    port: int = field(default_factory=free_port)
    starts: int = 0
    process: WorkerProcess | None = None

    @property
    def target(self) -> str:
        """Where it is scraped."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def running(self) -> WorkerProcess:
        """The process that is here now."""
        if self.process is None:
            raise AssertionError("it is started first")
        return self.process

    def start(self) -> None:
        """Start it, or the next one."""
        self.end()
        self.starts += 1
        self.process = WorkerProcess(
            f"{self.name} {self.starts}",
            folder=self.folder,
            settings=self.settings,
            command=self.command,
            admin_port=self.port,
        ).__enter__()

    def signal(self, number: signal.Signals) -> None:
        """Unless it has ended: its number may be another's by now."""
        if self.running.ended is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.running.pid, number)

    def end(self) -> None:
        """Kill it, for the way out."""
        if self.process is not None:
            self.process.__exit__(None, None, None)


@dataclass(slots=True)
class Crew:
    """`places`: workers first, the receiver last."""

    places: list[Place]
    is_closed: bool = False

    @property
    def workers(self) -> list[Place]:
        """Those that send."""
        return [place for place in self.places if place.command == "run"]

    def targets(self) -> dict[str, list[str]]:
        """For Prometheus: addresses by job."""
        found: dict[str, list[str]] = {}
        for place in self.places:
            found.setdefault(place.job, []).append(place.target)
        return found

    def start(self) -> None:
        """Start all, and return when each is ready; raises LoadTestError."""
        for place in self.places:
            place.start()
        for place in self.places:
            place.running.wait_until_ready()

    async def supervise(self) -> None:
        """Follow every process that ends by another one, for ever."""
        while not self.is_closed:
            await asyncio.sleep(LOOK_S)
            for place in self.places:
                if place.running.ended is not None:
                    await asyncio.sleep(AGAIN_S)
                    place.start()

    def end(self) -> None:
        """Kill all, for the way out."""
        self.is_closed = True
        for place in self.places:
            place.end()

    def log(self) -> str:
        """The last lines of each."""
        return "\n".join(f"{place.name}:\n{place.running.log_tail()}" for place in self.places)
