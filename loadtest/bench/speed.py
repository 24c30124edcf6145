"""What one worker (or several) does when nothing holds it up, and what a job costs each process."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import redis
from rich.console import Console

from loadtest.bench.circumstances import Versions
from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.jobs import USUAL_PICTURE_SIDE_PX, make_jobs, noise_png
from loadtest.bench.options import PictureBy, SpeedOptions
from loadtest.bench.picture_server import media_of
from loadtest.bench.processes import peak_resident_bytes
from loadtest.bench.readings import Reading, open_http, take, worker_version
from loadtest.bench.system import private_system, publish_backlog, running_workers, stop_workers
from loadtest.bench.watching import looks, require_all_sent
from loadtest.simulator.process import SimulatorProcess
from loadtest.terminal import CountedStep
from loadtest.worker_process import WorkerProcess

STEADY_FROM, STEADY_TO = 0.10, 0.85
"""Shares of all jobs that have ended: neither the start nor the emptying of the queue is measured."""
STEADY_S_MIN = 2.0
NO_LIMIT_PER_S = 100_000
US_PER_S = 1_000_000
MS_PER_S = 1_000


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one process, or of all workers together: processor time per job, and cores used (1 is one core)."""

    cpu_us_per_job: float
    cores: float


@dataclass(frozen=True, slots=True)
class SpeedFigures:
    """Of the steady state. `confirm_ms` and `call_ms` are means; the peak of memory is the largest worker's."""

    picture: PictureBy
    seconds: float
    jobs: int
    calls_per_s: float
    costs: Mapping[str, Cost]
    confirm_ms: float
    call_ms: float
    peak_resident_bytes: int


def measure_speed(options: SpeedOptions, picture: PictureBy, console: Console) -> tuple[SpeedFigures, Versions]:
    """Run it with one kind of picture, on servers of its own; raises as `measure_pace` does."""
    simulator = SimulatorProcess(
        unlimited=True, latency_ms=options.latency_ms, latency_spread_ms=options.latency_ms / 2, seed=options.seed
    )
    content = noise_png(USUAL_PICTURE_SIDE_PX, seed=options.seed)
    with (
        private_system(console, simulator) as system,
        media_of(content, picture, folder=system.folder) as (media, extra),
    ):
        settings = {"MMS_RATE_PER_S": str(NO_LIMIT_PER_S), **extra}
        jobs = make_jobs(options.jobs, media=media, recipients=options.recipients)
        rabbitmq = publish_backlog(system, jobs, options.jobs, settings=settings, console=console)
        with redis.Redis.from_url(system.store.url) as store:
            redis_version = str(store.info("server")["redis_version"])
        with (
            running_workers(system, options.workers, settings=settings, console=console) as workers,
            open_http() as http,
        ):
            versions = Versions(worker_version(http, workers[0]), rabbitmq, redis_version)
            first, last = _watch(options, workers, lambda: take(http, workers, system.servers), console)
            peak_bytes = max(peak_resident_bytes(worker.pid) for worker in workers)
            stop_workers(workers)
    return speed_figures(picture, first, last, peak_bytes=peak_bytes), versions


def speed_figures(picture: PictureBy, first: Reading, last: Reading, *, peak_bytes: int) -> SpeedFigures:
    """The figures between two readings. Raises NotMeasuredError when they are too close together."""
    seconds, jobs = last.at_s - first.at_s, last.finished - first.finished
    pairs = list(zip(first.workers, last.workers, strict=True))
    calls = sum(after.calls - before.calls for before, after in pairs)
    publishes = sum(after.publishes - before.publishes for before, after in pairs)
    if seconds < STEADY_S_MIN or not (jobs and calls and publishes):
        raise NotMeasuredError(f"The steady state lasted {seconds:.1f} s, which is too short: take more --jobs.")
    spent_s = {"worker": sum(after.cpu_s - before.cpu_s for before, after in pairs)}
    spent_s |= {name: last.servers_cpu_s[name] - before_s for name, before_s in first.servers_cpu_s.items()}
    call_s = sum(after.call_s - before.call_s for before, after in pairs)
    confirm_s = sum(after.confirm_s - before.confirm_s for before, after in pairs)
    return SpeedFigures(
        picture=picture,
        seconds=seconds,
        jobs=jobs,
        calls_per_s=calls / seconds,
        costs={name: Cost(cpu_s * US_PER_S / jobs, cpu_s / seconds) for name, cpu_s in spent_s.items()},
        confirm_ms=confirm_s * MS_PER_S / publishes,
        call_ms=call_s * MS_PER_S / calls,
        peak_resident_bytes=peak_bytes,
    )


def _watch(
    options: SpeedOptions, workers: Sequence[WorkerProcess], take_reading: Callable[[], Reading], console: Console
) -> tuple[Reading, Reading]:
    """The first reading in the steady state, and the first after it."""
    taken: list[Reading] = []

    def look() -> int:
        taken.append(require_all_sent(take_reading()))
        return taken[-1].finished

    with CountedStep(console, "sending", options.jobs) as bar:
        for finished in looks(workers, look):
            bar.show(finished)
            if finished >= options.jobs * STEADY_TO:
                break
    return next(reading for reading in taken if reading.finished >= options.jobs * STEADY_FROM), taken[-1]
