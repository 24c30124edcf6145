"""How many jobs of each account are in doubt, and since when, for whoever watches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from worker.core.journal import MICRO
from worker.flow.observations import DoubtsCounted, Observer
from worker.flow.ports import Journal, JournalAway

#: Between two looks; and while no account is served yet.
LOOK_S, SOON_S = 15.0, 1.0


class DoubtWatch:
    """Asks the journal now and then; while it is away, what was seen last stands."""

    def __init__(self, *, journal: Journal, accounts: Callable[[], Iterable[str]], observe: Observer) -> None:
        self._journal = journal
        self._accounts = accounts
        self._observe = observe

    async def keep_looking(self) -> None:
        """For ever."""
        while True:
            accounts = list(self._accounts())
            doubts = await self._journal.doubts(accounts)
            if not isinstance(doubts, JournalAway):
                for account, found in doubts.items():
                    self._observe(DoubtsCounted(account, found.jobs, (found.oldest_us or 0) / MICRO))
            await asyncio.sleep(LOOK_S if accounts else SOON_S)
