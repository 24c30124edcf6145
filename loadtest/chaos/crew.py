"""The workers of a run: each has a place, and whoever ends there is followed by another, as a supervisor does it."""

import asyncio
import contextlib
import itertools
import os
import re
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loadtest.chaos.doubts import Ending
from loadtest.worker_process import WorkerProcess

LOOK_S = 0.1
#: A supervisor waits a moment before it starts the next one.
AGAIN_S = 0.5
NUMBER = re.compile(r"\+?614\d{8}|\b04\d{8}\b")


@dataclass(slots=True)
class Place:
    """Who works here now. ``is_meant_to_end``: somebody made it end."""

    worker: WorkerProcess
    is_meant_to_end: bool = False


@dataclass(slots=True)
class Crew:
    """``places``: the workers that run now; ``endings``: of those that ran before."""

    folder: Path
    settings: Mapping[str, str]
    count: int
    places: list[Place] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)
    is_closed: bool = False
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _failpoints: dict[int, str] = field(default_factory=dict)

    def start(self) -> None:
        """Start all of them."""
        self.places = [Place(self._new()) for _ in range(self.count)]

    async def wait_until_ready(self) -> None:
        """Return when all are connected and take jobs."""
        await asyncio.gather(*(asyncio.to_thread(place.worker.wait_until_ready) for place in self.places))

    async def supervise(self) -> None:
        """Follow every worker that ends by a new one, until the crew is closed."""
        while not self.is_closed:
            await asyncio.sleep(LOOK_S)
            for n, place in enumerate(self.places):
                if place.worker.ended is None:
                    continue
                self._note(place)
                await asyncio.to_thread(place.worker.__exit__, None, None, None)
                await asyncio.sleep(AGAIN_S)
                if not self.is_closed:
                    failpoint = self._failpoints.pop(n, None)
                    self.places[n] = Place(self._new(failpoint), is_meant_to_end=failpoint is not None)

    def kill(self, n: int) -> None:
        """SIGKILL, as a crash would end it."""
        place = self.places[n]
        place.is_meant_to_end = True
        _signal(place.worker, signal.SIGKILL)

    def stop(self, n: int) -> None:
        """SIGTERM: it is to be replaced."""
        self.places[n].is_meant_to_end = True
        self.places[n].worker.ask_to_stop()

    def freeze(self, n: int) -> WorkerProcess:
        """SIGSTOP; ``thaw`` ends it."""
        worker = self.places[n].worker
        _signal(worker, signal.SIGSTOP)
        return worker

    def thaw(self, worker: WorkerProcess) -> None:
        """SIGCONT, if it is still there."""
        _signal(worker, signal.SIGCONT)

    def die_at(self, n: int, failpoint: str) -> None:
        """Kill it, and have the next one kill itself at a step."""
        self._failpoints[n] = failpoint
        self.kill(n)

    async def drain(self) -> None:
        """Stop all of them, and return when they have ended."""
        self.is_closed = True
        for n, _ in enumerate(self.places):
            self.stop(n)
        workers = [place.worker for place in self.places]
        await asyncio.gather(*(asyncio.to_thread(worker.wait_until_stopped) for worker in workers))
        for place in self.places:
            self._note(place)

    def end(self) -> None:
        """Kill what is left; for the way out."""
        self.is_closed = True
        for place in self.places:
            self.thaw(place.worker)
            place.worker.__exit__(None, None, None)

    def logs(self) -> str:
        """What all workers have logged, one after the other."""
        return "".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("worker-*.log")))

    def surprises(self) -> list[str]:
        """Lines of the logs about what nobody expects."""
        return [line for line in self.logs().splitlines() if '"surprise"' in line]

    def leaks(self, key: str) -> int:
        """Lines of the logs that hold a phone number or this key, which may be what all keys begin with."""
        return sum(bool(key in line or NUMBER.search(line)) for line in self.logs().splitlines())

    def _note(self, place: Place) -> None:
        worker, gone_us = place.worker, time.time_ns() // 1_000
        ending = Ending(worker.name, str(worker.ended), worker.alive_at_us, gone_us, is_meant=place.is_meant_to_end)
        self.endings.append(ending)

    def _new(self, failpoint: str | None = None) -> WorkerProcess:
        settings = dict(self.settings) if failpoint is None else {**self.settings, "MMS_FAILPOINT": failpoint}
        worker = WorkerProcess(f"worker {next(self._numbers):03}", folder=self.folder, settings=settings)
        return worker.__enter__()


def _signal(worker: WorkerProcess, number: signal.Signals) -> None:
    """Unless it has ended: its number may be another's by now."""
    if worker.ended is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.pid, number)
