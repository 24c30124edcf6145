"""How many report callbacks one receiver takes in a second: one report each, all of messages that are known."""

import asyncio
import itertools
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import redis
import uvloop
from rich.console import Console

from loadtest.bench.circumstances import Versions
from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.jobs import SMALL_PICTURE_SIDE_PX, inline, make_jobs, noise_png
from loadtest.bench.lines import Posted, post, request, until
from loadtest.bench.processes import cpu_s
from loadtest.bench.readings import open_http, worker_version
from loadtest.bench.receive.options import ReceiveOptions
from loadtest.bench.receive.receiver import Receiver, ReceiverReading, running_receiver
from loadtest.bench.speed import NO_LIMIT_PER_S, Cost
from loadtest.bench.system import System, private_system, publish_backlog, running_workers, stop_workers
from loadtest.bench.watching import looks
from loadtest.percentile import percentile
from loadtest.simulator.process import SimulatorProcess
from loadtest.simulator.records import Accepted
from loadtest.terminal import CountedStep, step

WARM_S = 3
"""Of posting, before it counts."""
POSTED_PER_S_MAX = 4_000
"""For more than this there are not enough messages."""
RECIPIENTS = 1_000
STATUSES = ("Dispatched", "Delivered")
US_PER_S, MS_PER_S = 1_000_000, 1_000
OK = 200


@dataclass(frozen=True, slots=True)
class CallbackFigures:
    """Of the measured time. `costs`: by process, per callback; "vendor" is who posts."""

    seconds: float
    callbacks: int
    per_s: float
    p50_ms: float
    p99_ms: float
    most_ms: float
    costs: Mapping[str, Cost]


@dataclass(frozen=True, slots=True)
class Edge:
    """All that is read at one end of the measured time."""

    at_s: float
    receiver: ReceiverReading
    cpu_s: Mapping[str, float]


def measure_callbacks(options: ReceiveOptions, console: Console) -> tuple[CallbackFigures, Versions]:
    """Run it. Raises NotMeasuredError, and LoadTestError, ServerError and the like when it cannot be set up."""
    jobs = math.ceil((options.seconds + WARM_S) * POSTED_PER_S_MAX / len(STATUSES) / RECIPIENTS)
    simulator = SimulatorProcess(unlimited=True, seed=options.seed)
    with private_system(console, simulator) as system:
        rabbitmq, version = _send(system, jobs, options, console)
        with redis.Redis.from_url(system.store.url) as store:
            versions = Versions(version, rabbitmq, str(store.info("server")["redis_version"]))
        with step(console, "Messages that are known"):
            sent = simulator.control.accepted()
        with running_receiver(system, console) as receiver, step(console, "Posting reports"):
            requests = _requests(sent, receiver.reports_path)
            first, last, posted = uvloop.run(_posting(options, system, receiver, requests))
            told = receiver.reading()
    _require_whole(posted, told)
    return callback_figures(first, last, posted), versions


def callback_figures(first: Edge, last: Edge, posted: Posted) -> CallbackFigures:
    """The figures between two edges."""
    seconds, callbacks = last.at_s - first.at_s, last.receiver.taken - first.receiver.taken
    if not callbacks:
        raise NotMeasuredError("Nothing was taken.")
    spent_s = {name: last.cpu_s[name] - before_s for name, before_s in first.cpu_s.items()}
    spent_s = {"receiver": last.receiver.cpu_s - first.receiver.cpu_s, **spent_s}

    def latency_ms(share: float) -> float:
        return (percentile(posted.latencies_s, share) or 0.0) * MS_PER_S

    return CallbackFigures(
        seconds=seconds,
        callbacks=callbacks,
        per_s=callbacks / seconds,
        p50_ms=latency_ms(0.5),
        p99_ms=latency_ms(0.99),
        most_ms=latency_ms(1.0),
        costs={name: Cost(spent * US_PER_S / callbacks, spent / seconds) for name, spent in spent_s.items()},
    )


def _send(system: System, jobs: int, options: ReceiveOptions, console: Console) -> tuple[str, str]:
    """Send all messages, as fast as it goes; the versions of the broker and the worker."""
    settings = {"MMS_RATE_PER_S": str(NO_LIMIT_PER_S)}
    media = inline(noise_png(SMALL_PICTURE_SIDE_PX, seed=options.seed))
    made = make_jobs(jobs, media=media, recipients=RECIPIENTS)
    rabbitmq = publish_backlog(system, made, jobs, settings=settings, console=console)
    control = system.simulator.control
    with (
        running_workers(system, 1, settings=settings, console=console) as workers,
        open_http() as http,
        CountedStep(console, "sending", jobs) as bar,
    ):
        for calls in looks(workers, lambda: control.summary().accepted_calls):
            bar.show(calls)
            if calls >= jobs:
                break
        version = worker_version(http, workers[0])
        stop_workers(workers)
    return rabbitmq, version


def _requests(sent: Sequence[Accepted], path: str) -> Iterator[bytes]:
    """One for each report, in an order in which they come in life."""
    for status, one in itertools.product(STATUSES, sent):
        report = {"message_id": one.message_id, "status": status, "recipient": one.to.removeprefix("+")}
        yield request(path, json.dumps([report | {"custom_string": "", "source": ""}]).encode())


async def _posting(
    options: ReceiveOptions, system: System, receiver: Receiver, requests: Iterator[bytes]
) -> tuple[Edge, Edge, Posted]:
    """Post over all connections; the edges of the time that counts, and what was answered in it or after it."""

    def edge() -> Edge:
        used = {name: cpu_s(pid) for name, pid in system.servers.items() if name != "simulator"}
        return Edge(time.monotonic(), receiver.reading(), {**used, "vendor": time.process_time()})

    end_s = time.monotonic() + WARM_S + options.seconds
    posted = Posted()
    bounded = until(requests, end_s)
    async with asyncio.TaskGroup() as vendor:
        for _ in range(options.connections):
            vendor.create_task(post(receiver.port, receiver.tls, bounded, posted))
        await asyncio.sleep(WARM_S)
        posted.latencies_s.clear()
        first = await asyncio.to_thread(edge)
        await asyncio.sleep(options.seconds - 1)
        last = await asyncio.to_thread(edge)
    return first, last, posted


def _require_whole(posted: Posted, told: ReceiverReading) -> None:
    """Raise NotMeasuredError unless each callback was taken, and is an event: figures would say nothing."""
    others = {status: count for status, count in posted.statuses.items() if status != OK}
    if others or posted.broken:
        raise NotMeasuredError(f"Answered otherwise than with 200: {others}; connections that broke: {posted.broken}.")
    if (told.told, told.repeated, told.put_aside) != (posted.statuses[OK], 0, 0):
        raise NotMeasuredError(
            f"Of {posted.statuses[OK]} reports that were taken {told.told} were told, {told.repeated} counted as"
            f" repeated, {told.put_aside} put aside."
        )
