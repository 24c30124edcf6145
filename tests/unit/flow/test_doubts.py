"""The keeper of jobs in doubt: it decides once, whoever dies or does it beside it, and touches nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any

import pytest

from tests.jobs import A_NUMBER, job_body
from tests.unit.flow.keeping import AFTER_S, GIVE_UP, HOLD, RESEND, Keeping, job_named
from tests.unit.flow.stage import Stage
from tests.virtual_time import run_virtual
from worker.adapters.memory import MemoryServer, SeenCall
from worker.adapters.memory_held import MemoryWalk
from worker.adapters.memory_journal import MemoryJournal
from worker.core.delivery import Publication
from worker.core.doubt_rules import Deadline
from worker.core.held_jobs import HeldMessage
from worker.core.journal import GIVEN_UP, RELEASED, Resolution, State, Told, fingerprint
from worker.core.journal import SENT as AS_SENT
from worker.core.outcome import Answer, Response
from worker.core.topology import IN_DOUBT_QUEUE
from worker.flow import doubts
from worker.flow.doubt_reports import DoubtReports
from worker.flow.doubt_watch import DoubtWatch
from worker.flow.observations import DoubtResolved, DoubtsCounted, DoubtsWalked, JobFinished, Surprise
from worker.flow.ports import OpenWalk

OVERDUE_S = AFTER_S + 1


def told(keeping: Keeping, end: str) -> list[str]:
    return [job_id for job_id, kind in keeping.stage.ends() if kind == f"mms.job.{end}"]


def resolution(name: str, end: str) -> Resolution:
    return Resolution(name, fingerprint(job_named(name)), end)


# --- Rules -----------------------------------------------------------------------------------------------


def test_what_is_in_doubt_for_too_long_is_given_up_and_told() -> None:
    async def story() -> None:
        async with Stage() as stage:
            keeping = Keeping(stage, GIVE_UP)
            await keeping.hold("a", "b")
            await asyncio.sleep(OVERDUE_S)
            await keeping.keeper().look()
            assert keeping.left == []
            assert keeping.resolutions() == [
                ("a:mms.job.resolved:1", "given_up", "rule"),
                ("b:mms.job.resolved:1", "given_up", "rule"),
            ]
            assert stage.api.calls == []
            assert [seen.resolved_as for seen in stage.observed(DoubtResolved)] == ["given_up"] * 2
            record = stage.journal.record("acme", "a")
            assert record is not None
            assert (record.state, record.details) == (State.RESOLVED, "")  # it is told, and no more than that is kept
            stage.server.publish_job("acme", job_body("a", text="a"))
            await stage.until(lambda: len(stage.observed(JobFinished)) == 1)
            assert stage.api.calls == []

    run_virtual(story())


def test_what_is_in_doubt_for_too_long_is_sent_again_and_told_and_ends_as_usual() -> None:
    async def story() -> None:
        async with Stage() as stage:
            keeping = Keeping(stage, RESEND)
            await keeping.hold("a", "b")
            await asyncio.sleep(OVERDUE_S)
            await keeping.keeper().look()
            await stage.until(lambda: len(told(keeping, "sent")) == 2)
            assert keeping.left == []
            for name in "ab":
                kinds = [kind for job_id, kind in stage.ends() if job_id == name]
                assert kinds == ["mms.job.resolved", "mms.job.sent"]
            assert len(stage.api.calls) == 2

    run_virtual(story())


def test_before_the_deadline_nothing_is_touched_and_nobody_walks() -> None:
    async def story() -> None:
        async with Stage() as stage:
            keeping = Keeping(stage, GIVE_UP)
            keeper = keeping.keeper()
            await keeping.hold("a")
            await keeper.look()  # the first look goes through all that is held
            walks = keeping.held.walks
            for _ in range(3):
                await asyncio.sleep(doubts.SWEEP_S / 5)
                await keeper.look()
            assert (keeping.left, keeping.held.walks) == (["a"], walks)
            assert stage.events() == []

    run_virtual(story())


def test_a_start_is_no_reason_to_go_through_all_that_is_held() -> None:
    async def story() -> None:
        async with Stage() as stage:
            keeping = Keeping(stage, GIVE_UP)
            await keeping.hold("a")
            for n in range(3):
                keeping_on = asyncio.create_task(keeping.keeper(f"w{n}").keep())
                await asyncio.sleep(doubts.SWEEP_S / 4)
                keeping_on.cancel()
            assert keeping.held.walks == 0
            keeping_on = asyncio.create_task(keeping.keeper().keep())
            await stage.until(lambda: keeping.held.walks == 1, limit_s=2 * doubts.SWEEP_S)
            keeping_on.cancel()

    run_virtual(story())


def test_the_neighbours_stay_in_their_order() -> None:
    async def story() -> None:
        async with Stage() as stage:
            keeping = Keeping(stage, GIVE_UP)
            await keeping.hold("old-1")
            await keeping.hold("elsewhere", account="other")
            await keeping.hold("old-2")
            await asyncio.sleep(OVERDUE_S)
            await keeping.hold("young-1", "young-2")
            await keeping.keeper().look()
            assert keeping.left == ["elsewhere", "young-1", "young-2"]
            assert told(keeping, "resolved") == ["old-1", "old-2"]

    run_virtual(story())


def test_a_rule_that_changes_is_followed_from_the_next_look_on() -> None:
    async def story() -> None:
        async with Stage() as stage:
            keeping = Keeping(stage, HOLD)
            keeping_on = asyncio.create_task(keeping.keeper().keep())
            await keeping.hold("a")
            await asyncio.sleep(3 * AFTER_S)
            assert keeping.left == ["a"]
            keeping.deadlines = {"acme": GIVE_UP}
            await stage.until(lambda: told(keeping, "resolved") == ["a"], limit_s=3 * doubts.ROUND_S)
            assert keeping.resolutions() == [("a:mms.job.resolved:1", "given_up", "rule")]
            keeping_on.cancel()

    run_virtual(story())


def test_what_the_journal_has_forgotten_is_never_sent_again_by_a_rule_and_is_counted_again() -> None:
    async def story() -> None:
        async with Stage() as stage:
            keeping = Keeping(stage, RESEND)
            await keeping.hold("a")
            stage.journal.forget_all()
            await asyncio.sleep(OVERDUE_S)
            await keeping.keeper().look()
            await asyncio.sleep(60)
            assert keeping.left == ["a"]
            assert stage.api.calls == []
            counted = await stage.journal.doubts(["acme"])
            assert isinstance(counted, dict)
            assert counted["acme"].jobs == 1

    run_virtual(story())


def test_jobs_are_sent_again_at_a_pace_that_leaves_time_to_stop_it() -> None:
    async def story() -> None:
        async with Stage(limit_per_s=1000) as stage:
            keeping = Keeping(stage, RESEND)
            await keeping.hold(*(f"j{n}" for n in range(50)))
            await asyncio.sleep(OVERDUE_S)
            started_s = asyncio.get_running_loop().time()
            await keeping.keeper().look()
            took_s = asyncio.get_running_loop().time() - started_s
            assert took_s >= 49 / doubts.RESENDS_PER_S
            await stage.until(lambda: len(told(keeping, "sent")) == 50)

    run_virtual(story())


def test_a_round_is_bounded_and_the_next_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doubts, "DONE_MAX", 7)

    async def story() -> None:
        async with Stage() as stage:
            keeping = Keeping(stage, GIVE_UP)
            await keeping.hold(*(f"j{n}" for n in range(20)))
            await asyncio.sleep(OVERDUE_S)
            keeper = keeping.keeper()
            for left in (13, 6, 0):
                await keeper.look()
                assert len(keeping.left) == left
                await asyncio.sleep(doubts.ROUND_S)
            assert told(keeping, "resolved") == [f"j{n}" for n in range(20)]

    run_virtual(story())


def test_after_a_long_walk_for_little_the_others_have_time() -> None:
    async def story() -> None:
        async with Stage() as stage:
            keeping = Keeping(stage, GIVE_UP)
            await keeping.hold("due")
            await asyncio.sleep(OVERDUE_S)
            await keeping.hold(*(f"j{n}" for n in range(5_000)))
            await keeping.keeper().look()
            (walked,) = stage.observed(DoubtsWalked)
            assert (walked.seen, walked.done, walked.why) == (5_001, {"settled": 1}, None)
            walk_s = 5_001 / doubts.LOOKS_PER_S
            await asyncio.sleep(doubts.REST_FACTOR * walk_s - 10)
            assert not await keeping.keeper("other")._turn.take(1)
            await asyncio.sleep(20)
            assert await keeping.keeper("other")._turn.take(1)

    run_virtual(story())


# --- What is resolved elsewhere --------------------------------------------------------------------------


@pytest.mark.parametrize("end", [AS_SENT, GIVEN_UP])
def test_what_is_resolved_and_told_is_cleared_away_in_silence(end: str) -> None:
    async def story() -> None:
        async with Stage() as stage:
            keeping = Keeping(stage, HOLD)
            await keeping.hold("a", "b")
            await stage.journal.resolve("acme", [resolution("a", end)])
            stage.journal.tell("acme", [Told("a", "", fingerprint(job_named("a")), end)])
            await keeping.keeper().look()
            assert keeping.left == ["b"]
            assert stage.events() == []
            assert stage.observed(DoubtResolved) == []

    run_virtual(story())


def test_what_was_sent_again_since_is_cleared_away_in_silence() -> None:
    async def story() -> None:
        async with Stage() as stage:
            keeping = Keeping(stage, RESEND)
            await keeping.hold("a")
            (copy,) = stage.server.queues[IN_DOUBT_QUEUE]
            await asyncio.sleep(OVERDUE_S)
            await keeping.keeper().look()
            await stage.until(lambda: told(keeping, "sent") == ["a"])
            events = len(stage.events())
            stage.server.accept(copy.publication)
            keeping.walk_at_once()
            await keeping.keeper().look()
            assert keeping.left == []
            assert len(stage.events()) == events
            assert len(stage.api.calls) == 1

    run_virtual(story())


def test_what_is_left_over_of_an_earlier_doubt_does_not_hurry_the_next_one() -> None:
    """Two copies of one doubt are held; the first is sent again, and that call is in doubt, too."""

    async def story() -> None:
        async def bad(_: SeenCall) -> Response:
            return Answer(502, b"<html>bad gateway</html>")

        async with Stage(answer=bad) as stage:
            keeping = Keeping(stage, RESEND)
            await keeping.hold("j1", "j1")
            await asyncio.sleep(AFTER_S + 100)
            await keeping.keeper().look()
            await stage.until(lambda: len(stage.api.calls) == 1)
            await asyncio.sleep(60)
            keeping.walk_at_once()
            await keeping.keeper().look()
            await asyncio.sleep(60)
            assert len(stage.api.calls) == 1
            await asyncio.sleep(AFTER_S)
            keeping.walk_at_once()
            await keeping.keeper().look()
            await stage.until(lambda: len(stage.api.calls) == 2)

    run_virtual(story())


def test_another_job_with_the_same_id_is_left_alone() -> None:
    async def story() -> None:
        async with Stage() as stage:
            keeping = Keeping(stage, GIVE_UP)
            await keeping.hold("a", is_remembered=False)
            stage.server.publish_job("acme", job_body("a", text="something else"))
            await stage.until(lambda: len(stage.events()) == 1)
            await asyncio.sleep(OVERDUE_S)
            await keeping.keeper().look()
            assert keeping.left == ["a"]
            assert len(stage.events()) == 1

    run_virtual(story())


def test_a_release_that_nobody_ended_is_gone_on_with() -> None:
    """Whoever released it died before he published the copy: nobody would ever send it."""

    async def story() -> None:
        async with Stage() as stage:
            keeping = Keeping(stage, HOLD)
            await keeping.hold("a")
            await stage.journal.resolve("acme", [resolution("a", RELEASED)])
            await keeping.keeper().look()
            assert keeping.left == ["a"]  # he may be about to
            await asyncio.sleep(600)
            keeping.walk_at_once()
            await keeping.keeper().look()
            await stage.until(lambda: told(keeping, "sent") == ["a"])
            assert keeping.resolutions() == [("a:mms.job.resolved:1", "resent", "rule")]

    run_virtual(story())


def test_a_report_resolves_a_job_and_the_keeper_tells_it_once() -> None:
    async def story() -> None:
        async with Stage() as stage:
            keeping = Keeping(stage, HOLD)
            reports = DoubtReports(journal=stage.journal, sweep=keeping.sweep("receiver"))
            keeping_on = asyncio.create_task(keeping.keeper().keep())
            await keeping.hold("a", "b")
            await asyncio.sleep(10)
            assert await reports.resolve("acme", "a", [(A_NUMBER, "m-1")]) is True
            assert await reports.resolve("acme", "a", [(A_NUMBER, "m-1")]) is False
            assert await reports.resolve("acme", "unknown", [(A_NUMBER, "m-2")]) is False
            await stage.until(lambda: keeping.left == ["b"], limit_s=2 * doubts.ROUND_S)
            await asyncio.sleep(2 * doubts.SWEEP_S)
            (event,) = stage.events()
            assert event["id"] == "a:mms.job.resolved:1"
            assert event["data"] == {
                "job_id": "a", "reference": None, "account": "acme", "attempt": 1, "resolution": "sent",
                "by": "report", "evidence": "a delivery report for message m-1",
                "recipients": [{"to": A_NUMBER, "message_id": "m-1"}],
            }  # fmt: skip
            counted = await stage.journal.doubts(["acme"])
            assert isinstance(counted, dict)
            assert counted["acme"].jobs == 1
            keeping_on.cancel()

    run_virtual(story())


# --- Trouble ---------------------------------------------------------------------------------------------


class Died(Exception):  # noqa: N818 - named for what happened
    """Somebody pulled the plug."""


class Plug:
    """Lets a keeper's ``steps``-th step be its last: it is done, and nobody hears of it; or not done at all."""

    def __init__(self, steps: int, *, is_last_done: bool) -> None:
        self.left = steps
        self._is_last_done = is_last_done

    async def through(self, step: Callable[[], Awaitable[Any]]) -> Any:
        self.left -= 1
        if self.left > 0:
            return await step()
        if self.left == 0 and self._is_last_done:
            await step()
        raise Died


