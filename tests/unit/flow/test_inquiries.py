"""What a receiver asks for by itself: for each account, as long as it is served."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from tests.jobs import an_account
from tests.virtual_time import run_virtual
from worker.adapters.memory import MemoryApi, MemoryLimiter, SeenCall
from worker.core.accounts import Account, Credentials, plan
from worker.core.outcome import NeverLeft, Response
from worker.flow.inquiries import Asking, Inquiries
from worker.flow.observations import AccountLeft, AccountServed, Observation

ACME, OTHER = an_account("acme"), an_account("other")


@dataclass
class Stage:
    """Inquiries that note who asks, every second."""

    asked: list[str] = field(default_factory=list)
    seen: list[Observation] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    error: Exception | None = None

    def __post_init__(self) -> None:
        now_s = asyncio.get_running_loop().time
        self.api = MemoryApi(self._answer, monotonic=now_s)
        self.limiter = MemoryLimiter(limit_per_s={}, span_us=1_000_000, monotonic=now_s)
        self.inquiries = Inquiries(
            make=self._make,
            api=self.api,
            limiter=self.limiter,
            observe=self.seen.append,
            on_failure=self.failures.append,
        )

    async def change_to(self, *wanted: Account) -> None:
        change = plan(served=self.inquiries.accounts, wanted=wanted)
        assert await self.inquiries.apply(change) == change
        assert set(self.inquiries.accounts) == set(wanted)

    async def asked_in(self, for_s: float) -> list[str]:
        """Who asks from now on."""
        self.asked.clear()
        await asyncio.sleep(for_s)
        return sorted(self.asked)

    def _make(self, account: Account) -> Iterator[Asking]:
        for what in ("balance", "replies"):
            yield self._ask(f"{account.name} {what}")

    async def _ask(self, name: str) -> None:
        while True:
            await asyncio.sleep(1)
            self.asked.append(name)
            if self.error is not None:
                raise self.error

    async def _answer(self, _: SeenCall) -> Response:
        return NeverLeft("nobody asks")


def test_each_account_is_asked_for_as_long_as_it_is_served() -> None:
    async def story() -> None:
        stage = Stage()
        await stage.inquiries.start([ACME])
        assert await stage.asked_in(1.5) == ["acme balance", "acme replies"]
        await stage.change_to(ACME, OTHER)
        assert await stage.asked_in(1.2) == ["acme balance", "acme replies", "other balance", "other replies"]
        await stage.change_to(OTHER)
        assert await stage.asked_in(1) == ["other balance", "other replies"]
        await stage.inquiries.close()
        assert await stage.asked_in(2) == []
        assert stage.failures == []
        assert stage.seen == [AccountServed("acme", 10.0), AccountServed("other", 10.0), AccountLeft("acme")]

    run_virtual(story())


def test_another_key_and_another_limit_count_from_the_next_question_and_nothing_begins_anew() -> None:
    async def story() -> None:
        stage = Stage()
        await stage.inquiries.start([ACME])
        await asyncio.sleep(0.5)
        assert stage.api.credentials == {"acme": ACME.credentials}
        new = replace(ACME, limit_per_s=50.0, credentials=Credentials("another-key", "", "basic"))
        await stage.change_to(new)
        assert stage.api.credentials == {"acme": new.credentials}
        assert stage.seen[-1] == AccountServed("acme", 50.0)
        assert await stage.asked_in(0.6) == ["acme balance", "acme replies"]
        await stage.inquiries.close()

    run_virtual(story())


def test_a_limit_is_known_before_anything_is_asked_and_is_not_after_an_account_left() -> None:
    async def story() -> None:
        stage = Stage()
        await stage.inquiries.start([ACME])
        await stage.limiter.reserve("acme", 1)
        await stage.change_to()
        assert stage.api.credentials == {}
        with pytest.raises(KeyError):
            await stage.limiter.reserve("acme", 1)

    run_virtual(story())


def test_a_question_that_fails_is_not_silent() -> None:
    async def story() -> None:
        stage = Stage(error=KeyError("a bug"))
        await stage.inquiries.start([ACME])
        await asyncio.sleep(1.5)
        assert stage.failures == [stage.error, stage.error]

    run_virtual(story())
