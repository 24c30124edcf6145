"""Each contender on the same scene: its jobs are put onto its queue, and its processes are started."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import aio_pika

from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.jobs import ACCOUNT, BenchJob, make_jobs
from loadtest.bench.peers.judge import Contender
from loadtest.bench.peers.rows import Row
from loadtest.bench.readings import require_running
from loadtest.bench.scene import Scene
from loadtest.bench.sessions import Session, have_published, start_session
from loadtest.bench.speed import NO_LIMIT_PER_S
from loadtest.bench.system import publish
from loadtest.publishing import ANSWER_S_MAX
from loadtest.rivals.peers.catalogue import JOBS_QUEUE, RESULTS_QUEUE
from loadtest.rivals.peers.surroundings import Surroundings

APP_KEY = "bench-key"
FLOOR_MODULE, PEERS_MODULE = "loadtest.bench.peers.floor", "loadtest.rivals.peers"
EVENTS_EXCHANGE = "mms.events"
RESULTS_S_MAX = 10.0
RESULTS_POLL_S = 0.2

OnCount = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Studio:
    """What all rows share. `media_settings`: what a worker needs to get the picture by `media`."""

    python: Path
    picture_file: Path
    media: Mapping[str, str]
    media_settings: Mapping[str, str]


def jobs_of(row: Row, studio: Studio, count: int) -> Iterator[BenchJob]:
    """Jobs of one recipient; those that may share a call are equal but for that."""
    return make_jobs(count, media=studio.media, recipients=1, are_equal=row.recipients_per_call > 1)


def put_jobs(row: Row, scene: Scene, studio: Studio, count: int, on_count: OnCount) -> None:
    """Onto the queue that the contender takes them from. Raises LoadTestError and its like."""
    jobs = jobs_of(row, studio, count)
    if row.kind != "peer":
        scene.system.declare_queues(_settings(row, scene, studio))
        publish(scene.amqp_url, jobs, on_count)
    elif row.peer.publishes_itself:
        command = [str(studio.python), "-m", PEERS_MODULE, "publish", row.name]
        have_published(row.title, command, jobs, variables=surroundings_of(row, scene, studio).variables())
    else:
        publish(scene.amqp_url, (replace(job, routing_key=JOBS_QUEUE) for job in jobs), on_count, queue=JOBS_QUEUE)


@contextmanager
def running(row: Row, scene: Scene, studio: Studio) -> Iterator[Contender]:
    """Start it; all of it is ended after the block. Raises LoadTestError and its like."""
    with ExitStack() as stack:
        match row.kind:
            case "ours":
                yield stack.enter_context(_our_workers(row, scene, _settings(row, scene, studio)))
            case "floor":
                session = start_floor("jobs", row, scene, studio)
                stack.callback(session.end)
                yield _of_sessions([session])
            case "peer":
                sessions = [_start_peer(row, scene, studio, place) for place in range(1, _starts(row) + 1)]
                for session in sessions:
                    stack.callback(session.end)
                yield _of_sessions(sessions, keepers=frozenset(session.id for session in sessions))


def _settings(row: Row, scene: Scene, studio: Studio) -> dict[str, str]:
    return {
        **scene.settings,
        **studio.media_settings,
        "MMS_RATE_PER_S": str(NO_LIMIT_PER_S),
        "MMS_RECIPIENTS_PER_CALL_MAX": str(row.recipients_per_call),
    }


@contextmanager
def _our_workers(row: Row, scene: Scene, settings: Mapping[str, str]) -> Iterator[Contender]:
    with ExitStack() as stack:
        places = range(1, row.processes + 1)
        workers = [stack.enter_context(scene.system.worker(f"worker {place}", settings)) for place in places]

        def require_all() -> None:
            for worker in workers:
                require_running(worker)

        yield Contender(tuple(worker.pid for worker in workers), require_all, workers[0].log_tail)


def _of_sessions(sessions: Sequence[Session], *, keepers: frozenset[int] = frozenset()) -> Contender:
    def require_all() -> None:
        for session in sessions:
            session.require_running()

    return Contender(tuple(session.id for session in sessions), require_all, sessions[0].log_tail, keepers)


def surroundings_of(row: Row, scene: Scene, studio: Studio) -> Surroundings:
    """What a peer, or the floor, is told."""
    return Surroundings(
        amqp_url=scene.amqp_url,
        api_url=scene.system.simulator.api_url,
        ca_file=str(scene.system.simulator.ca_file),
        app_key=APP_KEY,
        picture_file=str(studio.picture_file),
        in_flight=row.in_flight,
        http=row.peer.http if row.kind == "peer" else "aiohttp",
    )


def start_floor(part: str, row: Row, scene: Scene, studio: Studio, *, count: int = 1) -> Session:
    """The floor, or a part of it alone, in the environment of the worker."""
    told = {
        "--redis-url": scene.system.store.url,
        "--queue": f"mms.jobs.{ACCOUNT}",
        "--exchange": EVENTS_EXCHANGE,
        "--routing-key": f"mms.job.sent.{ACCOUNT}",
        "--count": count,
    }
    command = [sys.executable, "-m", FLOOR_MODULE, part, *(f"{name}={value}" for name, value in told.items())]
    log = scene.system.folder / f"floor-{part}.log"
    return start_session("The floor", command, log=log, variables=surroundings_of(row, scene, studio).variables())


def _starts(row: Row) -> int:
    """How often it is started."""
    return 1 if row.peer.starts_itself else row.processes


def _start_peer(row: Row, scene: Scene, studio: Studio, place: int) -> Session:
    told = {
        "--processes": row.processes // _starts(row),
        "--in-flight": row.in_flight,
        "--place": place,
    }
    options = (f"{name}={value}" for name, value in told.items())
    return start_session(
        f"{row.title},",
        [str(studio.python), "-m", PEERS_MODULE, "run", row.name, *options],
        log=scene.system.folder / f"{row.name}-{place}.log",
        variables=surroundings_of(row, scene, studio).variables(),
    )


def require_results(row: Row, scene: Scene, count: int, *, wait_s_max: float = RESULTS_S_MAX) -> None:
    """Raise NotMeasuredError when a peer did less than others: not every job has left a result in the broker."""
    if row.kind != "peer":
        return
    give_up_at_s = time.monotonic() + wait_s_max
    while (results := asyncio.run(_depth(scene.amqp_url, RESULTS_QUEUE))) < count:
        if time.monotonic() > give_up_at_s:
            raise NotMeasuredError(f"{count} jobs were sent, and {results} results were published.")
        time.sleep(RESULTS_POLL_S)


async def _depth(url: str, queue: str) -> int:
    async with await aio_pika.connect(url, timeout=ANSWER_S_MAX) as connection:
        channel = await connection.channel()
        declared = await channel.declare_queue(queue, passive=True)
        return declared.declaration_result.message_count or 0
