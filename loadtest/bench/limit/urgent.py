"""How soon an urgent job is accepted while 50,000 bulk jobs wait."""

import random
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.jobs import BenchJob
from loadtest.bench.limit.cells import Cell
from loadtest.bench.limit.measuring import bench_jobs, look_on
from loadtest.bench.limit.open_loop import US_PER_MS, Planned, publish_on_schedule
from loadtest.bench.limit.options import LimitOptions
from loadtest.bench.limit.senders import declare_queues, our_workers
from loadtest.bench.limit.stage import Stage
from loadtest.bench.scene import Scene
from loadtest.bench.system import publish
from loadtest.simulator.records import Accepted, CallRecord

CASE = "50,000 bulk jobs wait"
RATE_PER_S = 15
SLOTS_MAX = 3
BULK_JOBS = 50_000
URGENT_JOBS = 20
BETWEEN_S_MIN, BETWEEN_S_MAX = 1.0, 2.0
WARM_S = 5.0
ACCEPTED_S_MAX = 30.0


@dataclass(frozen=True, slots=True)
class UrgentFigures:
    """Calls of the account from an urgent job's publishing to its own, that one counted; and the time it took."""

    urgent_jobs: int
    bulk_waiting: int
    slots_most: int
    slots_mean: float
    wait_most_ms: float


def urgent_cells(options: LimitOptions) -> list[Cell]:
    """One worker at the usual limit."""
    return [Cell("rolling", RATE_PER_S, 1, options.spreads_ms[0], 0, round(URGENT_JOBS * BETWEEN_S_MAX), case=CASE)]


def measure_urgent(scene: Scene, cell: Cell, stage: Stage, *, seed: int) -> UrgentFigures:
    """Raise NotMeasuredError, LoadTestError, StoppedError."""
    declare_queues(scene, cell, stage)
    bulk = bench_jobs(BULK_JOBS, seed=seed)
    publish(scene.amqp_url, bulk, lambda done: stage.show("publishing", done, len(bulk)))
    plan = urgent_plan(seed=seed)
    control = scene.system.simulator.control
    with our_workers(scene, cell, stage) as senders:
        look_on(scene, senders, stage, "warming up", WARM_S)
        published_us = publish_on_schedule(scene.amqp_url, plan, lambda done: stage.show("urgent", done, len(plan)))
        accepted = _accepted(scene, published_us, stage)
        calls = control.calls()
    return urgent_figures(calls, accepted, published_us, bulk_waiting=BULK_JOBS - len(calls))


def urgent_plan(*, seed: int) -> list[Planned]:
    """Urgent jobs at moments that have nothing to do with the slots."""
    chance = random.Random(seed)
    at_s, plan = 0.0, []
    for job in bench_jobs(BULK_JOBS + URGENT_JOBS, seed=seed)[BULK_JOBS:]:
        at_s += chance.uniform(BETWEEN_S_MIN, BETWEEN_S_MAX)
        plan.append(Planned(replace(job, routing_key=f"{job.routing_key}.urgent"), at_s))
    return plan


def urgent_figures(
    calls: Sequence[CallRecord], accepted: dict[str, Accepted], published_us: dict[str, int], *, bulk_waiting: int
) -> UrgentFigures:
    """Out of the ledger; `accepted` by the job's name."""
    arrivals_us = sorted(call.at_us for call in calls)
    slots = [
        bisect_right(arrivals_us, calls[one.call].at_us) - bisect_right(arrivals_us, published_us[name])
        for name, one in accepted.items()
    ]
    waits_ms = [(one.at_us - published_us[name]) / US_PER_MS for name, one in accepted.items()]
    return UrgentFigures(len(slots), bulk_waiting, max(slots), sum(slots) / len(slots), max(waits_ms))


def missed_in_urgent(figures: UrgentFigures) -> tuple[str, ...]:
    """The names of the targets that were not met."""
    return ("slots",) if figures.slots_most > SLOTS_MAX else ()


def _accepted(scene: Scene, published_us: dict[str, int], stage: Stage) -> dict[str, Accepted]:
    """Wait until all were."""
    wanted = {_text_of(name): name for name in published_us}
    give_up_at_s = time.monotonic() + ACCEPTED_S_MAX
    while True:
        found = {wanted[one.text]: one for one in scene.system.simulator.control.accepted() if one.text in wanted}
        if len(found) == len(wanted):
            return found
        if time.monotonic() > give_up_at_s:
            raise NotMeasuredError(f"Only {len(found)} of {len(wanted)} urgent jobs were accepted.")
        stage.wait(0.5)


def _text_of(name: str) -> str:
    """The text that `make_jobs` gives a job of that name."""
    return f"Your parcel {int(name.removeprefix('bench-'))} is on its way."


def text_of(job: BenchJob) -> str:
    """The text of a job that `make_jobs` made."""
    return _text_of(job.name)
