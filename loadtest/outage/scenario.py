"""One outage from its beginning to its books, on servers that several share."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from deploy.local import RabbitMQ, Redis
from deploy.local.redis_server import DATABASES
from loadtest.demo.pictures import sample_pictures
from loadtest.failure import LoadTestError
from loadtest.kills.scenario import Outside, open_outside
from loadtest.outage.books import BACK_S_MAX, FULL_S, Case, Found, Job, Outage, found, problems
from loadtest.publishing import JOBS_EXCHANGE, publish_all
from loadtest.simulator.process import SimulatorProcess
from loadtest.worker_process import WorkerProcess

ACCOUNT = "acme"
RATE_PER_S = 15
WARM_S = 15.0
"""Calls go out well for so long, so that it is known how long answers take."""
BEGIN_S_MAX = 20.0
END_S_MAX = 120.0
"""From the end of the outage to the last job's end. Those that were refused wait for up to a minute."""
QUIET_S = 1.0
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Site:
    """The servers, and where logs go. `numbers`: each outage takes the next, for what it has of its own."""

    rabbitmq: RabbitMQ
    redis: Redis
    folder: Path
    numbers: Iterator[int]


@dataclass(frozen=True, slots=True)
class Verdict:
    """An outage, what was found, and what is wrong with that."""

    case: Case
    found: Found
    problems: tuple[str, ...]


def jobs_of(case: Case, number: int) -> list[Job]:
    """A backlog that lasts until the pace after the outage has been looked at."""
    picture = sample_pictures()[0].data
    count = int(RATE_PER_S * (WARM_S + BACK_S_MAX + FULL_S + 5))
    made = []
    for n in range(count):
        name, text = f"{number}-{n}", f"{case.name}, job {n}"
        body = {"id": name, "to": [f"+614{n:08}"], "text": text, "media": {"data": picture}}
        made.append(Job(name, text, json.dumps(body).encode(), ACCOUNT))
    return made


async def run_outages(
    site: Site,
    cases: list[Case],
    *,
    lasts_s: float,
    parallel: int,
    on_verdict: Callable[[Verdict], None] = lambda _: None,
) -> list[Verdict]:
    """Play all of them, `parallel` at a time; the verdicts in the order of the cases."""
    room = asyncio.Semaphore(parallel)

    async def one(case: Case) -> Verdict:
        async with room:
            seen = await play(site, case, lasts_s=lasts_s)
        verdict = Verdict(case, seen, tuple(problems(case, seen)))
        on_verdict(verdict)
        return verdict

    return list(await asyncio.gather(*map(one, cases)))


async def play(site: Site, case: Case, *, lasts_s: float) -> Found:
    """Carry it out; raises LoadTestError when a worker does not start, and what the servers' clients raise."""
    number = next(site.numbers)
    vhost, database = f"outage-{number}", number % DATABASES
    site.redis.flush(database)
    amqp_url = site.rabbitmq.add_vhost(vhost)
    try:
        async with AsyncExitStack() as stack:
            # Not in a thread: one that is interrupted there would be left running.
            simulator = stack.enter_context(
                SimulatorProcess(rate_per_s=RATE_PER_S, directory=site.folder / f"simulator-{number}")
            )
            settings = {
                "MMS_AMQP_URL": amqp_url,
                "MMS_REDIS_URL": site.redis.url_of(database),
                "MMS_API_URL": simulator.api_url,
                "MMS_API_CA_FILE": str(simulator.ca_file),
                "MMS_ACCOUNT": ACCOUNT,
                "MMS_APP_KEY": "key",
                "MMS_RATE_PER_S": str(RATE_PER_S),
            }
            names = [f"outage {number} worker {n}" for n in range(case.workers)]
            workers = [WorkerProcess(name, folder=site.folder, settings=settings) for name in names]
            for worker in workers:
                stack.enter_context(worker)
            await asyncio.gather(*(asyncio.to_thread(worker.wait_until_ready) for worker in workers))
            outside = await stack.enter_async_context(open_outside(amqp_url))
            return await Scene(case, simulator, workers, outside, jobs_of(case, number)).play(lasts_s)
    finally:
        await asyncio.to_thread(site.rabbitmq.delete_vhost, vhost)


@dataclass(frozen=True, slots=True)
class Scene:
    """What one outage works with; the workers are ready."""

    case: Case
    simulator: SimulatorProcess
    workers: list[WorkerProcess]
    outside: Outside
    jobs: list[Job]

    async def play(self, lasts_s: float) -> Found:
        """Send, be out, be back, and close the books."""
        control, outside = self.simulator.control, self.outside
        await publish_all(await outside.channel.get_exchange(JOBS_EXCHANGE), self.jobs, lambda _: None)
        if not await _until(lambda: bool(outside.told), BEGIN_S_MAX):
            log = self.workers[0].log_tail()
            raise LoadTestError(f"Nothing was sent ({self.case.name}). The end of a worker's log:\n{log}")
        await asyncio.sleep(WARM_S)
        await asyncio.to_thread(control.outage, self.case.kind)
        began_us = _now_us()
        await asyncio.sleep(lasts_s)
        await asyncio.to_thread(control.outage, None)
        ended_us = _now_us()
        await _until(lambda: len(outside.told) >= len(self.jobs), END_S_MAX)
        await asyncio.sleep(QUIET_S)
        for worker in self.workers:
            worker.ask_to_stop()
        await asyncio.gather(*(asyncio.to_thread(worker.wait_until_stopped) for worker in self.workers))
        await outside.read_all()
        return found(
            self.jobs,
            {name: {one.end for one in told} for name, told in outside.told.items()},
            await asyncio.to_thread(control.calls),
            await asyncio.to_thread(control.accepted),
            Outage(began_us, ended_us),
            rate_per_s=RATE_PER_S,
            surprises=sum('"surprise"' in line for worker in self.workers for line in worker.log().splitlines()),
            ended=[worker.ended or "it was killed" for worker in self.workers],
        )


def _now_us() -> int:
    return time.time_ns() // 1_000


async def _until(is_so: Callable[[], bool], limit_s: float) -> bool:
    """Wait for it; False when it did not come: then the books tell."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            while not is_so():  # noqa: ASYNC110 - other processes
                await asyncio.sleep(POLL_S)
            return True
    return False
