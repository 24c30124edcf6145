"""A keeper of jobs in doubt on ports in memory, beside a stage's worker."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from tests.jobs import a_delivery, job_body
from tests.unit.flow.stage import START, Stage
from worker.adapters.memory_held import MemoryHeld, MemoryTurn, MemoryTurns
from worker.core.delivery import Publication
from worker.core.doubt_rules import Deadline, DoubtRule
from worker.core.job import Job, decode
from worker.core.journal import IN_DOUBT, Claim, Told, claim_of, ended
from worker.core.settlement import Moment, hold_in_doubt
from worker.core.topology import IN_DOUBT_QUEUE
from worker.flow.doubts import DoubtKeeper

AFTER_S = 3_600.0
HOLD, RESEND, GIVE_UP = (Deadline(rule, AFTER_S) for rule in DoubtRule)


def job_named(name: str) -> Job:
    job = decode(job_body(name, text=name), region="AU")
    assert isinstance(job, Job)
    return job


class Keeping:
    """The jobs in doubt of a stage's account, and keepers for them."""

    def __init__(self, stage: Stage, deadline: Deadline) -> None:
        loop = asyncio.get_running_loop()
        self.stage = stage
        self.held = MemoryHeld(stage.server)
        self.turns = MemoryTurns(monotonic=loop.time)
        self.deadlines: Mapping[str, Deadline] = {"acme": deadline}
        self._started_s = loop.time()

    def keeper(self, holder: str = "one", **changed: Any) -> DoubtKeeper:
        ports: dict[str, Any] = {
            "open_walk": self.held.open,
            "journal": self.stage.journal,
            "turn": MemoryTurn(self.turns, name="walk", holder=holder),
            "sweep": self.sweep(holder),
            "deadlines": lambda: self.deadlines,
            "region": "AU",
            "observe": self.stage.seen.append,
            "monotonic": asyncio.get_running_loop().time,
            "wall_clock": self.now,
        }
        return DoubtKeeper(**(ports | changed))

    def sweep(self, holder: str) -> MemoryTurn:
        return MemoryTurn(self.turns, name="sweep", holder=holder)

    def now(self) -> datetime:
        return START + timedelta(seconds=asyncio.get_running_loop().time() - self._started_s)

    def walk_at_once(self) -> None:
        """Let the next look be a walk, as if time had passed."""
        self.turns.held.clear()

    async def hold(self, *names: str, account: str = "acme", is_remembered: bool = True) -> None:
        """Have jobs in doubt from now on, as a worker leaves them."""
        for name in names:
            job = job_named(name)
            claim = claim_of(job, token=f"w0-{name}", redelivered=False, published_at=None)
            if is_remembered:
                await self._record(account, claim)
            delivery = a_delivery(job_body(name, text=name), headers={"traceparent": name})
            held = hold_in_doubt(delivery, job, "HTTP 502", now=Moment(self.now(), 0.0)).publications[0]
            self.stage.server.accept(held if account == "acme" else _of(account, held))

    async def _record(self, account: str, claim: Claim) -> None:
        journal = self.stage.journal
        await journal.claim(account, [claim])
        await journal.conclude(account, [(claim, ended(claim.fingerprint, IN_DOUBT, {"why": "HTTP 502"}))])
        journal.tell(account, [Told(claim.job_id, claim.token, claim.fingerprint, IN_DOUBT)])

    @property
    def left(self) -> list[str]:
        """Which are held, in order."""
        return [str(headers["traceparent"]) for headers in self.stage.server.headers(IN_DOUBT_QUEUE)]

    def resolutions(self) -> list[tuple[str, str, str]]:
        """(event id, resolution, by) in the order of telling."""
        return [
            (event["id"], event["data"]["resolution"], event["data"]["by"])
            for event in self.stage.events()
            if event["type"] == "mms.job.resolved"
        ]


def _of(account: str, held: Publication) -> Publication:
    return replace(held, headers=dict(held.headers) | {"x-mms-account": account})
