"""An ailing API is not fed jobs: it is found out within a few calls, in all workers, and found well again by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.jobs import job_body
from tests.unit.flow.stage import Stage, accept
from tests.virtual_time import run_virtual
from worker.adapters.memory import SeenCall
from worker.core.outcome import Answer, NeverLeft, NoAnswer, Response
from worker.core.topology import IN_DOUBT_QUEUE
from worker.flow.observations import AccountResumed, AccountSuspended, CallFinished, Operation
from worker.flow.silence import NOTICED_S_MAX, NOTICED_S_MIN, NOTICED_S_UNKNOWN, Silence, noticed_after_s
from worker.flow.suspension import ELSEWHERE

WELL = Answer(200, b'{"meta":{"status":"SUCCESS"},"data":{"mms_balance":"12"}}')
READ_TIMEOUT_S = 30.0
Way = Callable[[SeenCall], Awaitable[Response]]


async def bad_gateway(_: SeenCall) -> Response:
    await asyncio.sleep(0.02)
    return Answer(502, b"<html>bad gateway</html>")


async def refused(_: SeenCall) -> Response:
    return NeverLeft("connection refused")


async def silent(_: SeenCall) -> Response:
    await asyncio.sleep(READ_TIMEOUT_S)
    return NoAnswer("no whole answer in time")


@dataclass
class Api:
    """Well, then out in some way, then well again."""

    way: Way
    answers_probes: bool
    is_out: bool = False
    sends: list[float] = field(default_factory=list)

    async def answer(self, call: SeenCall) -> Response:
        if self.is_out:
            return await self.way(call)
        await asyncio.sleep(0.02)
        self.sends.append(call.at_s)
        return accept(call)

    def fall_ill(self, *stages: Stage) -> None:
        self.is_out = True
        for stage in stages:
            stage.api.account_reply = WELL if self.answers_probes else NeverLeft("refused")

    def recover(self, *stages: Stage) -> None:
        self.is_out = False
        for stage in stages:
            stage.api.account_reply = WELL


OUTAGES = [
    (refused, False, 0),
    (bad_gateway, False, 10),
    (bad_gateway, True, 10),
    (silent, False, 30),
    (silent, True, 30),
]


@pytest.mark.parametrize(("way", "answers_probes", "in_doubt_max"), OUTAGES)
def test_an_outage_of_30_s_leaves_few_jobs_in_doubt_and_sending_is_back_soon(
    way: Way, in_doubt_max: int, *, answers_probes: bool
) -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        api = Api(way, answers_probes)
        async with (
            Stage(answer=api.answer, limit_per_s=15, calls_max=64) as one,
            Stage(answer=api.answer, beside=one, calls_max=64) as two,
        ):
            for n in range(2_000):
                one.server.publish_job("acme", job_body(f"j{n}"))
            await asyncio.sleep(20)
            assert len(api.sends) > 250
            api.fall_ill(one, two)
            await asyncio.sleep(30)
            api.recover(one, two)
            ended_s = loop.time()
            await one.until(lambda: api.sends[-1] > ended_s, limit_s=10)
            await asyncio.sleep(READ_TIMEOUT_S + 10)
            assert len(one.server.bodies(IN_DOUBT_QUEUE)) <= in_doubt_max
            assert len([at_s for at_s in api.sends if at_s > ended_s + 10]) > 13 * 30
            suspended = [seen.because for stage in (one, two) for seen in stage.observed(AccountSuspended)]
            assert set(suspended) == {"api"}
            dead = [kind for _, kind in one.ends() if kind == "mms.job.dead"]
            assert dead == []

    run_virtual(story())


def test_half_an_hour_out_leaves_a_handful_in_doubt() -> None:
    async def story() -> None:
        api = Api(bad_gateway, answers_probes=True)
        async with Stage(answer=api.answer, limit_per_s=15) as stage:
            for n in range(500):
                stage.server.publish_job("acme", job_body(f"j{n}"))
            await asyncio.sleep(5)
            api.fall_ill(stage)
            await asyncio.sleep(1_800)
            assert len(stage.server.bodies(IN_DOUBT_QUEUE)) <= 20
            api.recover(stage)
            await asyncio.sleep(340)
            assert len(stage.observed(AccountResumed)) == 1
            assert len(api.sends) > 100

    run_virtual(story())


def test_single_failures_between_good_answers_stop_nothing() -> None:
    async def story() -> None:
        count = 0

        async def now_and_then(call: SeenCall) -> Response:
            nonlocal count
            count += 1
            return await bad_gateway(call) if count % 3 else accept(call)

        async with Stage(answer=now_and_then, limit_per_s=10) as stage:
            for n in range(60):
                stage.server.publish_job("acme", job_body(f"j{n}"))
            await stage.until(lambda: len(stage.events()) == 60)
            assert stage.observed(AccountSuspended) == []

    run_virtual(story())


def test_one_call_goes_first() -> None:
    async def story() -> None:
        api = Api(bad_gateway, answers_probes=True)
        async with Stage(answer=api.answer, limit_per_s=15) as stage:
            for n in range(100):
                stage.server.publish_job("acme", job_body(f"j{n}"))
            api.fall_ill(stage)
            await stage.until(lambda: len(stage.observed(AccountSuspended)) == 1)
            await asyncio.sleep(25)
            finished = [seen for seen in stage.observed(CallFinished) if seen.operation is Operation.SEND]
            probes = [seen for seen in stage.observed(CallFinished) if seen.operation is Operation.ACCOUNT]
            assert len(finished) == 3 + len(probes)
            assert len(probes) == 4

    run_virtual(story())


@pytest.mark.parametrize(("answer_s", "times"), [(0.9, 0), (5, 1)])
def test_an_api_that_is_slow_and_answers_is_not_silent(answer_s: float, times: int) -> None:
    """At most before the first answer, when nobody knows how long one takes."""

    async def story() -> None:
        async def slow(call: SeenCall) -> Response:
            await asyncio.sleep(answer_s)
            return accept(call)

        async with Stage(answer=slow, limit_per_s=15, calls_max=64) as stage:
            stage.api.account_reply = WELL
            for n in range(300):
                stage.server.publish_job("acme", job_body(f"j{n}"))
            await stage.until(lambda: len(stage.events()) == 300)
            assert len(stage.observed(AccountSuspended)) == times

    run_virtual(story())


def test_a_process_that_was_stopped_takes_its_own_silence_for_nothing() -> None:
    async def story() -> None:
        async with Stage(limit_per_s=15) as stage:
            for n in range(300):
                stage.server.publish_job("acme", job_body(f"j{n}"))
            await asyncio.sleep(5)
            asyncio.get_running_loop().stall(20)  # type: ignore[attr-defined]
            await stage.until(lambda: len(stage.events()) == 300)
            assert stage.observed(AccountSuspended) == []

    run_virtual(story())


def test_silence_is_since_the_last_answer_or_since_the_oldest_call_that_waits() -> None:
    silence = Silence()
    assert silence.lasts_s(100) == 0
    silence.left("a", 100)
    silence.left("b", 101)
    assert silence.lasts_s(103) == 3
    silence.ended("b", 103)
    assert silence.lasts_s(104) == 1
    silence.ended("a", 104)
    assert (silence.lasts_s(110), len(silence)) == (0, 0)


@pytest.mark.parametrize(
    ("usual_s", "after_s"), [(0, NOTICED_S_UNKNOWN), (0.03, NOTICED_S_MIN), (0.5, 4), (5, NOTICED_S_MAX)]
)
def test_how_long_a_silence_must_last_depends_on_the_usual_answers(usual_s: float, after_s: float) -> None:
    assert noticed_after_s(usual_s) == after_s


async def back_after_s(stage: Stage, api: Api) -> float:
    """How long after the end of an outage of 5 s twenty calls have been accepted: more than the one that goes first."""
    loop = asyncio.get_running_loop()
    for n in range(500):
        stage.server.publish_job("acme", job_body(f"j{n}"))
    await asyncio.sleep(10)
    api.fall_ill(stage)
    await asyncio.sleep(5)
    api.recover(stage)
    ended_s = loop.time()
    count = len(api.sends) + 20
    await stage.until(lambda: len(api.sends) >= count, limit_s=300)
    return loop.time() - ended_s


def test_a_trial_that_waits_for_its_slot_claims_nothing_and_leaves_no_more_once_it_is_told_to_stop() -> None:
    async def story() -> None:
        api = Api(bad_gateway, answers_probes=True)
        async with Stage(answer=api.answer, limit_per_s=15) as stage:
            for n in range(20):
                stage.server.publish_job("acme", job_body(f"j{n}"))
            api.fall_ill(stage)
            limiter, reserve, probes = stage.limiter, stage.limiter.reserve, 0

            async def slow_for_the_trial(account: str, count: int, **more: Any) -> Any:
                nonlocal probes
                probes += bool(more.get("is_probe"))
                limiter.away = "slow" if probes > 1 else None
                return await reserve(account, count, **more)

            limiter.reserve = slow_for_the_trial  # type: ignore[method-assign]
            await stage.until(lambda: probes > 1)
            await asyncio.sleep(1)
            calls = len(stage.api.calls)
            waiting = [record for record in stage.journal.records.values() if record.startswith("C|")]
            assert waiting == []
            stage.sender.stop()
            probes = 0
            await stage.sender.withdraw()
            await asyncio.sleep(30)
            assert len(stage.api.calls) == calls
            assert [record for record in stage.journal.records.values() if record.startswith("C|")] == []

    run_virtual(story())


def test_who_hears_of_its_own_suspension_from_the_limiter_first_probes_soon_all_the_same() -> None:
    async def story() -> None:
        api = Api(bad_gateway, answers_probes=False)
        async with Stage(answer=api.answer, limit_per_s=15) as stage:
            limiter, failed = stage.limiter, stage.limiter.failed

            async def answered_late(*call: Any) -> bool:
                is_suspended = await failed(*call)
                await asyncio.sleep(0.5)
                return is_suspended

            limiter.failed = answered_late  # type: ignore[method-assign, assignment]
            assert await back_after_s(stage, api) < 8
            assert stage.observed(AccountSuspended)[0].description == ELSEWHERE

    run_virtual(story())


def test_a_resumption_that_the_store_did_not_hear_is_told_again() -> None:
    async def story() -> None:
        api = Api(bad_gateway, answers_probes=False)
        async with Stage(answer=api.answer, limit_per_s=15) as stage:
            limiter, suspend = stage.limiter, stage.limiter.suspend
            lost: list[str] = []

            async def heard_late(account: str, reason: str) -> bool:
                if not reason and len(lost) < 2:
                    lost.append(account)
                    return False
                return await suspend(account, reason)

            limiter.suspend = heard_late  # type: ignore[method-assign]
            assert await back_after_s(stage, api) < 15
            assert len(lost) == 2

    run_virtual(story())


def test_the_others_probe_too_when_the_one_who_found_it_is_gone() -> None:
    async def story() -> None:
        api = Api(bad_gateway, answers_probes=False)
        async with Stage(answer=api.answer, limit_per_s=15) as stage:
            await asyncio.sleep(2)
            await stage.limiter.suspend("acme", "api")  # by a worker that dies at once
            for n in range(50):
                stage.server.publish_job("acme", job_body(f"j{n}"))
            stage.api.account_reply = WELL
            began_s = asyncio.get_running_loop().time()
            await stage.until(lambda: bool(api.sends), limit_s=120)
            assert api.sends[0] - began_s < 25

    run_virtual(story())
