"""What one worker finds out about an account, all of them act on; in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tests.jobs import job_body
from tests.unit.flow.stage import Stage, accept
from tests.virtual_time import run_virtual
from worker.adapters.memory import SeenCall
from worker.core.outcome import Answer, Response
from worker.flow.observations import AccountResumed, AccountSuspended

WELL = Answer(200, b'{"meta":{"status":"SUCCESS"},"data":{"mms_balance":"5"}}')


class Vendor:
    """One account at the API: its key may be refused, and its limit lower than everybody thinks."""

    def __init__(self, *, limit_per_s: int = 1_000) -> None:
        self.is_key_right = True
        self.limit_per_s = limit_per_s
        self.admitted_s: list[float] = []
        self.refused_s: list[float] = []

    def answering(self) -> Callable[[SeenCall], Awaitable[Response]]:
        async def answer(call: SeenCall) -> Response:
            now_s = asyncio.get_running_loop().time()
            recent = [at_s for at_s in self.admitted_s if at_s > now_s - 1]
            if self.is_key_right and len(recent) >= self.limit_per_s:
                self.refused_s.append(now_s)
            elif self.is_key_right:
                self.admitted_s.append(now_s)
            is_refused = self.refused_s[-1:] == [now_s]
            await asyncio.sleep(0.02)
            if not self.is_key_right:
                return Answer(401, b"")
            return Answer(429, b"") if is_refused else accept(call)

        return answer


def test_an_account_that_one_worker_finds_suspended_stops_in_all_and_resumes_in_all() -> None:
    async def story() -> None:
        vendor = Vendor()
        async with (
            Stage(answer=vendor.answering()) as one,
            Stage(answer=vendor.answering(), beside=one) as other,
        ):
            for stage in (one, other):
                stage.api.account_reply = Answer(401, b"")
            for n in range(200):
                one.server.publish_job("acme", job_body(f"j{n}", text=f"t{n}"))
            await one.until(lambda: len(one.events()) >= 20)
            vendor.is_key_right = False
            await one.until(lambda: bool(one.observed(AccountSuspended) and other.observed(AccountSuspended)), 5)
            calls = len(one.api.calls) + len(other.api.calls)
            await asyncio.sleep(10)
            assert len(one.api.calls) + len(other.api.calls) <= calls + 1
            vendor.is_key_right = True
            for stage in (one, other):
                stage.api.account_reply = WELL
            await one.until(lambda: bool(one.observed(AccountResumed) and other.observed(AccountResumed)), 60)
            await one.until(lambda: len(one.events()) == 200, 300)
            assert {kind for _, kind in one.ends()} == {"mms.job.sent"}

    run_virtual(story())


def test_a_limit_lowered_without_notice_is_kept_within_seconds_and_found_again_when_it_is_raised() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        vendor = Vendor(limit_per_s=15)
        async with (
            Stage(answer=vendor.answering(), limit_per_s=15) as one,
            Stage(answer=vendor.answering(), limit_per_s=15, beside=one),
        ):
            for n in range(2_500):
                one.server.publish_job("acme", job_body(f"j{n}", text=f"t{n}"))
            await asyncio.sleep(30)
            assert vendor.refused_s == []
            vendor.limit_per_s, lowered_s = 5, loop.time()
            await asyncio.sleep(60)
            reaction = [at_s - lowered_s for at_s in vendor.refused_s if at_s < lowered_s + 15]
            assert 0 < max(reaction) < 5
            assert len(vendor.refused_s) - len(reaction) <= 3  # tries beyond the limit that was seen
            settled = [at_s for at_s in vendor.admitted_s if at_s > lowered_s + 5]
            assert len(settled) > 0.9 * 5 * 55
            vendor.limit_per_s, raised_s = 15, loop.time()
            await asyncio.sleep(60)
            last = [at_s for at_s in vendor.admitted_s if at_s > raised_s + 55]
            assert len(last) >= 0.95 * 15 * 5 - 1

    run_virtual(story())


def test_a_worker_with_a_key_of_its_own_that_is_wrong_does_not_stop_the_others_again_and_again() -> None:
    async def story() -> None:
        right, wrong = Vendor(), Vendor()
        async with (
            Stage(answer=right.answering()) as one,
            Stage(answer=wrong.answering(), beside=one) as other,
        ):
            one.api.account_reply, other.api.account_reply = WELL, Answer(401, b"")
            wrong.is_key_right = False
            for n in range(1_500):
                one.server.publish_job("acme", job_body(f"j{n}", text=f"t{n}"))
            await asyncio.sleep(120)
            assert len(one.observed(AccountSuspended)) == 1
            assert len(one.api.calls) > 0.8 * 10 * 100

    run_virtual(story())


def test_a_worker_that_only_heard_of_it_resumes_with_the_one_whose_probe_was_answered_well() -> None:
    async def story() -> None:
        vendor = Vendor()
        async with (
            Stage(answer=vendor.answering()) as one,
            Stage(answer=vendor.answering(), beside=one) as other,
        ):
            one.api.account_reply, other.api.account_reply = WELL, Answer(401, b"")
            for n in range(400):
                one.server.publish_job("acme", job_body(f"j{n}", text=f"t{n}"))
            await one.until(lambda: len(one.events()) >= 10)
            await one.limiter.suspend("acme", "credit")  # as a third worker does
            await one.until(lambda: bool(one.observed(AccountSuspended) and other.observed(AccountSuspended)), 5)
            await one.until(lambda: bool(one.observed(AccountResumed)), 20)
            await one.until(lambda: bool(other.observed(AccountResumed)), 2)

    run_virtual(story())


def test_a_limit_that_is_lowered_by_a_little_settles() -> None:
    async def story() -> None:
        vendor = Vendor(limit_per_s=13)
        async with (
            Stage(answer=vendor.answering(), limit_per_s=15) as one,
            Stage(answer=vendor.answering(), limit_per_s=15, beside=one),
        ):
            for n in range(9_000):
                one.server.publish_job("acme", job_body(f"j{n}", text=f"t{n}"))
            await asyncio.sleep(300)
            learned = len(vendor.refused_s)
            await asyncio.sleep(300)
            assert len(vendor.refused_s) - learned < 0.015 * 13 * 300

    run_virtual(story())
