"""What becomes of jobs, seen from the broker and the API, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import pairwise

import pytest

from tests.jobs import A_NUMBER, A_PICTURE, PNG, a_delivery, a_job, job_body
from tests.unit.flow.stage import START, Stage, accept
from tests.virtual_time import VirtualTimeLoop, run_virtual
from worker.adapters.memory import SeenCall
from worker.core.delivery import Lane
from worker.core.job import Job, Rejected, decode
from worker.core.outcome import Answer, InDoubt, NeverLeft, NoAnswer, Response
from worker.flow.lane import Batch
from worker.flow.observations import AccountResumed, AccountSuspended, JobFinished, JobRequeued, Surprise
from worker.flow.ports import MediaRefused, MediaUnavailable


def answering(*replies: Response | None) -> Callable[[SeenCall], Awaitable[Response]]:
    """Give these replies, one a call, then accept; None accepts."""
    left = list(replies)

    async def answer(call: SeenCall) -> Response:
        await asyncio.sleep(0.02)
        reply = left.pop(0) if left else None
        return accept(call) if reply is None else reply

    return answer


def test_a_job_is_sent_told_and_acknowledged() -> None:
    async def story() -> None:
        async with Stage() as stage:
            stage.server.publish_job("acme", job_body(to=["0400000001"], subject="Hi", reference="crm:1"))
            await stage.until(lambda: len(stage.events()) == 1)
            (call,) = stage.api.calls
            assert (call.account, call.numbers) == ("acme", (A_NUMBER,))
            assert (call.content.subject, call.content.picture.data) == ("Hi", PNG)
            assert stage.events()[0]["data"]["recipients"] == [{"to": A_NUMBER, "message_id": f"id-{A_NUMBER}"}]
        assert stage.server.bodies("mms.jobs.acme") == []

    run_virtual(story())


def test_calls_leave_evenly_at_the_pace_also_after_idle_time() -> None:
    async def story() -> None:
        async with Stage(limit_per_s=10) as stage:
            for n in range(5):
                stage.server.publish_job("acme", job_body(f"a{n}"))
            await stage.until(lambda: len(stage.events()) == 5)
            await asyncio.sleep(30)
            for n in range(30):
                stage.server.publish_job("acme", job_body(f"b{n}"))
            await stage.until(lambda: len(stage.events()) == 35)
            for calls in (stage.api.calls[:5], stage.api.calls[5:]):
                gaps_s = [late.at_s - early.at_s for early, late in pairwise(calls)]
                assert gaps_s == pytest.approx([0.1] * len(gaps_s), abs=0.001)

    run_virtual(story())


def test_urgent_leaves_before_bulk_and_each_lane_oldest_first() -> None:
    async def story() -> None:
        async with Stage() as stage:
            for n in range(3):
                stage.server.publish_job("acme", job_body(f"bulk{n}"))
            for n in range(2):
                stage.server.publish_job("acme", job_body(f"urgent{n}"), lane=Lane.URGENT)
            await stage.until(lambda: len(stage.events()) == 5)
            assert [job for job, _ in stage.ends()] == ["urgent0", "urgent1", "bulk0", "bulk1", "bulk2"]

    run_virtual(story())


def test_no_more_calls_are_under_way_than_allowed() -> None:
    most = [0, 0]

    async def slow(call: SeenCall) -> Response:
        most[0] += 1
        most[1] = max(most)
        await asyncio.sleep(1.5)
        most[0] -= 1
        return accept(call)

    async def story() -> None:
        async with Stage(answer=slow, calls_max=3, limit_per_s=100) as stage:
            for n in range(12):
                stage.server.publish_job("acme", job_body(f"j{n}"))
            await stage.until(lambda: len(stage.events()) == 12)

    run_virtual(story())
    assert most[1] == 3


def test_a_throttled_job_goes_round_and_closes_the_account_for_its_time() -> None:
    async def story() -> None:
        async with Stage(answer=answering(Answer(429, b"", "3"))) as stage:
            stage.server.publish_job("acme", job_body("first"))
            await stage.until(lambda: bool(stage.observed(JobRequeued)))
            stage.server.publish_job("acme", job_body("second"))
            await stage.until(lambda: len(stage.events()) == 2)
            throttled, second, _ = stage.api.calls
            assert second.at_s - throttled.at_s >= 3
            assert {event["data"]["attempt"] for event in stage.events()} == {1}
            assert [seen.reason for seen in stage.observed(JobRequeued)] == ["throttled"]

    run_virtual(story())


@pytest.mark.parametrize("reply", [NoAnswer("reset"), Answer(500, b""), Answer(200, b"<html>"), Answer(302, b"")])
def test_a_job_in_doubt_is_held_and_never_called_again(reply: Response) -> None:
    async def story() -> None:
        async with Stage(answer=answering(reply)) as stage:
            stage.server.publish_job("acme", job_body())
            await stage.until(lambda: len(stage.events()) == 1)
            await asyncio.sleep(3600)
            assert stage.ends() == [("job-1", "mms.job.in_doubt")]
            assert len(stage.api.calls) == 1
            assert stage.server.bodies("mms.in_doubt") == [job_body()]

    run_virtual(story())


def test_what_never_left_is_tried_again_until_the_attempts_are_spent() -> None:
    async def story() -> None:
        async with Stage(answer=answering(*[NeverLeft("refused")] * 3)) as stage:
            stage.server.publish_job("acme", job_body())
            await stage.until(lambda: len(stage.events()) == 1)
            assert len(stage.api.calls) == 3
            assert stage.ends() == [("job-1", "mms.job.dead")]
            assert "refused" in stage.server.headers("mms.dead")[0]["x-mms-reasons"][0]

    run_virtual(story())


def test_broken_jobs_are_dead_and_do_not_hold_up_the_good_ones() -> None:
    async def story() -> None:
        async with Stage() as stage:
            stage.server.publish_job("acme", b"not json")
            stage.server.publish_job("acme", job_body("good1"))
            stage.server.publish_job("acme", job_body("bad", to=[]))
            stage.server.publish_job("acme", job_body("good2"))
            await stage.until(lambda: len(stage.events()) == 4)
            assert sorted(stage.ends(), key=str) == sorted(
                [
                    (None, "mms.job.dead"),
                    ("bad", "mms.job.dead"),
                    ("good1", "mms.job.sent"),
                    ("good2", "mms.job.sent"),
                ],
                key=str,
            )

    run_virtual(story())


def test_an_expired_job_is_told_and_not_called() -> None:
    async def story() -> None:
        async with Stage(limit_per_s=1) as stage:
            soon = (START + timedelta(seconds=2)).isoformat()
            for n in range(5):
                stage.server.publish_job("acme", job_body(f"j{n}", expires_at=soon))
            await stage.until(lambda: len(stage.events()) == 5)
            kinds = [kind for _, kind in stage.ends()]
            assert kinds.count("mms.job.expired") == 5 - len(stage.api.calls)
            assert 1 <= len(stage.api.calls) <= 2

    run_virtual(story())


def test_a_job_that_has_expired_already_is_told_at_once_and_its_picture_is_not_fetched() -> None:
    async def story() -> None:
        async with Stage(limit_per_s=0.1) as stage:
            before = (START - timedelta(seconds=1)).isoformat()
            for n in range(5):
                url = {"url": f"https://cdn.example/{n}.png"}
                stage.server.publish_job("acme", job_body(f"j{n}", expires_at=before, media=url))
            await stage.until(lambda: len(stage.events()) == 5, limit_s=1)
            assert {kind for _, kind in stage.ends()} == {"mms.job.expired"}
            assert stage.observed(JobRequeued) == []

    run_virtual(story())


def test_pictures_by_url_are_fetched_refused_or_tried_again() -> None:
    media = {
        "https://cdn.example/a.png": A_PICTURE,
        "https://cdn.example/b.png": MediaRefused("cdn.example is not a picture."),
        "https://cdn.example/c.png": MediaUnavailable("cdn.example did not answer."),
    }

    async def story() -> None:
        async with Stage(media=media) as stage:  # type: ignore[arg-type] # dict is invariant
            for name in "abc":
                stage.server.publish_job("acme", job_body(name, media={"url": f"https://cdn.example/{name}.png"}))
            await stage.until(lambda: len(stage.events()) == 3)
            assert dict(stage.ends()) == {"a": "mms.job.sent", "b": "mms.job.dead", "c": "mms.job.dead"}
            assert [seen.reason for seen in stage.observed(JobRequeued)] == ["media", "media"]
            assert len(stage.api.calls) == 1

    run_virtual(story())


def test_refused_credentials_stop_the_account_keep_its_jobs_and_it_resumes_by_itself() -> None:
    async def story() -> None:
        async with Stage(answer=answering(Answer(401, b""))) as stage:
            stage.api.account_reply = Answer(401, b"")
            for n in range(20):
                stage.server.publish_job("acme", job_body(f"j{n}"))
            await stage.until(lambda: bool(stage.observed(AccountSuspended)))
            await asyncio.sleep(100)
            assert len(stage.api.calls) <= 2  # at most one was under way beside the refused one
            assert len(stage.server.bodies("mms.jobs.acme")) >= 18
            stage.api.account_reply = Answer(200, b'{"meta":{"status":"SUCCESS"},"data":{"mms_balance":"5"}}')
            await stage.until(lambda: len(stage.events()) == 20)
            assert {kind for _, kind in stage.ends()} == {"mms.job.sent"}
            assert len(stage.observed(AccountResumed)) == 1
            assert {event["data"]["attempt"] for event in stage.events()} == {1}

    run_virtual(story())


def test_nothing_is_sent_while_the_limiter_is_away_and_sending_resumes_by_itself() -> None:
    async def story() -> None:
        async with Stage() as stage:
            stage.limiter.away = "connection refused"
            stage.server.publish_job("acme", job_body())
            await asyncio.sleep(60)
            assert stage.api.calls == []
            stage.limiter.away = None
            await stage.until(lambda: len(stage.events()) == 1, limit_s=2)

    run_virtual(story())


def test_an_unconfirmed_event_is_published_again_before_the_ack() -> None:
    async def story() -> None:
        async with Stage() as stage:
            stage.broker.publish_failures.extend(["timeout", "not connected"])
            stage.server.publish_job("acme", job_body())
            await stage.until(lambda: len(stage.observed(JobFinished)) == 1)
            assert stage.ends() == [("job-1", "mms.job.sent")]

    run_virtual(story())


def test_jobs_whose_connection_is_gone_are_dropped_here_and_sent_once() -> None:
    async def story() -> None:
        async with Stage(limit_per_s=2) as stage:
            for n in range(6):
                stage.server.publish_job("acme", job_body(f"j{n}", text=f"text {n}"))
            await stage.until(lambda: len(stage.events()) == 2)
            stage.broker.disconnect()
            await stage.until(lambda: len(stage.events()) == 6)
            await asyncio.sleep(10)
            assert len(stage.api.calls) == 6

    run_virtual(story())


def test_a_job_that_waits_here_too_long_is_put_back() -> None:
    async def story() -> None:
        async with Stage(limit_per_s=0.1, hold_s_max=30) as stage:
            for n in range(10):
                stage.server.publish_job("acme", job_body(f"j{n}"))
            await stage.until(lambda: len(stage.events()) == 10)
            assert {seen.reason for seen in stage.observed(JobRequeued)} == {"held_long"}
            assert len(stage.api.calls) == 10

    run_virtual(story())


def test_a_bug_in_the_call_leaves_the_job_in_doubt_and_the_others_go_on() -> None:
    async def buggy(call: SeenCall) -> Response:
        if call.content.text == "boom":
            raise KeyError("bug")
        return accept(call)

    async def story() -> None:
        async with Stage(answer=buggy) as stage:
            stage.server.publish_job("acme", job_body("bad", text="boom"))
            stage.server.publish_job("acme", job_body("good"))
            await stage.until(lambda: len(stage.events()) == 2)
            assert dict(stage.ends()) == {"bad": "mms.job.in_doubt", "good": "mms.job.sent"}
            assert len(stage.observed(Surprise)) == 1

    run_virtual(story())


def test_a_call_whose_slot_comes_after_an_alarm_began_does_not_leave() -> None:
    async def story() -> None:
        async with Stage(limit_per_s=0.5) as stage:
            stage.server.publish_job("acme", job_body("a"))
            stage.server.publish_job("acme", job_body("b"))
            await stage.until(lambda: len(stage.events()) == 1)
            await asyncio.sleep(0.5)  # the slot of "b" is reserved and waited for
            stage.broker.block(is_blocked=True)
            await asyncio.sleep(60)
            assert len(stage.api.calls) == 1

    run_virtual(story())


def test_a_worker_that_wakes_late_never_crowds_a_rolling_second() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)

        async def hiccup() -> None:
            while True:
                await asyncio.sleep(0.33)
                loop.stall(0.05)

        async with Stage(limit_per_s=10) as stage:
            hiccups = asyncio.create_task(hiccup())
            for n in range(60):
                stage.server.publish_job("acme", job_body(f"j{n}"))
            await stage.until(lambda: len(stage.events()) == 60)
            hiccups.cancel()
            gaps_s = [late.at_s - early.at_s for early, late in pairwise(stage.api.calls)]
            assert min(gaps_s) < 0.07  # so there were late wake-ups
            at_s = [call.at_s for call in stage.api.calls]
            assert all(late_s - early_s >= 1 for early_s, late_s in zip(at_s, at_s[10:], strict=False))

    run_virtual(story())


@pytest.mark.parametrize(("slow_s", "is_stall"), [(0.022, False), (0.1, True)])
def test_a_call_that_takes_unusually_long_is_told_to_the_limiter(slow_s: float, is_stall: bool) -> None:  # noqa: FBT001 - of a table
    """It explains a refusal as well as jitter does, and must not be taken for that."""

    async def varying(call: SeenCall) -> Response:
        await asyncio.sleep(slow_s if call.content.text == "slow" else 0.02 + 0.004 * ((call.at_s * 7) % 1))
        return accept(call)

    async def story() -> None:
        async with Stage(answer=varying, limit_per_s=10) as stage:
            for n in range(40):
                stage.server.publish_job("acme", job_body(f"j{n}"))
            stage.server.publish_job("acme", job_body("one", text="slow"))
            for n in range(5):
                stage.server.publish_job("acme", job_body(f"k{n}"))
            await stage.until(lambda: len(stage.events()) == 46)
            assert (stage.limiter.bucket_of("acme").stalled_us > 0) is is_stall

    run_virtual(story())


def test_nothing_is_called_while_nothing_can_be_told() -> None:
    async def story() -> None:
        async with Stage() as stage:
            stage.server.publish_job("acme", job_body("before"))
            await stage.until(lambda: len(stage.events()) == 1)
            stage.broker.block(is_blocked=True)
            for n in range(5):
                stage.server.publish_job("acme", job_body(f"j{n}"))
            await asyncio.sleep(60)
            assert len(stage.api.calls) == 1
            stage.broker.block(is_blocked=False)
            await stage.until(lambda: len(stage.events()) == 6)

    run_virtual(story())


@pytest.mark.parametrize("reply", [NeverLeft("refused"), Answer(429, b"")])
def test_a_job_that_went_back_by_itself_is_not_put_back_as_well(reply: Response) -> None:
    """Both copies would be sent."""

    async def story() -> None:
        async with Stage(answer=answering(reply)) as stage:
            stage.server.publish_job("acme", job_body())
            await stage.until(lambda: len(stage.api.calls) == 1)
            stage.broker.disconnect()
            await stage.until(lambda: len(stage.events()) == 1)
            await asyncio.sleep(600)
            assert len(stage.api.calls) == 2
            assert stage.ends() == [("job-1", "mms.job.sent")]

    run_virtual(story())


def test_what_a_call_did_is_told_once_when_the_delivery_is_gone() -> None:
    """The job is handed out again while it is called for; its end is told from the journal, without another call."""

    async def story() -> None:
        async with Stage() as stage:
            stage.server.publish_job("acme", job_body())
            await stage.until(lambda: len(stage.api.calls) == 1)
            stage.broker.disconnect()
            await asyncio.sleep(600)
            assert stage.ends() == [("job-1", "mms.job.sent")]
            assert len(stage.api.calls) == 1

    run_virtual(story())


def test_a_bug_in_reading_a_job_is_a_dead_letter_and_the_others_go_on() -> None:
    def buggy(body: bytes, *, region: str) -> Job | Rejected:
        if b"boom" in body:
            raise KeyError("bug")
        return decode(body, region=region)

    async def story() -> None:
        async with Stage(read=buggy) as stage:
            stage.server.publish_job("acme", job_body("boom"))
            stage.server.publish_job("acme", job_body("good"))
            await stage.until(lambda: len(stage.events()) == 2)
            assert set(stage.ends()) == {(None, "mms.job.dead"), ("good", "mms.job.sent")}
            assert len(stage.observed(Surprise)) == 1

    run_virtual(story())


def test_an_account_that_is_refused_while_draining_stays_drained() -> None:
    async def late_refusal(_: SeenCall) -> Response:
        await asyncio.sleep(5)
        return Answer(401, b"")

    async def story() -> None:
        async with Stage(answer=late_refusal) as stage:
            stage.server.publish_job("acme", job_body())
            await stage.until(lambda: len(stage.api.calls) == 1)
            stage.sender.stop()
            await stage.sender.withdraw()
            assert await stage.sender.finish(60)
            stage.server.publish_job("acme", job_body("later"))
            await asyncio.sleep(120)
            assert len(stage.api.calls) == 1
            assert stage.observed(AccountSuspended) == []

    run_virtual(story())


def test_a_call_that_was_broken_off_is_in_doubt_and_its_task_goes_on_uncancelled() -> None:
    async def never(_: SeenCall) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    async def story() -> None:
        async with Stage(answer=never) as stage:
            job = a_job()
            batch = Batch((stage.pipeline.ready(a_delivery(), job, A_PICTURE),))

            async def call_and_look() -> tuple[object, int]:
                outcome = await stage.sender._pipeline.call(batch)
                task = asyncio.current_task()
                assert task is not None
                return outcome, task.cancelling()

            calling = asyncio.create_task(call_and_look())
            await asyncio.sleep(1)
            calling.cancel()
            outcome, cancelling = await calling
            assert isinstance(outcome, InDoubt)
            assert cancelling == 0

    run_virtual(story())
