"""What the simulator and the producer do alone, without a worker: they must not be what is measured elsewhere."""

import asyncio
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from urllib.parse import urlsplit

import aio_pika
import uvloop
from aio_pika.exceptions import AMQPError
from rich.console import Console

from deploy.local import RabbitMQ
from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.jobs import (
    ACCOUNT,
    SMALL_PICTURE_SIDE_PX,
    USUAL_PICTURE_SIDE_PX,
    BenchJob,
    make_jobs,
    noise_png,
)
from loadtest.bench.lines import Posted, post, until
from loadtest.bench.processes import cpu_s
from loadtest.bench.send_requests import send_requests
from loadtest.failure import LoadTestError
from loadtest.publishing import ANSWER_S_MAX, publish_all
from loadtest.simulator.process import SimulatorProcess
from loadtest.terminal import step

CONNECTIONS = 64
WARM_S = 0.7
"""Of load, before it counts."""
END_S = 0.2
"""Of load, after it has counted."""
LATENCY_MS = 5.0
JOBS_MAX = 1_000_000
PLACE = "loadtest.capacity"
"""The name of the exchange and of the queue, which are there only meanwhile."""
US_PER_S = 1_000_000
OK = 200


@dataclass(frozen=True, slots=True)
class CallKind:
    """A call as it is measured: to so many numbers, with a picture of that side."""

    numbers: int
    side_px: int


USUAL_CALL = CallKind(1, USUAL_PICTURE_SIDE_PX)
CALL_KINDS = (
    USUAL_CALL,
    CallKind(1, SMALL_PICTURE_SIDE_PX),
    CallKind(100, USUAL_PICTURE_SIDE_PX),
    CallKind(1_000, USUAL_PICTURE_SIDE_PX),
)


@dataclass(frozen=True, slots=True)
class Load:
    """What was done in so many seconds, and the processor time that each side spent on it.

    `done`: calls or jobs; `cpu_s` of the simulator or the producer; `other_cpu_s` of who calls, or of the broker.
    """

    seconds: float
    done: int
    cpu_s: float
    other_cpu_s: float

    @property
    def per_s(self) -> float:
        """As it was seen."""
        return self.done / self.seconds

    @property
    def cpu_us(self) -> float:
        """Each."""
        return self.cpu_s * US_PER_S / self.done

    @property
    def per_s_of_core(self) -> float:
        """What a whole core would do."""
        return self.done / self.cpu_s

    @property
    def cores(self) -> float:
        """Used by it; near 1 it could not do more."""
        return self.cpu_s / self.seconds

    @property
    def other_cores(self) -> float:
        """Used by the other side; near 1 that was the bottleneck."""
        return self.other_cpu_s / self.seconds


@dataclass(frozen=True, slots=True)
class CallCapacity:
    """Of the simulator, with one kind of call."""

    kind: CallKind
    picture_bytes: int
    load: Load


@dataclass(frozen=True, slots=True)
class Capacity:
    """Of both."""

    calls: tuple[CallCapacity, ...]
    jobs: Load


def measure_capacity(
    broker: RabbitMQ,
    console: Console,
    *,
    kinds: Sequence[CallKind] = (USUAL_CALL,),
    connections: int = CONNECTIONS,
    seconds: float = 2.0,
    seed: int = 1,
) -> Capacity:
    """Measure each for so many seconds, on a machine that has nothing else to do.

    The simulator is one of its own, and the broker has nothing more afterwards than before. Raises NotMeasuredError,
    and LoadTestError and the like when it cannot be set up.
    """
    simulator = SimulatorProcess(unlimited=True, latency_ms=LATENCY_MS, latency_spread_ms=LATENCY_MS / 2, seed=seed)
    with simulator, step(console, "What the simulator takes alone"):
        calls = tuple(_calls(simulator, kind, connections, seconds, seed) for kind in kinds)
    with step(console, "What the producer publishes alone"):
        jobs = uvloop.run(_publish(broker, seconds))
    return Capacity(calls, jobs)


