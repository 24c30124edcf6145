"""Why has sending stopped? Four incidents: the alert that the runbook has a section of fires, and its panel shows it.

Real servers, a real worker, and a real Prometheus with the rules as they are, but for the time until an alert fires.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.grafana.catalogue import DASHBOARDS
from deploy.local import Prometheus, RabbitMQ, Redis
from loadtest.dashboards.asking import ask
from tests.conftest import make_or_skip
from tests.end_to_end.conftest import System, Upstream, system, upstream
from tests.jobs import job_body

__all__ = ["system", "upstream"]  # fixtures
RUNBOOK = Path(__file__).resolve().parents[2] / "deploy/RUNBOOK.md"
#: Instead of the minutes that people wait for.
HOLD_S = 2.0
FIRES_S_MAX, OVER_S_MAX = 45.0, 45.0
JOBS = 3_000
RATE_PER_S = 15
Connect = Callable[[], Awaitable[Upstream]]


@pytest.fixture
def amqp_url(own_rabbitmq: RabbitMQ) -> str:
    """The whole server is the test's: it is given an alarm."""
    return own_rabbitmq.url


@pytest.fixture
def redis_url(own_redis: Redis) -> str:
    """The whole server is the test's: it is stopped."""
    return own_redis.url


@dataclass
class Scene:
    """A system that sends, with a backlog, and who looks on."""

    system: System
    rabbitmq: RabbitMQ
    redis: Redis
    prometheus: Prometheus
    outside: Upstream

    async def firing(self) -> set[str]:
        return await asyncio.to_thread(self.prometheus.firing)

    async def until(self, holds: Callable[[set[str]], bool], limit_s: float) -> None:
        """Wait until ``holds`` of the alerts that fire."""
        firing: set[str] = set()
        try:
            async with asyncio.timeout(limit_s):
                while not holds(firing := await self.firing()):  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.2)
        except TimeoutError:
            pytest.fail(f"after {limit_s} s there fire {sorted(firing)}")

    async def until_found(self, expression: str, limit_s: float) -> None:
        """Wait until the expression gives something."""
        async with asyncio.timeout(limit_s):
            while not await asyncio.to_thread(self.prometheus.query, expression):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.2)


@pytest.fixture
async def scene(system: System, own_rabbitmq: RabbitMQ, own_redis: Redis, upstream: Connect) -> AsyncIterator[Scene]:
    worker = system.start_worker(MMS_RATE_PER_S=str(RATE_PER_S))
    outside = await upstream()
    await outside.publish(*(job_body(f"j{n}", text=f"t{n}") for n in range(JOBS)))
    await outside.until_events(1)
    prometheus = make_or_skip(
        lambda: Prometheus(
            {"mms-worker": [worker.admin.removeprefix("http://")]}, scrape_s=1, evaluate_s=1, hold_s=HOLD_S
        )
    )
    with prometheus:
        made = Scene(system, own_rabbitmq, own_redis, prometheus, outside)
        # Two seconds at least of all that is scraped, and nothing wrong.
        await made.until_found("mms:workers:count", FIRES_S_MAX)
        await asyncio.sleep(3)
        await made.until(lambda firing: "WorkersAbsent" not in firing, FIRES_S_MAX)
        yield made


@dataclass(frozen=True)
class Incident:
    """``cause`` and ``undo`` it; ``alert`` fires; on the alert's panel a line appears whose name has ``line`` in it.

    It is over when the alert is, or, of one that looks back for minutes, when Prometheus has something for ``over``.
    """

    cause: Callable[[Scene], object]
    undo: Callable[[Scene], object]
    alert: str
    line: str
    over: str = ""


INCIDENTS = {
    "the key was revoked": Incident(
        cause=lambda scene: scene.system.simulator.control.revoke("key-acme"),
        undo=lambda scene: scene.system.simulator.control.restore("key-acme"),
        alert="CredentialsRejected",
        line="acme suspended: credentials",
    ),
    "Redis is away": Incident(
        cause=lambda scene: scene.redis.stop(),
        undo=lambda scene: scene.redis.start(),
        alert="LimiterStopped",
        line="Redis away",
    ),
    "the limit was lowered": Incident(
        cause=lambda scene: scene.system.simulator.control.set_rate(5),
        undo=lambda scene: scene.system.simulator.control.set_rate(RATE_PER_S),
        alert="OverLimit",
        line="acme lowered by the API",
        over="max(mms_ratelimit_lowered) == 0",
    ),
    "RabbitMQ has an alarm": Incident(
        cause=lambda scene: scene.rabbitmq.control("set_vm_memory_high_watermark", "0.0000001"),
        undo=lambda scene: scene.rabbitmq.control("set_vm_memory_high_watermark", "0.9"),
        alert="PublisherBlocked",
        line="RabbitMQ has an alarm",
    ),
}


def panel_of(alert: str) -> tuple[str, str]:
    """Dashboard and panel that the alert's section of the runbook names first."""
    section = re.split(r"^## ", RUNBOOK.read_text().split(f"## {alert}\n")[1], flags=re.MULTILINE)[0]
    named = re.search(r"^- Panel: `([^/`]+) / ([^`]+)`", section, re.MULTILINE)
    assert named is not None
    return named[1], named[2]


def lines_shown(prometheus: Prometheus, place: tuple[str, str], since_s: float) -> set[str]:
    """The names of the lines that the panel shows, of what is not 0 since a moment (since 1970)."""
    (board,) = [board for board in DASHBOARDS if board.title.endswith(place[0])]
    (shown,) = [each for each in ask(prometheus, board, "acme", since_s, time.time()) if each.panel.title == place[1]]
    return {
        _named(answer.query.legend, line.labels)
        for answer in shown.answers
        for line in answer.lines
        if any(value for _, value in line.points)
    }


def _named(legend: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda label: labels.get(label[1], ""), legend)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", INCIDENTS)
@pytest.mark.parametrize("system", [{"rate_per_s": RATE_PER_S}], indirect=True)
async def test_an_incident_is_found_by_its_alert_and_its_panel_and_is_over_when_its_cause_is(
    scene: Scene, name: str
) -> None:
    incident = INCIDENTS[name]
    place = panel_of(incident.alert)
    assert incident.alert not in await scene.firing()
    began_s = time.time()
    assert lines_shown(scene.prometheus, place, began_s - 2) == set()

    await asyncio.to_thread(incident.cause, scene)
    await scene.until(lambda firing: incident.alert in firing, FIRES_S_MAX)
    (told,) = [one for one in scene.prometheus.alerts() if one.name == incident.alert and one.state == "firing"]
    assert told.annotations["runbook_url"].endswith(f"#{incident.alert.lower()}")
    shown = await asyncio.to_thread(lines_shown, scene.prometheus, place, began_s)
    assert any(incident.line in line for line in shown), shown

    ended_before = len(scene.outside.events)
    await asyncio.to_thread(incident.undo, scene)
    if incident.over:
        await scene.until_found(incident.over, OVER_S_MAX)
    else:
        await scene.until(lambda firing: incident.alert not in firing, OVER_S_MAX)
    await scene.outside.until_events(ended_before + RATE_PER_S)
