"""A rival's processes, on the same jobs, broker, Redis and simulator as our workers."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.jobs import ACCOUNT, BenchJob
from loadtest.bench.limit.cells import Cell, jobs_for
from loadtest.bench.limit.figures import CellFigures, SenderReading, cell_figures
from loadtest.bench.limit.measuring import bench_jobs, measure, require_backlog
from loadtest.bench.limit.stage import Stage
from loadtest.bench.processes import cpu_s_of_session
from loadtest.bench.scene import Scene
from loadtest.bench.sessions import Session, have_published, start_session
from loadtest.bench.system import publish
from loadtest.rivals.catalogue import Rival, rival_named

READY_S_MAX = 30.0
READY_POLL_S = 0.1
READY_LINE = b"ready\n"
APP_KEY = "bench-key"


@dataclass(frozen=True, slots=True)
class RivalProcess:
    """One of them. It appends a byte to `sent_file` for each job that is sent."""

    session: Session
    sent_file: Path

    def wait_until_ready(self, stage: Stage) -> None:
        """Return when it consumes. Raises NotMeasuredError."""
        give_up_at_s = time.monotonic() + READY_S_MAX
        while READY_LINE not in self.session.log.read_bytes():
            self.session.require_running()
            if time.monotonic() > give_up_at_s:
                name, tail = self.session.name, self.session.log_tail()
                raise NotMeasuredError(f"{name} was not ready within {READY_S_MAX:.0f} s:\n{tail}")
            stage.wait(READY_POLL_S)

    def read(self) -> SenderReading:
        """With its child processes."""
        self.session.require_running()
        sent = self.sent_file.stat().st_size if self.sent_file.exists() else 0
        return SenderReading(sent, cpu_s_of_session(self.session.id))


@dataclass(frozen=True, slots=True)
class RivalProcesses:
    """Implements Senders."""

    processes: Sequence[RivalProcess]

    def require_running(self) -> None:
        """As the protocol says."""
        for process in self.processes:
            process.session.require_running()

    def read(self) -> tuple[SenderReading, ...]:
        """As the protocol says."""
        return tuple(process.read() for process in self.processes)


def measure_rival(scene: Scene, cell: Cell, stage: Stage, *, python: Path, seed: int) -> CellFigures:
    """A row of the rivals' table. Raises NotMeasuredError, LoadTestError, StoppedError."""
    rival = rival_named(cell.rival or "")
    jobs = bench_jobs(jobs_for(cell.rate_per_s, cell.learn_s + cell.measure_s, cell.workers), seed=seed)
    if rival.publishes_itself:
        stage.show("publishing")
        _have_published(scene, cell, rival, python, jobs)
    else:
        publish(scene.amqp_url, jobs, lambda done: stage.show("publishing", done, len(jobs)), queue=ACCOUNT)
    with _running(scene, cell, rival, python, stage) as senders:
        measured = measure(scene, senders, cell, stage)
    require_backlog(sum(reading.sent for reading in measured.last), len(jobs))
    return cell_figures(measured, rate_per_s=cell.rate_per_s)


def rival_command(scene: Scene, cell: Cell, rival: Rival, python: Path, sent_file: Path) -> list[str]:
    """The command line of one process."""
    simulator = scene.system.simulator
    told = {
        "--amqp-url": scene.amqp_url,
        "--queue": ACCOUNT,
        "--redis-url": scene.system.store.url,
        "--api-url": simulator.api_url,
        "--ca-file": simulator.ca_file,
        "--app-key": APP_KEY,
        "--rate": cell.rate_per_s,
        "--processes": cell.workers,
        "--sent-file": sent_file,
    }
    return [str(python), "-m", "loadtest.rivals", rival.name, *(f"{name}={value}" for name, value in told.items())]


def _have_published(scene: Scene, cell: Cell, rival: Rival, python: Path, jobs: Sequence[BenchJob]) -> None:
    command = [*rival_command(scene, cell, rival, python, scene.system.folder / "none"), "--publish"]
    have_published(rival.title, command, jobs)


@contextmanager
def _running(scene: Scene, cell: Cell, rival: Rival, python: Path, stage: Stage) -> Iterator[RivalProcesses]:
    stage.show("starting")
    with ExitStack() as stack:
        processes = [_start(scene, cell, rival, python, place) for place in range(1, cell.workers + 1)]
        for process in processes:
            stack.callback(process.session.end)
        for process in processes:
            process.wait_until_ready(stage)
        yield RivalProcesses(processes)


def _start(scene: Scene, cell: Cell, rival: Rival, python: Path, place: int) -> RivalProcess:
    log = scene.system.folder / f"{rival.name}-{place}.log"
    sent_file = scene.system.folder / f"{rival.name}-{place}.sent"
    command = rival_command(scene, cell, rival, python, sent_file)
    return RivalProcess(start_session(f"{rival.title}, process {place},", command, log=log), sent_file)
