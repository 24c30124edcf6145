"""Where a run takes place: the servers, the simulator, a picture, the workers' settings, and the jobs from before."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from loadtest.bench.capacity import CallKind, measure_capacity
from loadtest.bench.jobs import USUAL_PICTURE_SIDE_PX, noise_png
from loadtest.bench.picture_server import media_of
from loadtest.bench.processes import give_precedence
from loadtest.bench.speed import NO_LIMIT_PER_S
from loadtest.bench.system import System, private_system
from loadtest.load.ledger import key_of
from loadtest.load.producer import Task
from loadtest.load.producer_process import ProducerProcess
from loadtest.load.result import Capacity, Preload
from loadtest.load.scenario import Scenario
from loadtest.simulator.process import SimulatorProcess
from loadtest.terminal import CountedStep, step

POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Site:
    """What a run works with. `settings`: a worker's; `capacity`: of the tools alone, where that was asked for."""

    scenario: Scenario
    seed: int
    system: System
    media: dict[str, str]
    settings: dict[str, str]
    console: Console
    capacity: Capacity | None

    def task(self, part: str) -> Task:
        """For a producer."""
        return Task(self.system.broker.url, self.scenario, self.seed, self.media, part)

    def publish_before(self) -> Preload:
        """All that is to wait when the workers start, as fast as the broker confirms it."""
        with step(self.console, "queues, declared by a worker"):
            self.system.declare_queues({**self.settings, "MMS_APP_KEY": ""})
        with (
            ProducerProcess(self.task("before"), folder=self.system.folder) as producer,
            CountedStep(self.console, "publishing", self.scenario.before) as bar,
        ):
            producer.wait_until_ready()
            producer.begin(0)
            while not producer.is_done:
                bar.show(producer.published)
                time.sleep(POLL_S)
        seconds = float(producer.result["seconds"])
        return Preload(self.scenario.before, seconds, self.scenario.before / max(seconds, 1e-3))


@contextmanager
def set_up(scenario: Scenario, seed: int, console: Console, *, is_capacity_wanted: bool) -> Iterator[Site]:
    """Start everything but workers and producers; it is gone after the block. Raises LoadTestError, ServerError, …."""
    picture = noise_png(USUAL_PICTURE_SIDE_PX, seed=seed)
    with (
        private_system(console, _simulator(scenario, seed)) as system,
        media_of(picture, scenario.jobs.picture, folder=system.folder) as (media, media_settings),
    ):
        capacity = _capacity(system, scenario, seed, console) if is_capacity_wanted else None
        # Who counts and who publishes must not wait for a core: that would be seen as the system's delay.
        give_precedence(system.simulator.pid)
        settings = {
            **system.addresses,
            **media_settings,
            **scenario.settings,
            "MMS_ACCOUNTS_FILE": str(_accounts_file(scenario, system.folder)),
        }
        yield Site(scenario, seed, system, media, settings, console, capacity)


def _capacity(system: System, scenario: Scenario, seed: int, console: Console) -> Capacity:
    """Before anything else runs; with calls like the scenario's: one to many recipients takes many times longer."""
    kind = CallKind(scenario.recipients_per_call, USUAL_PICTURE_SIDE_PX)
    alone = measure_capacity(system.broker, console, kinds=(kind,), seed=seed)
    return Capacity(alone.calls[0].load.per_s_of_core, alone.jobs.per_s_of_core, kind.numbers)


def _simulator(scenario: Scenario, seed: int) -> SimulatorProcess:
    limits = zip(scenario.accounts, scenario.limits_per_s, strict=True)
    return SimulatorProcess(
        accounts=None if scenario.is_unlimited else {key_of(name): limit or 1 for name, limit in limits},
        unlimited=scenario.is_unlimited,
        window=scenario.api.window,
        latency_ms=scenario.api.latency_ms,
        latency_spread_ms=scenario.api.latency_ms / 2,
        spread_ms=scenario.api.spread_ms,
        seed=seed,
    )


def _accounts_file(scenario: Scenario, folder: Path) -> Path:
    """As the worker reads it."""
    path = folder / "accounts.toml"
    tables = (
        f'[accounts.{name}]\napp_key = "{key_of(name)}"\nrate_per_s = {limit or NO_LIMIT_PER_S}\n'
        for name, limit in zip(scenario.accounts, scenario.limits_per_s, strict=True)
    )
    path.write_text("".join(tables), encoding="utf-8")
    return path
