"""What workers tell of the whole: backlog, time to drain, drains of those that have ended; under real servers."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import httpx
import pytest

from tests.end_to_end.conftest import System, Upstream, Worker
from tests.end_to_end.test_status import status
from tests.jobs import job_body

Connect = Callable[[], Awaitable[Upstream]]
#: More than the time between two looks.
LOOKED_S_MAX = 25.0


async def until(worker: Worker, holds: Callable[[dict[str, float]], bool]) -> dict[str, float]:
    """The worker's metrics once ``holds``."""
    async with asyncio.timeout(LOOKED_S_MAX):
        while not holds(metrics := await asyncio.to_thread(worker.metrics)):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)
    return metrics


@pytest.mark.parametrize("system", [{"rate_per_s": 15}], indirect=True)
async def test_all_workers_tell_the_backlog_that_status_shows(system: System, upstream: Connect) -> None:
    workers = [system.start_worker(MMS_RATE_PER_S="15") for _ in range(2)]
    outside = await upstream()
    await outside.publish(b"no job")
    await outside.publish(job_body("nobody's"), key="unknown-account")
    await outside.publish(*(job_body(f"j{n}", text=f"t{n}") for n in range(1_400)))
    bulk, dead = 'mms_backlog_jobs{account="acme",lane="bulk"}', "mms_dead_letters"
    for worker in workers:
        await until(worker, lambda told: told.get(bulk, 0) > 0 and told.get(dead, 0) > 0)
    seen: list[dict[str, float]] = []
    async with asyncio.timeout(2 * LOOKED_S_MAX):
        while not seen:
            backlog = (await status(system, "15"))["accounts"][0]["backlog_bulk"]
            metrics_of_all = [await asyncio.to_thread(worker.metrics) for worker in workers]
            # They looked within the half minute before; but not while jobs had just been handed out and not been told.
            if all(backlog <= metrics[bulk] <= backlog + 15 * 30 for metrics in metrics_of_all):
                seen = metrics_of_all
    for metrics in seen:
        assert metrics['mms_backlog_drain_seconds{account="acme"}'] == pytest.approx(metrics[bulk] / 14.9, rel=0.05)
        assert metrics[dead] == 1
        assert metrics["mms_unroutable_jobs"] == 1
        assert metrics["mms_oldest_unacked_seconds"] > 0
        assert metrics['mms_ratelimit_wait_seconds_count{account="acme"}'] > 0


async def test_jobs_are_timed_and_a_drain_is_told_by_those_that_live(system: System, upstream: Connect) -> None:
    first = system.start_worker()
    outside = await upstream()
    await until(first, lambda told: 'mms_backlog_drain_seconds{account="acme"}' in told)
    await outside.publish(job_body("one", created_at=datetime.now(UTC).isoformat()))
    in_time = 'mms_job_overdue_seconds_bucket{account="acme",lane="bulk",le="60.0"}'
    await until(first, lambda told: told[in_time] == 1)
    second = system.start_worker()
    drains = 'mms_drains_total{result="%s"}'
    metrics = await until(second, lambda told: drains % "whole" in told)
    assert (metrics[drains % "whole"], metrics[drains % "timed_out"]) == (0, 0)
    first.signal(signal.SIGTERM)
    assert await asyncio.to_thread(first.wait) == 0
    metrics = await until(second, lambda told: told[drains % "whole"] == 1)
    assert metrics[drains % "timed_out"] == 0


async def test_a_drain_that_is_cut_short_is_told_as_such(system: System, upstream: Connect) -> None:
    first = system.start_worker()
    system.simulator.control.outage("hang")
    outside = await upstream()
    await outside.publish(job_body("hangs"))
    await until(first, lambda told: told['mms_jobs_in_flight{stage="calling"}'] == 1)
    for _ in range(2):
        first.signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
    assert await asyncio.to_thread(first.wait) == 1
    second = system.start_worker()
    metrics = await until(second, lambda told: 'mms_drains_total{result="timed_out"}' in told)
    assert metrics['mms_drains_total{result="timed_out"}'] == 1


def test_promtool_finds_nothing_wrong_with_what_processes_serve(system: System) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool here: install prometheus")
    for process in (system.start_worker(), system.start_receiver()):
        text = httpx.get(f"{process.admin}/metrics").content
        told = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
        assert (told.returncode, told.stdout.decode(), told.stderr.decode()) == (0, "", "")
