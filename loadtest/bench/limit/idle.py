"""Whether idle time changes anything: the queue runs dry, nothing is sent for a while, then a backlog comes at once."""

import time
from dataclasses import dataclass

from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.ledger_figures import US_PER_S
from loadtest.bench.limit.cells import Cell, jobs_for, measure_s
from loadtest.bench.limit.figures import CellFigures, Measured, cell_figures, is_throttled
from loadtest.bench.limit.measuring import LOOK_EVERY_S, bench_jobs, count, require_backlog
from loadtest.bench.limit.options import LimitOptions
from loadtest.bench.limit.senders import OurWorkers, declare_queues, our_workers
from loadtest.bench.limit.stage import Stage
from loadtest.bench.scene import Scene
from loadtest.bench.system import publish

RATE_PER_S, WORKERS = 15, 4
IDLE_S = 5.0
FIRST_S = 5
RUN_DRY_S_MAX = 60.0
"""The queue is to be empty so long after it would be at the limit."""


@dataclass(frozen=True, slots=True)
class IdleFigures:
    """Of the burst alone; `first_throttled_calls`: within FIRST_S of its first call."""

    burst: CellFigures
    first_throttled_calls: int


def idle_cells(options: LimitOptions) -> list[Cell]:
    """One for each jitter."""
    seconds = options.seconds or measure_s(RATE_PER_S)
    return [Cell("rolling", RATE_PER_S, WORKERS, spread, options.learn_s, seconds) for spread in options.spreads_ms]


def measure_idle(scene: Scene, cell: Cell, stage: Stage, *, seed: int) -> IdleFigures:
    """Raise NotMeasuredError, LoadTestError, StoppedError."""
    declare_queues(scene, cell, stage)
    before = cell.rate_per_s * cell.learn_s
    jobs = bench_jobs(before + jobs_for(cell.rate_per_s, cell.measure_s, cell.workers), seed=seed)

    def publish_some(first: int, last: int) -> None:
        publish(scene.amqp_url, jobs[first:last], lambda done: stage.show("publishing", done, last - first))

    publish_some(0, before)
    with our_workers(scene, cell, stage) as senders:
        _wait_until_sent(senders, before, cell, stage)
        readings = senders.read()
        stage.show("idle")
        stage.wait(IDLE_S)
        measured = count(scene, senders, cell, stage, first=readings, begin=lambda: publish_some(before, len(jobs)))
    require_backlog(sum(reading.sent for reading in measured.last), len(jobs))
    return IdleFigures(cell_figures(measured, rate_per_s=cell.rate_per_s), _first_throttled(measured))


def _wait_until_sent(senders: OurWorkers, jobs: int, cell: Cell, stage: Stage) -> None:
    give_up_at_s = time.monotonic() + cell.learn_s + RUN_DRY_S_MAX
    while (sent := sum(reading.sent for reading in senders.read())) < jobs:
        if time.monotonic() > give_up_at_s:
            raise NotMeasuredError(f"Only {sent} of {jobs} jobs were sent before the idle time was to begin.")
        stage.show("running dry", sent, jobs)
        stage.wait(LOOK_EVERY_S)


def _first_throttled(measured: Measured) -> int:
    end_us = measured.calls[0].at_us + FIRST_S * US_PER_S
    return sum(is_throttled(call) for call in measured.calls if call.at_us < end_us)
