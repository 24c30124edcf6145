"""A worker is killed at each step of a job's way, and another one goes on: nothing lost, nothing sent twice.

The kills themselves, and what is checked of each, are ``loadtest.kills``; ``make kills TIMES=20`` repeats them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from deploy.local import RabbitMQ, Redis
from loadtest.kills.points import POINTS, Point
from loadtest.kills.run import Verdict, plans_of, run_kills
from loadtest.kills.scenario import LATENCY_MS, LATENCY_SPREAD_MS, Site
from loadtest.simulator.process import SimulatorProcess
from worker.core.steps import Step

#: All of them at a time: most of it is waiting until a dead worker's claims come of age.
TIMES, PARALLEL = 2, 20

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def verdicts(
    rabbitmq: RabbitMQ, redis_server: Redis, numbers: Iterator[int], tmp_path_factory: pytest.TempPathFactory
) -> list[Verdict]:
    """Of every point, a quiet kill and a loaded one."""
    folder = tmp_path_factory.mktemp("kills")
    with SimulatorProcess(
        unlimited=True, latency_ms=LATENCY_MS, latency_spread_ms=LATENCY_SPREAD_MS, directory=folder / "simulator"
    ) as simulator:
        site = Site(rabbitmq, redis_server, simulator, folder, numbers)
        return asyncio.run(run_kills(site, plans_of(POINTS, TIMES), parallel=PARALLEL))


def test_every_step_has_its_kills() -> None:
    assert [point.name for point in POINTS] == [step.value for step in Step]


@pytest.mark.parametrize("is_quiet", [True, False], ids=["quiet", "loaded"])
@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_the_books_balance_after_a_kill(verdicts: list[Verdict], point: Point, *, is_quiet: bool) -> None:
    (verdict,) = [one for one in verdicts if one.plan.point == point and one.plan.is_quiet == is_quiet]
    assert verdict.problems == (), verdict.found
