"""Each step of a job's way is told when it is passed, and what is done there is done by then."""

from __future__ import annotations

import asyncio

import pytest

from tests.jobs import job_body
from tests.unit.flow.stage import Stage, accept
from tests.virtual_time import run_virtual
from worker.adapters.memory import MemoryBroker, SeenCall
from worker.core.delivery import Delivery
from worker.core.journal import State
from worker.core.outcome import Answer, Response
from worker.core.steps import Step


class CountsAcks(MemoryBroker):
    acks = 0

    def ack(self, delivery: Delivery) -> None:
        self.acks += 1
        super().ack(delivery)


def test_a_job_that_is_sent_passes_its_steps_in_order() -> None:
    async def story() -> None:
        passed: list[Step] = []
        async with Stage(passed=passed.append) as stage:
            stage.server.publish_job("acme", job_body())
            await stage.until(lambda: len(stage.events()) == 1)
            await asyncio.sleep(1)
            assert passed == [
                Step.AFTER_DELIVER,
                Step.AFTER_SLOT,
                Step.AFTER_CLAIM,
                Step.BEFORE_OUTCOME,
                Step.AFTER_OUTCOME,
                Step.BEFORE_ACK,
            ]
        assert passed[-1] is Step.IN_DRAIN

    run_virtual(story())


def test_a_refused_job_passes_between_its_copy_and_its_ack() -> None:
    async def story() -> None:
        passed: list[Step] = []
        answers = [Answer(429, b"")]

        async def refuse_once(call: SeenCall) -> Response:
            return answers.pop() if answers else accept(call)

        async with Stage(passed=passed.append, answer=refuse_once) as stage:
            stage.server.publish_job("acme", job_body())
            await stage.until(lambda: len(stage.events()) == 1)
            await asyncio.sleep(1)
        assert passed.count(Step.BETWEEN_COPY_AND_ACK) == passed.count(Step.BEFORE_ACK) == 1
        assert passed.index(Step.BETWEEN_COPY_AND_ACK) < passed.index(Step.BEFORE_ACK)

    run_virtual(story())


#: At each step: what the journal has of the job; calls made, events told.
AT_STEP: dict[Step, tuple[State | None, int, int]] = {
    Step.AFTER_DELIVER: (None, 0, 0),
    Step.AFTER_SLOT: (None, 0, 0),
    Step.AFTER_CLAIM: (State.CLAIMED, 0, 0),
    Step.BEFORE_OUTCOME: (State.CLAIMED, 1, 0),
    Step.AFTER_OUTCOME: (State.ENDED, 1, 0),
    Step.BEFORE_ACK: (State.ENDED, 1, 1),
}


@pytest.mark.parametrize("step", AT_STEP)
def test_what_a_step_stands_for_is_done_when_it_is_passed(step: Step) -> None:
    async def story() -> None:
        found: list[tuple[State | None, int, int]] = []

        def look(passed: Step) -> None:
            if passed is step:
                record = stage.journal.record("acme", "job-1")
                found.append((record.state if record else None, len(stage.api.calls), len(stage.events())))
                assert acks() == 0

        def acks() -> int:
            assert isinstance(stage.broker, CountsAcks)
            return stage.broker.acks

        async with Stage(passed=look, broker_kind=CountsAcks) as stage:
            stage.server.publish_job("acme", job_body())
            await stage.until(lambda: len(stage.events()) == 1)
            await asyncio.sleep(1)
            assert found == [AT_STEP[step]]
            assert acks() == 1

    run_virtual(story())