class PluggedJournal(MemoryJournal):
    def __init__(self, journal: MemoryJournal, plug: Plug) -> None:
        self._journal = journal
        self._plug = plug

    async def recall(self, account: str, copies: Any) -> Any:
        return await self._plug.through(lambda: self._journal.recall(account, copies))

    async def resolve(self, account: str, resolutions: Sequence[Resolution]) -> Any:
        return await self._plug.through(lambda: self._journal.resolve(account, resolutions))

    async def doubts(self, accounts: Any) -> Any:
        return await self._journal.doubts(accounts)

    def tell(self, account: str, ends: Any) -> None:
        if self._plug.left > 0:
            self._journal.tell(account, ends)


class PluggedWalk(MemoryWalk):
    """Each publication is a step, and so is the acknowledgement."""

    def __init__(self, server: MemoryServer, plug: Plug) -> None:
        super().__init__(server, IN_DOUBT_QUEUE, deque())
        self._plug = plug

    async def settle(self, message: HeldMessage, publications: Iterable[Publication]) -> None:
        for publication in publications:
            await self._plug.through(partial(self._publish, publication))
        await self._plug.through(partial(super().settle, message, ()))

    async def _publish(self, publication: Publication) -> None:
        self._server.accept(publication)


def plugged(keeping: Keeping, plug: Plug) -> OpenWalk:
    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[PluggedWalk]:
        walk = PluggedWalk(keeping.stage.server, plug)
        try:
            yield walk
        finally:
            walk.give_back()

    return opened


