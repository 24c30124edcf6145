"""SIGTERM drains; a second one stops at once and leaves nothing half-told."""

from __future__ import annotations

import asyncio

import pytest

from tests.jobs import an_account, job_body
from tests.unit.flow.stage import Stage, accept
from tests.virtual_time import run_virtual
from worker.adapters.memory import MemoryBroker, SeenCall
from worker.core.outcome import Response
from worker.flow.drain import DrainLimits
from worker.flow.runner import Stop, run


async def slow(call: SeenCall) -> Response:
    await asyncio.sleep(8)
    return accept(call)


async def run_on(stage: Stage, stop: Stop, limits: DrainLimits) -> int:
    roster = stage.roster(lambda _: stage.sender, limits)
    return await run(
        roster,
        roster.start([an_account("acme")]),
        stop=stop,
        limits=limits,
        observe=stage.seen.append,
        monotonic=asyncio.get_running_loop().time,
    )


@pytest.mark.parametrize(
    ("signals", "finish_s", "code", "kinds"),
    [
        (1, 60, 0, {"mms.job.sent"}),
        (2, 60, 1, {"mms.job.in_doubt"}),
        (1, 2, 1, {"mms.job.in_doubt"}),
    ],
    ids=["one signal drains", "the second stops at once", "the drain has a limit"],
)
def test_every_call_under_way_is_told_and_every_other_job_stays(
    signals: int, finish_s: float, code: int, kinds: set[str]
) -> None:
    async def story() -> None:
        async with Stage(answer=slow, limit_per_s=10, is_started=False) as stage:
            for n in range(40):
                stage.server.publish_job("acme", job_body(f"j{n}"))
            stop = Stop()
            running = asyncio.create_task(run_on(stage, stop, DrainLimits(finish_s=finish_s, tell_s=5)))
            await stage.until(lambda: stage.sender.underway.calling == 8)
            for _ in range(signals):
                stop.signal()
            assert await running == code
            await asyncio.sleep(1)  # whatever still paced would make a call in this time
            await stage.broker.pause("acme")  # the process would end here, and its connection with it
            stage.broker.disconnect()
            assert {kind for _, kind in stage.ends()} == kinds
            assert len(stage.ends()) == len(stage.api.calls) == 8
            assert len(stage.server.bodies("mms.jobs.acme")) == 32

    run_virtual(story())


def test_a_failed_background_task_ends_the_run_with_its_error() -> None:
    async def story() -> None:
        async with Stage(answer=slow, is_started=False) as stage:
            stop = Stop()
            running = asyncio.create_task(run_on(stage, stop, DrainLimits(finish_s=60, tell_s=5)))
            await asyncio.sleep(1)
            stop.fail(KeyError("bug"))
            with pytest.raises(KeyError):
                await running

    run_virtual(story())


class SilentBroker(MemoryBroker):
    """Takes longer than any drain when it is asked to hand over no more."""

    async def pause(self, account: str) -> None:
        await asyncio.sleep(60)
        await super().pause(account)


@pytest.mark.parametrize(("finish_s", "tell_s"), [(8, 5), (2, 5)], ids=["usual", "shorter than telling"])
def test_a_silent_broker_makes_the_drain_no_longer_than_its_limits(finish_s: float, tell_s: float) -> None:
    async def for_ever(_: SeenCall) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    async def story() -> None:
        async with Stage(answer=for_ever, broker_kind=SilentBroker, is_started=False) as stage:
            stage.server.publish_job("acme", job_body())
            stop = Stop()
            running = asyncio.create_task(run_on(stage, stop, DrainLimits(finish_s=finish_s, tell_s=tell_s)))
            await stage.until(lambda: stage.sender.underway.calling == 1)
            stop.signal()
            async with asyncio.timeout(finish_s + 1):  # in virtual time; telling takes none here
                assert await running == 1

    run_virtual(story())


def test_a_call_has_the_whole_drain_limit_from_the_signal_on_also_when_the_broker_is_silent() -> None:
    async def story() -> None:
        async with Stage(answer=slow, broker_kind=SilentBroker, is_started=False) as stage:
            stage.server.publish_job("acme", job_body())
            stop = Stop()
            running = asyncio.create_task(run_on(stage, stop, DrainLimits(finish_s=8.5, tell_s=5)))
            await stage.until(lambda: stage.sender.underway.calling == 1)
            stop.signal()
            assert await running == 0
            assert {kind for _, kind in stage.ends()} == {"mms.job.sent"}

    run_virtual(story())
