"""What a job leaves for the reports to come: with its outcome, before it is told, and never at the job's cost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import orjson
import pytest

from tests.jobs import A_NUMBER, job_body
from tests.unit.flow.stage import CALL_S_MAX, Stage, accept, accept_at_once
from tests.virtual_time import run_virtual
from worker.adapters.memory import SeenCall
from worker.core.journal import Claim, Record
from worker.core.outcome import Answer, Response
from worker.core.recipients import job_of
from worker.core.reports import Report
from worker.core.sendings import SentJob, Trace
from worker.flow.observations import DuplicateSendDetected, JobFinished
from worker.flow.ports import JournalAway
from worker.flow.traces import LATER_S_MAX, LATER_S_MAX_AGAIN

ANOTHER = "+61400000002"
THE_JOB = SentJob("job-1", "crm:1")
TWO = job_body(to=[A_NUMBER, ANOTHER], reference="crm:1")


async def never(_: SeenCall) -> Response:
    await asyncio.Event().wait()
    raise AssertionError


async def leave(stage: Stage) -> None:
    stage.sender.stop()
    await stage.broker.pause("acme")
    stage.broker.disconnect()


def jobs_of(stage: Stage, *numbers: str) -> list[SentJob | None]:
    """The jobs of the messages that ``accept`` names."""
    return [job_of(stage.sendings.recipient("acme", number), f"id-{number}") for number in numbers]


def doubts_of(stage: Stage, *numbers: str) -> list[list[SentJob]]:
    return [[doubt.job for doubt in stage.sendings.recipient("acme", number).doubts] for number in numbers]


def test_each_recipient_that_was_accepted_has_a_trace() -> None:
    async def but_one(call: SeenCall) -> Answer:
        return accept(replace(call, numbers=(A_NUMBER,)))

    async def story() -> None:
        async with Stage() as stage:
            stage.server.publish_job("acme", TWO)
            await stage.until(lambda: len(stage.events()) == 1)
            assert jobs_of(stage, A_NUMBER, ANOTHER) == [THE_JOB, THE_JOB]
        async with Stage(answer=but_one) as stage:
            stage.server.publish_job("acme", TWO)
            await stage.until(lambda: len(stage.events()) == 1)
            assert jobs_of(stage, A_NUMBER, ANOTHER) == [THE_JOB, None]
            assert doubts_of(stage, ANOTHER) == [[]]

    run_virtual(story())


def test_a_job_in_doubt_leaves_a_doubt_with_each_recipient() -> None:
    async def bad_gateway(_: SeenCall) -> Answer:
        return Answer(502, b"<html>")

    async def story() -> None:
        async with Stage(answer=bad_gateway) as stage:
            stage.server.publish_job("acme", TWO)
            await stage.until(lambda: len(stage.events()) == 1)
            assert doubts_of(stage, A_NUMBER, ANOTHER) == [[THE_JOB], [THE_JOB]]

    run_virtual(story())


def test_what_was_not_sent_or_is_refused_leaves_none() -> None:
    async def refuse(_: SeenCall) -> Answer:
        return Answer(400, b'{"meta":{"status":"FIELD_INVALID"},"msg":"no"}')

    async def story() -> None:
        async with Stage(answer=refuse) as stage:
            stage.server.publish_job("acme", TWO)
            await stage.until(lambda: len(stage.events()) == 1)
            assert stage.sendings.recipients == {}

    run_virtual(story())


def test_a_job_whose_worker_died_is_in_doubt_with_each_recipient() -> None:
    async def story() -> None:
        async with Stage(answer=never) as first:
            first.server.publish_job("acme", TWO)
            await first.until(lambda: len(first.api.calls) == 1)
            await leave(first)
            async with Stage(beside=first) as second:
                await second.until(lambda: len(second.events()) == 1, limit_s=CALL_S_MAX + 20)
                assert doubts_of(second, A_NUMBER, ANOTHER) == [[THE_JOB], [THE_JOB]]

    run_virtual(story())


def test_an_end_waits_for_its_traces() -> None:
    async def story() -> None:
        async with Stage() as stage:
            stage.sendings.away_because = "gone"
            stage.server.publish_job("acme", TWO)
            await stage.until(lambda: len(stage.api.calls) == 1)
            await asyncio.sleep(LATER_S_MAX - 1)
            assert stage.events() == []
            stage.sendings.away_because = None
            await stage.until(lambda: len(stage.events()) == 1, limit_s=1.5)
            assert jobs_of(stage, A_NUMBER, ANOTHER) == [THE_JOB, THE_JOB]

    run_virtual(story())


def test_traces_that_cannot_be_left_hold_up_no_job_for_long() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        async with Stage() as stage:
            stage.sendings.away_because = "no permission"
            stage.server.publish_job("acme", TWO)
            await stage.until(lambda: len(stage.events()) == 1, limit_s=LATER_S_MAX + 2)
            started_s = loop.time()
            stage.server.publish_job("acme", job_body("job-2"))
            await stage.until(lambda: len(stage.observed(JobFinished)) == 2)
            assert loop.time() - started_s < LATER_S_MAX_AGAIN + 0.5
            stage.sendings.away_because = None
            stage.server.publish_job("acme", job_body("job-3"))
            await stage.until(lambda: len(stage.observed(JobFinished)) == 3)
            assert jobs_of(stage, A_NUMBER) == [SentJob("job-3", None)]
            # It is patient again.
            stage.sendings.away_because = "gone"
            stage.server.publish_job("acme", job_body("job-4", to=[ANOTHER]))
            await asyncio.sleep(LATER_S_MAX - 1)
            stage.sendings.away_because = None
            await stage.until(lambda: len(stage.observed(JobFinished)) == 4)
            assert jobs_of(stage, ANOTHER) == [SentJob("job-4", None)]

    run_virtual(story())


def test_who_tells_an_end_in_anothers_place_leaves_its_traces() -> None:
    async def story() -> None:
        async with Stage() as first:
            first.sendings.away_because = "gone"
            first.server.publish_job("acme", TWO)
            await first.until(lambda: len(first.api.calls) == 1)
            await asyncio.sleep(1)
            await leave(first)
            first.sendings.away_because = None
            first.sendings.recipients.clear()
            async with Stage(beside=first) as second:
                await second.until(lambda: len(second.observed(JobFinished)) == 1)
                assert second.ends() == [("job-1", "mms.job.sent")]
                assert jobs_of(second, A_NUMBER, ANOTHER) == [THE_JOB, THE_JOB]
                assert second.api.calls == []

    run_virtual(story())


@pytest.mark.parametrize("is_second", [False, True])
def test_that_somebody_got_a_second_message_of_the_job_is_told(*, is_second: bool) -> None:
    async def story() -> None:
        async with Stage() as stage:
            job = SentJob("job-1" if is_second else "another", None)
            await stage.sendings.assign("acme", Report("a message", A_NUMBER, "delivered"), job)
            stage.server.publish_job("acme", TWO)
            await stage.until(lambda: len(stage.events()) == 1)
            told = [DuplicateSendDetected("acme", "job-1")] if is_second else []
            assert stage.observed(DuplicateSendDetected) == told

    run_virtual(story())


def test_a_recipient_for_whom_the_api_names_no_message_is_found_by_number() -> None:
    async def nameless(call: SeenCall) -> Answer:
        answer = orjson.loads((await accept_at_once(call)).body)  # type: ignore[union-attr]
        del answer["data"]["messages"][1]["message_id"]
        return Answer(200, orjson.dumps(answer))

    async def story() -> None:
        async with Stage(answer=nameless) as stage:
            stage.server.publish_job("acme", TWO)
            await stage.until(lambda: len(stage.events()) == 1)
            assert jobs_of(stage, A_NUMBER) == [THE_JOB]
            assert doubts_of(stage, A_NUMBER, ANOTHER) == [[], [THE_JOB]]

    run_virtual(story())


def test_traces_are_of_the_account_that_sent() -> None:
    async def story() -> None:
        async with Stage() as stage:
            stage.server.publish_job("acme", TWO)
            await stage.until(lambda: len(stage.events()) == 1)
            assert await stage.sendings.find("other", [(A_NUMBER, f"id-{A_NUMBER}")]) == [None]
            await stage.sendings.note("acme", [Trace(A_NUMBER, "m2", "job-2", None)])
            assert jobs_of(stage, A_NUMBER) == [THE_JOB]

    run_virtual(story())


def test_traces_are_asked_for_with_the_outcome_and_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that is known as one of a job in doubt would resolve nothing."""

    async def story() -> None:
        async with Stage() as stage:
            asked: list[tuple[str, float]] = []
            loop = asyncio.get_running_loop()
            conclude, note = stage.journal.conclude, stage.sendings.note

            async def slow_conclude(account: str, outcomes: Sequence[tuple[Claim, Record]]) -> list[bool] | JournalAway:
                asked.append(("outcome", loop.time()))
                await asyncio.sleep(0.02)
                return await conclude(account, outcomes)

            async def seen_note(account: str, traces: Sequence[Trace]) -> list[str] | JournalAway:
                asked.append(("traces", loop.time()))
                return await note(account, traces)

            monkeypatch.setattr(stage.journal, "conclude", slow_conclude)
            monkeypatch.setattr(stage.sendings, "note", seen_note)
            stage.server.publish_job("acme", TWO)
            await stage.until(lambda: len(stage.events()) == 1)
            assert [what for what, _ in asked] == ["outcome", "traces"]
            assert asked[0][1] == asked[1][1]

    run_virtual(story())