@pytest.mark.parametrize("is_last_done", [False, True])
@pytest.mark.parametrize("steps", range(1, 8))
@pytest.mark.parametrize(("deadline", "told_as"), [(GIVE_UP, "given_up"), (RESEND, "resent")])
def test_whoever_dies_on_the_way_leaves_what_the_next_one_ends(
    deadline: Deadline, told_as: str, steps: int, *, is_last_done: bool
) -> None:
    async def story() -> None:
        async with Stage() as stage:
            keeping = Keeping(stage, deadline)
            await keeping.hold("a")
            await asyncio.sleep(OVERDUE_S)
            plug = Plug(steps, is_last_done=is_last_done)
            journal = PluggedJournal(stage.journal, plug)
            dying = keeping.keeper("dying", journal=journal, open_walk=plugged(keeping, plug))
            with contextlib.suppress(Died):
                await dying.look()
            for _ in range(6):
                await asyncio.sleep(600)
                keeping.walk_at_once()
                await keeping.keeper("next").look()
            assert keeping.left == []
            assert set(keeping.resolutions()) == {("a:mms.job.resolved:1", told_as, "rule")}
            assert len(stage.api.calls) == (told_as == "resent")
            record = stage.journal.record("acme", "a")
            assert record is not None
            assert (record.state, record.end) == (
                (State.TOLD, "sent") if told_as == "resent" else (State.RESOLVED, GIVEN_UP)
            )

    run_virtual(story())


