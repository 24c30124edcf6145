"""Jobs that leave together, and what becomes of each of them, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import orjson
import pytest

from tests.jobs import job_body
from tests.unit.flow.stage import START, Stage, accept
from tests.virtual_time import run_virtual
from worker.adapters.memory import MemoryBroker, MemoryServer, SeenCall
from worker.core.delivery import Delivery, Lane, Publication
from worker.core.job import Job
from worker.core.journal import Told
from worker.core.outcome import Answer, JobOutcome, NeverLeft, NoAnswer, Response
from worker.core.settlement import Moment, Settlement, after_call
from worker.flow.observations import CallFinished, JobFinished, JobRequeued, Surprise
from worker.flow.ports import Monotonic


def number(n: int) -> str:
    return f"+614{n:08}"


def publish(stage: Stage, *ids: int, to: int | None = None, lane: Lane = Lane.BULK, **changes: object) -> None:
    """Jobs of equal content, each to a number of its own unless ``to`` says otherwise."""
    for n in ids:
        body = job_body(f"j{n}", to=[number(n if to is None else to)], **changes)
        stage.server.publish_job("acme", body, lane=lane)


def test_what_waits_together_leaves_together_and_each_job_has_its_own_end() -> None:
    async def one_opted_out(call: SeenCall) -> Response:
        await asyncio.sleep(0.02)
        return accept(SeenCall(call.at_s, call.account, call.content, tuple(n for n in call.numbers if n != number(3))))

    async def story() -> None:
        async with Stage(answer=one_opted_out, recipients_max=1000) as stage:
            publish(stage, *range(10))
            await stage.until(lambda: len(stage.events()) == 10)
            assert dict(stage.ends()) == {f"j{n}": "mms.job.refused" if n == 3 else "mms.job.sent" for n in range(10)}
            for event in stage.events():
                told = event["data"].get("recipients") or event["data"]["refused"]
                assert [one["to"] for one in told] == [number(int(event["data"]["job_id"][1:]))]
            assert [len(call.numbers) for call in stage.api.calls] == [10]
            (called,) = stage.observed(CallFinished)
            assert (called.recipients, called.jobs) == (10, 10)
            assert stage.server.bodies("mms.jobs.acme") == []

    run_virtual(story())


def test_a_surprise_beside_the_answer_is_seen_and_leaves_no_job_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    def surprise(*_: object) -> None:
        raise ValueError("a bug")

    async def story() -> None:
        async with Stage(recipients_max=1000) as stage:
            monkeypatch.setattr(stage.limiter, "answered", surprise)
            publish(stage, *range(3))
            await stage.until(lambda: len(stage.events()) == 3, limit_s=60)
            assert {kind for _, kind in stage.ends()} == {"mms.job.sent"}
            assert [str(failure) for failure in stage.failures] == ["a bug"]
            stage.failures.clear()

    run_virtual(story())


def test_a_confirm_that_somebody_gave_up_holds_up_nothing_and_its_event_is_told_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        async with Stage(recipients_max=1000) as stage:
            publish_many = stage.broker.publish_many
            gave_up: list[bool] = []

            def give_up_the_first(publications: Sequence[Publication]) -> list[asyncio.Future[None]]:
                confirms = publish_many(publications)
                if not gave_up:
                    gave_up.append(confirms[0].cancel())
                return confirms

            monkeypatch.setattr(stage.broker, "publish_many", give_up_the_first)
            publish(stage, *range(100))
            await stage.until(lambda: len(stage.observed(JobFinished)) == 100, limit_s=60)
            assert gave_up == [True]
            assert stage.broker.held == 0

    run_virtual(story())


def test_a_surprise_with_one_acknowledgement_is_seen_and_keeps_none_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        async with Stage(recipients_max=1000) as stage:
            tell = stage.journal.tell

            def tell_of_all_but_one(account: str, ends: list[Told]) -> None:
                if ends[0].job_id == "j70":
                    raise ValueError("a bug")
                tell(account, ends)

            monkeypatch.setattr(stage.journal, "tell", tell_of_all_but_one)
            publish(stage, *range(100))
            await stage.until(lambda: len(stage.observed(JobFinished)) == 99, limit_s=60)
            await stage.until(lambda: bool(stage.failures), limit_s=60)
            assert [str(failure) for failure in stage.failures] == ["a bug"]
            assert stage.broker.held == 0
            stage.failures.clear()

    run_virtual(story())


def test_an_idle_account_sends_at_once() -> None:
    async def story() -> None:
        async with Stage(recipients_max=1000) as stage:
            publish(stage, 0)
            await stage.until(lambda: len(stage.events()) == 1)
            await asyncio.sleep(10)
            began_s = asyncio.get_running_loop().time()
            publish(stage, 1)
            await stage.until(lambda: len(stage.events()) == 2)
            assert stage.api.calls[1].at_s - began_s < 0.001

    run_virtual(story())


def test_a_call_carries_no_more_than_allowed_the_oldest_first() -> None:
    async def story() -> None:
        async with Stage(recipients_max=4) as stage:
            publish(stage, *range(10))
            await stage.until(lambda: len(stage.events()) == 10)
            sent = [call.numbers for call in stage.api.calls]
            assert max(map(len, sent)) == 4
            assert len(sent) == 3
            assert [one for numbers in sent for one in numbers] == [number(n) for n in range(10)]

    run_virtual(story())


def test_other_content_and_the_same_number_take_other_calls() -> None:
    async def story() -> None:
        async with Stage(recipients_max=1000) as stage:
            publish(stage, 0, 1, to=7)
            publish(stage, 2, text="other")
            publish(stage, 3, subject="other")
            await stage.until(lambda: len(stage.events()) == 4)
            assert len(stage.api.calls) == 4
            assert {kind for _, kind in stage.ends()} == {"mms.job.sent"}

    run_virtual(story())


@pytest.mark.parametrize("reply", [NoAnswer("reset"), Answer(500, b"")])
def test_a_call_in_doubt_leaves_each_of_its_jobs_in_doubt(reply: Response) -> None:
    async def fail(_: SeenCall) -> Response:
        return reply

    async def story() -> None:
        async with Stage(answer=fail, recipients_max=1000) as stage:
            publish(stage, *range(5))
            await stage.until(lambda: len(stage.events()) == 5)
            await asyncio.sleep(3600)
            assert sorted(stage.ends()) == [(f"j{n}", "mms.job.in_doubt") for n in range(5)]
            held = [orjson.loads(body)["id"] for body in stage.server.bodies("mms.in_doubt")]
            assert sorted(held) == [f"j{n}" for n in range(5)]
            assert len(stage.api.calls) == 1

    run_virtual(story())


@pytest.mark.parametrize(("reply", "reason"), [(Answer(429, b""), "throttled"), (NeverLeft("refused"), "not_sent")])
def test_a_call_that_was_not_sent_puts_each_of_its_jobs_back(reply: Response, reason: str) -> None:
    left = [reply]

    async def answer(call: SeenCall) -> Response:
        return left.pop() if left else accept(call)

    async def story() -> None:
        async with Stage(answer=answer, recipients_max=1000) as stage:
            publish(stage, *range(5))
            await stage.until(lambda: len(stage.events()) == 5)
            assert [seen.reason for seen in stage.observed(JobRequeued)] == [reason] * 5
            assert sorted(stage.ends()) == [(f"j{n}", "mms.job.sent") for n in range(5)]
            assert [len(call.numbers) for call in stage.api.calls] == [5, 5]

    run_virtual(story())


class OneLate(MemoryBroker):
    """Confirms what tells of job 3 an hour later than the rest."""

    async def publish(self, publication: Publication) -> None:
        if b'"job_id":"j3"' in publication.body:
            await asyncio.sleep(3600)
        await super().publish(publication)


def test_a_job_whose_event_is_not_confirmed_holds_up_none_of_the_others() -> None:
    async def story() -> None:
        async with Stage(recipients_max=1000, broker_kind=OneLate) as stage:
            publish(stage, *range(10))
            await stage.until(lambda: len(stage.observed(JobFinished)) == 9, limit_s=5)
            await asyncio.sleep(60)
            assert "j3" not in {seen.job_id for seen in stage.observed(JobFinished)}
            assert stage.sender.underway.settling == 10
            await stage.until(lambda: len(stage.observed(JobFinished)) == 10)
            assert stage.server.bodies("mms.jobs.acme") == []

    run_virtual(story())


def test_a_failed_publication_is_made_again_and_the_others_do_not_wait() -> None:
    async def story() -> None:
        async with Stage(recipients_max=1000) as stage:
            stage.broker.publish_failures.extend(["connection lost"] * 2)
            publish(stage, *range(5))
            await stage.until(lambda: len(stage.observed(JobFinished)) >= 3)
            assert len(stage.observed(JobFinished)) == 3
            await stage.until(lambda: len(stage.observed(JobFinished)) == 5)
            assert sorted(stage.ends()) == [(f"j{n}", "mms.job.sent") for n in range(5)]

    run_virtual(story())


class Recording(MemoryBroker):
    """Notes what was confirmed and acknowledged, in order."""

    def __init__(self, server: MemoryServer, *, prefetch: int = 128, monotonic: Monotonic) -> None:
        super().__init__(server, prefetch=prefetch, monotonic=monotonic)
        self.steps: list[tuple[str, str]] = []

    async def publish(self, publication: Publication) -> None:
        await super().publish(publication)
        told = orjson.loads(publication.body)
        self.steps.append(("event", told["data"]["job_id"]) if "data" in told else ("held", told["id"]))

    def ack(self, delivery: Delivery) -> None:
        self.steps.append(("ack", orjson.loads(delivery.body)["id"]))
        super().ack(delivery)


def test_each_job_is_held_then_told_then_acknowledged() -> None:
    async def fail(_: SeenCall) -> Response:
        return NoAnswer("reset")

    async def story() -> None:
        async with Stage(answer=fail, recipients_max=1000, broker_kind=Recording) as stage:
            stage.broker.publish_failures.append("connection lost")
            publish(stage, *range(4))
            await stage.until(lambda: len(stage.observed(JobFinished)) == 4)
            assert isinstance(stage.broker, Recording)
            for n in range(4):
                assert [step for step, job in stage.broker.steps if job == f"j{n}"] == ["held", "event", "ack"]

    run_virtual(story())


def test_a_bug_that_one_job_of_a_call_trips_touches_none_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def buggy(delivery: Delivery, job: Job, outcome: JobOutcome, *, attempts_max: int, now: Moment) -> Settlement:
        if job.id == "j1":
            raise KeyError("bug")
        return after_call(delivery, job, outcome, attempts_max=attempts_max, now=now)

    monkeypatch.setattr("worker.flow.pipeline.after_call", buggy)

    async def story() -> None:
        async with Stage(recipients_max=1000) as stage:
            publish(stage, *range(3))
            await stage.until(lambda: len(stage.events()) == 3)
            assert dict(stage.ends()) == {"j0": "mms.job.sent", "j1": "mms.job.in_doubt", "j2": "mms.job.sent"}
            assert len(stage.observed(Surprise)) == 1

    run_virtual(story())


def test_who_expired_or_is_not_ours_any_more_is_left_out_of_the_call() -> None:
    async def story() -> None:
        async with Stage(limit_per_s=0.5, recipients_max=1000) as stage:
            publish(stage, 0)
            await stage.until(lambda: len(stage.events()) == 1)
            publish(stage, 1, 2, expires_at=(START + timedelta(seconds=1)).isoformat())
            publish(stage, 3, 4)
            await stage.until(lambda: len(stage.events()) == 5)
            assert dict(stage.ends())["j1"] == "mms.job.expired"
            assert stage.api.calls[1].numbers == (number(3), number(4))

            publish(stage, 5, 6)
            await asyncio.sleep(0.5)
            stage.broker.disconnect()  # and they are handed out again
            await stage.until(lambda: len(stage.events()) == 7)
            assert sorted(stage.api.calls[2].numbers) == [number(5), number(6)]
            await asyncio.sleep(10)
            assert len(stage.api.calls) == 3

    run_virtual(story())


def test_equal_pictures_are_held_once_also_when_the_texts_differ() -> None:
    async def story() -> None:
        async with Stage(recipients_max=1000) as stage:
            for n in range(3):
                publish(stage, n, text=f"text {n}")
            await stage.until(lambda: len(stage.events()) == 3)
            assert len({id(call.content.picture) for call in stage.api.calls}) == 1

    run_virtual(story())


def test_an_urgent_job_behind_thousands_of_bulk_ones_leaves_within_three_slots() -> None:
    async def story() -> None:
        async with Stage(limit_per_s=10, prefetch=2000, recipients_max=1) as stage:
            publish(stage, *range(3000))
            await asyncio.sleep(5.05)
            for n in range(20):
                published_s = asyncio.get_running_loop().time()
                publish(stage, 10_000 + n, lane=Lane.URGENT)
                sent_to = number(10_000 + n)
                await stage.until(lambda sent_to=sent_to: any(c.numbers == (sent_to,) for c in stage.api.calls))  # type: ignore[misc]
                assert stage.api.calls[-1].at_s - published_s <= 3 / 10

    run_virtual(story())


def test_what_was_held_is_given_up_however_a_job_ends() -> None:
    async def answer(call: SeenCall) -> Response:
        await asyncio.sleep(0.02)
        return NoAnswer("reset") if call.content.text == "doubt" else accept(call)

    async def story() -> None:
        async with Stage(answer=answer, recipients_max=1000, limit_per_s=1, hold_s_max=20) as stage:
            publish(stage, 0, 1)
            publish(stage, 2, text="doubt")
            publish(stage, 3, to=0)
            publish(stage, 4, expires_at=(START - timedelta(seconds=1)).isoformat())
            publish(stage, *range(100, 130), to=0)
            stage.server.publish_job("acme", b"not json")
            await stage.until(lambda: len(stage.events()) >= 4)
            stage.broker.disconnect()
            await stage.until(lambda: len(stage.events()) >= 36, limit_s=300)
            await asyncio.sleep(30)
            assert stage.sender.waiting == 0
            assert stage.observed(JobRequeued), "nothing was put back"
            assert stage.held.total_bytes == 0

    run_virtual(story())
