"""What a delivery report proves: that a job in doubt was sent, or that one was sent twice."""

from __future__ import annotations

import asyncio

from tests.unit.flow.reporting import A_NUMBER, B_NUMBER, DECIDED_S, WAIT_S_MAX, Vendor, a_report
from tests.virtual_time import run_virtual
from worker.core.journal import SENT, State
from worker.core.resolution import read
from worker.core.sendings import Ask
from worker.core.waiting_reports import WaitingReport
from worker.flow.observations import (
    DuplicateSendDetected,
)
from worker.flow.ports import NotTaken

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


def test_a_doubt_whose_answer_comes_between_two_looks_is_resolved_all_the_same() -> None:
    """Who heard the answer may have died before he said so, and there may be no later report of the message."""

    async def story() -> None:
        vendor = Vendor()
        receiver = vendor.receiver()
        await vendor.in_doubt("job-1")
        waiting = await have_waited(vendor, "m1")
        look = vendor.sendings.look

        async def answered(account: str, asks: list[Ask]) -> object:
            found = await look(account, asks)
            await vendor.sent("job-1", "m1")
            return found

        vendor.sendings.look = answered  # type: ignore[method-assign, assignment]
        assert (await receiver.intake.take_again("acme", waiting)).fault is None
        assert vendor.told() == [("m1", "delivered", "job-1")]
        assert vendor.record("job-1").state is State.RESOLVED
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
