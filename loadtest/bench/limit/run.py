"""All that `limit` measures, one run: several quiet cells at a time, then the others one by one."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

import redis
from rich.console import Console

from deploy.local import ServerError
from loadtest.bench.circumstances import Versions
from loadtest.bench.limit.batch_cells import batch_cells, measure_batch_cell
from loadtest.bench.limit.cells import Cell, grid_cells, rival_cells
from loadtest.bench.limit.changes import changes_cells, measure_changes
from loadtest.bench.limit.idle import idle_cells, measure_idle
from loadtest.bench.limit.measuring import measure_ours
from loadtest.bench.limit.neighbours import measure_neighbours, neighbour_cells
from loadtest.bench.limit.options import LimitOptions, Part
from loadtest.bench.limit.outcomes import Figures, Outcome, outcome
from loadtest.bench.limit.report import outcome_line
from loadtest.bench.limit.rival_processes import measure_rival
from loadtest.bench.limit.stage import Board, Stage, StoppedError
from loadtest.bench.limit.urgent import measure_urgent, urgent_cells
from loadtest.bench.rivals_environment import rivals_python
from loadtest.bench.scene import Scene, Servers, servers
from loadtest.failure import LoadTestError
from loadtest.simulator.control_client import SimulatorControlError
from loadtest.simulator.process import SimulatorProcess, SimulatorProcessError
from loadtest.terminal import step

DRAW_EVERY_S = 0.5
TRIES_MAX = 2
"""A cell that fails is tried once more, since others may use the machine, too."""
FAILURES = (LoadTestError, ServerError, SimulatorProcessError, SimulatorControlError, redis.RedisError, OSError)


@dataclass(frozen=True, slots=True)
class Task:
    """A cell, the part that it belongs to, and how it is measured."""

    part: Part
    cell: Cell
    measure: Callable[[Scene, Cell, Stage], Figures]


def measure_limit(options: LimitOptions, console: Console) -> tuple[list[Outcome], Versions]:
    """The outcomes in the order of the tables. Raises LoadTestError, ServerError and the like when it cannot begin."""
    tasks = list(_tasks(options, console))
    parallel = min(options.parallel, len(tasks))
    with ExitStack() as stack:
        with step(console, "RabbitMQ and Redis, private ones"):
            shared = stack.enter_context(servers(parallel))
        versions = Versions(version("mms-worker"), *shared.versions())
        board = stack.enter_context(Board(console, len(tasks)))
        attempt = partial(_attempt, options, shared, board)
        quiet = [task for task in tasks if task.cell.is_quiet]
        others = [task for task in tasks if not task.cell.is_quiet]
        done = _measure_all(quiet, attempt, board, parallel) | _measure_all(others, attempt, board, 1)
    return [done[task.part, task.cell] for task in tasks], versions


def _tasks(options: LimitOptions, console: Console) -> Iterator[Task]:
    seed = options.seed
    for part in options.parts:
        match part:
            case "grid":
                yield from (Task(part, cell, partial(measure_ours, seed=seed)) for cell in grid_cells(options))
            case "idle":
                yield from (Task(part, cell, partial(measure_idle, seed=seed)) for cell in idle_cells(options))
            case "changes":
                yield from (Task(part, cell, partial(measure_changes, seed=seed)) for cell in changes_cells(options))
            case "batches":
                yield from (Task(part, cell, measure_batch_cell) for cell in batch_cells(options))
            case "urgent":
                yield from (Task(part, cell, partial(measure_urgent, seed=seed)) for cell in urgent_cells(options))
            case "neighbours":
                measure_b = partial(measure_neighbours, seed=seed)
                yield from (Task(part, cell, measure_b) for cell in neighbour_cells(options))
            case "rivals":
                measure = partial(measure_rival, python=rivals_python(console), seed=seed)
                yield from (Task(part, cell, measure) for cell in rival_cells(options))


def _measure_all(
    tasks: Sequence[Task], attempt: Callable[[Task], Outcome], board: Board, parallel: int
) -> dict[tuple[Part, Cell], Outcome]:
    """So many at a time, each in a thread; this one draws. Interrupted, it goes on when all threads have ended."""
    done: dict[tuple[Part, Cell], Outcome] = {}
    with ThreadPoolExecutor(parallel) as threads:
        running: set[Future[Outcome]] = {threads.submit(attempt, task) for task in tasks}
        try:
            while running:
                ended, running = wait(running, DRAW_EVERY_S, FIRST_COMPLETED)
                for future in ended:
                    one = future.result()
                    done[one.part, one.cell] = one
                    board.count_done(outcome_line(one))
                board.draw()
        except BaseException:
            board.stopped.set()
            threads.shutdown(cancel_futures=True)
            raise
    return done


def cell_simulator(cell: Cell, *, latency_ms: float, seed: int) -> SimulatorProcess:
    """The judge of one cell, not started yet."""
    return SimulatorProcess(
        rate_per_s=cell.rate_per_s,
        window=cell.window,
        spread_ms=cell.spread_ms,
        latency_ms=latency_ms,
        latency_spread_ms=latency_ms / 2,
        seed=seed,
    )


def _attempt(options: LimitOptions, shared: Servers, board: Board, task: Task) -> Outcome:
    for tries_left in reversed(range(TRIES_MAX)):
        stage, end_stage = board.stage(f"{task.part} {task.cell.title}")
        try:
            with shared.scene(cell_simulator(task.cell, latency_ms=options.latency_ms, seed=options.seed)) as scene:
                return outcome(task.part, task.cell, task.measure(scene, task.cell, stage))
        except FAILURES as error:
            if board.stopped.is_set():
                raise StoppedError from error
            if not tries_left:
                return Outcome(task.part, task.cell, None, why_not=str(error))
        finally:
            end_stage()
    raise AssertionError("the last try returns")
