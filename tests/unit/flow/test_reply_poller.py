"""Unread replies are polled: all pages, each reply one event, then marked; whatever happens in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import orjson
import pytest

from tests.unit.flow.replying import AT, EVERY_S, KilledAt, KilledError, Vendor, event_ids
from tests.virtual_time import run_virtual
from worker.core.outcome import Answer, NoAnswer, Response
from worker.core.responses import PAGE_ENTRIES
from worker.core.steps import ReplyStep
from worker.flow.observations import RepliesPolled, Surprise
from worker.flow.reply_poller import LOOK_S_MAX, MARKED_AT_ONCE_MAX, PAGES_MAX, TURN_S, WRONG_FACTOR

UNREAD = 130
#: Longer than any claim, and any turn, lasts.
LATER_S = 60.0


def played(play: Callable[[Vendor], Awaitable[None]], **options: Any) -> None:
    async def work() -> None:
        await play(Vendor(**options))

    run_virtual(work())


def ids(count: int, first: int = 0) -> list[str]:
    return [f"r{number:04}" for number in range(first, first + count)]


def fill(vendor: Vendor, count: int = UNREAD) -> None:
    for message_id in ids(count):
        vendor.inbox.add(message_id)


def pages_asked_for(vendor: Vendor) -> list[int]:
    return [call for call in vendor.inbox.calls if isinstance(call, int)]


def all_are_told_once(vendor: Vendor, message_ids: list[str]) -> None:
    assert sorted(vendor.told()) == event_ids(message_ids)
    assert sorted(vendor.inbox.marked) == message_ids
    assert vendor.inbox.unread == []


@pytest.mark.parametrize("is_newest_first", [True, False])
def test_all_pages_are_read_before_any_is_marked(is_newest_first: bool) -> None:  # noqa: FBT001 - a table's column
    async def play(vendor: Vendor) -> None:
        fill(vendor)
        await vendor.receiver().poller.look()
        all_are_told_once(vendor, ids(UNREAD))
        assert vendor.inbox.calls[:6] == [1, 2, 3, 4, 5, 6]
        assert len(vendor.inbox.calls) == 7  # and one call marks them all
        assert vendor.last_round == RepliesPolled("acme", UNREAD, None)

    played(play, is_newest_first=is_newest_first)


def test_with_nothing_unread_one_call_is_all() -> None:
    async def play(vendor: Vendor) -> None:
        await vendor.receiver().poller.look()
        assert vendor.inbox.calls == [1]
        assert vendor.last_round == RepliesPolled("acme", 0, None)

    played(play)


def test_nothing_there_may_also_be_an_error() -> None:
    async def play(vendor: Vendor) -> None:
        vendor.inbox.answers.append(Answer(400, b'{"meta": {"code": 400, "status": "NOT_FOUND"}, "data": []}'))
        await vendor.receiver().poller.look()
        assert vendor.last_round == RepliesPolled("acme", 0, None)

    played(play)


@pytest.mark.parametrize("is_newest_first", [True, False])
@pytest.mark.parametrize("more_a_page", [1, PAGE_ENTRIES, 40])
def test_new_ones_while_paging_shift_the_pages_and_none_is_lost_or_told_twice(
    is_newest_first: bool,  # noqa: FBT001 - a table's column
    more_a_page: int,
) -> None:
    async def play(vendor: Vendor) -> None:
        fill(vendor)
        left = iter(ids(4 * more_a_page, UNREAD))

        def shown(page: int) -> None:
            for _ in range(more_a_page if page <= 4 else 0):
                if (message_id := next(left, None)) is not None:
                    vendor.inbox.add(message_id)

        vendor.inbox.shown = shown
        poller = vendor.receiver().poller
        for _ in range(3):
            await poller.look()
            await asyncio.sleep(EVERY_S)
        all_are_told_once(vendor, ids(UNREAD + 4 * more_a_page))

    played(play, is_newest_first=is_newest_first)


def test_somebody_else_marks_while_we_page() -> None:
    async def play(vendor: Vendor) -> None:
        fill(vendor)

        def shown(page: int) -> None:
            if page == 2:
                del vendor.inbox.unread[:30]

        vendor.inbox.shown = shown
        poller = vendor.receiver().poller
        await poller.look()
        await asyncio.sleep(EVERY_S)
        await poller.look()
        assert vendor.inbox.unread == []
        assert set(event_ids(ids(100, 30))) <= set(vendor.told())
        assert len(vendor.told()) == len(set(vendor.told()))

    played(play)


@pytest.mark.parametrize("step", list(ReplyStep))
@pytest.mark.parametrize("nth", [1, 2])
def test_who_dies_at_any_step_loses_none_and_tells_none_under_two_ids(step: ReplyStep, nth: int) -> None:
    async def play(vendor: Vendor) -> None:
        fill(vendor, 300)
        vendor.inbox.shown = lambda page: None if page > 3 else vendor.inbox.add(f"new-{page}")
        killed = KilledAt(step, nth)
        with_luck = vendor.receiver(passed=killed).poller
        died = False
        try:
            await with_luck.look()
        except KilledError:
            died = True
            vendor.turns.held["replies:acme"] = ("p1", vendor.loop.time() + TURN_S)  # the dead leave no turn
        assert died is (killed.nth == 0)
        assert died or (nth == 2 and step is ReplyStep.REPLIES_READ)
        vendor.inbox.shown = None
        survivor = asyncio.create_task(vendor.receiver().poller.keep_polling())
        await asyncio.sleep(3 * LATER_S)
        survivor.cancel()
        expected = set(ids(300)) | {reply_id.partition(":")[0] for reply_id in vendor.told() if "new" in reply_id}
        assert set(vendor.told()) == set(event_ids(sorted(expected)))
        assert vendor.inbox.unread == []
        repeats = len(vendor.told()) - len(expected)
        assert repeats == 0 or step is ReplyStep.REPLIES_PUBLISHED

    played(play)


def test_what_came_by_callback_is_only_marked() -> None:
    async def play(vendor: Vendor) -> None:
        fill(vendor, 3)
        receiver = vendor.receiver()
        await receiver.poller.look()
        for message_id in ids(3):
            vendor.inbox.add(message_id)
        await asyncio.sleep(EVERY_S)
        await receiver.poller.look()
        assert len(vendor.told()) == 3
        assert vendor.inbox.marked == [*ids(3)[::-1], *ids(3)[::-1]]

    played(play)


def test_what_is_not_told_is_not_marked() -> None:
    async def play(vendor: Vendor) -> None:
        fill(vendor)
        receiver = vendor.receiver()
        receiver.broker.block(is_blocked=True)
        await receiver.poller.look()
        assert vendor.inbox.marked == []
        assert vendor.last_round.why is not None
        receiver.broker.block(is_blocked=False)
        await asyncio.sleep(WRONG_FACTOR * EVERY_S)
        await receiver.poller.look()
        all_are_told_once(vendor, ids(UNREAD))

    played(play)


@pytest.mark.parametrize("bad", [NoAnswer("reset"), Answer(500, b""), Answer(200, b"<html>"), Answer(200, b"")])
def test_a_page_that_cannot_be_had_ends_the_reading_and_what_was_read_is_told(bad: Response) -> None:
    async def play(vendor: Vendor) -> None:
        fill(vendor)
        vendor.inbox.answers.extend([None, None, bad])
        poller = vendor.receiver().poller
        await poller.look()
        assert len(vendor.told()) == len(vendor.inbox.marked) == 2 * PAGE_ENTRIES
        assert vendor.last_round.seen == 2 * PAGE_ENTRIES
        assert vendor.last_round.why is not None
        await asyncio.sleep(WRONG_FACTOR * EVERY_S)
        await poller.look()
        all_are_told_once(vendor, ids(UNREAD))

    played(play)


def test_an_answer_without_a_list_is_not_taken_for_an_empty_inbox() -> None:
    async def play(vendor: Vendor) -> None:
        vendor.inbox.answers.append(Answer(200, b'{"meta": {"code": 200, "status": "SUCCESS"}, "data": []}'))
        await vendor.receiver().poller.look()
        assert vendor.last_round.why == "the API's list of replies cannot be read"

    played(play)


def test_marks_that_are_not_answered_are_made_again_and_tell_nothing_twice() -> None:
    async def play(vendor: Vendor) -> None:
        fill(vendor, 3)
        vendor.inbox.answers.extend([None, NoAnswer("reset")])
        poller = vendor.receiver().poller
        await poller.look()
        assert vendor.inbox.marked == []
        assert vendor.last_round == RepliesPolled("acme", 3, "reset")
        await asyncio.sleep(WRONG_FACTOR * EVERY_S)
        await poller.look()
        all_are_told_once(vendor, ids(3))

    played(play)


def test_one_that_cannot_be_marked_does_not_keep_the_others_unread() -> None:
    async def play(vendor: Vendor) -> None:
        fill(vendor)
        vendor.inbox.unmarkable = {"r0017"}
        poller = vendor.receiver().poller
        for _ in range(3):
            await poller.look()
            await asyncio.sleep(WRONG_FACTOR * EVERY_S)
        assert [reply["message_id"] for reply in vendor.inbox.unread] == ["r0017"]
        assert sorted(vendor.told()) == event_ids(ids(UNREAD))
        assert vendor.last_round.seen == 1
        assert "cannot be marked" in (vendor.last_round.why or "")

    played(play)


@pytest.mark.parametrize("every", [10, 3])
def test_many_that_cannot_be_marked_do_not_keep_the_others_unread_for_ever(every: int) -> None:
    async def play(vendor: Vendor) -> None:
        fill(vendor, 200)
        vendor.inbox.unmarkable = set(ids(200)[::every])
        poller = vendor.receiver().poller
        for _ in range(200):
            await poller.look()
            await asyncio.sleep(LATER_S)
            if len(vendor.inbox.unread) == len(vendor.inbox.unmarkable):
                break
        assert {reply["message_id"] for reply in vendor.inbox.unread} == vendor.inbox.unmarkable
        assert sorted(vendor.told()) == event_ids(ids(200))
        vendor.inbox.unmarkable = set()
        await poller.look()
        assert vendor.inbox.unread == []

    played(play)


def test_one_that_cannot_be_read_does_not_keep_the_others_from_being_told() -> None:
    async def play(vendor: Vendor) -> None:
        fill(vendor, 3)
        vendor.inbox.unread.append({"from": "+61400000001", "body": "no id"})
        await vendor.receiver().poller.look()
        assert sorted(vendor.told()) == event_ids(ids(3))
        assert "1 of the unread replies cannot be read" in (vendor.last_round.why or "")
        assert "61400000001" not in (vendor.last_round.why or "")

    played(play)


def test_a_flood_is_told_in_rounds_that_follow_each_other_at_once() -> None:
    async def play(vendor: Vendor) -> None:
        count = PAGES_MAX * PAGE_ENTRIES + 60
        fill(vendor, count)
        poller = vendor.receiver().poller
        await poller.look()
        assert len(vendor.told()) == PAGES_MAX * PAGE_ENTRIES
        assert max(len(call) for call in vendor.inbox.calls if isinstance(call, tuple)) == MARKED_AT_ONCE_MAX
        await poller.look()
        all_are_told_once(vendor, ids(count))

    played(play)


def test_an_api_that_shows_the_same_page_for_ever_is_left_after_so_many() -> None:
    async def play(vendor: Vendor) -> None:
        entries = [{"from": "+61400000001", "body": "hi", "message_id": message_id} for message_id in ids(25)]
        data = {"page": {"count": 10_000, "number": 1}, "responses": entries}
        page = Answer(200, orjson.dumps({"meta": {"code": 200, "status": "SUCCESS"}, "data": data}))
        vendor.inbox.answers.extend([page] * 100)
        await vendor.receiver().poller.look()
        assert len(pages_asked_for(vendor)) == PAGES_MAX
        assert sorted(vendor.told()) == event_ids(ids(25))

    played(play)


def test_a_suspended_account_is_not_polled_until_it_is_open_again() -> None:
    async def play(vendor: Vendor) -> None:
        fill(vendor, 3)
        await vendor.limiter.suspend("acme", "credentials")
        polling = asyncio.create_task(vendor.receiver().poller.keep_polling())
        await asyncio.sleep(10 * EVERY_S)
        assert vendor.inbox.calls == []
        assert vendor.last_round == RepliesPolled("acme", 0, "the account is suspended (credentials)")
        await vendor.limiter.suspend("acme", "")
        await asyncio.sleep(WRONG_FACTOR * EVERY_S + LOOK_S_MAX + 1)
        all_are_told_once(vendor, ids(3))
        polling.cancel()

    played(play)


def test_of_several_receivers_one_polls_at_a_time_and_the_next_when_it_is_gone() -> None:
    async def play(vendor: Vendor) -> None:
        polling = [asyncio.create_task(vendor.receiver().poller.keep_polling()) for _ in range(3)]
        await asyncio.sleep(10 * EVERY_S - 1)
        assert len(pages_asked_for(vendor)) == pytest.approx(10, abs=1)
        for one in polling[:2]:
            one.cancel()
        fill(vendor, 3)
        await asyncio.sleep(EVERY_S + LOOK_S_MAX + 1)
        all_are_told_once(vendor, ids(3))
        polling[2].cancel()

    played(play)


def test_who_is_stopped_in_the_middle_leaves_the_turn_to_the_others_at_once() -> None:
    async def play(vendor: Vendor) -> None:
        fill(vendor)
        stopped = asyncio.create_task(vendor.receiver().poller.keep_polling())
        await asyncio.sleep(2)
        assert len(pages_asked_for(vendor)) in range(1, 6)
        stopped.cancel()
        await asyncio.wait([stopped])
        await vendor.receiver().poller.look()
        all_are_told_once(vendor, ids(UNREAD))

    played(play)


def test_a_turn_that_was_lost_ends_the_reading() -> None:
    async def play(vendor: Vendor) -> None:
        fill(vendor)
        vendor.inbox.shown = lambda page: vendor.turns.held.__setitem__(  # noqa: ARG005
            "replies:acme", ("another", vendor.loop.time() + LATER_S)
        )
        await vendor.receiver().poller.look()
        assert pages_asked_for(vendor) == [1]
        assert vendor.last_round.why == "it is another receiver's turn"
        # Told is what was read; to mark it is the other one's turn as well.
        assert len(vendor.told()) == PAGE_ENTRIES
        assert vendor.inbox.marked == []

    played(play)


def test_a_slow_account_keeps_its_turn_from_page_to_page() -> None:
    async def play(vendor: Vendor) -> None:
        fill(vendor, 70)
        other = vendor.receiver().poller
        polling = asyncio.create_task(vendor.receiver().poller.look())
        while not polling.done():
            await asyncio.sleep(7)
            if len(pages_asked_for(vendor)) < 3:  # before the first answer the pace is not known
                await other.look() if pages_asked_for(vendor) else None
        assert pages_asked_for(vendor)[:3] == [1, 2, 3]
        all_are_told_once(vendor, ids(70))

    played(play, limit_per_s=0.5)


def test_pages_larger_than_they_should_be_are_read_up_to_a_bound() -> None:
    async def play(vendor: Vendor) -> None:
        for number in range(1, 5):
            entries = [
                {"from": "+61400000001", "body": "hi", "message_id": message_id}
                for message_id in ids(600, 600 * number)
            ]
            data = {"page": {"count": 4, "number": number}, "responses": entries}
            body = {"meta": {"code": 200, "status": "SUCCESS"}, "data": data}
            vendor.inbox.answers.append(Answer(200, orjson.dumps(body)))
        await vendor.receiver().poller.look()
        assert pages_asked_for(vendor) == [1, 2]
        assert len(vendor.told()) == 1200

    played(play)


def test_a_bug_ends_a_round_and_not_the_polling() -> None:
    async def play(vendor: Vendor) -> None:
        fill(vendor, 3)
        receiver = vendor.receiver()

        def broken_once() -> datetime:
            receiver.intake._wall_clock = lambda: AT
            raise RuntimeError

        receiver.intake._wall_clock = broken_once
        polling = asyncio.create_task(receiver.poller.keep_polling())
        await asyncio.sleep(2 * EVERY_S + LATER_S)
        assert [seen.where for seen in vendor.observed(Surprise)] == ["reply poll"]
        all_are_told_once(vendor, ids(3))
        polling.cancel()

    played(play)


def test_a_bug_in_a_question_ends_that_alone() -> None:
    async def play(vendor: Vendor) -> None:
        fill(vendor, 3)

        def shown(page: int) -> None:
            vendor.inbox.shown = None
            raise RuntimeError(page)

        vendor.inbox.shown = shown
        polling = asyncio.create_task(vendor.receiver().poller.keep_polling())
        await asyncio.sleep(WRONG_FACTOR * EVERY_S + LOOK_S_MAX + 1)
        assert [seen.where for seen in vendor.observed(Surprise)] == ["question"]
        all_are_told_once(vendor, ids(3))
        polling.cancel()

    played(play)
