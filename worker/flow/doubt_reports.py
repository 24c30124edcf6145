"""A delivery report proves that a job in doubt was sent.

The report says nothing of the job but its id, and of the doubt nothing. So the journal decides here, and the keeper of
jobs in doubt tells it: he has what is held, and with it the reference, the attempts and the number of the resolution.
"""

from __future__ import annotations

from collections.abc import Sequence

from worker.core.events import ResolvedBy
from worker.core.journal import IN_DOUBT, SENT, HeldCopy, Resolution, State
from worker.core.resolution import Grounds, written
from worker.flow.ports import Journal, JournalAway, Turn
from worker.flow.resolving import resolved


class DoubtReports:
    """Resolves by reports. ``sweep``: of the keeper, who is to look soon."""

    def __init__(self, *, journal: Journal, sweep: Turn) -> None:
        self._journal = journal
        self._sweep = sweep

    async def resolve(self, account: str, job_id: str, reported: Sequence[tuple[str, str]]) -> bool | JournalAway:
        """Resolve the job as sent, by what was ``reported`` of it: numbers with their message ids, at least one.

        False: it is not in doubt (any more), or not yet; there is nothing to resolve.
        """
        records = await self._journal.recall(account, [HeldCopy(job_id, None)])
        if isinstance(records, JournalAway):
            return records
        record = records[0].record
        if record is None or record.state not in {State.ENDED, State.TOLD} or record.end != IN_DOUBT:
            return False
        message_ids = ", ".join(message_id for _, message_id in reported)
        grounds = Grounds(ResolvedBy.REPORT, f"a delivery report for message {message_ids}", tuple(reported))
        found = await resolved(self._journal, account, Resolution(job_id, record.fingerprint, SENT, written(grounds)))
        if isinstance(found, JournalAway):
            return found
        if found.is_done:
            await self._sweep.free()
        return found.is_done