def _calls(simulator: SimulatorProcess, kind: CallKind, connections: int, seconds: float, seed: int) -> CallCapacity:
    picture = noise_png(kind.side_px, seed=seed)
    requests = send_requests(simulator.api_url, key="bench-key", picture=picture, numbers=kind.numbers)
    simulator.control.reset()
    posted = Posted()
    load = uvloop.run(_call(simulator, requests, posted, connections, seconds))
    _require_whole(simulator, posted, kind.numbers)
    return CallCapacity(kind, len(picture), load)


async def _call(
    simulator: SimulatorProcess, requests: Iterator[bytes], posted: Posted, connections: int, seconds: float
) -> Load:
    tls = ssl.create_default_context(cafile=str(simulator.ca_file))
    port = urlsplit(simulator.api_url).port or 0

    def edge() -> tuple[float, int, float, float]:
        return time.monotonic(), posted.statuses[OK], cpu_s(simulator.pid), time.process_time()

    bounded = until(requests, time.monotonic() + WARM_S + seconds + END_S)
    async with asyncio.TaskGroup() as callers:
        for _ in range(connections):
            callers.create_task(post(port, tls, bounded, posted))
        await asyncio.sleep(WARM_S)
        first = edge()
        await asyncio.sleep(seconds)
        last = edge()
    return load_between(first, last)


def load_between(first: tuple[float, int, float, float], last: tuple[float, int, float, float]) -> Load:
    """The difference between two edges: moment, done, processor time of one side and of the other (pure)."""
    load = Load(*(after - before for before, after in zip(first, last, strict=True)))  # type: ignore[arg-type]
    if not load.done or not load.cpu_s:
        raise NotMeasuredError("Nothing was done in the time that counts.")
    return load


def _require_whole(simulator: SimulatorProcess, posted: Posted, numbers: int) -> None:
    """Raise NotMeasuredError unless all was answered with 200, and the ledger holds just that."""
    ledger, answered = simulator.control.summary(), posted.statuses[OK]
    if posted.broken or set(posted.statuses) != {OK}:
        raise NotMeasuredError(f"Not all was taken: {dict(posted.statuses)}, {posted.broken} connections broke.")
    if (ledger.accepted_calls, ledger.recipients_accepted, ledger.duplicates) != (answered, answered * numbers, 0):
        raise NotMeasuredError(f"The ledger does not hold the {answered} calls that were answered: {ledger}.")


async def _publish(broker: RabbitMQ, seconds: float) -> Load:
    try:
        async with await aio_pika.connect(broker.url, timeout=ANSWER_S_MAX) as connection:
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            exchange = await channel.declare_exchange(PLACE, aio_pika.ExchangeType.DIRECT)
            queue = await channel.declare_queue(PLACE, durable=True, arguments={"x-queue-type": "quorum"})
            try:
                await queue.bind(exchange, ACCOUNT)
                return await _publish_for(exchange, broker.pid, seconds)
            finally:
                await queue.delete(if_unused=False, if_empty=False)
                await exchange.delete()
    except (AMQPError, OSError, TimeoutError) as error:
        raise LoadTestError(f"The broker does not answer as it should: {error!r}.") from error


async def _publish_for(exchange: aio_pika.abc.AbstractExchange, broker_pid: int, seconds: float) -> Load:
    published = 0

    def note(_name: str) -> None:
        nonlocal published
        published += 1

    def edge() -> tuple[float, int, float, float]:
        return time.monotonic(), published, time.process_time(), cpu_s(broker_pid)

    first = edge()
    await publish_all(exchange, _jobs_until(first[0] + seconds), note)
    return load_between(first, edge())


def _jobs_until(end_s: float) -> Iterator[BenchJob]:
    """Small jobs, whose picture has an address that nobody asks for."""
    jobs = make_jobs(JOBS_MAX, media={"url": "https://127.0.0.1:1/picture.png"}, recipients=1)
    return takewhile(lambda _: time.monotonic() < end_s, jobs)
