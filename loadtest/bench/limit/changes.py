"""A limit that is lowered without notice, and raised again, while the workers are set to the higher one."""

import time
from dataclasses import dataclass

from loadtest.bench.ledger_figures import US_PER_S
from loadtest.bench.limit.cells import Cell, jobs_for
from loadtest.bench.limit.figures import Reaction, is_throttled, reaction, recovered_after_s
from loadtest.bench.limit.measuring import bench_jobs, look_on
from loadtest.bench.limit.options import LimitOptions
from loadtest.bench.limit.senders import declare_queues, our_workers
from loadtest.bench.limit.stage import Stage
from loadtest.bench.scene import Scene
from loadtest.bench.system import publish

RATE_PER_S, LOWERED_PER_S, WORKERS = 15, 5, 4
LOWERED_S = 60
RECOVERY_S_WAITED = 120
RECOVERY_LOOK_S = 5.0
RECOVERED_SHARE = 0.95
QUIET_S = 5.0
NS_PER_US = 1_000


@dataclass(frozen=True, slots=True)
class ChangesFigures:
    """`lowered_share`: of the lowered limit, by the calls admitted after the reaction, as long as it was in force.

    `recovered_after_s`: from the moment at which the limit was raised, None when not within RECOVERY_S_WAITED.
    """

    reaction: Reaction
    lowered_share: float
    recovered_after_s: float | None
    throttled_in_recovery: int


def changes_cells(options: LimitOptions) -> list[Cell]:
    """One for each jitter."""
    seconds = LOWERED_S + RECOVERY_S_WAITED
    return [Cell("rolling", RATE_PER_S, WORKERS, spread, options.learn_s, seconds) for spread in options.spreads_ms]


def measure_changes(scene: Scene, cell: Cell, stage: Stage, *, seed: int) -> ChangesFigures:
    """Raise NotMeasuredError, LoadTestError, StoppedError."""
    declare_queues(scene, cell, stage)
    jobs = bench_jobs(jobs_for(cell.rate_per_s, cell.learn_s + cell.measure_s, cell.workers), seed=seed)
    publish(scene.amqp_url, jobs, lambda done: stage.show("publishing", done, len(jobs)))
    control = scene.system.simulator.control
    with our_workers(scene, cell, stage) as senders:
        before = look_on(scene, senders, stage, "learning", cell.learn_s)
        control.set_rate(LOWERED_PER_S)
        lowered_at_us = time.time_ns() // NS_PER_US
        lowered = look_on(scene, senders, stage, "lowered", LOWERED_S)
        control.set_rate(RATE_PER_S)
        raised_at_us = time.time_ns() // NS_PER_US
        recovered_s = None
        give_up_at_s = time.monotonic() + RECOVERY_S_WAITED
        while recovered_s is None and time.monotonic() < give_up_at_s:
            look_on(scene, senders, stage, "raised", RECOVERY_LOOK_S)
            calls = control.calls(before.calls)
            recovered_s = recovered_after_s(calls, changed_at_us=raised_at_us, pace_per_s=RATE_PER_S * RECOVERED_SHARE)
    while_lowered = calls[: lowered.calls - before.calls]
    seen = reaction(while_lowered, changed_at_us=lowered_at_us, quiet_s=QUIET_S)
    settled_at_us = lowered_at_us + round((seen.last_429_after_s or 0.0) * US_PER_S)
    admitted = sum(call.at_us > settled_at_us and not is_throttled(call) for call in while_lowered)
    return ChangesFigures(
        reaction=seen,
        lowered_share=admitted * US_PER_S / (LOWERED_PER_S * (raised_at_us - settled_at_us)),
        recovered_after_s=recovered_s,
        throttled_in_recovery=sum(is_throttled(call) for call in calls[len(while_lowered) :]),
    )