def test_two_at_once_decide_once() -> None:
    """The turn only saves work: without it, what one has in hand the other cannot see, and the journal decides."""

    async def story() -> None:
        async with Stage() as stage:
            keeping = Keeping(stage, RESEND)
            await keeping.hold(*(f"j{n}" for n in range(10)))
            copies = [message.publication for message in stage.server.queues[IN_DOUBT_QUEUE]]
            await asyncio.sleep(OVERDUE_S)
            one, other = keeping.keeper("one"), keeping.keeper("other")
            walking = asyncio.create_task(one._walk())
            await asyncio.sleep(0.01)
            for copy in copies:  # each is held twice
                stage.server.accept(copy)
            await asyncio.gather(walking, other._walk())
            await stage.until(lambda: len(told(keeping, "sent")) == 10)
            await asyncio.sleep(60)
            assert len(stage.api.calls) == 10
            assert {event_id for event_id, _, _ in keeping.resolutions()} == {
                f"j{n}:mms.job.resolved:1" for n in range(10)
            }

    run_virtual(story())


def test_only_one_of_all_workers_walks() -> None:
    async def story() -> None:
        async with Stage() as stage:
            keeping = Keeping(stage, GIVE_UP)
            await keeping.hold("a")
            await asyncio.sleep(OVERDUE_S)
            await asyncio.gather(*(keeping.keeper(f"w{n}").look() for n in range(4)))
            assert keeping.held.walks == 1
            assert keeping.left == []

    run_virtual(story())


