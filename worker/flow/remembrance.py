"""Whether the journal still knows what it knew when a worker last ran.

A worker that runs notices at its next claim when the store has forgotten. But when all memory is lost while no worker
runs, an empty store looks like that of a first start, and what a dead worker had begun to call for would be called for
again. So the broker keeps a mark for each account, made once the journal has begun to remember: where there is a mark,
and no memory, it was lost (``core/journal.py`` says what follows from that).
"""

from __future__ import annotations

from worker.flow.ports import Broker, Journal, JournalAway


class Remembrance:
    """Looks for the mark before an account's first claim, and makes it when it is missing."""

    def __init__(self, *, broker: Broker, journal: Journal) -> None:
        self._broker = broker
        self._journal = journal

    async def begin(self, account: str) -> None:
        """Have the journal know what is expected of it. Raises ``CannotStart`` when the broker cannot be asked.

        With the journal away no mark is made now: the account's next start makes it.
        """
        has_mark = await self._broker.has_mark(account)
        if has_mark:
            self._journal.expect_memory(account)
        # The memory before the mark: a crash in between must not make a first start look like a loss.
        if not isinstance(await self._journal.claim(account, []), JournalAway) and not has_mark:
            await self._broker.set_mark(account)
