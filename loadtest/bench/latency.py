"""How long an idle system takes from publishing a job to its call's arrival at the API."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

import redis
import uvloop
from rich.console import Console

from deploy.local.ports import LOOPBACK
from loadtest.bench.circumstances import Versions
from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.jobs import USUAL_PICTURE_SIDE_PX, BenchJob, make_jobs, noise_png
from loadtest.bench.now_and_then import FIRST_JOBS, Moments, publish_now_and_then
from loadtest.bench.picture_server import PictureServer
from loadtest.bench.probe_options import LatencyOptions
from loadtest.bench.readings import open_http, require_running, worker_version
from loadtest.bench.speed import NO_LIMIT_PER_S
from loadtest.bench.start import StartFigures, measure_starts
from loadtest.bench.system import System, private_system, publish_backlog, running_workers, stop_workers
from loadtest.percentile import percentile
from loadtest.simulator.process import SimulatorProcess
from loadtest.simulator.records import Accepted, CallRecord
from loadtest.terminal import CountedStep
from loadtest.worker_process import WorkerProcess

GAP_S_MIN, GAP_S_MAX = 0.2, 1.0
LATENCY_MS = 5.0
LIMITS_PER_S = (NO_LIMIT_PER_S, 15)
JOBS_MAX = 1_000_000
US_PER_MS = 1_000


@dataclass(frozen=True, slots=True)
class Times:
    """Percentiles, and each one."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    each_ms: tuple[float, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class LatencyFigures:
    """From just before `basic.publish`; the limit was so high.

    `call`: to the call's arrival in the simulator's ledger. `delivery`: of the same jobs to a bare consumer of a queue
    like the worker's, which is what the broker alone takes.
    """

    rate_per_s: int
    jobs: int
    call: Times
    delivery: Times


@dataclass(frozen=True, slots=True)
class LatencyResult:
    """Of all that was asked for."""

    idle: tuple[LatencyFigures, ...]
    starts: StartFigures | None


def measure_latency(options: LatencyOptions, console: Console) -> tuple[LatencyResult, Versions]:
    """Run it. Raises NotMeasuredError, and LoadTestError, ServerError and the like when it cannot be set up."""
    simulator = SimulatorProcess(
        unlimited=True, latency_ms=LATENCY_MS, latency_spread_ms=LATENCY_MS / 2, seed=options.seed
    )
    picture = noise_png(USUAL_PICTURE_SIDE_PX, seed=options.seed)
    with (
        private_system(console, simulator) as system,
        PictureServer(picture, folder=system.folder) as server,
    ):
        media = {"MMS_MEDIA_HOSTS_ALLOWED": LOOPBACK, "MMS_MEDIA_CA_FILE": str(server.ca_file)}
        jobs = make_jobs(JOBS_MAX, media={"url": server.url}, recipients=1)
        rabbitmq = publish_backlog(system, (), 0, settings=media, console=console)
        with redis.Redis.from_url(system.store.url) as store:
            redis_version = str(store.info("server")["redis_version"])
        idle, version = [], "unknown"
        for rate_per_s in LIMITS_PER_S if options.jobs else ():
            settings = media | {"MMS_RATE_PER_S": str(rate_per_s)}
            with running_workers(system, 1, settings=settings, console=console) as workers, open_http() as http:
                version = worker_version(http, workers[0])
                idle.append(
                    _idle(
                        system,
                        workers[0],
                        list(islice(jobs, options.jobs + FIRST_JOBS)),
                        rate_per_s=rate_per_s,
                        seed=options.seed,
                        console=console,
                    )
                )
                stop_workers(workers)
        starts = measure_starts(system, options.starts, jobs, media, console) if options.starts else None
    return LatencyResult(tuple(idle), starts), Versions(version, rabbitmq, redis_version)


def gaps_s(count: int, *, seed: int) -> list[float]:
    """How long to wait before each job (pure)."""
    chance = random.Random(seed)
    return [chance.uniform(GAP_S_MIN, GAP_S_MAX) for _ in range(count)]


def latency_figures(
    rate_per_s: int,
    jobs: Sequence[BenchJob],
    moments: Moments,
    accepted: Sequence[Accepted],
    calls: Sequence[CallRecord],
) -> LatencyFigures:
    """The figures (pure). Raises NotMeasuredError unless each job that counts had just one call, of its own text."""
    texts = {job.name: json.loads(job.body)["text"] for job in jobs if job.name in moments.published_us}
    arrived_us = {one.text: calls[one.call].at_us for one in accepted}
    if len(accepted) != len(arrived_us) or not arrived_us.keys() >= set(texts.values()):
        raise NotMeasuredError(f"Not each of {len(texts)} jobs came just once: there are {len(accepted)} messages.")
    published_us = moments.published_us
    return LatencyFigures(
        rate_per_s,
        len(texts),
        call=_times([arrived_us[text] - published_us[name] for name, text in texts.items()]),
        delivery=_times([moments.delivered_us[name] - moments.bare_us[name] for name in texts]),
    )


def _times(each_us: Sequence[int]) -> Times:
    each_ms = [one_us / US_PER_MS for one_us in each_us]

    def at(share: float) -> float:
        return percentile(each_ms, share) or 0.0

    return Times(at(0.5), at(0.9), at(0.99), at(1.0), tuple(each_ms))


def _idle(
    system: System, worker: WorkerProcess, jobs: Sequence[BenchJob], *, rate_per_s: int, seed: int, console: Console
) -> LatencyFigures:
    control = system.simulator.control
    control.reset()

    def arrived() -> int:
        require_running(worker)
        return control.summary().recipients_accepted

    limit = "no limit" if rate_per_s == NO_LIMIT_PER_S else f"{rate_per_s} calls/s allowed"
    waits_s = gaps_s(len(jobs), seed=seed)
    with CountedStep(console, f"one job now and then, {limit}", len(jobs)) as bar:
        publishing = publish_now_and_then(system.broker.url, jobs, waits_s, arrived=arrived, on_count=bar.show)
        moments = uvloop.run(publishing)
    return latency_figures(rate_per_s, jobs, moments, control.accepted(), control.calls())
