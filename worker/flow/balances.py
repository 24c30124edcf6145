"""What is left of an account's credit, asked for now and then: a campaign that stops half-way is known before."""

from __future__ import annotations

import asyncio

from worker.core.envelope import Envelope
from worker.core.responses import read_balances
from worker.flow.observations import BalanceSeen, Observer, Operation, Surprise
from worker.flow.questions import Questions

#: Between two looks; and after one that found nothing out.
LOOK_S, AGAIN_S = 900.0, 60.0


class BalanceWatch:
    """Asks for the account of ``questions``; below ``low`` its balance is low. What was seen last stands."""

    def __init__(self, *, questions: Questions, low: float, observe: Observer) -> None:
        self._questions = questions
        self._low = low
        self._observe = observe

    async def keep_looking(self) -> None:
        """For ever."""
        while True:
            is_known = False
            try:
                is_known = await self.look()
            except Exception as error:  # noqa: BLE001 - a bug that one answer trips must not stop what comes by callback
                self._observe(Surprise("balance", error))
            await asyncio.sleep(LOOK_S if is_known else AGAIN_S)

    async def look(self) -> bool:
        """Ask once, also while the account is suspended; whether there was an answer."""
        account = self._questions.account
        answer = await self._questions.ask(Operation.ACCOUNT, lambda api: api.account(account), is_probe=True)
        if not isinstance(answer, Envelope):
            return False
        balance = read_balances(answer).mms
        if balance is not None:
            self._observe(BalanceSeen(account, balance, is_low=balance < self._low))
        return True
