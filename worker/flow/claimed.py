"""The jobs of one account that wait for a slot, and their claims: from the lanes to the moment of a call.

A job is claimed shortly before its slot. If it does not leave then after all, it waits again, first in its lane, and
keeps its claim: the next time the same claim is made anew. Who will not leave from here lets go of it, so that
whoever is handed the job next need not take it for a call that nobody ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from worker.core.delivery import Delivery
from worker.flow.lane import Batch, Lanes, ReadyJob
from worker.flow.pipeline import Pipeline
from worker.flow.ports import Broker, JournalAway

#: A slot for which nothing could be claimed, since the journal does not answer, holds its call's place so long.
JOURNAL_AWAY_WAIT_S = 0.25


class ClaimedJobs:
    """Takes the next jobs out of ``lanes`` and claims them.

    ``dropped`` is told what is not ours any more; ``settle`` settles what may not be called for.
    """

    def __init__(
        self,
        *,
        lanes: Lanes,
        pipeline: Pipeline,
        broker: Broker,
        dropped: Callable[[Iterable[Delivery]], None],
        settle: Callable[[Coroutine[Any, Any, None], Sequence[Delivery]], object],
    ) -> None:
        self._lanes = lanes
        self._pipeline = pipeline
        self._broker = broker
        self._dropped = dropped
        self._settle = settle
        #: What is claimed and has not left.
        self._waiting: set[ReadyJob] = set()

    def next_batch(self) -> Batch | None:
        """The next jobs that are still ours."""
        while (batch := self._lanes.take()) is not None:
            if ours := self.still_ours(batch.jobs):
                return batch if len(ours) == len(batch.jobs) else Batch(ours)
        return None

    async def claimed(self, batch: Batch | None) -> Batch | None:
        """Those of the jobs, or of the next ones, that may be called for; None: there are none, or not now."""
        while batch is not None:
            claims = await self._pipeline.claim(batch.jobs)
            if isinstance(claims, JournalAway):
                # The journal may have heard it all the same.
                self._waiting.update(batch.jobs)
                self._lanes.put_first(batch.jobs)
                await asyncio.sleep(JOURNAL_AWAY_WAIT_S)
                return None
            self._waiting.update(claims.going)
            if claims.others:
                self._settle(self._pipeline.settle(claims.others), [other.delivery for other in claims.others])
            if claims.going:
                return Batch(claims.going)
            batch = self.next_batch()
        return None

    def still_ours(self, jobs: Sequence[ReadyJob]) -> tuple[ReadyJob, ...]:
        """Without those that have been, or will be, handed out again, since their connection is gone.

        Their claims are let go for whoever is handed them now: kept, they would look like calls that nobody ended.
        """
        ours = tuple(ready for ready in jobs if self._broker.is_ours(ready.delivery))
        if len(ours) < len(jobs):
            gone = set(jobs).difference(ours)
            self._dropped(ready.delivery for ready in gone)
            self._release(gone & self._waiting)
        return ours

    def left(self, jobs: Iterable[ReadyJob]) -> frozenset[ReadyJob]:
        """They leave now, or are settled, and do not wait any more. Returns those of them that are claimed."""
        claimed = self._waiting.intersection(jobs)
        self._waiting -= claimed
        return frozenset(claimed)

    def wait_again(self, batch: Batch) -> None:
        """They did not leave, and are first the next time."""
        self._lanes.put_first(batch.jobs)

    def release(self) -> None:
        """Let go of all claims of jobs that wait: they will not leave from here."""
        self._release(set(self._waiting))

    def _release(self, claimed: set[ReadyJob]) -> None:
        self._waiting -= claimed
        if claimed:
            self._pipeline.release(tuple(claimed))
