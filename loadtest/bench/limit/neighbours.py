"""Whether one account's trouble changes anything for another: B's times while A is idle, busy, or in trouble.

B is published to on the same Poisson schedule each time, so that what it waits for its own slots is the same.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.jobs import BenchJob
from loadtest.bench.limit.cells import Cell
from loadtest.bench.limit.measuring import bench_jobs
from loadtest.bench.limit.open_loop import Planned, poisson_offsets, publish_on_schedule, waits_ms
from loadtest.bench.limit.options import LimitOptions
from loadtest.bench.limit.stage import Stage
from loadtest.bench.limit.urgent import text_of
from loadtest.bench.readings import require_running
from loadtest.bench.scene import Scene
from loadtest.bench.system import publish
from loadtest.percentile import percentile
from loadtest.simulator.control_client import SimulatorControl
from loadtest.simulator.faults import Fault

CASE = "B beside A"
RATE_PER_S = 15
MOVED_MAX = 0.20
A, B = "a", "b"
KEYS = {A: "key-a", B: "key-b"}
A_JOBS = 100_000
B_JOBS, B_PER_S = 600, 10.0
WARM_S = 3.0
"""The first slot of an account that nobody knows comes a second late, and belongs to no round."""
SETTLE_S = 8.0
"""Between the beginning of A's trouble and the first job of B: the trouble is to be there in full."""
LAST_ACCEPTED_S = 5.0


@dataclass(frozen=True, slots=True)
class NeighbourFigures:
    """B's times from publish to acceptance, by what A was up to; `moved`: the p99 against the one with A idle."""

    p50_ms: Mapping[str, float]
    p99_ms: Mapping[str, float]
    moved: Mapping[str, float]
    not_accepted: int


def neighbour_cells(options: LimitOptions) -> list[Cell]:
    """One worker with both accounts."""
    return [Cell("rolling", RATE_PER_S, 1, options.spreads_ms[0], 0, round(B_JOBS / B_PER_S), case=CASE)]


@contextmanager
def _well(_: SimulatorControl) -> Iterator[None]:
    yield


@contextmanager
def _throttled(control: SimulatorControl) -> Iterator[None]:
    control.set_rate(1, KEYS[A])
    yield
    control.set_rate(RATE_PER_S, KEYS[A])


@contextmanager
def _never_answered(control: SimulatorControl) -> Iterator[None]:
    control.add_fault(Fault("never", account=KEYS[A]))
    yield
    control.clear_faults()


@contextmanager
def _refused(control: SimulatorControl) -> Iterator[None]:
    control.revoke(KEYS[A])
    yield
    control.restore(KEYS[A])


IDLE = "idle"
TROUBLES = {"busy": _well, "throttled": _throttled, "unanswered": _never_answered, "suspended": _refused}
"""In this order: a suspended account comes back some time later, the others at once."""


def measure_neighbours(scene: Scene, _: Cell, stage: Stage, *, seed: int) -> NeighbourFigures:
    """Raise NotMeasuredError, LoadTestError, StoppedError."""
    settings = {
        **scene.settings,
        "MMS_APP_KEY": "",
        "MMS_ACCOUNTS_FILE": str(_accounts_file(scene.system.folder)),
    }
    control = scene.system.simulator.control
    waits: dict[str, dict[str, float]] = {}
    with scene.system.worker("worker", settings) as worker:
        stage.show("starting")
        worker.wait_until_ready()
        _round(scene, stage, "warming up", len(TROUBLES) + 1, seed=seed, seconds=WARM_S)
        waits[IDLE] = _round(scene, stage, IDLE, 0, seed=seed)
        of_a = [replace(job, routing_key=A) for job in bench_jobs(A_JOBS, seed=seed)]
        publish(scene.amqp_url, of_a, lambda done: stage.show("publishing", done, len(of_a)))
        for number, (name, trouble) in enumerate(TROUBLES.items(), 1):
            with trouble(control):
                stage.show(name)
                stage.wait(SETTLE_S)
                waits[name] = _round(scene, stage, name, number, seed=seed)
            require_running(worker)
    return neighbour_figures(waits)


def neighbour_figures(waits: Mapping[str, Mapping[str, float]]) -> NeighbourFigures:
    """Out of the times in ms, by what A was up to and by the job of B."""
    p99_ms = {name: percentile(sorted(times.values()), 0.99) or 0.0 for name, times in waits.items()}
    if not p99_ms[IDLE]:
        raise NotMeasuredError("Nothing of account B was accepted.")
    return NeighbourFigures(
        p50_ms={name: percentile(sorted(times.values()), 0.5) or 0.0 for name, times in waits.items()},
        p99_ms=p99_ms,
        moved={name: p99 / p99_ms[IDLE] - 1 for name, p99 in p99_ms.items() if name != IDLE},
        not_accepted=sum(B_JOBS - len(times) for times in waits.values()),
    )


def missed_in_neighbours(figures: NeighbourFigures) -> tuple[str, ...]:
    """The names of the targets that were not met."""
    moved = tuple(name for name, share in figures.moved.items() if abs(share) >= MOVED_MAX)
    return (*moved, "lost") if figures.not_accepted else moved


def _round(
    scene: Scene, stage: Stage, name: str, number: int, *, seed: int, seconds: float = float("inf")
) -> dict[str, float]:
    """Publish to B once through, or for so many seconds, and see how long each took."""
    first = A_JOBS + number * B_JOBS
    jobs = [replace(job, routing_key=B) for job in bench_jobs(first + B_JOBS, seed=seed)[first:]]
    offsets = poisson_offsets(B_JOBS, B_PER_S, seed=seed)
    plan = [Planned(job, after_s) for job, after_s in zip(jobs, offsets, strict=True) if after_s < seconds]
    published_us = publish_on_schedule(scene.amqp_url, plan, lambda done: stage.show(f"A {name}", done, len(plan)))
    stage.wait(LAST_ACCEPTED_S)
    return waits_ms(published_us, _texts(jobs), scene.system.simulator.control.accepted())


def _texts(jobs: list[BenchJob]) -> dict[str, str]:
    return {job.name: text_of(job) for job in jobs}


def _accounts_file(folder: Path) -> Path:
    path = folder / "accounts.toml"
    tables = (f'[accounts.{name}]\napp_key = "{key}"\nrate_per_s = {RATE_PER_S}\n' for name, key in KEYS.items())
    path.write_text("".join(tables), encoding="utf-8")
    return path
