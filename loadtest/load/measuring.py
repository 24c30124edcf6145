"""A scenario carried out, and everything that is told of it."""

import platform
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console

from loadtest.bench.circumstances import Circumstances
from loadtest.load.books import close
from loadtest.load.claims import Figured, claims, is_limit_kept
from loadtest.load.figures import Figures
from loadtest.load.result import FORMAT, Conditions, Machine, Result
from loadtest.load.run import Played, play
from loadtest.load.scenario import Scenario

US_PER_S = 1_000_000


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be carried out. `arguments`: of the command that does the same again."""

    name: str
    scenario: Scenario
    seed: int
    arguments: Sequence[str]
    is_capacity_wanted: bool


def measure(asked: Asked, seen: Circumstances, console: Console) -> Result:
    """Carry it out, close the books and work out all figures. Raises what `play` raises."""
    played = play(asked.scenario, asked.seed, console, is_capacity_wanted=asked.is_capacity_wanted)
    return result_of(asked, seen, played)


def result_of(asked: Asked, seen: Circumstances, played: Played) -> Result:
    """Out of what was found."""
    figures = Figures(played.run)
    accounts, series, latencies, faults = figures.accounts(), figures.series(), figures.latencies(), figures.faults()
    refusals, books = figures.refusals(), close(played.run.found)
    figured = Figured(accounts, refusals, series, latencies, faults, books, played.producer)
    started_at = datetime.fromtimestamp(played.run.zero_us / US_PER_S, UTC)
    return Result(
        format=FORMAT,
        scenario=asked.name,
        title=asked.scenario.title,
        purpose=asked.scenario.purpose,
        command=shlex.join(["python", "-m", "loadtest", *asked.arguments]),
        seed=asked.seed,
        started_at=started_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        seconds=asked.scenario.seconds,
        workers=asked.scenario.workers,
        settings=dict(asked.scenario.settings),
        machine=Machine(seen.cores, seen.load_averages, seen.python, platform.platform()),
        versions=played.versions,
        phases=figures.phases(),
        preload=played.preload,
        producer=played.producer,
        accounts=accounts,
        series=series,
        latencies=latencies,
        faults=faults,
        correctness=books,
        capacity=played.capacity,
        claims=claims(asked.scenario, figured),
        is_limit_kept=is_limit_kept(asked.scenario.holds, refusals),
        conditions=conditions_of(asked.scenario),
    )


def conditions_of(scenario: Scenario) -> Conditions:
    """What tells it from another scenario of the same name."""
    jobs, api = scenario.jobs, scenario.api
    return Conditions(
        recipients=jobs.recipients,
        content=jobs.content,
        picture=jobs.picture,
        urgent_share=jobs.urgent_share,
        window=api.window,
        latency_ms=api.latency_ms,
        spread_ms=api.spread_ms,
    )
