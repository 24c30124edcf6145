"""Messages that workers may have died of: looked at one at a time, noted beforehand, and buried unread in the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from tests.jobs import A_PICTURE, a_delivery, job_body
from tests.unit.flow.stage import Stage
from tests.virtual_time import run_virtual
from worker.adapters.memory import MemoryBroker, MemoryServer, MemorySuspects
from worker.core.delivery import COMEBACKS_HEADER
from worker.core.job import Job, Rejected, decode
from worker.core.quarantine import CRASHES_MAX, SUSPECT_FROM, is_suspect
from worker.flow.account import EXAMINED_FETCH_S_MAX
from worker.flow.observations import JobRequeued, Suspected, SuspectNoted
from worker.flow.quarantine import CALM_AFTER_S_MAX, Quarantine

QUEUE = "mms.jobs.acme"


async def come_back(server: MemoryServer, times: int = SUSPECT_FROM) -> None:
    """Have what waits handed out so often, to workers that end each time."""
    for _ in range(times):
        broker = MemoryBroker(server, monotonic=time.monotonic)
        await broker.consume("acme", lambda _: None)
        broker.close()


async def publish_suspects(stage: Stage, bodies: Sequence[bytes]) -> None:
    for body in bodies:
        stage.server.publish_job("acme", body)
    await come_back(stage.server)


def test_a_suspect_came_back_often_by_the_brokers_count_and_not_by_a_producers_word() -> None:
    headers = {COMEBACKS_HEADER: SUSPECT_FROM}
    assert not is_suspect(a_delivery(headers=headers))
    suspect = a_delivery(headers=headers, redelivered=True)
    assert is_suspect(suspect)
    assert not is_suspect(a_delivery(headers={COMEBACKS_HEADER: SUSPECT_FROM - 1}, redelivered=True))
    assert not is_suspect(a_delivery(headers={COMEBACKS_HEADER: "many"}, redelivered=True))


def test_suspects_are_looked_at_one_at_a_time_with_a_note_each_and_sent_like_all_others() -> None:
    stage = Stage(is_started=False)
    noted: list[list[bytes]] = []

    def read(body: bytes, *, region: str) -> Job | Rejected:
        noted.append([body for _, body in stage.suspects.notes])
        return decode(body, region=region)

    async def story() -> None:
        bodies = [job_body(f"j{n}") for n in range(20)]
        async with stage:
            await publish_suspects(stage, bodies)
            await stage.sender.start()
            await stage.until(lambda: len(stage.events()) == 20)
            assert noted == [[body] for body in bodies]
            assert {kind for _, kind in stage.ends()} == {"mms.job.sent"}
            assert stage.suspects.notes.total() == 0
            assert len(stage.observed(Suspected)) == 20

    stage.read = read
    run_virtual(story())


def test_what_came_back_less_often_is_read_at_once() -> None:
    async def story() -> None:
        async with Stage(is_started=False) as stage:
            stage.suspects.away = "not asked"
            stage.server.publish_job("acme", job_body())
            await come_back(stage.server, SUSPECT_FROM - 1)
            await stage.sender.start()
            await stage.until(lambda: len(stage.events()) == 1)
            assert stage.observed(Suspected) == []

    run_virtual(story())


def test_a_message_that_workers_died_over_is_a_dead_letter_unread_and_its_neighbours_are_sent() -> None:
    poison = job_body("poison")

    def read(body: bytes, *, region: str) -> Job | Rejected:
        assert body != poison, "it was looked at"
        return decode(body, region=region)

    async def story() -> None:
        async with Stage(is_started=False, read=read) as stage:
            stage.suspects.notes["acme", poison] = CRASHES_MAX
            await publish_suspects(stage, [job_body("before"), poison, job_body("after")])
            await stage.sender.start()
            await stage.until(lambda: len(stage.events()) == 3)
            assert set(stage.ends()) == {
                ("before", "mms.job.sent"),
                (None, "mms.job.dead"),
                ("after", "mms.job.sent"),
            }
            assert stage.server.bodies("mms.dead") == [poison]
            (reason,) = stage.server.headers("mms.dead")[0]["x-mms-reasons"]
            assert reason.startswith(f"its worker died {CRASHES_MAX} times while it looked at this message")
            await stage.until(lambda: stage.suspects.notes.total() == 0)
            assert stage.server.bodies(QUEUE) == []

    run_virtual(story())


def test_one_death_over_a_message_may_be_chance() -> None:
    async def story() -> None:
        async with Stage(is_started=False) as stage:
            stage.suspects.notes["acme", job_body()] = CRASHES_MAX - 1
            await publish_suspects(stage, [job_body()])
            await stage.sender.start()
            await stage.until(lambda: len(stage.events()) == 1)
            assert stage.ends() == [("job-1", "mms.job.sent")]
            assert stage.suspects.notes.total() == 0

    run_virtual(story())


def test_without_a_note_nothing_is_looked_at_until_one_can_be_left() -> None:
    async def story() -> None:
        async with Stage(is_started=False) as stage:
            stage.suspects.away = "gone"
            await publish_suspects(stage, [job_body("suspect")])
            await stage.sender.start()
            stage.server.publish_job("acme", job_body("fresh"))
            await stage.until(lambda: len(stage.events()) == 1)
            await asyncio.sleep(60)
            assert stage.ends() == [("fresh", "mms.job.sent")]
            assert set(stage.observed(SuspectNoted)) == {SuspectNoted("acme", "gone")}
            stage.suspects.away = None
            await stage.until(lambda: len(stage.events()) == 2)
            assert stage.ends()[1] == ("suspect", "mms.job.sent")
            assert stage.observed(SuspectNoted)[-1] == SuspectNoted("acme", None)

    run_virtual(story())


def test_what_has_waited_too_long_for_its_turn_is_put_back_unread() -> None:
    async def story() -> None:
        async with Stage(is_started=False, hold_s_max=20) as stage:
            stage.suspects.away = "gone"
            await publish_suspects(stage, [job_body("a"), job_body("b")])
            await stage.sender.start()
            await stage.until(lambda: len(stage.observed(JobRequeued)) == 2)
            assert {(seen.reason, seen.job_id) for seen in stage.observed(JobRequeued)} == {("held_long", None)}
            await stage.until(lambda: len(stage.events()) == 2)  # as fresh copies
            assert set(stage.ends()) == {("a", "mms.job.sent"), ("b", "mms.job.sent")}

    run_virtual(story())


def test_a_slow_picture_holds_up_the_suspects_behind_it_for_a_moment_only() -> None:
    async def story() -> None:
        async with Stage(is_started=False) as stage:
            stage.media_delay_s["https://slow.example/a.png"] = 30
            stage.media["https://slow.example/a.png"] = A_PICTURE
            slow = job_body("slow", media={"url": "https://slow.example/a.png"})
            await publish_suspects(stage, [slow, job_body("behind")])
            await stage.sender.start()
            began_s = asyncio.get_running_loop().time()
            await stage.until(lambda: len(stage.events()) == 1)
            assert stage.ends() == [("behind", "mms.job.sent")]
            waited_s = asyncio.get_running_loop().time() - began_s
            assert EXAMINED_FETCH_S_MAX <= waited_s < 5
            assert stage.suspects.notes.total() == 0
            await stage.until(lambda: len(stage.events()) == 2)

    run_virtual(story())


def test_no_call_leaves_while_suspects_are_looked_at_but_not_for_long() -> None:
    async def story() -> None:
        async with Stage(is_started=False) as stage:
            stage.suspects.away = "gone"
            await publish_suspects(stage, [job_body("suspect")])
            began_s = asyncio.get_running_loop().time()
            await stage.sender.start()
            for n in range(30):
                stage.server.publish_job("acme", job_body(f"fresh{n}"))
            await stage.until(lambda: len(stage.events()) == 30)
            first_s, *_, last_s = [call.at_s - began_s for call in stage.api.calls]
            # The first slot is a second after its reservation.
            assert CALM_AFTER_S_MAX + 0.99 < first_s < CALM_AFTER_S_MAX + 1.5
            assert last_s - first_s < 3, "once it has waited, it does not wait for each call"

    run_virtual(story())


def test_a_suspect_that_went_back_while_it_waited_is_not_looked_at_here() -> None:
    async def story() -> None:
        async with Stage(is_started=False) as stage:
            stage.suspects.away = "gone"
            await publish_suspects(stage, [job_body()])
            await stage.sender.start()
            await asyncio.sleep(1)
            stage.broker.disconnect()
            stage.suspects.away = None
            await stage.until(lambda: len(stage.events()) == 1)
            await asyncio.sleep(30)
            assert stage.ends() == [("job-1", "mms.job.sent")]
            assert stage.held.total_bytes == 0

    run_virtual(story())


def test_a_look_that_fails_is_counted_and_one_that_is_stopped_is_not() -> None:
    async def story() -> None:
        suspects = MemorySuspects()
        quarantine = Quarantine(suspects=suspects, is_ours=lambda _: True, wait_s_max=10, observe=lambda _: None)
        delivery = a_delivery()

        async def look(error: BaseException) -> int | None:
            async with quarantine.turn(delivery) as deaths:
                if deaths == 0:
                    raise error
            return deaths

        with pytest.raises(asyncio.CancelledError):
            await look(asyncio.CancelledError())
        assert suspects.notes.total() == 0, "that the worker was stopped says nothing about the message"
        with pytest.raises(MemoryError):
            await look(MemoryError())
        assert suspects.notes.total() == 1
        assert await look(MemoryError()) == 1, "the turn was left, and the next one knows"
        assert suspects.notes.total() == 0

    run_virtual(story())
