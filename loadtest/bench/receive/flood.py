"""What a flood of guesses at the receiver's addresses does to the pace of a worker that sends beside it."""

import asyncio
import itertools
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import redis
import uvloop
from rich.console import Console

from loadtest.bench.circumstances import Versions
from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.jobs import ACCOUNT, SMALL_PICTURE_SIDE_PX, inline, make_jobs, noise_png
from loadtest.bench.ledger_figures import LedgerFigures, ledger_figures
from loadtest.bench.lines import Posted, post, request
from loadtest.bench.processes import give_precedence
from loadtest.bench.readings import open_http, worker_version
from loadtest.bench.receive.options import ReceiveOptions
from loadtest.bench.receive.receiver import Receiver, running_receiver
from loadtest.bench.system import System, private_system, publish_backlog, running_workers, stop_workers
from loadtest.simulator.process import SimulatorProcess
from loadtest.terminal import step

WARM_S = 10
"""Of sending, before it counts: the guard is learned."""
SETTLED_S = 2
"""Of flooding, before it counts."""
NEW_CONNECTIONS, HASTY_CONNECTIONS = 32, 8
"""At a time, beside those that stay open: such that guess once each, and such that leave after the handshake, which is
what costs a server most."""
SPREAD_MS = 5.0
"""Jitter on the way to the API."""
SPARE_S = 20
STOP_S_MAX = 30.0


@dataclass(frozen=True, slots=True)
class FloodFigures:
    """`quiet` and `flooded`: the pace without and with it; `receiver_cores`: what the receiver used meanwhile.

    `guesses_per_s`: answered ones; `handshakes_per_s`: connections that were made and left.
    """

    rate_per_s: int
    quiet: LedgerFigures
    flooded: LedgerFigures
    guesses_per_s: float
    handshakes_per_s: float
    receiver_cores: float

    @property
    def moved_by(self) -> float:
        """By which share the pace was moved."""
        return abs(self.flooded.share_of_limit / self.quiet.share_of_limit - 1)


def measure_flood(options: ReceiveOptions, console: Console) -> tuple[FloodFigures, Versions]:
    """Run it. Raises NotMeasuredError, and LoadTestError, ServerError and the like when it cannot be set up."""
    count = math.ceil(options.rate_per_s * (WARM_S + SETTLED_S + 2 * options.seconds + SPARE_S))
    settings = {"MMS_RATE_PER_S": str(options.rate_per_s), "MMS_RECIPIENTS_PER_CALL_MAX": "1"}
    media = inline(noise_png(SMALL_PICTURE_SIDE_PX, seed=options.seed))
    simulator = SimulatorProcess(rate_per_s=options.rate_per_s, spread_ms=SPREAD_MS, seed=options.seed)
    with private_system(console, simulator) as system:
        jobs = make_jobs(count, media=media, recipients=1)
        rabbitmq = publish_backlog(system, jobs, count, settings=settings, console=console)
        with (
            running_receiver(system, console) as receiver,
            running_workers(system, 1, settings=settings, console=console) as workers,
            open_http() as http,
            redis.Redis.from_url(system.store.url) as store,
        ):
            give_precedence(simulator.pid)
            figures = _paces(options, system, receiver, console)
            redis_version = str(store.info("server")["redis_version"])
            versions = Versions(worker_version(http, workers[0]), rabbitmq, redis_version)
            stop_workers(workers)
    return figures, versions


def _paces(options: ReceiveOptions, system: System, receiver: Receiver, console: Console) -> FloodFigures:
    with step(console, "Sending"):
        time.sleep(WARM_S)
        quiet_us = _measured(options)
    with step(console, "Sending while guesses come in"), _flood(options, receiver) as flood:
        time.sleep(SETTLED_S)
        before, lines, before_s = receiver.reading(), flood.lines, time.monotonic()
        flooded_us = _measured(options)
        after, seconds = receiver.reading(), time.monotonic() - before_s
        handshakes = flood.lines - lines
    if others := set(flood.statuses) - {404}:
        raise NotMeasuredError(f"Guesses were answered with {sorted(others)}.")
    if not after.strange - before.strange:
        raise NotMeasuredError("No guess was answered.")
    return FloodFigures(
        rate_per_s=options.rate_per_s,
        quiet=_pace(options, system, quiet_us),
        flooded=_pace(options, system, flooded_us),
        guesses_per_s=(after.strange - before.strange) / seconds,
        handshakes_per_s=handshakes / seconds,
        receiver_cores=(after.cpu_s - before.cpu_s) / seconds,
    )


def _measured(options: ReceiveOptions) -> tuple[int, int]:
    """Let the time pass; its ends by the wall clock, in microseconds."""
    began_us = time.time_ns() // 1_000
    time.sleep(options.seconds)
    return began_us, time.time_ns() // 1_000


def _pace(options: ReceiveOptions, system: System, between_us: tuple[int, int]) -> LedgerFigures:
    began_us, ended_us = between_us
    calls = [call for call in system.simulator.control.calls() if began_us <= call.at_us < ended_us]
    figures = ledger_figures(calls, rate_per_s=options.rate_per_s)
    if figures is None:
        raise NotMeasuredError("The API admitted fewer than two calls.")
    return figures


@contextmanager
def _flood(options: ReceiveOptions, receiver: Receiver) -> Iterator[Posted]:
    """Guess, from a thread, for as long as the block lasts; what was answered."""
    posted, is_over = Posted(), threading.Event()
    guess = request(f"/callbacks/{ACCOUNT}/a-token-that-is-not-right/reports", b"[]" + b" " * 500)

    async def again_and_again(answers_max: int | None) -> None:
        while not is_over.is_set():
            guesses = itertools.takewhile(lambda _: not is_over.is_set(), itertools.repeat(guess))
            await post(receiver.port, receiver.tls, guesses, posted, answers_max=answers_max)

    async def flood() -> None:
        async with asyncio.TaskGroup() as everyone:
            for number, answers_max in ((options.connections, None), (NEW_CONNECTIONS, 1), (HASTY_CONNECTIONS, 0)):
                for _ in range(number):
                    everyone.create_task(again_and_again(answers_max))

    thread = threading.Thread(target=lambda: uvloop.run(flood()), daemon=True)
    thread.start()
    try:
        yield posted
    finally:
        is_over.set()
        thread.join(STOP_S_MAX)
