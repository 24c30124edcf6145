"""One measured time: the senders learn, then it counts."""

import time
from collections.abc import Callable

from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.jobs import SMALL_PICTURE_SIDE_PX, BenchJob, inline, make_jobs, noise_png
from loadtest.bench.limit.cells import SETTLE_S, Cell, jobs_for
from loadtest.bench.limit.figures import CellFigures, Measured, SenderReading, cell_figures
from loadtest.bench.limit.redis_monitor import RedisMonitor
from loadtest.bench.limit.senders import Senders, declare_queues, our_workers
from loadtest.bench.limit.stage import Stage
from loadtest.bench.processes import machine_ticks
from loadtest.bench.scene import Scene
from loadtest.bench.system import publish
from loadtest.bench.watching import StallWatch
from loadtest.simulator.records import Summary

LOOK_EVERY_S = 1.0
"""Each look costs the simulator, whose clock is the judge's, a fraction of a millisecond."""


def bench_jobs(count: int, *, seed: int) -> list[BenchJob]:
    """Jobs that cannot share a call, with a small picture inside."""
    media = inline(noise_png(SMALL_PICTURE_SIDE_PX, seed=seed))
    return list(make_jobs(count, media=media, recipients=1))


def measure_ours(scene: Scene, cell: Cell, stage: Stage, *, seed: int) -> CellFigures:
    """A row of the grid. Raises NotMeasuredError, LoadTestError, StoppedError."""
    declare_queues(scene, cell, stage)
    jobs = bench_jobs(jobs_for(cell.rate_per_s, cell.learn_s + cell.measure_s, cell.workers), seed=seed)
    publish(scene.amqp_url, jobs, lambda done: stage.show("publishing", done, len(jobs)))
    with our_workers(scene, cell, stage) as senders:
        measured = measure(scene, senders, cell, stage)
    require_backlog(sum(reading.sent for reading in measured.last), len(jobs))
    return cell_figures(measured, rate_per_s=cell.rate_per_s)


def measure(scene: Scene, senders: Senders, cell: Cell, stage: Stage) -> Measured:
    """Let them learn, then count for as long as the cell says."""
    look_on(scene, senders, stage, "learning", cell.learn_s)
    first = senders.read()
    stage.wait(SETTLE_S)
    return count(scene, senders, cell, stage, first=first)


def count(
    scene: Scene,
    senders: Senders,
    cell: Cell,
    stage: Stage,
    *,
    first: tuple[SenderReading, ...],
    begin: Callable[[], object] = lambda: None,
) -> Measured:
    """Count from `begin` on for as long as the cell says; `first` was read just before."""
    control = scene.system.simulator.control
    busy_before = machine_ticks()
    with RedisMonitor(scene.system.store.port) as monitor:
        before = control.summary()
        begin()
        after = look_on(scene, senders, stage, "measuring", cell.measure_s)
    busy_after = machine_ticks()
    last = senders.read()
    return Measured(
        calls=control.calls(before.calls)[: after.calls - before.calls],
        learning_throttled_calls=before.throttled_calls,
        first=first,
        last=last,
        redis=monitor.use,
        busy_share=busy_before.busy_share(busy_after),
    )


def look_on(scene: Scene, senders: Senders, stage: Stage, doing: str, seconds: float) -> Summary:
    """For so long; the ledger's summary at the end. Raises NotMeasuredError when nothing is sent for long."""
    control = scene.system.simulator.control
    start_s = now_s = time.monotonic()
    stall = StallWatch(start_s)
    while now_s < start_s + seconds:
        stage.show(doing, now_s - start_s, seconds)
        stage.wait(min(LOOK_EVERY_S, start_s + seconds - now_s))
        senders.require_running()
        now_s = time.monotonic()
        stall.note(control.summary().accepted_calls, now_s)
    return control.summary()


def require_backlog(sent: int, published: int) -> None:
    """Raise NotMeasuredError when the senders ran out of jobs."""
    if sent >= published:
        raise NotMeasuredError(f"All {published} jobs were sent before the time was over.")
