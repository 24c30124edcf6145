"""One run: set up, do harm while jobs come, let it come to rest, close the books."""

import asyncio
import base64
import contextlib
import json
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path

from deploy.local import RabbitMQ, Redis
from deploy.local.ports import LOOPBACK
from loadtest.bench.picture_server import PictureServer
from loadtest.chaos.books import Found
from loadtest.chaos.crew import Crew
from loadtest.chaos.doubts import Window
from loadtest.chaos.faults import ALONE_S, MAY_FORGET, Kind, Planned, schedule
from loadtest.chaos.harm import Scene, harm
from loadtest.chaos.jobs import ACCOUNT, OPTED_OUT, Jobs
from loadtest.chaos.outside import Producer, Reader, depths, ids_in
from loadtest.demo.pictures import sample_pictures
from loadtest.proxy import Proxy
from loadtest.simulator.process import SimulatorProcess

LIMIT_PER_S, JOBS_PER_S = 60, 40.0
KEY = "chaos-key-4711"
CONNECT_S, READ_S = 2, 6
LATENCY_MS, LATENCY_SPREAD_MS = 120.0, 60.0
END_S_MAX = 110.0
"""From the last harm to the last end."""
QUIET_S, POLL_S = 3.0, 0.5
WAITING_QUEUES = (
    f"mms.jobs.{ACCOUNT}",
    f"mms.jobs.{ACCOUNT}.urgent",
    *(f"mms.retry.{delay}s" for delay in (1, 5, 15, 60, 300)),
)
HELD_QUEUE = "mms.in_doubt"


@dataclass(frozen=True, slots=True)
class Progress:
    """How it stands: ``now`` lists what is wrong at the moment."""

    since_s: float
    published: int
    ended: int
    now: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    seconds: float
    seed: int
    workers: int
    kinds: tuple[Kind, ...] = tuple(Kind)


def run(
    options: Options,
    folder: Path,
    stack: ExitStack,
    step: Callable[[str], contextlib.AbstractContextManager[None]],
    show: Callable[[Progress], None],
) -> Found:
    """Carry it out; raises LoadTestError and what the servers raise. ``stack`` puts away what was started."""
    with step("RabbitMQ and Redis, private ones"):
        rabbitmq = stack.enter_context(RabbitMQ())
        redis = stack.enter_context(Redis(append_only=True))
    with step("The API's simulator"):
        simulator = stack.enter_context(
            SimulatorProcess(
                rate_per_s=LIMIT_PER_S,
                latency_ms=LATENCY_MS,
                latency_spread_ms=LATENCY_SPREAD_MS,
                seed=options.seed,
                directory=folder / "simulator",
            )
        )
        simulator.control.opt_out(OPTED_OUT)
    picture = sample_pictures()[0]
    pictures = stack.enter_context(PictureServer(base64.b64decode(picture.data), folder=folder))
    broker_line = stack.enter_context(Proxy(rabbitmq.port, seed=options.seed))
    store_line = stack.enter_context(Proxy(redis.port, seed=options.seed))
    settings = {
        "MMS_AMQP_URL": rabbitmq.url.replace(f":{rabbitmq.port}/", f":{broker_line.port}/"),
        "MMS_REDIS_URL": f"redis://{store_line.address}/0",
        "MMS_API_URL": simulator.api_url,
        "MMS_API_CA_FILE": str(simulator.ca_file),
        "MMS_ACCOUNT": ACCOUNT,
        "MMS_APP_KEY": KEY,
        "MMS_RATE_PER_S": str(LIMIT_PER_S),
        "MMS_CONNECT_TIMEOUT_S": str(CONNECT_S),
        "MMS_READ_TIMEOUT_S": str(READ_S),
        "MMS_ATTEMPTS_MAX": "100",
        "MMS_MEDIA_HOSTS_ALLOWED": LOOPBACK,
        "MMS_MEDIA_CA_FILE": str(pictures.ca_file),
    }
    crew = Crew(folder, settings, options.workers)
    stack.callback(crew.end)
    scene = Scene(crew, rabbitmq, redis, simulator.control, LIMIT_PER_S, broker_line, store_line)
    with step(f"{options.workers} workers"):
        crew.start()
        asyncio.run(crew.wait_until_ready())
    jobs = Jobs(options.seed, media=[{"data": picture.data}, {"url": pictures.url}])
    return asyncio.run(_Run(options, scene, jobs, show).play())


