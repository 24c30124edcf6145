"""Delivery reports: each becomes one event, of its job where that is known, and nothing is taken that is not safe."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.unit.flow.reporting import A_NUMBER, B_NUMBER, DECIDED_S, WAIT_S_MAX, Vendor, a_report
from tests.virtual_time import run_virtual
from worker.core.delivery import Publication
from worker.core.held_jobs import HeldMessage
from worker.core.journal import SENT, State
from worker.core.recipients import TELLING_MS_MAX
from worker.core.reports import ReportStatus
from worker.core.resolution import read
from worker.core.sendings import Ask
from worker.core.topology import REPORT_DELAYS_S, REPORTS_EXCHANGE, REPORTS_QUEUE, report_wait_queue
from worker.core.waiting_reports import WaitingReport
from worker.flow.observations import (
    DuplicateSendDetected,
    ReportPutAside,
    ReportRepeated,
    ReportTold,
    Surprise,
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


# --- A second message of a job that is known as sent ---------------------------------------------------------


def test_a_second_unknown_message_for_a_job_that_was_sent_is_a_duplicate_and_counted_once() -> None:
    async def story() -> None:
        vendor = Vendor()
        receiver = vendor.receiver()
        receiver.looks()
        await vendor.sent("job-1", "m1")
        await receiver.take(a_report("m2", "dispatched"), a_report("m2", "delivered"))
        await asyncio.sleep(DECIDED_S)
        await receiver.take(a_report("m2", "failed"))
        assert {(message_id, job_id) for message_id, _, job_id in vendor.told()} == {("m2", None)}
        assert len(vendor.told()) == 3
        assert vendor.observed(DuplicateSendDetected) == [DuplicateSendDetected("acme", "job-1")]
        await receiver.dies()

    run_virtual(story())


def test_a_message_of_another_sender_to_somebody_who_got_something_long_ago_is_no_duplicate() -> None:
    async def story() -> None:
        vendor = Vendor()
        receiver = vendor.receiver()
        receiver.looks()
        await vendor.sent("job-1", "m1")
        await asyncio.sleep(3_600)
        await receiver.take(a_report("m2"))
        await asyncio.sleep(DECIDED_S)
        assert vendor.told() == [("m2", "delivered", None)]
        assert vendor.observed(DuplicateSendDetected) == []
        await receiver.dies()

    run_virtual(story())


async def have_waited(vendor: Vendor, *message_ids: str) -> list[WaitingReport]:
    """Reports that were looked at once more after they had waited, and are known to have."""
    asks = [Ask(a_report(message_id), "looks", has_waited=True) for message_id in message_ids]
    await vendor.sendings.look("acme", asks)
    await vendor.sendings.put_off("acme", asks)
    return [WaitingReport("acme", ask.report, int(WAIT_S_MAX)) for ask in asks]


# --- Evidence for what is in doubt ---------------------------------------------------------------------------


def test_a_report_for_a_recipient_in_doubt_resolves_the_job_as_sent() -> None:
    async def story() -> None:
        vendor = Vendor()
        receiver = vendor.receiver()
        receiver.looks()
        await vendor.in_doubt("job-1")
        sweep = vendor.turns.held["sweep"] = ("the keeper", 1e9)
        await receiver.take(a_report("m1"))
        await asyncio.sleep(DECIDED_S)
        assert vendor.told() == [("m1", "delivered", "job-1")]
        record = vendor.record("job-1")
        assert (record.state, record.end) == (State.RESOLVED, SENT)
        grounds = read(record.details)
        assert grounds is not None
        assert (grounds.accepted, grounds.evidence) == (((A_NUMBER, "m1"),), "a delivery report for message m1")
        # The keeper is to tell it soon.
        assert sweep not in vendor.turns.held.values()
        # From now on its message is known.
        await receiver.take(a_report("m1", "dispatched"))
        assert vendor.told()[1:] == [("m1", "dispatched", "job-1")]
        assert vendor.observed(DuplicateSendDetected) == []
        await receiver.dies()

    run_virtual(story())


def test_an_early_report_of_another_send_to_the_same_number_resolves_nothing() -> None:
    """The doubt would be lost by it: its job was never sent."""

    async def story() -> None:
        vendor = Vendor()
        receiver = vendor.receiver()
        receiver.looks()
        await vendor.in_doubt("job-1")
        await receiver.take(a_report("m2", "dispatched"), a_report("m2"))
        await asyncio.sleep(40)
        await vendor.sent("job-2", "m2")
        await asyncio.sleep(DECIDED_S)
        assert sorted(vendor.told()) == [("m2", "delivered", "job-2"), ("m2", "dispatched", "job-2")]
        assert vendor.record("job-1").state is State.ENDED
        await receiver.dies()

    run_virtual(story())


def test_how_long_the_store_was_away_is_no_time_that_a_report_has_waited() -> None:
    """The answer to its send waits for the store as well, and may come to it a moment later."""

    async def story() -> None:
        vendor = Vendor()
        receiver = vendor.receiver()
        receiver.looks()
        await vendor.in_doubt("job-1")
        await receiver.take(a_report("m2"))
        await asyncio.sleep(2)
        vendor.sendings.away_because = vendor.journal.away_because = "gone"
        await asyncio.sleep(2 * WAIT_S_MAX)
        vendor.sendings.away_because = vendor.journal.away_because = None
        await asyncio.sleep(1.5)
        await vendor.sent("job-2", "m2")
        await asyncio.sleep(DECIDED_S)
        assert vendor.told() == [("m2", "delivered", "job-2")]
        assert vendor.record("job-1").state is State.ENDED
        await receiver.dies()

    run_virtual(story())


def test_an_early_report_of_another_send_is_not_counted_as_a_doubts() -> None:
    async def story(*, is_of_a_job: bool) -> list[State]:
        vendor = Vendor()
        receiver = vendor.receiver()
        receiver.looks()
        for job in ("job-1", "job-2"):
            await vendor.in_doubt(job)
        await receiver.take(a_report("m2"))
        await asyncio.sleep(WAIT_S_MAX)
        await receiver.take(a_report("m3"))
        await asyncio.sleep(20)
        if is_of_a_job:
            await vendor.sent("job-3", "m3")
        await asyncio.sleep(DECIDED_S)
        await receiver.dies()
        jobs = ("job-3", None) if is_of_a_job else ("job-1", "job-2")
        assert {job_id for _, _, job_id in vendor.told()} == set(jobs)
        return [vendor.record(job).state for job in ("job-1", "job-2")]

    # The job whose message it was not would be lost.
    assert run_virtual(story(is_of_a_job=True)) == [State.ENDED] * 2
    # As long as it may be, the first one waits for that.
    assert run_virtual(story(is_of_a_job=False)) == [State.RESOLVED] * 2


def test_a_message_that_an_answer_tied_to_its_job_resolves_what_that_answer_did_not_come_to_resolve() -> None:
    """A worker that was frozen heard late what came of its call, and died before it had said so."""

    async def story() -> None:
        vendor = Vendor()
        receiver = vendor.receiver()
        await vendor.in_doubt("job-1")
        await vendor.sent("job-1", "m1")
        vendor.journal.away_because = "gone"
        assert isinstance(await receiver.take(a_report("m1")), NotTaken)
        vendor.journal.away_because = None
        assert await receiver.take(a_report("m1")) is None
        assert vendor.told() == [("m1", "delivered", "job-1")]
        record = vendor.record("job-1")
        assert (record.state, record.end) == (State.RESOLVED, SENT)
        assert vendor.sendings.recipient("acme", A_NUMBER).doubts == ()
        assert vendor.observed(DuplicateSendDetected) == []

    run_virtual(story())


def test_of_two_doubts_one_message_resolves_none_and_two_resolve_both() -> None:
    async def story(messages: int) -> tuple[Vendor, list[State]]:
        vendor = Vendor()
        receiver = vendor.receiver()
        receiver.looks()
        await vendor.in_doubt("job-1")
        await asyncio.sleep(1)
        await vendor.in_doubt("job-2")
        reports = [a_report(f"m{n}", status) for n in range(messages) for status in ("dispatched", "delivered")]
        await receiver.take(*reports)
        await asyncio.sleep(DECIDED_S)
        await receiver.dies()
        assert vendor.observed(DuplicateSendDetected) == []
        return vendor, [vendor.record(f"job-{n}").state for n in (1, 2)]

    vendor, states = run_virtual(story(1))
    assert states == [State.ENDED, State.ENDED]
    assert {job_id for _, _, job_id in vendor.told()} == {None}
    vendor, states = run_virtual(story(2))
    assert states == [State.RESOLVED, State.RESOLVED]
    told = vendor.told()
    by_message = {message_id: job_id for message_id, _, job_id in told}
    assert len(told) == 4
    assert set(told) == {
        (one, status, job) for one, job in by_message.items() for status in ("dispatched", "delivered")
    }
    assert set(by_message.values()) == {"job-1", "job-2"}


def test_two_receivers_never_take_two_messages_for_one_doubts() -> None:
    async def story() -> None:
        vendor = Vendor()
        receivers = [vendor.receiver() for _ in range(2)]
        await vendor.in_doubt("job-1")
        await vendor.in_doubt("job-2")
        await receivers[0].take(a_report("m1"), a_report("m2"))
        await asyncio.sleep(WAIT_S_MAX)
        waiting = await have_waited(vendor, "m1", "m2")
        takings = [each.intake.take_again("acme", [one]) for each, one in zip(receivers, waiting, strict=True)]
        assert [taken.fault for taken in await asyncio.gather(*takings)] == [None, None]
        assert {job_id for _, _, job_id in vendor.told()} == {"job-1", "job-2"}
        assert vendor.observed(DuplicateSendDetected) == []

    run_virtual(story())


def test_each_recipients_report_finds_a_job_that_another_recipients_has_resolved() -> None:
    async def story() -> None:
        vendor = Vendor()
        receiver = vendor.receiver()
        receiver.looks()
        await vendor.in_doubt("job-1", to=(A_NUMBER, B_NUMBER))
        await receiver.take(a_report("m1", to=A_NUMBER))
        await asyncio.sleep(DECIDED_S)
        await receiver.take(a_report("m2", to=B_NUMBER))
        await asyncio.sleep(DECIDED_S)
        assert vendor.told() == [("m1", "delivered", "job-1"), ("m2", "delivered", "job-1")]
        assert vendor.observed(DuplicateSendDetected) == []
        await receiver.dies()

    run_virtual(story())


def test_the_first_message_of_a_job_that_was_sent_again_shows_that_it_was_sent_twice() -> None:
    async def story() -> None:
        vendor = Vendor()
        receiver = vendor.receiver()
        receiver.looks()
        await vendor.in_doubt("job-1")
        await asyncio.sleep(1)
        await vendor.resent("job-1")
        await vendor.sent("job-1", "m2")
        await receiver.take(a_report("m2"))
        await receiver.take(a_report("m1"))
        await asyncio.sleep(DECIDED_S)
        assert vendor.told() == [("m2", "delivered", "job-1"), ("m1", "delivered", "job-1")]
        assert vendor.observed(DuplicateSendDetected) == [DuplicateSendDetected("acme", "job-1")]
        await receiver.dies()

    run_virtual(story())


def test_a_report_of_a_job_that_was_given_up_says_which_it_was_and_changes_nothing() -> None:
    async def story() -> None:
        vendor = Vendor()
        receiver = vendor.receiver()
        receiver.looks()
        await vendor.in_doubt("job-1")
        await vendor.decided("job-1")
        before = vendor.record("job-1")
        await receiver.take(a_report("m1"))
        await asyncio.sleep(DECIDED_S)
        assert vendor.told() == [("m1", "delivered", "job-1")]
        assert vendor.record("job-1") == before
        assert vendor.observed(DuplicateSendDetected) == []
        await receiver.dies()

    run_virtual(story())


def test_of_several_jobs_the_oldest_that_is_in_doubt_gets_the_message_and_then_the_oldest_at_all() -> None:
    async def story() -> None:
        vendor = Vendor()
        receiver = vendor.receiver()
        for n in (1, 2, 3, 4):
            await vendor.in_doubt(f"job-{n}")
            await asyncio.sleep(1)
        await vendor.decided("job-1")
        await vendor.decided("job-3")
        messages = ("m1", "m2", "m3", "m4")
        await receiver.take(*(a_report(one) for one in messages))
        await asyncio.sleep(WAIT_S_MAX)
        waiting = await have_waited(vendor, *messages)
        assert (await receiver.intake.take_again("acme", waiting)).fault is None
        assert [job_id for _, _, job_id in vendor.told()] == ["job-2", "job-4", "job-1", "job-3"]
        assert vendor.observed(DuplicateSendDetected) == []

    run_virtual(story())


def test_while_the_journal_is_away_a_doubt_is_not_decided_about_and_its_report_is_not_lost() -> None:
    async def story() -> None:
        vendor = Vendor()
        receiver = vendor.receiver()
        receiver.looks()
        await vendor.in_doubt("job-1")
        await receiver.take(a_report("m1"))
        vendor.journal.away_because = "gone"
        await asyncio.sleep(DECIDED_S)
        assert vendor.events() == []
        taken = await receiver.intake.take_again("acme", [WaitingReport("acme", a_report("m1"), int(WAIT_S_MAX))])
        assert taken.fault == NotTaken("it is not known of which jobs the reports are (gone)")
        vendor.journal.away_because = None
        await asyncio.sleep(DECIDED_S)
        assert vendor.told() == [("m1", "delivered", "job-1")]
        await receiver.dies()

    run_virtual(story())


# --- What waited ---------------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_buried_with_the_reason_and_the_others_go_on() -> None:
    async def story() -> None:
        vendor = Vendor()
        receiver = vendor.receiver()
        receiver.broker.publish_failures.append("connection lost")
        vendor.server.accept(Publication(REPORTS_EXCHANGE, REPORTS_QUEUE, b"{", {"x-mms-account": "acme"}))
        receiver.looks()
        await asyncio.sleep(2)
        (headers,) = vendor.server.headers("mms.dead")
        assert headers["x-mms-reasons"] == ["mms.reports: its body is not JSON"]
        await receiver.take(a_report())
        await vendor.sent()
        await asyncio.sleep(4)
        assert len(vendor.told()) == 1
        await receiver.dies()

    run_virtual(story())


def test_what_is_safe_leaves_the_queue_though_another_cannot_be_taken() -> None:
    """Were all of them taken in again, each try would leave one more copy of all that wait on."""

    async def story() -> None:
        vendor = Vendor()
        receiver = vendor.receiver()
        put_aside: Counter[bytes] = Counter()
        accept = vendor.server.accept

        def counted(publication: Publication) -> None:
            put_aside[publication.body] += publication.routing_key in map(report_wait_queue, REPORT_DELAYS_S)
            accept(publication)

        vendor.server.accept = counted  # type: ignore[method-assign]
        reports = [a_report(f"m{n}", to=f"+6140000{n:04}") for n in range(20)]
        await receiver.take(*reports)
        await vendor.sendings.told("acme", [Ask(reports[2], "of another one")])
        done = receiver.queue.done
        let_go: Counter[object] = Counter()

        async def once(messages: Sequence[HeldMessage]) -> None:
            let_go.update(message.receipt for message in messages)
            await done(messages)

        # As on a broker: the channel is open also after the message was let go, and a second time would close it.
        receiver.queue.is_ours = lambda message: message is not None  # type: ignore[method-assign]
        receiver.queue.done = once  # type: ignore[method-assign]
        receiver.looks()
        for _ in range(6):
            await vendor.sendings.look("acme", [Ask(replace(reports[0], status="failed"), "of one that dies again")])
            await asyncio.sleep(10)
        await vendor.sent("job-1", "m1", to=reports[1].to)
        await asyncio.sleep(2 * DECIDED_S)
        assert sorted(vendor.told()) == sorted(
            (one.message_id, one.status, "job-1" if one is reports[1] else None)
            for one in reports
            if one is not reports[2]
        )
        assert max(put_aside.values()) <= 7
        assert set(let_go.values()) == {1}
        assert len(vendor.observed(ReportRepeated)) == 1
        await receiver.dies()

    run_virtual(story())


def test_a_report_that_trips_over_a_bug_is_a_dead_letter_in_the_end_and_holds_up_no_other() -> None:
    async def story() -> None:
        vendor = Vendor()
        receiver = vendor.receiver()
        look = vendor.sendings.look

        async def trips(account: str, asks: list[Ask]) -> object:
            if any(ask.report.message_id == "bad" for ask in asks):
                raise KeyError("bug")
            return await look(account, asks)

        for n in (1, 2, 3):
            await receiver.take(a_report(f"m{n}"))
        await receiver.take(a_report("bad"))
        vendor.sendings.look = trips  # type: ignore[method-assign, assignment]
        for n in (1, 2, 3):
            await vendor.sent("job-1", f"m{n}")
        receiver.looks()
        await asyncio.sleep(5)
        assert len(vendor.told()) == 3
        await asyncio.sleep(300)
        assert [headers["x-mms-account"] for headers in vendor.server.headers("mms.dead")] == ["acme"]
        assert len(vendor.observed(Surprise)) >= 100
        assert vendor.failures == []
        await receiver.dies()

    run_virtual(story())
