"""Accounts come, change and go while the others send, in virtual time."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

import pytest

from tests.jobs import an_account, job_body
from tests.unit.flow.stage import Stage, accept
from tests.virtual_time import run_virtual
from worker.adapters.memory import SeenCall
from worker.core.accounts import Account, AccountsChange, plan
from worker.core.outcome import Answer, Response
from worker.flow.account import AccountSender
from worker.flow.drain import DrainLimits
from worker.flow.observations import (
    AccountLeft,
    AccountNotStarted,
    AccountResumed,
    AccountsChanged,
    AccountServed,
    AccountSuspended,
    ReloadApplied,
    ReloadRefused,
    Surprise,
)
from worker.flow.reloads import TRY_AGAIN_S, Reloads, Unusable, Wanted

ACME, OTHER = an_account("acme"), an_account("other")
LIMITS = DrainLimits(finish_s=20, tell_s=5)


@dataclass
class Company(Stage):
    """A worker with a roster; ``acme`` runs."""

    is_started: bool = False
    senders: dict[str, AccountSender] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self.who = self.roster(self._make, LIMITS)
        await self.who.start([ACME])
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.who.apply(AccountsChange((), tuple(account.name for account in self.who.accounts), ()))
        await self.until(lambda: not self.who.senders)
        await super().__aexit__(*error)

    def _make(self, account: Account) -> AccountSender:
        self.senders[account.name] = self.sender_of(account.name, account.prefetch)
        return self.senders[account.name]

    async def want(self, *wanted: Account) -> AccountsChange:
        return await self.who.apply(plan(served=self.who.accounts, wanted=wanted))

    def publish(self, account: str, *ids: str) -> None:
        for job_id in ids:
            self.server.publish_job(account, job_body(job_id, text=job_id))

    def sent(self, account: str) -> list[str]:
        return [call.content.text for call in self.api.calls if call.account == account]


def story(play: Callable[[Company], Awaitable[None]], **options: Any) -> None:
    async def on_stage() -> None:
        async with Company(**options) as company:
            await play(company)

    run_virtual(on_stage())


async def slow(call: SeenCall) -> Response:
    await asyncio.sleep(1.5)
    return accept(call)


def test_an_added_account_sends_beside_the_others() -> None:
    async def play(company: Company) -> None:
        company.publish("other", "before")
        change = await company.want(ACME, OTHER)
        assert [account.name for account in change.added] == ["other"]
        company.publish("other", "after")
        company.publish("acme", "mine")
        await company.until(lambda: len(company.api.calls) == 2)
        assert (company.sent("other"), company.sent("acme")) == (["after"], ["mine"])
        assert company.server.bodies("mms.unroutable") == [job_body("before", text="before")]
        assert company.observed(AccountServed) == [AccountServed("other", 10.0)]
        assert company.api.credentials["other"] == OTHER.credentials

    story(play)


def test_a_removed_account_ends_its_calls_and_gives_the_rest_back() -> None:
    async def play(company: Company) -> None:
        await company.want(ACME, OTHER)
        company.publish("other", *(f"o{n}" for n in range(40)))
        company.publish("acme", *(f"a{n}" for n in range(40)))
        await company.until(lambda: company.senders["other"].underway.calling == 8)
        await company.want(ACME)
        assert company.who.accounts == (ACME,)
        assert len(company.who.senders) == 2  # it is leaving
        await company.until(lambda: len(company.who.senders) == 1)
        assert sorted(company.sent("other")) == sorted(f"o{n}" for n in range(8))
        assert [kind for job, kind in company.ends() if job.startswith("o")] == ["mms.job.sent"] * 8
        assert company.server.bodies("mms.jobs.other") == [job_body(f"o{n}", text=f"o{n}") for n in range(8, 40)]
        assert company.observed(AccountLeft) == [AccountLeft("other")]
        assert "other" not in company.api.credentials
        await company.until(lambda: len(company.sent("acme")) == 40)
        await company.until(lambda: len(company.ends()) == 48)
        assert company.held.total_bytes == 0

    story(play, answer=slow)


def test_calls_that_do_not_end_are_broken_off_told_and_not_repeated() -> None:
    async def never(_: SeenCall) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    async def play(company: Company) -> None:
        company.publish("acme", "hangs")
        await company.until(lambda: company.senders["acme"].underway.calling == 1)
        started_s = asyncio.get_running_loop().time()
        await company.want()
        await company.until(lambda: not company.who.senders)
        assert asyncio.get_running_loop().time() - started_s == pytest.approx(LIMITS.finish_s, abs=0.1)
        assert company.ends() == [("hangs", "mms.job.in_doubt")]
        assert company.server.bodies("mms.jobs.acme") == []

    story(play, answer=never)


def test_an_account_that_cannot_tell_what_it_sent_stays_until_it_can() -> None:
    async def play(company: Company) -> None:
        company.publish("acme", "sent", "waits")
        await company.until(lambda: len(company.api.calls) == 1)
        company.broker.block(is_blocked=True)
        await company.want(OTHER)
        await asyncio.sleep(600)
        assert len(company.who.senders) == 2
        assert company.server.bodies("mms.jobs.acme") == []  # nobody else gets what was sent
        company.broker.block(is_blocked=False)
        await company.until(lambda: len(company.who.senders) == 1)
        assert company.ends() == [("sent", "mms.job.sent")]
        assert company.server.bodies("mms.jobs.acme") == [job_body("waits", text="waits")]

    story(play, answer=slow, calls_max=1)


def test_an_account_that_comes_back_while_it_leaves_starts_once_it_has_left() -> None:
    async def play(company: Company) -> None:
        company.publish("acme", *(f"a{n}" for n in range(20)))
        await company.until(lambda: company.senders["acme"].underway.calling == 8)
        first = company.senders["acme"]
        await company.want()
        change = await company.want(ACME)
        assert change.added == (ACME,)
        assert company.senders["acme"] is not first
        assert company.who.senders == (company.senders["acme"],)
        await company.until(lambda: len(company.ends()) == 20)
        assert sorted(company.sent("acme")) == sorted(f"a{n}" for n in range(20))

    story(play, answer=slow)


def test_a_new_limit_is_the_pace_from_the_next_slots_on() -> None:
    async def play(company: Company) -> None:
        company.publish("acme", *(f"a{n}" for n in range(300)))
        await company.until(lambda: len(company.api.calls) == 50)
        await company.want(dataclasses.replace(ACME, limit_per_s=50.0))
        assert company.observed(AccountServed) == [AccountServed("acme", 50.0)]
        changed_s = asyncio.get_running_loop().time()
        await company.until(lambda: len(company.api.calls) == 250)
        assert asyncio.get_running_loop().time() - changed_s == pytest.approx(4, rel=0.1)

    story(play)


def test_a_new_prefetch_is_held_from_then_on() -> None:
    async def play(company: Company) -> None:
        company.publish("acme", *(f"a{n}" for n in range(300)))
        await company.until(lambda: company.senders["acme"].waiting > 100)
        await company.want(dataclasses.replace(ACME, prefetch=10))
        await company.until(lambda: company.senders["acme"].waiting < 10)
        await asyncio.sleep(2)
        assert 0 < company.senders["acme"].waiting <= 10

    story(play)


def test_a_suspended_account_is_probed_at_once_with_its_new_key() -> None:
    refusal = Answer(401, b"{}")

    async def answer(call: SeenCall) -> Response:
        return refusal if not company.observed(AccountSuspended) else accept(call)

    async def play() -> None:
        async with company:
            company.api.account_reply = refusal
            company.publish("acme", "a")
            await company.until(lambda: bool(company.observed(AccountSuspended)))
            await asyncio.sleep(1)
            company.api.account_reply = Answer(200, b'{"meta": {"code": 200, "status": "SUCCESS"}, "data": {}}')
            new = an_account("acme", app_key="new")
            await company.want(new)
            changed_s = asyncio.get_running_loop().time()
            assert company.api.credentials["acme"] == new.credentials
            await company.until(lambda: bool(company.observed(AccountResumed)))
            assert asyncio.get_running_loop().time() - changed_s < 1
            await company.until(lambda: company.ends() == [("a", "mms.job.sent")])

    company = Company(answer=answer)
    run_virtual(play())


def test_an_account_that_cannot_start_is_told_and_the_others_do_not_notice() -> None:
    async def play(company: Company) -> None:
        company.broker.declare_failures["bad"] = "The queue exists with other properties."
        change = await company.want(ACME, an_account("bad"), OTHER)
        assert [account.name for account in change.added] == ["other"]
        assert company.who.lacking == {"bad"}
        assert company.observed(AccountNotStarted) == [
            AccountNotStarted("bad", "The queue exists with other properties.")
        ]
        assert company.observed(AccountLeft) == []
        company.publish("other", "o")
        company.publish("acme", "a")
        await company.until(lambda: len(company.ends()) == 2)
        company.broker.declare_failures.clear()
        await company.want(ACME, an_account("bad"), OTHER)
        assert company.who.lacking == frozenset()
        company.publish("bad", "b")
        await company.until(lambda: len(company.ends()) == 3)

    story(play)


def test_a_bug_in_one_accounts_start_is_a_surprise_and_leaves_nothing_behind() -> None:
    async def play(company: Company) -> None:
        async def trips(_: AccountSender) -> None:
            raise KeyError("bug")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(AccountSender, "start", trips)
            await company.want(ACME, OTHER)
        assert [seen.where for seen in company.observed(Surprise)] == ["account start"]
        await company.until(lambda: len(company.who.senders) == 1)
        assert company.observed(AccountLeft) == [AccountLeft("other")]
        assert company.who.accounts == (ACME,)
        await company.want(ACME, OTHER)
        company.publish("other", "o")
        await company.until(lambda: company.ends() == [("o", "mms.job.sent")])

    story(play)


# --- Reloads ---------------------------------------------------------------------------------------------


@dataclass
class Reloading(Company):
    """The same, with somebody who may ask for a reload; ``wanted`` is what is read then."""

    async def __aenter__(self) -> Self:
        await Stage.__aenter__(self)
        self.who = self.roster(self._make, LIMITS)
        self.wanted: Callable[[], Wanted | Unusable] = lambda: Wanted((ACME,))
        self.asked = asyncio.Event()
        reloads = Reloads(
            roster=self.who,
            accounts=(ACME,),
            load=self._load,
            asked=self.asked,
            observe=self.seen.append,
        )
        self._serving = asyncio.create_task(reloads.serve())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._serving.cancel()
        await asyncio.wait([self._serving])
        await super().__aexit__(*error)

    async def _load(self) -> Wanted | Unusable:
        return self.wanted()

    async def reload(self) -> None:
        count = len(self.observed(ReloadApplied)) + len(self.observed(ReloadRefused))
        self.asked.set()
        await self.until(lambda: len(self.observed(ReloadApplied)) + len(self.observed(ReloadRefused)) > count)


def reload_story(play: Callable[[Reloading], Awaitable[None]], **options: Any) -> None:
    async def on_stage() -> None:
        async with Reloading(**options) as company:
            await play(company)

    run_virtual(on_stage())


def test_what_is_wanted_is_read_again_and_brought_about() -> None:
    async def play(company: Reloading) -> None:
        company.wanted = lambda: Wanted((dataclasses.replace(ACME, limit_per_s=5.0), OTHER))
        await company.reload()
        (told,) = company.observed(AccountsChanged)
        assert [account.name for account in told.change.added] == ["other"]
        assert [changed.account.name for changed in told.change.changed] == ["acme"]
        company.wanted = lambda: Wanted((OTHER,), at_next_start=("MMS_AMQP_URL",))
        await company.reload()
        assert company.observed(AccountsChanged)[1].change == AccountsChange((), ("acme",), ())
        assert company.observed(ReloadApplied) == [ReloadApplied(()), ReloadApplied(("MMS_AMQP_URL",))]

    reload_story(play)


def test_a_mistake_is_told_and_changes_nothing() -> None:
    async def play(company: Reloading) -> None:
        company.wanted = lambda: Unusable(("One thing.", "Another."))
        await company.reload()
        assert company.observed(ReloadRefused) == [ReloadRefused(("One thing.", "Another."))]
        assert company.observed(AccountsChanged) == []
        assert company.who.accounts == (ACME,)

    reload_story(play)


def test_who_asks_during_a_reload_is_not_lost() -> None:
    async def play(company: Reloading) -> None:
        def read_while_somebody_asks() -> Wanted:
            company.asked.set()
            company.wanted = lambda: Wanted((ACME, OTHER))
            return Wanted((ACME,))

        company.wanted = read_while_somebody_asks
        company.asked.set()
        await company.until(lambda: len(company.observed(ReloadApplied)) == 2)
        assert company.who.accounts == (ACME, OTHER)

    reload_story(play)


def test_what_could_not_be_started_is_tried_again() -> None:
    async def play(company: Reloading) -> None:
        company.broker.declare_failures["other"] = "There is no connection to the broker now."
        company.wanted = lambda: Wanted((ACME, OTHER))
        await company.reload()
        assert company.who.lacking == {"other"}
        company.broker.declare_failures.clear()
        await asyncio.sleep(TRY_AGAIN_S + 1)
        assert company.who.lacking == frozenset()
        assert company.who.accounts == (ACME, OTHER)
        assert len(company.observed(ReloadApplied)) == 1
        assert [len(told.change.added) for told in company.observed(AccountsChanged)] == [0, 1]

    reload_story(play)


def test_a_bug_in_a_reload_is_a_surprise_and_the_next_one_works() -> None:
    async def play(company: Reloading) -> None:
        def trips() -> Wanted:
            raise KeyError("bug")

        company.wanted = trips
        company.asked.set()
        await company.until(lambda: bool(company.observed(Surprise)))
        company.wanted = lambda: Wanted((ACME, OTHER))
        await company.reload()
        assert company.who.accounts == (ACME, OTHER)

    reload_story(play)
