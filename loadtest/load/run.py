"""One run: set up, publish on schedule while faults happen, drain, and read what became of it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field

from rich.console import Console

from loadtest.bench.processes import give_precedence
from loadtest.chaos.crew import Crew
from loadtest.chaos.faults import Planned
from loadtest.chaos.harm import Scene, harm
from loadtest.chaos.outside import BROKER_AWAY, depths
from loadtest.failure import LoadTestError
from loadtest.load.books import Found, Queues
from loadtest.load.events import EventLog, Told
from loadtest.load.figures import FaultSeen, Run
from loadtest.load.ledger import KEY, Ledger
from loadtest.load.live import LiveView, Progress
from loadtest.load.producer_process import ProducerProcess
from loadtest.load.result import Capacity, Preload, Producer, Versions
from loadtest.load.sampling import Sampler
from loadtest.load.scenario import KINDS, PlannedFault, Scenario
from loadtest.load.site import Site, set_up
from loadtest.load.versions import told_versions
from loadtest.simulator.control_client import SimulatorControl
from loadtest.terminal import step

BEFORE_BEGIN_S = 0.5
"""From the moment at which all is ready to the schedule's beginning: the producer is told of it in time."""
POLL_S = 0.5
US_PER_S = 1_000_000
STALL_S_MAX, STALL_WITH_FAULTS_S_MAX = 60.0, 240.0
"""A job whose worker died is told to be in doubt when no call can be as old as its claim."""
STILL_S = 3.0
"""When the API has accepted nothing for so long, it is time to ask whether everything has ended."""
COPIES_S_MAX = 60.0
CREW_READY_S_MAX = 60.0
RETRY_DELAYS_S = (1, 5, 15, 60, 300)
IN_DOUBT_QUEUE, UNROUTABLE_QUEUE = "mms.in_doubt", "mms.unroutable"


@dataclass(frozen=True, slots=True)
class Played:
    """A run, and what was told on the way."""

    run: Run
    preload: Preload | None
    producer: Producer
    versions: Versions
    capacity: Capacity | None


def play(scenario: Scenario, seed: int, console: Console, *, is_capacity_wanted: bool) -> Played:
    """Carry it out on servers of its own. Raises LoadTestError, ServerError and the like."""
    with set_up(scenario, seed, console, is_capacity_wanted=is_capacity_wanted) as site, ExitStack() as stack:
        preload = site.publish_before() if scenario.before else None
        crew = Crew(site.system.folder, site.settings, scenario.workers)
        stack.callback(crew.end)
        return asyncio.run(_Run(site, crew).play(preload))


