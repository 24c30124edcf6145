"""How well workers with a backlog use the limit, and keep it."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx
import redis
from rich.console import Console

from loadtest.bench.circumstances import Versions
from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.jobs import SMALL_PICTURE_SIDE_PX, inline, make_jobs, noise_png
from loadtest.bench.ledger_figures import LedgerFigures, ledger_figures
from loadtest.bench.options import PaceOptions
from loadtest.bench.readings import Reading, open_http, take, worker_version
from loadtest.bench.system import System, private_system, publish_backlog, running_workers, stop_workers
from loadtest.bench.watching import looks, require_all_sent
from loadtest.simulator.process import SimulatorProcess
from loadtest.terminal import CountedStep
from loadtest.worker_process import WorkerProcess

SPARE_SHARE = 0.1
SPARE_S_MIN = 10.0
"""More jobs than the limit lets through in the time: workers that are ready first begin before the time does."""
SCRIPT_COMMANDS = ("cmdstat_eval", "cmdstat_evalsha")
NS_PER_US = 1_000


@dataclass(frozen=True, slots=True)
class RedisUse:
    """Commands since its start, `commands` with those that scripts ran."""

    scripts: int
    commands: int

    @classmethod
    def of(cls, commandstats: Mapping[str, Mapping[str, int]]) -> "RedisUse":
        """Out of INFO commandstats."""
        calls = {name: int(stats["calls"]) for name, stats in commandstats.items()}
        return cls(sum(calls.get(name, 0) for name in SCRIPT_COMMANDS), sum(calls.values()))


@dataclass(frozen=True, slots=True)
class PaceFigures:
    """`shares`: of each worker, of the jobs sent. Processor time is the workers' alone, while all were ready."""

    ledger: LedgerFigures
    shares: tuple[float, ...]
    cpu_s_per_1000_jobs: float
    redis_scripts_per_call: float
    redis_commands_per_call: float


@dataclass(frozen=True, slots=True)
class Edge:
    """All that is read at one end of the measured time; `at_us` by the wall clock."""

    reading: Reading
    redis_use: RedisUse
    calls: int
    at_us: int


def jobs_for(options: PaceOptions) -> int:
    """So many that the workers never run out of them."""
    spare_s = max(options.seconds * SPARE_SHARE, SPARE_S_MIN)
    return math.ceil(options.rate_per_s * (options.seconds + spare_s))


def best_share(spread_ms: float) -> float:
    """What nobody can exceed without answers 429: a jitter of J seconds on the way leaves 1 / (1 + J) of the limit."""
    return 1 / (1 + spread_ms / 1_000)


def measure_pace(options: PaceOptions, console: Console) -> tuple[PaceFigures, Versions]:
    """Run it. Raises NotMeasuredError, and LoadTestError, ServerError and the like when it cannot be set up."""
    simulator = SimulatorProcess(
        rate_per_s=options.rate_per_s,
        window=options.window,
        spread_ms=options.spread_ms,
        latency_ms=options.latency_ms,
        latency_spread_ms=options.latency_ms / 2,
        seed=options.seed,
    )
    settings = {"MMS_RATE_PER_S": str(options.rate_per_s)}
    count = jobs_for(options)
    media = inline(noise_png(SMALL_PICTURE_SIDE_PX, seed=options.seed))
    with private_system(console, simulator) as system:
        jobs = make_jobs(count, media=media, recipients=1)
        rabbitmq = publish_backlog(system, jobs, count, settings=settings, console=console)
        with (
            running_workers(system, options.workers, settings=settings, console=console) as workers,
            redis.Redis.from_url(system.store.url) as store,
            open_http() as http,
        ):
            versions = Versions(worker_version(http, workers[0]), rabbitmq, str(store.info("server")["redis_version"]))
            first, last = _watch(options, system=system, workers=workers, store=store, http=http, console=console)
            stop_workers(workers)
        if last.reading.finished >= count:
            raise NotMeasuredError(f"The workers ran out of jobs: {count} were too few for {options.seconds} s.")
        # What stopping did to the pace is not a part of it.
        calls = [call for call in simulator.control.calls() if call.at_us <= last.at_us]
    ledger = ledger_figures(calls, rate_per_s=options.rate_per_s)
    if ledger is None:
        raise NotMeasuredError("The API admitted fewer than two calls: measure for longer.")
    return pace_figures(ledger, first, last), versions


def pace_figures(ledger: LedgerFigures, first: Edge, last: Edge) -> PaceFigures:
    """The figures between two edges. Raises NotMeasuredError when nothing was sent between them."""
    pairs = list(zip(first.reading.workers, last.reading.workers, strict=True))
    sent = [after.sent - before.sent for before, after in pairs]
    calls = last.calls - first.calls
    if not sum(sent) or not calls:
        raise NotMeasuredError("Nothing was sent after all workers were ready: measure for longer.")
    return PaceFigures(
        ledger=ledger,
        shares=tuple(jobs / sum(sent) for jobs in sent),
        cpu_s_per_1000_jobs=sum(after.cpu_s - before.cpu_s for before, after in pairs) * 1_000 / sum(sent),
        redis_scripts_per_call=(last.redis_use.scripts - first.redis_use.scripts) / calls,
        redis_commands_per_call=(last.redis_use.commands - first.redis_use.commands) / calls,
    )


def _watch(
    options: PaceOptions,
    *,
    system: System,
    workers: Sequence[WorkerProcess],
    store: "redis.Redis",
    http: httpx.Client,
    console: Console,
) -> tuple[Edge, Edge]:
    """Look on for as long as was asked for, from the moment at which all workers are ready.

    In between only the simulator is asked: reading the workers' metrics costs them more than sending does.
    """
    control = system.simulator.control

    def edge() -> Edge:
        reading = require_all_sent(take(http, workers, {}))
        use = RedisUse.of(store.info("commandstats"))
        return Edge(reading, use, control.summary().calls, time.time_ns() // NS_PER_US)

    first = edge()
    with CountedStep(console, "sending", options.rate_per_s * options.seconds) as bar:
        for accepted in looks(workers, lambda: control.summary().accepted_calls):
            bar.show(accepted - first.calls)
            if time.monotonic() - first.reading.at_s >= options.seconds:
                return first, edge()
    raise AssertionError("looks have no end")
