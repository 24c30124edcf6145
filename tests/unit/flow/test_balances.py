"""Balances are asked for now and then, also of an account that is suspended; what cannot be known is not guessed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import orjson
import pytest

from tests.unit.flow.replying import Vendor
from tests.virtual_time import run_virtual
from worker.core.outcome import Answer, NoAnswer
from worker.flow.balances import AGAIN_S, LOOK_S, BalanceWatch
from worker.flow.observations import BalanceSeen, CallFinished, Operation
from worker.flow.questions import Questions


def balance(credits_left: object) -> Answer:
    data = {"account_name": "ACME", "sms_balance": "1.00", "mms_balance": credits_left}
    return Answer(200, orjson.dumps({"meta": {"code": 200, "status": "SUCCESS"}, "data": data}))


def played(play: Callable[[Vendor, BalanceWatch], Awaitable[None]]) -> None:
    async def work() -> None:
        vendor = Vendor()
        questions = Questions(
            account="acme",
            api=vendor.api,
            limiter=vendor.limiter,
            monotonic=vendor.loop.time,
            observe=vendor.seen.append,
        )
        await play(vendor, BalanceWatch(questions=questions, low=100.0, observe=vendor.seen.append))

    run_virtual(work())


@pytest.mark.parametrize(
    ("credits_left", "is_low"), [("1006.00", False), ("100.00", False), ("99.99", True), (0, True)]
)
def test_a_balance_below_what_is_wanted_is_low(credits_left: object, is_low: bool) -> None:  # noqa: FBT001 - a table's column
    async def play(vendor: Vendor, watch: BalanceWatch) -> None:
        vendor.api.account_reply = balance(credits_left)
        assert await watch.look()
        assert vendor.observed(BalanceSeen) == [BalanceSeen("acme", float(str(credits_left)), is_low)]
        assert [call.operation for call in vendor.observed(CallFinished)] == [Operation.ACCOUNT]

    played(play)


@pytest.mark.parametrize("value", ["plenty", None])
def test_a_balance_that_is_no_number_is_not_told(value: object) -> None:
    async def play(vendor: Vendor, watch: BalanceWatch) -> None:
        vendor.api.account_reply = balance(value)
        assert await watch.look()
        assert vendor.observed(BalanceSeen) == []

    played(play)


def test_a_suspended_account_is_asked_all_the_same() -> None:
    async def play(vendor: Vendor, watch: BalanceWatch) -> None:
        await vendor.limiter.suspend("acme", "credit")
        vendor.api.account_reply = balance("3.00")
        assert await watch.look()
        assert vendor.observed(BalanceSeen) == [BalanceSeen("acme", 3.0, is_low=True)]

    played(play)


def test_it_is_looked_at_every_quarter_of_an_hour_and_sooner_after_no_answer() -> None:
    async def play(vendor: Vendor, watch: BalanceWatch) -> None:
        vendor.api.account_reply = balance("500.00")
        looking = asyncio.create_task(watch.keep_looking())
        await asyncio.sleep(4 * LOOK_S - 10)
        assert len(vendor.observed(BalanceSeen)) == 4
        vendor.api.account_reply = NoAnswer("reset")
        await asyncio.sleep(10 + 3 * AGAIN_S)
        assert len(vendor.observed(BalanceSeen)) == 4
        vendor.api.account_reply = balance("400.00")
        await asyncio.sleep(AGAIN_S)
        assert vendor.observed(BalanceSeen)[-1] == BalanceSeen("acme", 400.0, is_low=False)
        looking.cancel()

    played(play)
