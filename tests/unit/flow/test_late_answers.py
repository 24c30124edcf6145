"""An answer that comes when the job is in doubt already: the best evidence there is, and never a second event."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import jsonschema
import orjson
import pytest

from tests.jobs import A_NUMBER, job_body
from tests.unit.flow.keeping import HOLD, Keeping, job_named
from tests.unit.flow.stage import CALL_S_MAX, Stage, accept
from tests.virtual_time import run_virtual
from worker.adapters.memory import SeenCall
from worker.core.event_schema import event_schema
from worker.core.journal import GIVEN_UP, RELEASED, SENT, Resolution, State, fingerprint
from worker.core.outcome import Answer, Response
from worker.core.recipients import job_of
from worker.core.reports import Report
from worker.core.sendings import SentJob
from worker.core.topology import IN_DOUBT_QUEUE
from worker.flow.observations import DoubtResolved, DuplicateSendDetected, JobFinished

REFUSAL = {"meta": {"code": 400, "status": "FIELD_INVALID"}, "msg": "no such number"}
LIMIT = {"meta": {"code": 400, "status": "OVER_LIMIT"}, "msg": "slow down"}


@dataclass
class LateApi:
    """Answers the first call when a test says so, and the others at once."""

    answers: list[asyncio.Future[Response]] = field(default_factory=list)
    calls: int = 0

    async def __call__(self, call: SeenCall) -> Response:
        self.calls += 1
        if self.calls > 1:
            await asyncio.sleep(0.02)
            return accept(call)
        self.call = call
        self.answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        return await self.answer

    def accept(self, *, message_id: str | None = None) -> None:
        """``message_id``: of the one message, if not the one that all calls for its recipient get."""
        answer = accept(self.call)
        named = (
            answer.body if message_id is None else answer.body.replace(f"id-{A_NUMBER}".encode(), message_id.encode())
        )
        self.answer.set_result(Answer(200, named))

    def refuse(self, envelope: dict[str, Any]) -> None:
        self.answer.set_result(Answer(400, orjson.dumps(envelope)))


class Frozen:
    """A worker that waits for its answer, and another one that has declared the job in doubt meanwhile."""

    def __init__(self, first: Stage, second: Stage, api: LateApi) -> None:
        self.first, self.second, self.api = first, second, api
        self.keeping = Keeping(second, HOLD)

    def resolution(self, end: str) -> Resolution:
        return Resolution("a", fingerprint(job_named("a")), end)

    def events(self) -> list[dict[str, Any]]:
        return [event for event in self.first.events() if event["type"] == "mms.job.resolved"]

    async def settled(self) -> None:
        """Wait until the late answer was taken in."""
        await self.first.until(lambda: bool(self.first.observed(JobFinished)))
        await asyncio.sleep(5)


def frozen(story: Any) -> None:
    async def whole() -> None:
        api = LateApi()
        async with Stage(answer=api) as first:
            first.server.publish_job("acme", job_body("a", text="a"))
            await first.until(lambda: api.calls == 1)
            first.sender.stop()
            await first.broker.pause("acme")
            first.broker.disconnect()
            async with Stage(beside=first, answer=api) as second:
                await second.until(lambda: len(second.server.bodies(IN_DOUBT_QUEUE)) == 1, limit_s=CALL_S_MAX + 20)
                await story(Frozen(first, second, api))

    run_virtual(whole())


def test_that_it_was_sent_resolves_the_doubt_with_the_message_ids() -> None:
    async def story(now: Frozen) -> None:
        now.api.accept()
        await now.settled()
        (event,) = now.events()
        jsonschema.Draft202012Validator(event_schema()).validate(event)
        assert event["id"] == "a:mms.job.resolved:1"
        assert event["data"] == {
            "job_id": "a", "reference": None, "account": "acme", "attempt": 1, "resolution": "sent", "by": "rule",
            "evidence": "the API's answer, which came late",
            "recipients": [{"to": A_NUMBER, "message_id": f"id-{A_NUMBER}"}],
        }  # fmt: skip
        assert [seen.resolved_as for seen in now.first.observed(DoubtResolved)] == ["sent"]
        assert now.first.observed(DuplicateSendDetected) == []
        # What is held of it goes, and nothing more is told.
        await now.keeping.keeper().look()
        assert now.second.server.bodies(IN_DOUBT_QUEUE) == []
        assert [kind for _, kind in now.first.ends()] == ["mms.job.in_doubt", "mms.job.resolved"]
        assert now.api.calls == 1

    frozen(story)


def test_that_it_is_refused_gives_it_up() -> None:
    async def story(now: Frozen) -> None:
        now.api.refuse(REFUSAL)
        await now.settled()
        (event,) = now.events()
        assert (event["data"]["resolution"], event["data"]["by"]) == ("given_up", "rule")
        assert "no such number" in event["data"]["evidence"]

    frozen(story)


def test_that_it_was_surely_not_sent_leaves_it_in_doubt() -> None:
    async def story(now: Frozen) -> None:
        now.api.refuse(LIMIT)
        await asyncio.sleep(60)
        assert now.events() == []
        assert len(now.second.server.bodies(IN_DOUBT_QUEUE)) == 1
        assert now.api.calls == 1

    frozen(story)


def test_what_somebody_has_given_up_stays_so() -> None:
    async def story(now: Frozen) -> None:
        await now.first.journal.resolve("acme", [now.resolution(GIVEN_UP)])
        now.api.accept()
        await now.settled()
        assert now.events() == []
        record = now.first.journal.record("acme", "a")
        assert record is not None
        assert (record.state, record.end) == (State.RESOLVED, GIVEN_UP)
        assert now.first.observed(DuplicateSendDetected) == []

    frozen(story)


def test_what_somebody_knows_to_be_sent_is_not_told_again() -> None:
    async def story(now: Frozen) -> None:
        await now.first.journal.resolve("acme", [now.resolution(SENT)])
        now.api.accept()
        await now.settled()
        assert now.events() == []
        assert now.first.observed(DuplicateSendDetected) == []

    frozen(story)


def test_a_job_that_was_sent_again_meanwhile_was_sent_twice_which_is_told() -> None:
    async def story(now: Frozen) -> None:
        await now.first.journal.resolve("acme", [now.resolution(RELEASED)])
        now.second.server.publish_job("acme", job_body("a", text="a"))
        await now.second.until(lambda: ("a", "mms.job.sent") in now.second.ends())
        now.api.accept()
        await now.settled()
        assert now.first.observed(DuplicateSendDetected) == [DuplicateSendDetected("acme", "a")]
        assert now.events() == []

    frozen(story)


def test_that_it_was_sent_twice_is_told_once_also_where_both_messages_are_known() -> None:
    async def story(now: Frozen) -> None:
        await now.first.journal.resolve("acme", [now.resolution(RELEASED)])
        now.second.server.publish_job("acme", job_body("a", text="a"))
        await now.second.until(lambda: ("a", "mms.job.sent") in now.second.ends())
        now.api.accept(message_id="another message")
        await now.settled()
        assert now.first.observed(DuplicateSendDetected) == [DuplicateSendDetected("acme", "a")]

    frozen(story)


def test_a_message_that_was_found_by_its_report_is_a_second_one_whatever_was_decided() -> None:
    async def story(now: Frozen) -> None:
        await now.first.journal.resolve("acme", [now.resolution(GIVEN_UP)])
        report = Report("another message", A_NUMBER, "delivered")
        await now.first.sendings.assign("acme", report, SentJob("a", None))
        now.api.accept()
        await now.settled()
        assert now.first.observed(DuplicateSendDetected) == [DuplicateSendDetected("acme", "a")]

    frozen(story)


@pytest.mark.parametrize("is_refused", [False, True])
def test_it_ends_the_doubt_also_for_the_reports_to_come(*, is_refused: bool) -> None:
    async def story(now: Frozen) -> None:
        (number,) = job_named("a").to
        assert now.first.sendings.recipient("acme", number).doubt("a") is not None
        if is_refused:
            now.api.refuse(REFUSAL)
        else:
            now.api.accept()
        await now.settled()
        known = now.first.sendings.recipient("acme", number)
        assert known.doubt("a") is None
        assert job_of(known, f"id-{number}") == (None if is_refused else SentJob("a", None))

    frozen(story)


def test_what_the_journal_may_have_had_from_us_is_not_taken_for_another_call() -> None:
    """It did not answer at first: what it says then may be our own end, told by somebody else."""

    async def story(now: Frozen) -> None:
        await now.first.journal.resolve("acme", [now.resolution(RELEASED)])
        now.second.server.publish_job("acme", job_body("a", text="a"))
        await now.second.until(lambda: ("a", "mms.job.sent") in now.second.ends())
        now.first.journal.away_because = "gone"
        now.api.accept()
        await asyncio.sleep(0.5)
        now.first.journal.away_because = None
        await now.settled()
        assert now.first.observed(DuplicateSendDetected) == []

    frozen(story)


def test_an_answer_before_the_resent_copy_is_called_for_saves_the_second_call() -> None:
    async def story(now: Frozen) -> None:
        await now.first.journal.resolve("acme", [now.resolution(RELEASED)])
        now.api.accept()
        await asyncio.sleep(5)
        now.second.server.publish_job("acme", job_body("a", text="a"))
        await asyncio.sleep(60)
        assert now.api.calls == 1
        assert [kind for _, kind in now.first.ends()].count("mms.job.sent") == 1
        assert now.first.observed(DuplicateSendDetected) == []

    frozen(story)


def test_while_the_broker_takes_nothing_the_keeper_tells_it() -> None:
    async def story(now: Frozen) -> None:
        now.first.broker.block(is_blocked=True)
        now.api.accept()
        await asyncio.sleep(90)
        assert now.events() == []
        await now.keeping.keeper().look()
        (event,) = now.events()
        assert event["data"]["recipients"] == [{"to": A_NUMBER, "message_id": f"id-{A_NUMBER}"}]
        now.first.broker.block(is_blocked=False)
        await asyncio.sleep(90)
        assert len(now.events()) == 1

    frozen(story)


def test_while_the_journal_is_away_it_stays_in_doubt() -> None:
    async def story(now: Frozen) -> None:
        now.first.journal.away_because = "gone"
        now.api.accept()
        await asyncio.sleep(60)
        now.first.journal.away_because = None
        assert now.events() == []

    frozen(story)
