"""No job is called for twice, whatever comes twice, dies in between, or is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import orjson
import pytest

from tests.jobs import A_NUMBER, job_body
from tests.unit.flow.stage import CALL_S_MAX, Stage, accept
from tests.virtual_time import run_virtual
from worker.adapters.memory import MemoryBroker, SeenCall
from worker.core.delivery import Publication
from worker.core.events import ResolvedBy
from worker.core.job import Job, decode
from worker.core.journal import Record, State, fingerprint, written
from worker.core.outcome import Response
from worker.core.resolution import Grounds
from worker.core.resolution import written as written_grounds
from worker.core.topology import DEAD_QUEUE, IN_DOUBT_QUEUE, JOBS_EXCHANGE
from worker.flow.observations import DuplicateSuppressed, JobFinished


async def never(_: SeenCall) -> Response:
    await asyncio.Event().wait()
    raise AssertionError


async def leave(stage: Stage) -> None:
    """The worker is cut off from the broker, and does not know what its jobs do there."""
    stage.sender.stop()
    await stage.broker.pause("acme")
    stage.broker.disconnect()


def test_a_job_that_was_published_twice_is_sent_once() -> None:
    async def story() -> None:
        async with Stage() as stage:
            for _ in range(3):
                stage.server.publish_job("acme", job_body())
            await stage.until(lambda: len(stage.observed(JobFinished)) == 3)
            await asyncio.sleep(60)
            assert len(stage.api.calls) == 1
            assert stage.ends() == [("job-1", "mms.job.sent")]
            assert [seen.source for seen in stage.observed(DuplicateSuppressed)] == ["publish"] * 2
            assert stage.server.bodies("mms.jobs.acme") == []

    run_virtual(story())


def test_an_id_with_other_content_is_a_dead_letter_that_says_what_differs() -> None:
    async def story() -> None:
        async with Stage() as stage:
            stage.server.publish_job("acme", job_body())
            await stage.until(lambda: len(stage.events()) == 1)
            stage.server.publish_job("acme", job_body(text="something else"))
            await stage.until(lambda: len(stage.events()) == 2)
            dead = stage.events()[1]
            assert dead["type"] == "mms.job.dead"
            assert dead["data"]["reasons"] == ["id: it belongs to a job that was published before with other text"]
            assert len(stage.server.bodies(DEAD_QUEUE)) == len(stage.api.calls) == 1

    run_virtual(story())


def test_a_job_whose_worker_never_told_is_in_doubt_and_never_called_for_again() -> None:
    async def story() -> None:
        async with Stage(answer=never) as first:
            first.server.publish_job("acme", job_body())
            await first.until(lambda: len(first.api.calls) == 1)
            await leave(first)
            async with Stage(beside=first) as second:
                await second.until(lambda: len(second.events()) == 1, limit_s=CALL_S_MAX + 20)
                (event,) = second.events()
                assert event["type"] == "mms.job.in_doubt"
                assert event["data"]["why"].startswith("a worker had begun to call")
                assert len(second.server.bodies(IN_DOUBT_QUEUE)) == 1
                assert second.api.calls == []
                # The first one finds out, and says nothing against it.
                first.sender.abort()
                assert await first.sender.finish(60)
                assert len(second.events()) == 1

    run_virtual(story())


class Unheard(MemoryBroker):
    """What it publishes never arrives, and is never confirmed."""

    def publish_many(self, publications: Sequence[Publication]) -> list[asyncio.Future[None]]:
        return [asyncio.get_running_loop().create_future() for _ in publications]


def test_an_end_that_was_written_and_not_told_is_told_by_the_next_worker() -> None:
    async def story() -> None:
        async with Stage(broker_kind=Unheard) as first:
            first.server.publish_job("acme", job_body())
            await first.until(lambda: len(first.api.calls) == 1)
            await asyncio.sleep(1)
            assert first.events() == []
            await leave(first)
            async with Stage(beside=first) as second:
                await second.until(lambda: len(second.events()) == 1)
                assert second.events()[0]["data"]["recipients"] == [{"to": A_NUMBER, "message_id": f"id-{A_NUMBER}"}]
                assert second.api.calls == []
                record = first.journal.record("acme", "job-1")
                assert record is not None
                assert record.state is State.TOLD

    run_virtual(story())


def test_while_the_journal_is_away_nothing_is_sent_and_nothing_lost() -> None:
    async def story() -> None:
        async with Stage() as stage:
            stage.journal.away_because = "gone"
            for n in range(5):
                stage.server.publish_job("acme", job_body(f"j{n}"))
            await asyncio.sleep(30)
            assert stage.api.calls == []
            stage.journal.away_because = None
            await stage.until(lambda: len(stage.events()) == 5)
            assert len(stage.api.calls) == 5
            assert [job_id for job_id, _ in stage.ends()] == [f"j{n}" for n in range(5)]

    run_virtual(story())


def test_an_end_is_told_once_it_is_written() -> None:
    async def story() -> None:
        async def answer_and_lose_the_journal(call: SeenCall) -> Response:
            stage.journal.away_because = "gone"
            return accept(call)

        async with Stage(answer=answer_and_lose_the_journal) as stage:
            stage.server.publish_job("acme", job_body())
            await asyncio.sleep(60)
            assert stage.events() == []
            stage.journal.away_because = None
            await stage.until(lambda: len(stage.events()) == 1, limit_s=2)
            stage.server.publish_job("acme", job_body())
            await asyncio.sleep(600)
            assert len(stage.api.calls) == 1
            assert stage.ends() == [("job-1", "mms.job.sent")]

    run_virtual(story())


def test_a_worker_that_dies_while_its_end_cannot_be_written_has_told_nothing() -> None:
    """Else the job, of whose call the journal knows and of whose end it does not, would have two ends."""

    async def story() -> None:
        async def answer_and_lose_the_journal(call: SeenCall) -> Response:
            first.journal.away_because = "gone"
            return accept(call)

        async with Stage(answer=answer_and_lose_the_journal) as first:
            first.server.publish_job("acme", job_body())
            await asyncio.sleep(10)
            await leave(first)
            await first.sender._jobs.cancel()
            first.journal.away_because = None
            async with Stage(beside=first) as second:
                second.server.publish_job("acme", job_body())  # its producer had no confirm
                await asyncio.sleep(CALL_S_MAX + 60)
                assert {kind for _, kind in second.ends()} == {"mms.job.in_doubt"}
                assert second.api.calls == []

    run_virtual(story())


@pytest.mark.parametrize("away_s", [5, 90], ids=["handed out again", "put back meanwhile"])
def test_what_may_have_been_called_for_in_a_forgotten_time_is_in_doubt_also_as_a_copy(away_s: float) -> None:
    async def story() -> None:
        async with Stage(answer=never, hold_s_max=60) as first:
            first.server.publish_job("acme", job_body())
            await first.until(lambda: len(first.api.calls) == 1)
            await asyncio.sleep(0.3)
            async with Stage(beside=first, hold_s_max=60) as second:
                first.limiter.away = first.journal.away_because = "gone"
                await leave(first)
                await asyncio.sleep(away_s)
                first.journal.forget_all()
                first.limiter.away = first.journal.away_because = None
                await asyncio.sleep(60)
                assert second.ends() == [("job-1", "mms.job.in_doubt")]
                assert second.api.calls == []

    run_virtual(story())


def test_a_resolution_that_nobody_has_told_is_told_by_whoever_is_handed_the_job() -> None:
    async def story() -> None:
        async with Stage() as stage:
            job = decode(job_body(), region="AU")
            assert isinstance(job, Job)
            grounds = written_grounds(Grounds(ResolvedBy.REPORT, "a report", ((A_NUMBER, "m1"),)))
            record = Record(State.RESOLVED, fingerprint(job), end="sent", details=grounds)
            stage.journal.records["acme", "job-1"] = written(record)
            stage.server.accept(Publication(JOBS_EXCHANGE, "acme", job_body(), {"x-mms-was-in-hand": True}))
            await stage.until(lambda: len(stage.observed(JobFinished)) == 1)
            (event,) = stage.events()
            assert (event["type"], event["data"]["resolution"], event["data"]["by"]) == (
                "mms.job.resolved",
                "sent",
                "report",
            )
            stage.server.publish_job("acme", job_body())  # its producer, once more
            await stage.until(lambda: len(stage.observed(JobFinished)) == 2)
            assert len(stage.events()) == 1
            assert stage.api.calls == []

    run_virtual(story())


def test_a_job_that_waits_for_a_slot_is_claimed_by_nobody() -> None:
    """What a dying worker merely held is not in doubt."""

    async def story() -> None:
        async with Stage(limit_per_s=0.01) as first:
            for n in range(3):
                first.server.publish_job("acme", job_body(f"j{n}"))
            await first.until(lambda: len(first.events()) == 1)
            assert set(first.journal.records) == {("acme", "j0")}
            await leave(first)
            async with Stage(beside=first) as second:
                await second.until(lambda: len(second.events()) == 3)
                assert {kind for _, kind in second.ends()} == {"mms.job.sent"}

    run_virtual(story())


def test_a_dead_letter_that_is_published_again_is_tried_again() -> None:
    async def story() -> None:
        async with Stage() as stage:
            gone = orjson.dumps(orjson.loads(job_body()) | {"media": {"url": "https://cdn.example.com/gone.png"}})
            stage.server.publish_job("acme", gone)
            await stage.until(lambda: len(stage.events()) == 1)
            assert stage.ends() == [("job-1", "mms.job.dead")]
            stage.server.publish_job("acme", job_body())
            await stage.until(lambda: len(stage.events()) == 2)
            assert stage.ends()[1] == ("job-1", "mms.job.sent")

    run_virtual(story())


def test_claims_go_ahead_of_the_slot_so_that_calls_leave_in_time() -> None:
    async def story() -> None:
        async with Stage(limit_per_s=10) as stage:
            slow_claim = stage.journal.claim

            async def claim(*details: object) -> object:
                await asyncio.sleep(0.004)
                return await slow_claim(*details)  # type: ignore[arg-type]

            stage.journal.claim = claim  # type: ignore[assignment,method-assign]
            for n in range(30):
                stage.server.publish_job("acme", job_body(f"j{n}"))
            await stage.until(lambda: len(stage.events()) == 30)
            gaps_s = [b.at_s - a.at_s for a, b in zip(stage.api.calls[9:], stage.api.calls[10:], strict=False)]
            assert max(gaps_s) - min(gaps_s) < 0.002

    run_virtual(story())
