"""Replies are taken in: one event each, and taken is only what is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson
import pytest

from tests.unit.flow.replying import A_WEEK_S, KilledAt, KilledError, Receiver, Vendor, a_reply, event_ids
from tests.virtual_time import run_virtual
from worker.adapters.memory import MemoryBroker
from worker.core.delivery import Publication
from worker.core.recipients import MILLI, TELLING_MS_MAX
from worker.core.reports import Report
from worker.core.sendings import Trace
from worker.core.steps import ReplyStep
from worker.flow.callbacks import CallbackKind, Callbacks
from worker.flow.observations import ReplyRepeated, ReplyTold, ReplyWay
from worker.flow.ports import NotTaken, ReplyFound
from worker.flow.replies import BUSY_S_MAX, TAKE_S_MAX

CALLBACK, POLL = ReplyWay.CALLBACK, ReplyWay.POLL
REPLIES = CallbackKind.REPLIES
#: Longer than any claim lasts.
LATER_S = 60.0


class NoReports:
    """Nobody posts any."""

    async def take(self, account: str, reports: Sequence[Report], *, limit_s: float) -> NotTaken | None:
        raise AssertionError(account, reports, limit_s)


class Silent:
    """A broker that takes everything, and has not confirmed any of it yet."""

    can_publish = True

    def publish_many(self, publications: Sequence[Publication]) -> list[asyncio.Future[None]]:
        return [asyncio.get_running_loop().create_future() for _ in publications]


class Forgetful(MemoryBroker):
    """Confirms the first of what is published together, and none of the others."""

    def publish_many(self, publications: Sequence[Publication]) -> list[asyncio.Future[None]]:
        first, *others = super().publish_many(publications)
        for other in others:
            other.cancel()
        return [first, *(asyncio.get_running_loop().create_future() for _ in others)]


class Slow(MemoryBroker):
    """Confirms a second after it has what is published."""

    async def publish(self, publication: Publication) -> None:
        await super().publish(publication)
        await asyncio.sleep(1.0)


def played(play: Callable[[Vendor], Awaitable[None]], **options: Any) -> None:
    async def work() -> None:
        await play(Vendor(**options))

    run_virtual(work())


def test_each_becomes_one_event_however_often_and_whichever_way_it_comes() -> None:
    async def play(vendor: Vendor) -> None:
        intake = vendor.receiver().intake
        assert await intake.take("acme", [a_reply("r1"), a_reply("r2"), a_reply("r1")], CALLBACK) is None
        assert await intake.take("acme", [a_reply("r2"), a_reply("r3")], POLL) is None
        assert await vendor.receiver().intake.take("acme", [a_reply("r1")], CALLBACK) is None
        assert sorted(vendor.told()) == event_ids(["r1", "r2", "r3"])
        assert vendor.observed(ReplyTold).count(ReplyTold("acme", CALLBACK)) == 2
        assert vendor.observed(ReplyTold).count(ReplyTold("acme", POLL)) == 1
        assert vendor.observed(ReplyRepeated).count(ReplyRepeated("acme", CALLBACK)) == 2
        assert vendor.observed(ReplyRepeated).count(ReplyRepeated("acme", POLL)) == 1

    played(play)


def test_of_equal_ones_the_first_counts() -> None:
    async def play(vendor: Vendor) -> None:
        replies = [a_reply("r1"), a_reply("r1", sender="+61400000002")]
        assert await vendor.receiver().intake.take("acme", replies, CALLBACK) is None
        assert [event["data"]["from"] for event in vendor.events()] == ["+61400000001"]

    played(play)


def test_none_are_taken_at_once() -> None:
    async def play(vendor: Vendor) -> None:
        assert await vendor.receiver().intake.take("acme", [], CALLBACK) is None
        assert vendor.told() == []

    played(play)


def test_an_event_names_the_job_that_is_answered_where_that_is_known() -> None:
    async def play(vendor: Vendor) -> None:
        await vendor.sendings.note("acme", [Trace("+61400000001", "m1", "job-1", "crm:1")])
        replies = [
            a_reply("r1", answers="m1"),
            a_reply("r2", answers="m2"),
            a_reply("r3"),
            a_reply("r4", sender="+61400000009", answers="m1"),
        ]
        assert await vendor.receiver().intake.take("acme", replies, CALLBACK) is None
        jobs = {
            event["data"]["message_id"]: (event["data"]["job_id"], event["data"]["reference"])
            for event in vendor.events()
        }
        assert jobs == {"r1": ("job-1", "crm:1"), "r2": (None, None), "r3": (None, None), "r4": (None, None)}

    played(play)


def test_what_the_broker_does_not_confirm_is_not_taken_and_told_next_time() -> None:
    async def play(vendor: Vendor) -> None:
        receiver = vendor.receiver()
        receiver.broker.publish_failures.append("lost")
        fault = await receiver.intake.take("acme", [a_reply("r1"), a_reply("r2")], CALLBACK)
        assert fault == NotTaken("the broker did not confirm 1 of 2 events")
        assert len(vendor.told()) == 1
        # At once: what was not told is nobody's now.
        assert await vendor.receiver().intake.take("acme", [a_reply("r1"), a_reply("r2")], CALLBACK) is None
        assert sorted(vendor.told()) == event_ids(["r1", "r2"])

    played(play)


def test_nothing_is_published_to_a_broker_with_an_alarm() -> None:
    async def play(vendor: Vendor) -> None:
        receiver = vendor.receiver()
        receiver.broker.block(is_blocked=True)
        started_s = vendor.loop.time()
        assert isinstance(await receiver.intake.take("acme", [a_reply()], CALLBACK), NotTaken)
        assert vendor.loop.time() - started_s < 1
        receiver.broker.block(is_blocked=False)
        await asyncio.sleep(1)
        assert vendor.told() == []
        assert await receiver.intake.take("acme", [a_reply()], CALLBACK) is None
        assert vendor.told() == event_ids(["r1"])

    played(play)


def test_a_confirm_that_does_not_come_is_not_waited_for_longer_than_a_claim_lasts() -> None:
    async def play(vendor: Vendor) -> None:
        receiver = vendor.receiver()
        receiver.intake._publishing = Silent()
        started_s = vendor.loop.time()
        assert isinstance(await receiver.intake.take("acme", [a_reply()], CALLBACK), NotTaken)
        assert TAKE_S_MAX - 1 <= vendor.loop.time() - started_s <= TAKE_S_MAX + 0.1
        assert TAKE_S_MAX < TELLING_MS_MAX / MILLI

    played(play)


@pytest.mark.parametrize(("away_s", "copies"), [(0.3, 1), (10.0, 2)])
def test_what_is_told_is_taken_even_if_that_cannot_be_noted_for_a_while(away_s: float, copies: int) -> None:
    async def play(vendor: Vendor) -> None:
        def passed(step: ReplyStep) -> None:
            if step is ReplyStep.REPLIES_PUBLISHED:
                vendor.book.away_because = "gone"
                vendor.loop.call_later(away_s, setattr, vendor.book, "away_because", None)

        assert await vendor.receiver(passed=passed).intake.take("acme", [a_reply()], CALLBACK) is None
        await asyncio.sleep(LATER_S)
        assert await vendor.receiver().intake.take("acme", [a_reply()], CALLBACK) is None
        assert vendor.told() == event_ids(["r1"]) * copies

    played(play)


@pytest.mark.parametrize("away", ["book", "sendings"])
def test_without_a_memory_nothing_is_taken_and_later_all_is(away: str) -> None:
    async def play(vendor: Vendor) -> None:
        memory = vendor.book if away == "book" else vendor.sendings
        memory.away_because = "gone"
        intake = vendor.receiver().intake
        fault = await intake.take("acme", [a_reply(answers="m1")], CALLBACK)
        assert isinstance(fault, NotTaken)
        assert "gone" in fault.why
        assert vendor.told() == []
        memory.away_because = None
        assert await intake.take("acme", [a_reply(answers="m1")], CALLBACK) is None
        assert vendor.told() == event_ids(["r1"])

    played(play)


def test_what_another_one_is_telling_is_not_taken_before_it_is_told() -> None:
    async def play(vendor: Vendor) -> None:
        assert await vendor.book.look("acme", ["r1"], "another") == [ReplyFound.OURS]
        taking = asyncio.create_task(vendor.receiver().intake.take("acme", [a_reply("r1"), a_reply("r2")], CALLBACK))
        await asyncio.sleep(1)
        assert not taking.done()
        assert vendor.told() == event_ids(["r2"])
        await vendor.book.told("acme", ["r1"])
        assert await taking is None
        assert vendor.told() == event_ids(["r2"])

    played(play)


def test_one_that_another_does_not_tell_in_time_is_for_the_api_to_tell_again() -> None:
    async def play(vendor: Vendor) -> None:
        assert await vendor.book.look("acme", ["r1"], "another") == [ReplyFound.OURS]
        intake = vendor.receiver().intake
        started_s = vendor.loop.time()
        assert isinstance(await intake.take("acme", [a_reply()], CALLBACK), NotTaken)
        assert BUSY_S_MAX <= vendor.loop.time() - started_s <= BUSY_S_MAX + 0.2
        await asyncio.sleep(LATER_S)  # whoever it was is dead
        assert await intake.take("acme", [a_reply()], CALLBACK) is None
        assert vendor.told() == event_ids(["r1"])

    played(play)


@pytest.mark.parametrize(
    ("step", "copies"),
    [(ReplyStep.REPLIES_CLAIMED, 1), (ReplyStep.REPLIES_PUBLISHED, 2), (ReplyStep.REPLIES_TOLD, 1)],
)
def test_who_dies_on_the_way_loses_none_and_repeats_none_under_another_id(step: ReplyStep, copies: int) -> None:
    async def play(vendor: Vendor) -> None:
        replies = [a_reply(f"r{number}") for number in range(3)]
        with pytest.raises(KilledError):
            await vendor.receiver(passed=KilledAt(step)).intake.take("acme", replies, CALLBACK)
        await asyncio.sleep(LATER_S)
        assert await vendor.receiver().intake.take("acme", replies, CALLBACK) is None
        assert sorted(vendor.told()) == sorted(event_ids(["r0", "r1", "r2"]) * copies)

    played(play)


def test_two_receivers_at_once_tell_each_reply_once() -> None:
    async def play(vendor: Vendor) -> None:
        replies = [a_reply(f"r{number}") for number in range(50)]
        takes = (
            vendor.receiver().intake.take("acme", replies[first : first + 30], CALLBACK) for first in (0, 20, 10, 0)
        )
        assert await asyncio.gather(*takes) == [None] * 4
        assert len(vendor.told()) == len(set(vendor.told())) == 50

    played(play)


def test_a_reply_that_keeps_coming_is_not_forgotten_as_long_as_it_does() -> None:
    async def play(vendor: Vendor) -> None:
        intake = vendor.receiver().intake
        for _ in range(5):
            assert await intake.take("acme", [a_reply()], POLL) is None
            await asyncio.sleep(0.6 * A_WEEK_S)
        assert vendor.told() == event_ids(["r1"])

    played(play)


def test_the_accounts_have_nothing_to_do_with_each_other() -> None:
    async def play(vendor: Vendor) -> None:
        intake = vendor.receiver().intake
        assert await intake.take("acme", [a_reply()], CALLBACK) is None
        assert await intake.take("other", [a_reply()], CALLBACK) is None
        assert len(vendor.told()) == 2

    played(play)


@pytest.mark.parametrize("limit_s", [3.0, 10.0])
def test_of_a_callback_that_is_not_confirmed_in_time_what_was_confirmed_is_not_told_again(limit_s: float) -> None:
    async def play(vendor: Vendor) -> None:
        body = orjson.dumps([{"message_id": one, "from": "+61400000001"} for one in ("r1", "r2")])
        receiver = vendor.receiver()
        receiver.intake = receiver.intake_over(Forgetful(vendor.server, monotonic=vendor.loop.time))
        began_s = vendor.loop.time()
        assert isinstance(await callbacks(receiver).take(REPLIES, "acme", body, limit_s=limit_s), NotTaken)
        assert vendor.loop.time() - began_s <= limit_s
        assert len(vendor.told()) == 1
        await asyncio.sleep(LATER_S)
        assert await callbacks(vendor.receiver()).take(REPLIES, "acme", body, limit_s=limit_s) is None
        assert sorted(vendor.told()) == event_ids(["r1", "r2"])

    played(play)


def test_who_is_stopped_between_telling_and_noting_notes_it_before_it_ends() -> None:
    async def play(vendor: Vendor) -> None:
        stopped = vendor.receiver()
        stopped.intake = stopped.intake_over(Slow(vendor.server, monotonic=vendor.loop.time))
        taking = asyncio.ensure_future(stopped.intake.take("acme", [a_reply("r1")], POLL))
        await asyncio.sleep(0.5)
        assert vendor.told() == event_ids(["r1"])
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
        await asyncio.sleep(LATER_S)
        assert await vendor.receiver().intake.take("acme", [a_reply("r1")], POLL) is None
        assert vendor.told() == event_ids(["r1"])

    played(play)


def callbacks(receiver: Receiver) -> Callbacks:
    return Callbacks(reports=NoReports(), replies=receiver.intake, region="AU", observe=lambda _: None)