@dataclass(slots=True)
class _Run:
    """The part with the workers. `zero_us` by the wall clock, the beginning of the schedule so long after it."""

    site: Site
    crew: Crew
    zero_us: int = 0
    schedule_us: int = 0
    lasting: list[PlannedFault] = field(default_factory=list)
    faults: list[FaultSeen] = field(default_factory=list)
    producer: ProducerProcess | None = None
    servers: dict[str, int] = field(default_factory=dict)

    async def play(self, preload: Preload | None) -> Played:
        """From the workers' start to what was found."""
        try:
            return await self._play(preload)
        except BaseExceptionGroup as errors:
            first = _first_of(errors)
            raise first from first.__cause__

    async def _play(self, preload: Preload | None) -> Played:
        site, told = self.site, Told(self._expected_jobs())
        sampler = Sampler(self._pids)
        self.servers = site.system.servers
        with ExitStack() as stack:
            if site.scenario.phases:
                self.producer = stack.enter_context(ProducerProcess(site.task("schedule"), folder=site.system.folder))
            await self._start(preload)
            # Now, while each of them is there: later one may be away, or be followed by another just then.
            versions = await self._versions()
            await self._begin_schedule()
            view = stack.enter_context(LiveView(site.console, site.scenario, told.jobs))
            log = EventLog(site.system.broker.url, told)
            is_drained = False
            async with _background(sampler.watch(), self.crew.supervise(), self._show(view, told)):
                await self._publish_and_harm()
                is_drained = await self._drain(log, view)
            view.doing("stopping")
            await self.crew.drain()
            view.doing("reading the events")
            await log.catch_up()
            view.doing("reading the API's ledger")
            found = await self._found(told, is_drained=is_drained)
            run = Run(site.scenario, site.seed, self.zero_us, self.schedule_us, found, self.faults, sampler.samples)
            return Played(run, preload, self._produced(), versions, site.capacity)

    async def _start(self, preload: Preload | None) -> None:
        """Start the workers; where jobs wait already, that is the run's zero."""
        scenario = self.site.scenario
        with step(self.site.console, "1 worker" if scenario.workers == 1 else f"{scenario.workers} workers"):
            if preload is not None:
                self.zero_us = _now_us()
            self.crew.start()
            async with asyncio.timeout(CREW_READY_S_MAX):
                await self.crew.wait_until_ready()

    async def _begin_schedule(self) -> None:
        """Have the producer begin, if there is one; without jobs that wait its beginning is the run's zero."""
        if self.producer is not None:
            await asyncio.to_thread(self.producer.wait_until_ready)
            if self.producer.pid is not None:
                give_precedence(self.producer.pid)
            begins_us = _now_us() + round(BEFORE_BEGIN_S * US_PER_S)
            self.zero_us = self.zero_us or begins_us
            self.schedule_us = begins_us - self.zero_us
            self.producer.begin(begins_us)

    async def _publish_and_harm(self) -> None:
        """Until all is published, and all faults are over."""
        async with asyncio.TaskGroup() as group:
            for planned in self.site.scenario.faults:
                group.create_task(self._harm(planned))
            if self.producer is not None:
                await asyncio.to_thread(self.producer.wait_until_done)

    async def _harm(self, planned: PlannedFault) -> None:
        await asyncio.sleep(max(0.0, planned.at_s - self._since_s()))
        self.lasting.append(planned)
        system, limits = self.site.system, self.site.scenario.limits_per_s
        scene = Scene(self.crew, system.broker, system.store, system.simulator.control, limits[0] or 1)
        try:
            window = await harm(scene, Planned(planned.at_s, KINDS[planned.kind], planned.seconds, 0.0))
            self.faults.append(FaultSeen(planned, window))
            self.servers = system.servers
        finally:
            self.lasting.remove(planned)

    async def _drain(self, log: EventLog, view: LiveView) -> bool:
        """Wait until every job has ended and nothing waits; False when nothing moves any more."""
        scenario, told = self.site.scenario, log.told
        stall_s = STALL_WITH_FAULTS_S_MAX if scenario.faults else STALL_S_MAX
        wanted = told.jobs * scenario.jobs.recipients
        accepted, moved_at_s, looked_at_s = -1, time.monotonic(), 0.0
        while told.ended < told.jobs:
            before = (accepted, told.ended)
            accepted = (await asyncio.to_thread(self._control.summary)).recipients_accepted
            now_s = time.monotonic()
            if (accepted >= wanted or now_s - moved_at_s > STILL_S) and now_s - looked_at_s > STILL_S:
                await log.catch_up(lambda ended: view.doing(f"reading the events: {ended:,}"))
                looked_at_s = time.monotonic()
            if (accepted, told.ended) != before:
                moved_at_s = time.monotonic()
            elif now_s - moved_at_s > stall_s:
                return False
            await asyncio.sleep(POLL_S)
        return await self._no_copies_left()

    async def _no_copies_left(self) -> bool:
        """What was published twice, or handed out twice, may still wait."""
        give_up_at_s = time.monotonic() + COPIES_S_MAX
        while sum((await _depths(self.site.system.broker.url, self._waiting_queues)).values()):
            if time.monotonic() > give_up_at_s:
                return False
            await asyncio.sleep(POLL_S)
        return True

    async def _found(self, told: Told, *, is_drained: bool) -> Found:
        site = self.site
        ledger = Ledger(site.task("schedule").maker, told.jobs)
        await asyncio.to_thread(
            lambda: ledger.take(self._control.each_call(), self._control.each_accepted(), lambda _: None)
        )
        url = site.system.broker.url
        waiting = await _depths(url, self._waiting_queues)
        held = await _depths(url, (IN_DOUBT_QUEUE, UNROUTABLE_QUEUE))
        return Found(
            ledger=ledger,
            told=told,
            queues=Queues(waiting, held[IN_DOUBT_QUEUE], held[UNROUTABLE_QUEUE]),
            windows=[one.window for one in self.faults],
            endings=self.crew.endings,
            confirmed=site.scenario.before + (0 if self.producer is None else self.producer.published),
            is_drained=is_drained,
            surprises=self.crew.surprises(),
            leaks=self.crew.leaks(KEY),
        )

    async def _show(self, view: LiveView, told: Told) -> None:
        """Draw how it stands, for ever."""
        scenario = self.site.scenario
        while True:
            summary = await asyncio.to_thread(self._control.summary)
            published = 0 if self.producer is None else self.producer.published
            view.show(
                Progress(
                    since_s=self._since_s(),
                    published=scenario.before + published,
                    ended=max(told.ended, summary.recipients_accepted // scenario.jobs.recipients),
                    calls=summary.calls,
                    throttled=summary.throttled_calls,
                    now=tuple(fault.kind for fault in self.lasting),
                )
            )
            await asyncio.sleep(POLL_S)

    async def _versions(self) -> Versions:
        """Asked of one worker: all are the same."""
        worker, system = self.crew.places[0].worker, self.site.system
        return await told_versions(worker, broker_url=system.broker.url, store_url=system.store.url)

    def _since_s(self) -> float:
        """Since the schedule's beginning."""
        return (_now_us() - self.zero_us - self.schedule_us) / US_PER_S

    def _produced(self) -> Producer:
        if self.producer is None:
            return Producer(self.site.scenario.before, 0.0, 0.0, 0)
        told = self.producer.result
        jobs = self.site.scenario.before + self.producer.published
        return Producer(jobs, float(told["behind_ms_p99"]), float(told["behind_ms_max"]), int(told["republished"]))

    def _expected_jobs(self) -> int:
        scenario = self.site.scenario
        return scenario.before + sum(1 for _ in scenario.schedule(self.site.seed))

    def _pids(self) -> dict[str, int | None]:
        places = enumerate(self.crew.places, 1)
        workers = {f"worker {n}": place.worker.pid if place.worker.ended is None else None for n, place in places}
        producer = {} if self.producer is None else {"producer": self.producer.pid}
        return {**workers, **self.servers, **producer}

    @property
    def _control(self) -> SimulatorControl:
        return self.site.system.simulator.control

    @property
    def _waiting_queues(self) -> list[str]:
        of_accounts = (f"mms.jobs.{name}{lane}" for name in self.site.scenario.accounts for lane in ("", ".urgent"))
        return [*of_accounts, *(f"mms.retry.{delay}s" for delay in RETRY_DELAYS_S)]


@contextlib.asynccontextmanager
async def _background(*works: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Have these go on during the block; what one of them raises ends the block."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in works]
        yield
        for task in tasks:
            task.cancel()


async def _depths(url: str, queues: Iterable[str]) -> dict[str, int]:
    try:
        return await depths(url, queues)
    except BROKER_AWAY as error:
        raise LoadTestError(f"The broker does not tell its queues: {error!r}.") from error


def _first_of(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong first; the others followed from it, or would be told next time."""
    first = errors.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first


def _now_us() -> int:
    return time.time_ns() // 1_000
