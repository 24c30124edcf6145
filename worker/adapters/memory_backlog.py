"""Backlogs and planned waits without Redis, with the same behaviour, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from worker.core.backlog import BINS_MAX, PlannedWait
from worker.flow.ports import StoreLook

_NOTHING = StoreLook({}, {}, {})


class MemoryBacklogStore:
    """Implements the ``BacklogStore`` port. Several workers may share it."""

    def __init__(self) -> None:
        #: What a look finds; None while the store is away.
        self.found: StoreLook | None = _NOTHING
        self._waits: dict[str, dict[int, PlannedWait]] = {}

    async def look(self, accounts: Sequence[str]) -> StoreLook | None:
        """What a test has put there."""
        if self.found is None:
            return None
        buckets = {name: look for name, look in self.found.buckets.items() if name in accounts}
        return StoreLook(buckets, self.found.held, self.found.drains)

    async def recall(self, accounts: Sequence[str]) -> Mapping[str, Sequence[PlannedWait]]:
        """What was kept, less what is a day older than the newest."""
        if self.found is None:
            return {}
        return {account: self._of_last_day(account) for account in accounts}

    async def keep(self, waits: Mapping[str, PlannedWait]) -> None:
        """Keep these too."""
        if self.found is not None:
            for account, wait in waits.items():
                self._waits.setdefault(account, {})[wait.bin % BINS_MAX] = wait

    def _of_last_day(self, account: str) -> list[PlannedWait]:
        waits = self._waits.get(account, {}).values()
        newest = max((wait.bin for wait in waits), default=0)
        return [wait for wait in waits if wait.bin > newest - BINS_MAX]
