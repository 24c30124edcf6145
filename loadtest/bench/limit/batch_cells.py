"""Many recipients through few calls: jobs of equal content at the usual limit, each recipient exactly once."""

from dataclasses import dataclass
from types import MappingProxyType

from loadtest.bench.batches import BatchFigures, BatchOptions, equal_jobs, measure_running, opted_out_numbers
from loadtest.bench.jobs import inline, noise_png
from loadtest.bench.limit.cells import Cell
from loadtest.bench.limit.options import LimitOptions
from loadtest.bench.limit.senders import declare_queues, worker_settings
from loadtest.bench.limit.stage import Stage
from loadtest.bench.scene import Scene
from loadtest.bench.system import publish
from loadtest.simulator.faults import Fault

RATE_PER_S = 15
MEASURE_S = 90


@dataclass(frozen=True, slots=True)
class BatchCase:
    """One row. `per_s_min`: recipients a second that are expected. `faults`: hit the first calls."""

    options: BatchOptions
    per_s_min: float
    faults: tuple[Fault, ...] = ()


CASES = MappingProxyType(
    {
        "1 recipient": BatchCase(BatchOptions(jobs=20_000, recipients=1), per_s_min=3_000),
        "100 recipients": BatchCase(BatchOptions(jobs=2_500, recipients=100), per_s_min=0.95 * 15_000),
        "opted out, faults": BatchCase(
            BatchOptions(jobs=20_000, recipients=1, opted_out=500),
            per_s_min=0,
            faults=(Fault("429_bare", count=4), Fault("500_after_accept", count=2)),
        ),
    }
)


def batch_cells(options: LimitOptions) -> list[Cell]:
    """One for each case."""
    return [Cell("rolling", RATE_PER_S, 1, options.spreads_ms[0], 0, MEASURE_S, case=case) for case in CASES]


def measure_batch_cell(scene: Scene, cell: Cell, stage: Stage) -> BatchFigures:
    """Raise NotMeasuredError, LoadTestError, StoppedError."""
    case = CASES[cell.case]
    declare_queues(scene, cell, stage)
    control = scene.system.simulator.control
    for number in opted_out_numbers(case.options):
        control.opt_out(number)
    media = inline(noise_png(case.options.picture_side_px, seed=case.options.seed))
    jobs = list(equal_jobs(case.options, media))
    publish(scene.amqp_url, jobs, lambda done: stage.show("publishing", done, len(jobs)))
    for fault in case.faults:
        control.add_fault(fault)
    with scene.system.worker("worker", worker_settings(scene, cell)) as worker:
        worker.wait_until_ready()
        return measure_running(
            case.options, scene.system, worker, lambda done: stage.show("sending", done, case.options.jobs)
        )


def missed_in_batches(cell: Cell, figures: BatchFigures) -> tuple[str, ...]:
    """The names of the targets that were not met."""
    found = {
        "recipients/s": figures.steady_per_s < CASES[cell.case].per_s_min,
        "lost": figures.lost != 0,
        "twice": figures.duplicates != 0,
    }
    return tuple(name for name, is_missed in found.items() if is_missed)