def test_while_journal_or_broker_are_away_everything_stays_and_goes_on_later() -> None:
    async def story() -> None:
        async with Stage() as stage:
            keeping = Keeping(stage, GIVE_UP)
            await keeping.hold("a", "b")
            await asyncio.sleep(OVERDUE_S)
            stage.journal.away_because = "gone"
            keeping_on = asyncio.create_task(keeping.keeper().keep())
            await asyncio.sleep(600)
            assert keeping.left == ["a", "b"]
            stage.journal.away_because = None
            keeping.held.failures.extend(["the broker is gone"])
            await stage.until(lambda: told(keeping, "resolved") == ["a", "b"], limit_s=2 * doubts.SWEEP_S)
            await asyncio.sleep(1)
            assert keeping.left == []
            assert [seen.why for seen in stage.observed(DoubtsWalked)][-2:] == ["the broker is gone", None]
            assert stage.observed(Surprise) == []
            keeping_on.cancel()

    run_virtual(story())


def test_a_turn_that_is_lost_on_the_way_ends_the_walk() -> None:
    async def story() -> None:
        async with Stage() as stage:
            keeping = Keeping(stage, HOLD)
            await keeping.hold(*(f"j{n}" for n in range(20_000)))
            walking = asyncio.create_task(keeping.keeper().look())
            await asyncio.sleep(5)
            keeping.turns.held["walk"] = "somebody else", float("inf")
            await walking
            (walked,) = stage.observed(DoubtsWalked)
            assert walked.why == "it is another worker's turn"
            assert len(keeping.left) == 20_000

    run_virtual(story())


def test_a_bug_that_a_held_job_trips_is_told_and_the_worker_goes_on() -> None:
    async def story() -> None:
        async with Stage() as stage:
            keeping = Keeping(stage, GIVE_UP)
            await keeping.hold("a")
            await asyncio.sleep(OVERDUE_S)

            def deadlines() -> Any:
                if not stage.observed(Surprise):
                    raise KeyError("a bug")
                return keeping.deadlines

            keeping_on = asyncio.create_task(keeping.keeper(deadlines=deadlines).keep())
            await stage.until(lambda: told(keeping, "resolved") == ["a"], limit_s=3 * doubts.ROUND_S)
            assert len(stage.observed(Surprise)) == 1
            keeping_on.cancel()

    run_virtual(story())


def test_what_is_in_doubt_is_counted_for_whoever_watches() -> None:
    async def story() -> None:
        async with Stage() as stage:
            keeping = Keeping(stage, HOLD)
            watch = DoubtWatch(journal=stage.journal, accounts=lambda: ["acme"], observe=stage.seen.append)
            watching = asyncio.create_task(watch.keep_looking())
            await stage.until(lambda: stage.observed(DoubtsCounted) == [DoubtsCounted("acme", 0, 0.0)])
            since_s = keeping.now().timestamp()
            await keeping.hold("a", "b")
            await stage.until(lambda: len(stage.observed(DoubtsCounted)) == 2, limit_s=30)
            counted = stage.observed(DoubtsCounted)[-1]
            assert (counted.jobs, counted.oldest_s) == (2, pytest.approx(since_s, abs=1))
            stage.journal.away_because = "gone"
            await asyncio.sleep(60)
            assert len(stage.observed(DoubtsCounted)) == 2
            watching.cancel()

    run_virtual(story())
