"""A claim that will not be used here is let go: kept, it would look like a call that nobody ended, and hold the job."""

from __future__ import annotations

import asyncio

from tests.jobs import job_body
from tests.unit.flow.stage import CALL_S_MAX, Stage
from tests.virtual_time import run_virtual
from worker.core.steps import Step


def test_what_is_claimed_when_the_broker_goes_away_is_sent_once_it_is_back() -> None:
    stage = Stage(limit_per_s=20)
    claimed: list[Step] = []

    def passed(step: Step) -> None:
        if step is Step.AFTER_CLAIM and len(claimed) < 3:
            claimed.append(step)
            stage.broker.block(is_blocked=True)  # so that nothing leaves: it could not be told

    async def story() -> None:
        async with stage:
            for n in range(40):
                stage.server.publish_job("acme", job_body(f"j{n}"))
            for times in (1, 2, 3):
                await stage.until(lambda times=times: len(claimed) == times)  # type: ignore[misc]
                await asyncio.sleep(0.5)
                stage.broker.disconnect()
                stage.broker.block(is_blocked=False)
            await stage.until(lambda: len(stage.events()) == 40)
            assert {kind for _, kind in stage.ends()} == {"mms.job.sent"}
            await asyncio.sleep(2 * CALL_S_MAX)
            assert len(stage.events()) == len(stage.api.calls) == 40

    stage.passed = passed
    run_virtual(story())


def test_a_stop_lets_go_at_once_also_when_nothing_comes_after_it() -> None:
    stage = Stage(limit_per_s=20)

    def passed(step: Step) -> None:
        if step is Step.AFTER_CLAIM:
            stage.broker.block(is_blocked=True)  # so that what is claimed does not leave

    def claimed() -> list[str]:
        return [record for record in stage.journal.records.values() if record.startswith("C|")]

    async def story() -> None:
        async with stage:
            for n in range(10):
                stage.server.publish_job("acme", job_body(f"j{n}"))
            await stage.until(lambda: bool(claimed()))
            await asyncio.sleep(1)
            assert claimed()
            stage.sender.stop()
            await asyncio.sleep(1)
            assert claimed() == []

    stage.passed = passed
    run_virtual(story())
