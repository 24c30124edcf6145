"""How long a worker takes from the start of its process to the first call at the API, with jobs waiting."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from statistics import median

from rich.console import Console

from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.jobs import BenchJob
from loadtest.bench.readings import require_running
from loadtest.bench.system import System, publish
from loadtest.terminal import CountedStep
from loadtest.worker_process import WorkerProcess

START_S_MAX = 30.0
POLL_S = 0.05
JOBS_WAITING = 100
NS_PER_US, US_PER_S = 1_000, 1_000_000


@dataclass(frozen=True, slots=True)
class StartFigures:
    """From just before the process is made. `said_s`: median moments of what its log says before the first call."""

    starts: int
    median_s: float
    worst_s: float
    each_s: tuple[float, ...]
    said_s: Mapping[str, float] = field(default_factory=dict)


def measure_starts(
    system: System, starts: int, jobs: Iterator[BenchJob], settings: Mapping[str, str], console: Console
) -> StartFigures:
    """Start one worker after the other, each with jobs that wait. Raises NotMeasuredError."""
    each_s, said = [], list[dict[str, float]]()
    with CountedStep(console, "starting workers", starts) as bar:
        for number in range(1, starts + 1):
            publish(system.broker.url, islice(jobs, JOBS_WAITING), lambda _: None)
            system.simulator.control.reset()
            began_us = time.time_ns() // NS_PER_US
            with system.worker(f"start {number}", settings) as worker:
                arrived_us = _first_arrival_us(system, worker)
                worker.ask_to_stop()
                worker.wait_until_stopped()
                said.append(first_lines_s(worker.log(), began_us))
            each_s.append((arrived_us - began_us) / US_PER_S)
            bar.show(number)
    names = [name for name in said[0] if all(name in lines for lines in said)]
    return StartFigures(
        starts,
        median(each_s),
        max(each_s),
        tuple(each_s),
        {name: at_s for name in names if (at_s := median(lines[name] for lines in said)) < median(each_s)},
    )


def first_lines_s(log: str, began_us: int) -> dict[str, float]:
    """When each event was logged first, with its role, in seconds from the beginning (pure)."""
    first_s: dict[str, float] = {}
    for line in log.splitlines():
        try:
            told = json.loads(line)
            at_us = datetime.fromisoformat(told["timestamp"]).timestamp() * US_PER_S
            name = " ".join(filter(None, (told["event"], told.get("role"))))
        except (ValueError, TypeError, KeyError):
            continue  # something that Python itself wrote
        first_s.setdefault(name, (at_us - began_us) / US_PER_S)
    return first_s


def _first_arrival_us(system: System, worker: WorkerProcess) -> int:
    give_up_at_s = time.monotonic() + START_S_MAX
    while not (calls := system.simulator.control.calls()):
        require_running(worker)
        if time.monotonic() > give_up_at_s:
            raise NotMeasuredError(f"A worker made no call within {START_S_MAX:.0f} s of its start.")
        time.sleep(POLL_S)
    return calls[0].at_us
