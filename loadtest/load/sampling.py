"""What the processes use while the test runs: read once a second out of /proc, which costs them nothing."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.processes import cpu_s, resident_bytes

EVERY_S = 1.0
BYTES_PER_MB = 1_000_000
SAMPLES_MAX = 200_000


@dataclass(frozen=True, slots=True)
class Sample:
    """Of one process: in the time up to `at_us` (wall clock) it used so many cores; None when it was not there."""

    at_us: int
    cores: float | None
    memory_mb: float | None


@dataclass(slots=True)
class Sampler:
    """`pids`: the processes as they are now, by name; one may have another id each time. `samples` by name."""

    pids: Callable[[], Mapping[str, int | None]]
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    _before: dict[str, tuple[int, float, float]] = field(default_factory=dict)

    async def watch(self) -> None:
        """For ever, or until there are SAMPLES_MAX of them."""
        loop = asyncio.get_running_loop()
        next_s = loop.time()
        for _ in range(SAMPLES_MAX):
            self.take()
            next_s += EVERY_S
            await asyncio.sleep(max(0.0, next_s - loop.time()))

    def take(self) -> None:
        """One of each process."""
        at_us = time.time_ns() // 1_000
        for name, pid in self.pids().items():
            self.samples.setdefault(name, []).append(self._of(name, pid, at_us))

    def _of(self, name: str, pid: int | None, at_us: int) -> Sample:
        before = self._before.pop(name, None)
        if pid is None:
            return Sample(at_us, None, None)
        try:
            at_s, used_s, memory_mb = time.monotonic(), cpu_s(pid), resident_bytes(pid) / BYTES_PER_MB
        except NotMeasuredError:
            return Sample(at_us, None, None)
        self._before[name] = (pid, at_s, used_s)
        if before is None or before[0] != pid:
            return Sample(at_us, None, memory_mb)
        return Sample(at_us, (used_s - before[2]) / max(at_s - before[1], 1e-3), memory_mb)
