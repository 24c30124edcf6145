"""The reports that waited: taken in again, until each is told, or waits once more.

Each leaves the queue only when it is safe elsewhere. While the store or the broker is away they are tried again and
again; a report that trips over a bug is given back, and becomes a dead letter when that happens too often.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime

from worker.core.held_jobs import HeldMessage
from worker.core.waiting_reports import WaitingReport, bury, read_waiting
from worker.flow.confirming import confirmed
from worker.flow.observations import Observer, Surprise
from worker.flow.ports import Publishing, ReportQueue
from worker.flow.reports import TAKE_S_MAX, ReportIntake

#: What could not be taken is tried again after this.
AGAIN_S = 1.0

_Handed = tuple[HeldMessage, WaitingReport]


class ReportWaits:
    """Has ``intake`` take in what comes out of ``queue``."""

    def __init__(
        self,
        *,
        queue: ReportQueue,
        intake: ReportIntake,
        publishing: Publishing,
        observe: Observer,
        wall_clock: Callable[[], datetime],
    ) -> None:
        self._queue = queue
        self._intake = intake
        self._publishing = publishing
        self._observe = observe
        self._wall_clock = wall_clock

    async def keep_taking(self) -> None:
        """For ever."""
        while True:
            by_account: dict[str, list[_Handed]] = defaultdict(list)
            for message in await self._queue.next():
                waiting = read_waiting(message.body, message.headers)
                if isinstance(waiting, str):
                    await self._bury(message, waiting)
                else:
                    by_account[waiting.account].append((message, waiting))
            for account, handed in by_account.items():
                await self._take(account, handed)

    async def _take(self, account: str, handed: Sequence[_Handed]) -> None:
        while ours := [one for one in handed if self._queue.is_ours(one[0])]:
            try:
                taken = await self._intake.take_again(account, [waiting for _, waiting in ours])
            except Exception as error:  # noqa: BLE001 - a bug that one report trips must not stop the others
                self._observe(Surprise("waiting reports", error))
                await self._take_apart(account, ours)
                return
            if taken.fault is None:
                await self._queue.done([message for message, _ in ours])
                return
            # Taken in again with the others, one that waits on would leave a copy more each time.
            await self._queue.done([message for message, waiting in ours if waiting.report in taken.safe])
            handed = [one for one in ours if one[1].report not in taken.safe]
            await asyncio.sleep(AGAIN_S)

    async def _take_apart(self, account: str, handed: Sequence[_Handed]) -> None:
        """Find out which of them it is; that one alone is given back."""
        if len(handed) > 1:
            for one in handed:
                await self._take(account, [one])
            return
        await asyncio.sleep(AGAIN_S)
        await self._queue.give_back([message for message, _ in handed])

    async def _bury(self, message: HeldMessage, reason: str) -> None:
        """Nobody but a person can have published it."""
        letter = bury(message.body, message.headers, reason, at=self._wall_clock())
        while self._queue.is_ours(message):
            if all(await confirmed(self._publishing, [letter], TAKE_S_MAX)):
                await self._queue.done([message])
                return
            await asyncio.sleep(AGAIN_S)
