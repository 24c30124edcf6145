"""``mms-worker status`` tells what is, from real servers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from tests.end_to_end.conftest import System, Upstream
from tests.jobs import job_body

Connect = Callable[[], Awaitable[Upstream]]


async def status(system: System, rate_per_s: str = "50") -> dict[str, Any]:
    done = await asyncio.to_thread(lambda: system.command("status", "--json", MMS_RATE_PER_S=rate_per_s))
    assert done.returncode == 0, done.stderr.decode()
    told: dict[str, Any] = orjson.loads(done.stdout)
    return told


@pytest.mark.parametrize("system", [{"rate_per_s": 15}], indirect=True)
async def test_an_account_with_a_backlog(system: System, upstream: Connect) -> None:
    for _ in range(2):
        system.start_worker(MMS_RATE_PER_S="15")
    outside = await upstream()
    await outside.publish(*(job_body(f"j{n}", text=f"t{n}") for n in range(400)))
    await outside.until_events(60)  # by then the workers told of themselves
    told = await status(system, "15")
    (account,) = told["accounts"]
    assert (account["account"], account["limit_per_s"], account["state"], account["workers"]) == ("acme", 15, "open", 2)
    assert account["pace_per_s"] == pytest.approx(14.9, abs=0.2)
    assert account["share_used"] == pytest.approx(1, abs=0.15)
    assert 12 <= account["worst_second"] <= 15
    assert account["jobs_per_call"] == 1
    assert 200 < account["backlog_bulk"] < 350  # in the queue and in the workers' hands
    assert account["backlog_urgent"] == 0
    assert account["drain_s"] == pytest.approx(account["backlog_bulk"] / account["pace_per_s"])
    assert told["held"] == {"in doubt": 0, "dead": 0, "unroutable": 0}
    assert told["problems"] == []


async def test_why_an_account_is_suspended_and_what_is_held(system: System, upstream: Connect) -> None:
    worker = system.start_worker()
    outside = await upstream()
    await outside.publish(b"not a job")
    await outside.publish(job_body("nobody's"), key="unknown-account")
    await outside.until_events(1)
    system.simulator.control.revoke("key-acme")
    await outside.publish(job_body("refused"))
    async with asyncio.timeout(20):
        while not worker.metrics()['mms_account_suspended{account="acme",reason="credentials"}']:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    told = await status(system)
    (account,) = told["accounts"]
    assert account["state"] == "suspended"
    assert "key" in account["why"]
    assert told["held"] == {"in doubt": 0, "dead": 1, "unroutable": 1}


async def test_what_cannot_be_asked_is_a_sentence_and_the_rest_is_shown(system: System, upstream: Connect) -> None:
    system.start_worker()
    await upstream()
    nobody = f"redis://127.0.0.1:{system.port()}/0"
    done = await asyncio.to_thread(system.command, "status", MMS_REDIS_URL=nobody, COLUMNS="160")
    shown = done.stdout.decode()
    assert done.returncode == 1
    assert "MMS_REDIS_URL" in shown
    assert "acme" in shown
    assert "Traceback" not in shown + done.stderr.decode()
