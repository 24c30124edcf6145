"""How much memory a worker holds while many jobs wait: it must not grow with the queue, nor with time."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from statistics import median

import redis
from rich.console import Console

from deploy.local.ports import LOOPBACK
from loadtest.bench.circumstances import Versions
from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.jobs import USUAL_PICTURE_SIDE_PX, BenchJob, inline, make_jobs, noise_png
from loadtest.bench.picture_server import PictureServer
from loadtest.bench.probe_options import MemoryOptions
from loadtest.bench.processes import peak_resident_bytes, resident_bytes
from loadtest.bench.readings import open_http, require_running, worker_version
from loadtest.bench.speed import NO_LIMIT_PER_S
from loadtest.bench.system import System, private_system, publish, running_workers, stop_workers
from loadtest.simulator.process import SimulatorProcess
from loadtest.terminal import CountedStep

LATENCY_MS = 5.0
LIMITS_PER_S = (15, NO_LIMIT_PER_S)
SETTLED_AFTER_S = 5.0
"""Until then a worker fills its hands, which makes it grow."""
LOOK_EVERY_S = 0.5
JOBS_MAX = 10_000_000


@dataclass(frozen=True, slots=True)
class MemoryFigures:
    """Of one worker, from its readiness on. Bytes in memory: `settled` ones are those after SETTLED_AFTER_S.

    `has_picture`: whether each job carries 20 KB. `sent`: what left meanwhile. `peak_bytes`: VmHWM, from the process's
    start on.
    """

    has_picture: bool
    waiting: int
    rate_per_s: int
    seconds: float
    sent: int
    first_bytes: int
    settled_bytes: int
    least_bytes: int
    most_bytes: int
    peak_bytes: int
    each_bytes: tuple[int, ...] = field(repr=False)

    @property
    def spread(self) -> float:
        """How far the settled memory moved, as a share of its median."""
        return (self.most_bytes - self.least_bytes) / self.settled_bytes


def measure_memory(options: MemoryOptions, console: Console) -> tuple[list[MemoryFigures], Versions]:
    """Run all cases. Raises NotMeasuredError, and LoadTestError, ServerError and the like when it cannot be set up."""
    kinds = ((False, sorted(options.waiting)), (True, [options.pictures] if options.pictures else []))
    measured = [_measure(sizes, options, console, has_picture=has_picture) for has_picture, sizes in kinds if sizes]
    if not measured:
        raise NotMeasuredError("Nothing was to wait: --waiting and --pictures leave no case.")
    return [one for figures, _ in measured for one in figures], measured[-1][1]


def _measure(
    sizes: Sequence[int], options: MemoryOptions, console: Console, *, has_picture: bool
) -> tuple[list[MemoryFigures], Versions]:
    """All cases of one kind, on servers of their own."""
    picture = noise_png(USUAL_PICTURE_SIDE_PX, seed=options.seed)
    simulator = SimulatorProcess(
        unlimited=True, latency_ms=LATENCY_MS, latency_spread_ms=LATENCY_MS / 2, seed=options.seed
    )
    figures = []
    with private_system(console, simulator) as system, PictureServer(picture, folder=system.folder) as server:
        media = inline(picture) if has_picture else {"url": server.url}
        settings = {"MMS_MEDIA_HOSTS_ALLOWED": LOOPBACK, "MMS_MEDIA_CA_FILE": str(server.ca_file)}
        queue = _Queue(system, make_jobs(JOBS_MAX, media=media, recipients=1))
        system.declare_queues(settings)
        for waiting, rate_per_s in product(sizes, LIMITS_PER_S):
            queue.fill_up_to(waiting, console)
            told = settings | {"MMS_RATE_PER_S": str(rate_per_s)}
            seen = _look_on(system, told, options.seconds, console)
            queue.note_sent(seen.sent)
            figures.append(memory_figures(seen, has_picture=has_picture, waiting=waiting, rate_per_s=rate_per_s))
        with redis.Redis.from_url(system.store.url) as store:
            redis_version = str(store.info("server")["redis_version"])
    return figures, Versions(seen.worker_version, queue.broker_version, redis_version)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one worker: bytes in memory every LOOK_EVERY_S."""

    each_bytes: tuple[int, ...]
    peak_bytes: int
    seconds: float
    sent: int
    worker_version: str


def memory_figures(seen: Seen, *, has_picture: bool, waiting: int, rate_per_s: int) -> MemoryFigures:
    """The figures of what was seen (pure). Raises NotMeasuredError when that was too short."""
    settled = seen.each_bytes[int(SETTLED_AFTER_S / LOOK_EVERY_S) :]
    if not settled:
        raise NotMeasuredError("It was looked at for too short a time: take more --seconds, or more jobs.")
    return MemoryFigures(
        has_picture=has_picture,
        waiting=waiting,
        rate_per_s=rate_per_s,
        seconds=seen.seconds,
        sent=seen.sent,
        first_bytes=seen.each_bytes[0],
        settled_bytes=int(median(settled)),
        least_bytes=min(settled),
        most_bytes=max(settled),
        peak_bytes=seen.peak_bytes,
        each_bytes=seen.each_bytes,
    )


class _Queue:
    """What waits, as far as this program knows: what it has published, less what has been sent."""

    def __init__(self, system: System, jobs: Iterator[BenchJob]) -> None:
        self._system = system
        self._jobs = jobs
        self._waiting = 0
        self.broker_version = "unknown"

    def fill_up_to(self, waiting: int, console: Console) -> None:
        """Publish what is missing."""
        if (missing := waiting - self._waiting) <= 0:
            return
        with CountedStep(console, "publishing", missing) as bar:
            self.broker_version = publish(self._system.broker.url, islice(self._jobs, missing), bar.show)
        self._waiting = waiting

    def note_sent(self, count: int) -> None:
        """So many have left it."""
        self._waiting -= count


def _look_on(system: System, settings: Mapping[str, str], seconds: int, console: Console) -> Seen:
    """What one worker does in so many seconds."""
    control = system.simulator.control
    control.reset()
    with running_workers(system, 1, settings=settings, console=console) as (worker,), open_http() as http:
        version = worker_version(http, worker)
        began_s = time.monotonic()
        each = list[int]()
        with CountedStep(console, "looking on, seconds", seconds) as bar:
            while (passed_s := time.monotonic() - began_s) < seconds:
                require_running(worker)
                each.append(resident_bytes(worker.pid))
                bar.show(int(passed_s))
                time.sleep(LOOK_EVERY_S)
        peak_bytes = peak_resident_bytes(worker.pid)
        stop_workers((worker,))
    return Seen(tuple(each), peak_bytes, seconds, control.summary().recipients_accepted, version)
