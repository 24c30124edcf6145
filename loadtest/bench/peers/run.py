"""All rows, round by round, one after the other; and the parts of the floor alone."""

import json
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import redis
from aio_pika.exceptions import AMQPError
from rich.console import Console

from deploy.local import ServerError
from deploy.local.ports import LOOPBACK
from loadtest.bench.circumstances import Versions
from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.jobs import USUAL_PICTURE_SIDE_PX, make_jobs, noise_png
from loadtest.bench.peers.contenders import Studio, put_jobs, require_results, running, start_floor
from loadtest.bench.peers.floor import ALONE, Spent
from loadtest.bench.peers.judge import Figures, middle_of, watch
from loadtest.bench.peers.options import PeersOptions
from loadtest.bench.peers.rows import FLOOR, Row, rows_for
from loadtest.bench.picture_server import PictureServer
from loadtest.bench.rivals_environment import rivals_python
from loadtest.bench.scene import Scene, Servers, servers
from loadtest.bench.speed import NO_LIMIT_PER_S
from loadtest.bench.system import publish
from loadtest.failure import LoadTestError
from loadtest.simulator.control_client import SimulatorControlError
from loadtest.simulator.process import SimulatorProcess, SimulatorProcessError
from loadtest.terminal import CountedStep, step

FAILURES = (
    LoadTestError,
    ServerError,
    SimulatorProcessError,
    SimulatorControlError,
    redis.RedisError,
    AMQPError,
    OSError,
    TimeoutError,
)
ALONE_S_MAX = 120.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row with the figures of its rounds; without any, `why_not` says why."""

    row: Row
    rounds: tuple[Figures, ...]
    why_not: str = ""

    @property
    def figures(self) -> Figures | None:
        """Of the round in the middle."""
        return middle_of(self.rounds) if self.rounds else None


@dataclass(frozen=True, slots=True)
class PeersFigures:
    """All that was measured. `parts`: of the floor, each alone."""

    outcomes: tuple[Outcome, ...]
    parts: dict[str, Spent]


def measure_peers(options: PeersOptions, console: Console) -> tuple[PeersFigures, Versions]:
    """Run it. Raises LoadTestError, ServerError and the like when it cannot begin; a row that fails says why."""
    rows = wanted_rows(options)
    if not rows:
        raise LoadTestError("Nothing is left to be measured: --only and --processes exclude each other.")
    with ExitStack() as stack:
        studio = _studio(stack, options, console, has_peers=any(row.kind == "peer" for row in rows))
        with step(console, "RabbitMQ and Redis, private ones"):
            shared = stack.enter_context(servers(1))
        versions = Versions(version("mms-worker"), *shared.versions())
        measured = {row.key: Outcome(row, ()) for row in rows}
        steps = [row for _ in range(options.rounds) for row in rows]
        for number, row in enumerate(steps, 1):
            outcome = _attempt(row, shared, studio, options, console)
            before = measured[row.key]
            measured[row.key] = replace(
                before, rounds=before.rounds + outcome.rounds, why_not=outcome.why_not or before.why_not
            )
            console.print(f"{number}/{len(steps)} {_line(outcome)}", markup=False, soft_wrap=True)
        parts = {}
        if any(row.name == FLOOR for row in rows):
            parts = _parts(shared, studio, options, console)
    return PeersFigures(tuple(measured.values()), parts), versions


def wanted_rows(options: PeersOptions) -> list[Row]:
    """In the order of the table."""
    rows = rows_for(options.only, options.processes)
    if options.in_flight is None:
        return rows
    return [
        replace(row, in_flight=in_flight)
        for row in rows
        for in_flight in (options.in_flight if row.kind == "peer" else (row.in_flight,))
    ]


def _studio(stack: ExitStack, options: PeersOptions, console: Console, *, has_peers: bool) -> Studio:
    python = rivals_python(console) if has_peers else Path()
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mms-bench-")))
    picture = noise_png(USUAL_PICTURE_SIDE_PX, seed=options.seed)
    picture_file = folder / "picture.png"
    picture_file.write_bytes(picture)
    server = stack.enter_context(PictureServer(picture, folder=folder))
    settings = {"MMS_MEDIA_HOSTS_ALLOWED": LOOPBACK, "MMS_MEDIA_CA_FILE": str(server.ca_file)}
    return Studio(python, picture_file, {"url": server.url}, settings)


def _simulator(options: PeersOptions) -> SimulatorProcess:
    return SimulatorProcess(
        unlimited=True, latency_ms=options.latency_ms, latency_spread_ms=options.latency_ms / 2, seed=options.seed
    )


def _attempt(row: Row, shared: Servers, studio: Studio, options: PeersOptions, console: Console) -> Outcome:
    """One row, once."""
    jobs = row.jobs(options.jobs)
    try:
        with shared.scene(_simulator(options)) as scene:
            with CountedStep(console, f"{row.title}: jobs published", jobs) as bar:
                put_jobs(row, scene, studio, jobs, bar.show)
            with (
                running(row, scene, studio) as contender,
                CountedStep(console, f"{row.title}: jobs sent", jobs) as bar,
            ):
                measured = watch(scene.system, contender, jobs, bar.show)
                require_results(row, scene, jobs)
    except FAILURES as error:
        return Outcome(row, (), why_not=str(error) or type(error).__name__)
    return Outcome(row, (measured,))


def _line(outcome: Outcome) -> str:
    row = outcome.row
    calls = f", {row.in_flight} calls at a time each" if row.in_flight else ""
    what = f"{row.title}, {row.processes} process{'es' if row.processes > 1 else ''}{calls}"
    if outcome.figures is None:
        return f"{what}: not measured. {outcome.why_not}"
    return f"{what}: {outcome.figures.jobs_per_s:,.0f} jobs/s"


def _parts(shared: Servers, studio: Studio, options: PeersOptions, console: Console) -> dict[str, Spent]:
    """Each part of the floor in a process of its own. Raises as `measure_peers` does."""
    row = next(row for row in rows_for((FLOOR,), (1,)))
    parts = {}
    with shared.scene(_simulator(options)) as scene, step(console, "The parts of the floor, each alone"):
        settings = {**scene.settings, **studio.media_settings, "MMS_RATE_PER_S": str(NO_LIMIT_PER_S)}
        scene.system.declare_queues(settings)
        publish(scene.amqp_url, make_jobs(options.jobs, media=studio.media, recipients=1), lambda _: None)
        for part in ALONE:
            parts[part] = _part_alone(part, row, scene, studio, options.jobs)
    return parts


def _part_alone(part: str, row: Row, scene: Scene, studio: Studio, count: int) -> Spent:
    session = start_floor(part, row, scene, studio, count=count)
    try:
        session.process.wait(ALONE_S_MAX)
        return Spent(**json.loads(session.log.read_text()))
    except (ValueError, TypeError, OSError) as error:
        raise NotMeasuredError(f"The floor's part {part!r} told nothing:\n{session.log_tail()}") from error
    finally:
        session.end()
