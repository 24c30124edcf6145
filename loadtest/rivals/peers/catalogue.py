"""Which peers there are, and how each is started (imports nothing that is not in the standard library)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

JOBS_QUEUE, RESULTS_QUEUE = "peer.jobs", "peer.results"

HttpLibrary = Literal["httpx", "aiohttp"]

Command = Callable[[int, int, int], tuple[str, ...]]
"""What comes after `python`, for so many processes with so many calls in flight each, started as number so and so."""

_MODULES = "loadtest.rivals.peers"


@dataclass(frozen=True, slots=True)
class Peer:
    """One of them. `library`: the package on PyPI whose version is told.

    `in_flight`: calls at a time of one process, the best of `tried` on two cores. `starts_itself`: it has an option
    for the number of processes, otherwise it is started so often. `publishes_itself`: its jobs travel in a form of
    its own. `compared`: `framework`, `loop`, or `shown` beside them and not compared with.
    """

    name: str
    title: str
    library: str
    http: HttpLibrary
    in_flight: int
    tried: str
    command: Command
    starts_itself: bool = False
    publishes_itself: bool = False
    compared: Literal["framework", "loop", "shown"] = "framework"

    @property
    def uses_children(self) -> bool:
        """Whether a call in flight is a process of its own."""
        return self.name.startswith("celery-prefork")


def _celery(pool: str) -> Command:
    def command(_processes: int, in_flight: int, place: int) -> tuple[str, ...]:
        app = ("-m", "celery", "--app", f"{_MODULES}.celery_app", "worker", "--loglevel", "WARNING")
        return (*app, "--pool", pool, "--concurrency", str(in_flight), "--hostname", f"sender-{place}@%h")

    return command


def _dramatiq(processes: int, in_flight: int, _place: int) -> tuple[str, ...]:
    told = ("--processes", str(processes), "--threads", str(in_flight), "--queues", JOBS_QUEUE)
    return ("-m", "dramatiq", f"{_MODULES}.dramatiq_app", *told)


def _taskiq(processes: int, in_flight: int, _place: int) -> tuple[str, ...]:
    told = ("--workers", str(processes), "--max-async-tasks", str(in_flight), "--log-level", "WARNING")
    return ("-m", "taskiq", "worker", f"{_MODULES}.taskiq_app:broker", *told)


def _faststream(processes: int, _in_flight: int, _place: int) -> tuple[str, ...]:
    told = ("--workers", str(processes), "--log-level", "warning")
    return ("-m", "faststream", "run", f"{_MODULES}.faststream_app:app", *told)


def _loop(_processes: int, _in_flight: int, _place: int) -> tuple[str, ...]:
    return ("-m", f"{_MODULES}.loop")


PEERS = (
    Peer(
        "celery-prefork",
        title="Celery prefork",
        library="celery",
        http="httpx",
        in_flight=16,
        tried="8, 16",
        command=_celery("prefork"),
        publishes_itself=True,
    ),
    Peer(
        "celery-gevent",
        title="Celery gevent",
        library="celery",
        http="httpx",
        in_flight=64,
        tried="16, 64",
        command=_celery("gevent"),
        publishes_itself=True,
    ),
    Peer(
        "dramatiq",
        title="Dramatiq",
        library="dramatiq",
        http="httpx",
        in_flight=8,
        tried="4, 8, 16, 64",
        command=_dramatiq,
        starts_itself=True,
        publishes_itself=True,
    ),
    Peer(
        "taskiq",
        title="taskiq-aio-pika",
        library="taskiq-aio-pika",
        http="httpx",
        in_flight=16,
        tried="8, 16, 64",
        command=_taskiq,
        starts_itself=True,
        publishes_itself=True,
    ),
    Peer(
        "faststream",
        title="FastStream",
        library="faststream",
        http="httpx",
        in_flight=8,
        tried="8, 16, 64",
        command=_faststream,
        starts_itself=True,
    ),
    Peer(
        "loop-httpx",
        title="aio-pika loop",
        library="aio-pika",
        http="httpx",
        in_flight=8,
        tried="8, 16, 64",
        command=_loop,
        compared="shown",
    ),
    Peer(
        "loop-aiohttp",
        title="aio-pika loop",
        library="aio-pika",
        http="aiohttp",
        in_flight=64,
        tried="16, 32, 64",
        command=_loop,
        compared="loop",
    ),
)
PEER_NAMES = tuple(peer.name for peer in PEERS)


def peer_named(name: str) -> Peer:
    """The one of that name."""
    return next(peer for peer in PEERS if peer.name == name)
