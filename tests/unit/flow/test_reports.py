"""Delivery reports: each becomes one event, of its job where that is known, and nothing is taken that is not safe."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.unit.flow.reporting import DECIDED_S, WAIT_S_MAX, Vendor, a_report
from tests.virtual_time import run_virtual
from worker.core.delivery import Publication
from worker.core.recipients import TELLING_MS_MAX
from worker.core.reports import ReportStatus
from worker.core.sendings import Ask
from worker.core.topology import REPORTS_QUEUE
from worker.flow.observations import (
    DuplicateSendDetected,
    ReportPutAside,
    ReportRepeated,
    ReportTold,
)
from worker.flow.ports import JournalAway, NotTaken

# --- Known, repeated, out of order ---------------------------------------------------------------------------


def test_a_report_of_a_known_message_is_told_at_once_with_its_job() -> None:
    async def story() -> None:
        vendor = Vendor()
        await vendor.sent("job-1", "m1")
        await asyncio.sleep(7)
        assert await vendor.receiver().take(a_report("m1")) is None
        (event,) = vendor.events()
        assert (event["data"]["job_id"], event["data"]["reference"]) == ("job-1", "crm:job-1")
        assert event["time"] == "2026-11-22T03:04:12.000Z"
        (told,) = vendor.observed(ReportTold)
        assert told == ReportTold("acme", ReportStatus.DELIVERED, told.delay_s, is_of_known_job=True)
        assert told.delay_s == pytest.approx(7, abs=0.01)

    run_virtual(story())


def test_equal_reports_become_one_event_however_they_come() -> None:
    async def story() -> None:
        vendor = Vendor()
        await vendor.sent()
        one, other = vendor.receiver(), vendor.receiver()
        assert await one.take(a_report(), replace(a_report(), more={"x": 1}), a_report()) is None
        assert await other.take(a_report()) is None
        assert await one.take(a_report()) is None
        assert len(vendor.told()) == 1
        assert len(vendor.observed(ReportRepeated)) == 4

    run_virtual(story())


def test_two_receivers_that_get_it_at_the_same_moment_tell_it_once_and_both_take_it() -> None:
    async def story() -> None:
        vendor = Vendor()
        await vendor.sent()
        receivers = [vendor.receiver() for _ in range(5)]
        assert await asyncio.gather(*(each.take(a_report()) for each in receivers)) == [None] * 5
        assert len(vendor.told()) == 1

    run_virtual(story())


def test_no_reports_are_taken_without_a_word() -> None:
    async def story() -> None:
        vendor = Vendor()
        assert await vendor.receiver().take() is None
        assert (vendor.events(), vendor.seen) == ([], [])

    run_virtual(story())


def test_of_one_request_what_is_final_comes_last() -> None:
    async def story() -> None:
        vendor = Vendor()
        await vendor.sent()
        await vendor.receiver().take(
            a_report(status="delivered"), a_report(status="dispatched"), a_report(status="queued")
        )
        assert [status for _, status, _ in vendor.told()] == ["queued", "dispatched", "delivered"]
        assert [event["data"]["superseded_by"] for event in vendor.events()] == [None, None, None]

    run_virtual(story())


def test_a_status_on_the_way_that_comes_after_the_final_one_says_so() -> None:
    async def story() -> None:
        vendor = Vendor()
        await vendor.sent()
        receiver = vendor.receiver()
        for status in ("delivered", "dispatched", "failed"):
            assert await receiver.take(a_report(status=status)) is None
        assert [(event["data"]["status"], event["data"]["superseded_by"]) for event in vendor.events()] == [
            ("delivered", None),
            ("dispatched", "delivered"),
            # A final one is the vendor's last word, whatever was said before.
            ("failed", None),
        ]

    run_virtual(story())


def test_who_is_stopped_between_telling_and_noting_notes_it_before_it_ends() -> None:
    async def story() -> None:
        vendor = Vendor()
        await vendor.sent()
        stopped = vendor.receiver()
        publish = stopped.broker.publish

        async def publish_slowly(publication: Publication) -> None:
            await publish(publication)
            await asyncio.sleep(1.0)

        stopped.broker.publish = publish_slowly  # type: ignore[method-assign]
        taking = asyncio.ensure_future(stopped.take(a_report()))
        await asyncio.sleep(0.5)
        assert len(vendor.told()) == 1
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
        await asyncio.sleep(60.0)
        assert await vendor.receiver().take(a_report()) is None
        assert len(vendor.told()) == 1

    run_virtual(story())


def test_a_thousand_reports_of_a_request_are_told_together() -> None:
    async def story() -> None:
        vendor = Vendor()
        reports = [a_report(f"m{n}", to=f"+614{n:08}") for n in range(1000)]
        for report in reports:
            await vendor.sent(f"job-{report.message_id}", report.message_id, to=report.to)
        assert await vendor.receiver().take(*reports) is None
        assert {(message_id, job_id) for message_id, _, job_id in vendor.told()} == {
            (f"m{n}", f"job-m{n}") for n in range(1000)
        }

    run_virtual(story())


# --- What cannot be told now ---------------------------------------------------------------------------------


def test_without_the_broker_nothing_is_taken_and_the_repeat_is_told() -> None:
    async def story() -> None:
        vendor = Vendor()
        await vendor.sent()
        receiver = vendor.receiver()
        receiver.broker.block(is_blocked=True)
        assert await receiver.take(a_report()) == NotTaken("the broker takes nothing in now")
        receiver.broker.block(is_blocked=False)
        assert await receiver.take(a_report()) is None
        assert len(vendor.told()) == 1

    run_virtual(story())


def test_of_what_the_broker_did_not_confirm_only_that_is_told_again() -> None:
    async def story() -> None:
        vendor = Vendor()
        reports = [a_report(f"m{n}", "dispatched") for n in range(3)]
        for report in reports:
            await vendor.sent("job-1", report.message_id)
        receiver = vendor.receiver()
        receiver.broker.publish_failures.append("connection lost")
        assert await receiver.take(*reports) == NotTaken("the broker did not confirm 1 of 3 messages")
        assert len(vendor.told()) == 2
        # At once, and by another: nobody has to wait until a claim has ended.
        assert await vendor.receiver().take(*reports) is None
        assert sorted(message_id for message_id, _, _ in vendor.told()) == ["m0", "m1", "m2"]
        assert len(vendor.observed(ReportTold)) == 3

    run_virtual(story())


def test_a_final_status_that_the_broker_has_without_a_confirm_is_not_overwritten() -> None:
    async def story() -> None:
        vendor = Vendor()
        await vendor.sent()
        receiver, other = vendor.receiver(), vendor.receiver()
        receiver.broker.confirms_to_lose = 1
        assert await receiver.take(a_report()) == NotTaken("the broker did not confirm 1 of 1 messages")
        assert isinstance(await other.take(a_report(status="dispatched")), NotTaken)
        await asyncio.sleep(TELLING_MS_MAX / 1000)
        assert await other.take(a_report(status="dispatched")) is None
        assert await receiver.take(a_report()) is None
        assert [(event["data"]["status"], event["data"]["superseded_by"]) for event in vendor.events()] == [
            ("delivered", None),
            ("dispatched", "delivered"),
            ("delivered", None),
        ]
        assert len({event["id"] for event in vendor.events()}) == 2

    run_virtual(story())


def test_a_broker_that_does_not_answer_is_waited_for_less_long_than_a_claim_lasts() -> None:
    async def story() -> None:
        vendor = Vendor()
        await vendor.sent()
        receiver, loop = vendor.receiver(), asyncio.get_running_loop()
        started_s = loop.time()
        taking = asyncio.ensure_future(receiver.take(a_report(status="dispatched")))
        await asyncio.sleep(0)
        receiver.broker.block(is_blocked=True)
        assert await taking == NotTaken("the broker did not confirm 1 of 1 messages")
        assert loop.time() - started_s < min(10.0, TELLING_MS_MAX / 1000)
        receiver.broker.block(is_blocked=False)
        await asyncio.sleep(1)
        assert await receiver.take(a_report(status="dispatched")) is None
        assert len({event["id"] for event in vendor.events()}) == 1

    run_virtual(story())


def test_without_what_is_remembered_nothing_is_taken() -> None:
    async def story() -> None:
        vendor = Vendor()
        await vendor.sent()
        vendor.sendings.away_because = "refused"
        fault = await vendor.receiver().take(a_report())
        assert fault == NotTaken("it is not known which reports were told before (refused)")
        assert vendor.events() == []

    run_virtual(story())


def test_an_event_that_is_confirmed_counts_though_that_cannot_be_noted_and_its_repeat_has_the_same_id() -> None:
    async def story() -> None:
        vendor = Vendor()
        await vendor.sent()
        receiver = vendor.receiver()
        told = vendor.sendings.told

        async def away(account: str, asks: list[Ask]) -> JournalAway:
            del account, asks
            return JournalAway("gone")

        vendor.sendings.told = away  # type: ignore[method-assign, assignment]
        started_s = asyncio.get_running_loop().time()
        assert await receiver.take(a_report()) is None
        assert asyncio.get_running_loop().time() - started_s < 2
        vendor.sendings.told = told  # type: ignore[method-assign]
        await asyncio.sleep(TELLING_MS_MAX / 1000)
        assert await receiver.take(a_report()) is None
        assert [event["id"] for event in vendor.events()] == [vendor.events()[0]["id"]] * 2

    run_virtual(story())


def test_what_a_dead_receiver_was_about_to_tell_is_not_taken_until_its_claim_has_ended() -> None:
    async def story() -> None:
        vendor = Vendor()
        await vendor.sent()
        await vendor.sendings.look("acme", [Ask(a_report(), "of a receiver that died")])
        receiver = vendor.receiver()
        assert await receiver.take(a_report()) == NotTaken("1 of the reports are being told by somebody else")
        await asyncio.sleep(TELLING_MS_MAX / 1000)
        assert await receiver.take(a_report()) is None
        assert len(vendor.told()) == 1

    run_virtual(story())


def test_who_hears_too_late_what_is_his_to_tell_tells_nothing() -> None:
    """Somebody else may have told it meanwhile, and more: what is told now would overwrite that."""

    async def story() -> None:
        vendor = Vendor()
        await vendor.sent()
        look = vendor.sendings.look

        async def slow(account: str, asks: list[Ask]) -> object:
            found = await look(account, asks)
            await asyncio.sleep(TELLING_MS_MAX / 1000 + 1)
            return found

        receiver, other = vendor.receiver(), vendor.receiver()
        vendor.sendings.look = slow  # type: ignore[method-assign, assignment]
        taking = asyncio.ensure_future(receiver.take(a_report(status="dispatched")))
        await asyncio.sleep(0.001)
        vendor.sendings.look = look  # type: ignore[method-assign]
        await asyncio.sleep(TELLING_MS_MAX / 1000 - 1)
        assert await other.take(a_report()) is None
        assert await taking == NotTaken("the broker did not confirm 1 of 1 messages")
        assert await receiver.take(a_report(status="dispatched")) is None
        assert [(event["data"]["status"], event["data"]["superseded_by"]) for event in vendor.events()] == [
            ("delivered", None),
            ("dispatched", "delivered"),
        ]

    run_virtual(story())


# --- Before the send's own answer ----------------------------------------------------------------------------


def test_a_report_that_comes_before_its_sends_answer_waits_and_is_told_with_its_job() -> None:
    async def story() -> None:
        vendor = Vendor()
        receiver = vendor.receiver()
        receiver.looks()
        assert await receiver.take(a_report("m1")) is None
        assert vendor.events() == []
        await asyncio.sleep(2)
        await vendor.sent("job-1", "m1")
        await asyncio.sleep(1.5)
        assert vendor.told() == [("m1", "delivered", "job-1")]
        assert len(vendor.observed(ReportPutAside)) == 1
        await receiver.dies()
        assert vendor.server.bodies(REPORTS_QUEUE) == []

    run_virtual(story())


def test_one_that_waits_longer_is_put_aside_once_in_the_metrics() -> None:
    async def story() -> None:
        vendor = Vendor()
        receiver = vendor.receiver()
        receiver.looks()
        await receiver.take(a_report("m1"))
        await asyncio.sleep(30)
        await vendor.sent("job-1", "m1")
        await asyncio.sleep(20)
        assert vendor.told() == [("m1", "delivered", "job-1")]
        assert len(vendor.observed(ReportPutAside)) == 1
        await receiver.dies()

    run_virtual(story())


def test_what_cannot_be_put_aside_is_not_taken() -> None:
    async def story() -> None:
        vendor = Vendor()
        receiver = vendor.receiver()
        receiver.broker.publish_failures.append("DeliveryNack")
        assert await receiver.take(a_report()) == NotTaken("the broker did not confirm 1 of 1 messages")
        assert await receiver.take(a_report()) is None
        assert len(vendor.observed(ReportPutAside)) == 1

    run_virtual(story())


def test_repeats_of_one_that_waits_become_one_event() -> None:
    async def story() -> None:
        vendor = Vendor()
        one, other = vendor.receiver(), vendor.receiver()
        for receiver in (one, other):
            receiver.looks()
        for receiver in (one, other, one):
            assert await receiver.take(a_report("m1")) is None
            await asyncio.sleep(0.7)
        await vendor.sent("job-1", "m1")
        await asyncio.sleep(DECIDED_S)
        assert vendor.told() == [("m1", "delivered", "job-1")]
        for receiver in (one, other):
            await receiver.dies()

    run_virtual(story())


def test_a_message_that_stays_unknown_is_told_without_a_job_after_a_while_and_its_later_reports_at_once() -> None:
    async def story() -> None:
        vendor = Vendor()
        receiver = vendor.receiver()
        receiver.looks()
        assert await receiver.take(a_report("m1", "dispatched")) is None
        await asyncio.sleep(WAIT_S_MAX - 1)
        assert vendor.events() == []
        await asyncio.sleep(DECIDED_S - WAIT_S_MAX)
        assert vendor.told() == [("m1", "dispatched", None)]
        assert await receiver.take(a_report("m1")) is None
        assert vendor.told()[1:] == [("m1", "delivered", None)]
        assert [told.is_of_known_job for told in vendor.observed(ReportTold)] == [False, False]
        assert vendor.observed(DuplicateSendDetected) == []
        await receiver.dies()

    run_virtual(story())


def test_what_a_receiver_had_in_hand_when_it_died_is_taken_by_the_next_one() -> None:
    async def story() -> None:
        vendor = Vendor()
        one = vendor.receiver()
        one.looks()
        await one.take(a_report("m1"))
        vendor.sendings.away_because = "gone"
        await asyncio.sleep(5)
        await one.dies()
        vendor.sendings.away_because = None
        await vendor.sent("job-1", "m1")
        other = vendor.receiver()
        other.looks()
        await asyncio.sleep(1)
        assert vendor.told() == [("m1", "delivered", "job-1")]
        await other.dies()

    run_virtual(story())