class _Run:
    """What a run works with; the workers are ready."""

    def __init__(self, options: Options, scene: Scene, jobs: Jobs, show: Callable[[Progress], None]) -> None:
        self._options = options
        self._scene = scene
        self._show = show
        self._plan = schedule(options.seed, options.seconds, options.kinds)
        self._began_s = 0.0
        self._lasting: list[Planned] = []
        self._windows: list[Window] = []
        url = scene.rabbitmq.url
        self._producer = Producer(url, jobs, JOBS_PER_S, self._may_repeat)
        self._reader = Reader(url)

    async def play(self) -> Found:
        """From the first job to the books."""
        loop = asyncio.get_running_loop()
        self._began_s = loop.time()
        async with AsyncExitStack() as stack:
            watching = [
                asyncio.create_task(work) for work in (self._scene.crew.supervise(), self._reader.read(), self._tell())
            ]
            stack.callback(lambda: [task.cancel() for task in watching])
            producing = asyncio.create_task(self._producer.publish_until(self._began_s + self._options.seconds))
            stack.callback(producing.cancel)
            await self._do_harm()
            await producing
            is_drained = await self._come_to_rest()
            await self._scene.crew.drain()
            await asyncio.sleep(QUIET_S)
            for task in watching:
                if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                    raise error
            return await self._found(is_drained=is_drained)

    async def _do_harm(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as harming:
                for planned in self._plan:
                    await asyncio.sleep(self._began_s + planned.at_s - loop.time())
                    harming.create_task(self._harm(planned))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors

    async def _harm(self, planned: Planned) -> None:
        self._lasting.append(planned)
        try:
            self._windows.append(await harm(self._scene, planned))
        finally:
            self._lasting.remove(planned)

    def _may_repeat(self) -> bool:
        at_s = asyncio.get_running_loop().time() - self._began_s
        return all(abs(one.at_s - at_s) > ALONE_S / 2 for one in self._plan if one.kind in MAY_FORGET)

    async def _tell(self) -> None:
        while True:
            now = tuple(planned.kind.value for planned in self._lasting)
            since_s = asyncio.get_running_loop().time() - self._began_s
            self._show(Progress(since_s, len(self._producer.published), len(self._reader.told), now))
            await asyncio.sleep(POLL_S)

    async def _come_to_rest(self) -> bool:
        """Wait until every job has ended and nothing waits; False when the time is up."""
        give_up_s = asyncio.get_running_loop().time() + END_S_MAX
        quiet = 0
        while asyncio.get_running_loop().time() < give_up_s:
            await asyncio.sleep(POLL_S)
            has_ended = self._reader.told.keys() >= {job.name for job in self._producer.published}
            waiting = await depths(self._scene.rabbitmq.url, WAITING_QUEUES)
            quiet = quiet + 1 if has_ended and not sum(waiting.values()) else 0
            if quiet * POLL_S >= QUIET_S:
                return True
        return False

    async def _found(self, *, is_drained: bool) -> Found:
        control, jobs = self._scene.control, self._producer.published
        accepted_us: defaultdict[str, list[int]] = defaultdict(list)
        for entry in await asyncio.to_thread(control.accepted):
            accepted_us[entry.to].append(entry.at_us)
        summary = await asyncio.to_thread(control.summary)
        known = {number for job in jobs for number in job.to}
        foreign = [f"recipient {n}" for n, number in enumerate(accepted_us) if number not in known]
        foreign += sorted(self._reader.told.keys() - {job.name for job in jobs})
        url = self._scene.rabbitmq.url
        return Found(
            jobs=jobs,
            windows=sorted(self._windows, key=lambda window: window.began_us),
            events=self._reader.told,
            accepted_us=accepted_us,
            held=await ids_in(url, HELD_QUEUE),
            left=await depths(url, (*WAITING_QUEUES, "mms.unroutable")),
            foreign=foreign,
            surprises=self._scene.crew.surprises(),
            endings=self._scene.crew.endings,
            leaks=self._scene.crew.leaks(KEY),
            limit_per_s=LIMIT_PER_S,
            worst_second=summary.worst_rolling_second,
            throttled=summary.throttled_calls,
            is_drained=is_drained,
        )


def keep_evidence(found: Found, folder: Path) -> None:
    """Write what the books were made of beside the logs."""
    told = {name: [[one.end, one.event_id, one.why, one.since_us] for one in of] for name, of in found.events.items()}
    evidence = {
        "written": time.strftime("%F %T"),
        "faults": [[window.kind.value, window.began_us, window.ended_us] for window in found.windows],
        "jobs": {job.name: [job.sort.value, list(job.to)] for job in found.jobs},
        "events": told,
        "accepted_us": found.accepted_us,
        "endings": [[one.worker, one.how, one.alive_us, one.gone_us] for one in found.endings],
        "held": found.held,
        "left": found.left,
    }
    (folder / "evidence.json").write_text(json.dumps(evidence, indent=1))
