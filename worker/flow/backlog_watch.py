"""What waits for each account, how long that takes, and whether jobs end as planned, for whoever watches.

Each worker looks by itself, at the same things as ``mms-worker status`` and by the same calculation: so all tell the
same, and whoever adds up workers takes any one of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from worker.core.accounts import Account
from worker.core.backlog import PlannedWait, PlannedWaits, backlog_of
from worker.core.delivery import Lane
from worker.core.settlement import End
from worker.core.status import Depth, Held, account_status
from worker.core.topology import DEAD_QUEUE, UNROUTABLE_QUEUE, jobs_queue
from worker.flow.observations import (
    BacklogSeen,
    DrainsCounted,
    HeldJobsCounted,
    JobFinished,
    JobTimed,
    Observation,
    Observer,
    Surprise,
)
from worker.flow.ports import BacklogStore, QueueDepths, StoreLook

#: Between two looks; and while no account is served yet.
LOOK_S, SOON_S = 15.0, 0.2
#: Ends that a producer waits for. A dead letter or a doubt ends in no time that anybody planned.
TIMED = frozenset({End.SENT, End.REFUSED, End.EXPIRED})


class BacklogWatch:
    """Looks now and then, and judges jobs as they end (``note`` is an observer)."""

    def __init__(
        self,
        *,
        queues: QueueDepths,
        store: BacklogStore,
        accounts: Callable[[], Iterable[Account]],
        waiting: Callable[[], Mapping[str, tuple[int, int]]],
        observe: Observer,
        wall_clock: Callable[[], datetime],
    ) -> None:
        """``waiting``: the urgent and bulk jobs that wait in this worker, by account: all that is known without Redis.

        ``observe`` is told what is found.
        """
        self._queues = queues
        self._store = store
        self._accounts = accounts
        self._waiting = waiting
        self._observe = observe
        self._wall_clock = wall_clock
        self._planned: dict[str, PlannedWaits] = {}
        self._before: StoreLook | None = None

    def note(self, seen: Observation) -> None:
        """Take in what the flow tells."""
        if not isinstance(seen, JobFinished) or seen.end not in TIMED or seen.end_to_end_s is None:
            return
        planned = self._planned.get(seen.account)
        planned_s = planned.at(self._wall_clock().timestamp() - seen.end_to_end_s, seen.lane) if planned else None
        if planned_s is not None:
            self._observe(JobTimed(seen.account, seen.lane, max(0.0, seen.end_to_end_s - planned_s)))

    async def keep_looking(self) -> None:
        """For ever."""
        while True:
            accounts = list(self._accounts())
            if accounts:
                try:
                    await self.look(accounts)
                except Exception as error:  # noqa: BLE001 - a bug in what only watches must not end what sends
                    self._observe(Surprise("backlog", error))
            await asyncio.sleep(LOOK_S if accounts else SOON_S)

    async def look(self, accounts: Iterable[Account]) -> None:
        """Look once. What cannot be known now stays as it was told last."""
        limits = {account.name: account.limit_per_s for account in accounts}
        depths = await self._queues.depths(
            [*(jobs_queue(name, lane) for name in limits for lane in Lane), DEAD_QUEUE, UNROUTABLE_QUEUE]
        )
        now = await self._store.look(list(limits))
        if now is not None:
            self._observe(DrainsCounted(now.drains))
        if depths is not None:
            self._observe(HeldJobsCounted(_jobs_in(depths, DEAD_QUEUE), _jobs_in(depths, UNROUTABLE_QUEUE)))
            await self._recall(limits, is_store_there=now is not None)
            news = {name: self._tell(name, limit_per_s, depths, now) for name, limit_per_s in limits.items()}
            if now is not None:
                await self._store.keep({name: wait for name, wait in news.items() if wait is not None})
        self._before = now

    async def _recall(self, accounts: Iterable[str], *, is_store_there: bool) -> None:
        """What earlier workers have found of accounts that are new here; those that left are forgotten."""
        names = set(accounts)
        for name in self._planned.keys() - names:
            del self._planned[name]
        if is_store_there and (new := sorted(names - self._planned.keys())):
            for name, waits in (await self._store.recall(new)).items():
                self._planned[name] = PlannedWaits()
                self._planned[name].recall(waits)

    def _tell(
        self, account: str, limit_per_s: float, depths: Mapping[str, Depth | None], now: StoreLook | None
    ) -> PlannedWait | None:
        """Tell of one account; what is planned for it, if that is news."""
        own = Held(*self._waiting().get(account, (0, 0)), workers=1)
        moment = self._wall_clock().timestamp()
        status = account_status(
            account,
            limit_per_s=limit_per_s,
            before=self._before.buckets.get(account) if self._before else None,
            now=now.buckets.get(account) if now else None,
            urgent=depths.get(jobs_queue(account, Lane.URGENT)),
            bulk=depths.get(jobs_queue(account, Lane.BULK)),
            held=now.held.get(account, own) if now else own,
            doubts=None,
            at_s=moment,
        )
        backlog = backlog_of(status)
        if backlog is None:
            return None
        self._observe(
            BacklogSeen(account, backlog.jobs, backlog.drain_s, status.state, status.pace_per_s, status.worst_second)
        )
        planned = self._planned.get(account)
        return planned.note(moment, backlog.planned_s) if planned else None


def _jobs_in(depths: Mapping[str, Depth | None], queue: str) -> int:
    depth = depths.get(queue)
    return depth.jobs if depth else 0
