"""Receivers that take delivery reports in, on ports in memory, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import orjson

from tests.unit.flow.keeping import job_named
from worker.adapters.memory import MemoryBroker, MemoryServer
from worker.adapters.memory_held import MemoryTurn, MemoryTurns
from worker.adapters.memory_journal import MemoryJournal
from worker.adapters.memory_sendings import MemorySendings
from worker.adapters.memory_waiting import MemoryWaiting
from worker.core.delivery import Publication
from worker.core.event_schema import event_schema
from worker.core.journal import GIVEN_UP, IN_DOUBT, RELEASED, Record, Resolution, ended, fingerprint, written
from worker.core.reports import Report
from worker.core.sendings import Trace
from worker.flow.doubt_reports import DoubtReports
from worker.flow.observations import Observation
from worker.flow.ports import NotTaken, PublishFailed
from worker.flow.report_waits import ReportWaits
from worker.flow.reports import ReportIntake
from worker.flow.tasks import Tasks

START = datetime(2026, 11, 22, 3, 4, 5, tzinfo=UTC)
A_NUMBER, B_NUMBER = "+61400000001", "+61400000002"
CALL_S_MAX, WAIT_S_MAX = 45.0, 75.0
#: After this, all that waits has been decided about.
DECIDED_S = 120.0
VALIDATOR = jsonschema.Draft202012Validator(event_schema(), format_checker=jsonschema.FormatChecker())


def a_report(message_id: str = "m1", status: str = "delivered", *, to: str = A_NUMBER) -> Report:
    return Report(message_id, to, status)


@dataclass
class Vendor:
    """What all receivers share: the broker, and what is remembered."""

    seen: list[Observation] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        clock = asyncio.get_running_loop().time
        self.started_s = clock()
        self.server = MemoryServer(["acme"])
        self.sendings = MemorySendings(keep_s=259_200, noted_s_max=WAIT_S_MAX, monotonic=clock)
        self.journal = MemoryJournal(call_s_max=CALL_S_MAX, monotonic=clock)
        self.turns = MemoryTurns(monotonic=clock)

    # --- What workers leave ----------------------------------------------------------------------------------

    async def sent(self, job_id: str = "job-1", message_id: str = "m1", *, to: str = A_NUMBER) -> None:
        """The answer to a send came."""
        await self.sendings.note("acme", [Trace(to, message_id, job_id, f"crm:{job_id}")])

    async def in_doubt(self, job_id: str = "job-1", *, to: Sequence[str] = (A_NUMBER,)) -> None:
        """A call for the job was not answered."""
        record = ended(fingerprint(job_named(job_id)), IN_DOUBT, {"why": "reset"})
        self.journal.records["acme", job_id] = written(record)
        await self.sendings.note("acme", [Trace(number, "", job_id, f"crm:{job_id}") for number in to])

    async def decided(self, job_id: str, end: str = GIVEN_UP) -> None:
        """Somebody resolved the job."""
        await self.journal.resolve("acme", [Resolution(job_id, fingerprint(job_named(job_id)), end)])

    async def resent(self, job_id: str = "job-1") -> None:
        """Somebody has had the job sent again."""
        await self.decided(job_id, RELEASED)

    def record(self, job_id: str) -> Record:
        """What the journal has of a job."""
        record = self.journal.record("acme", job_id)
        assert record is not None
        return record

    # --- What is told ----------------------------------------------------------------------------------------

    def receiver(self) -> Receiver:
        return Receiver(self)

    def events(self) -> list[dict[str, Any]]:
        events = [orjson.loads(body) for body in self.server.bodies("mms.events.log")]
        for event in events:
            VALIDATOR.validate(event)
        return events

    def told(self) -> list[tuple[str, str, str | None]]:
        """(message id, status, job id) in the order of telling."""
        of = (event["data"] for event in self.events())
        return [(data["message_id"], data["status"], data["job_id"]) for data in of]

    def observed(self, kind: type) -> list[Any]:
        return [seen for seen in self.seen if isinstance(seen, kind)]


class LossyBroker(MemoryBroker):
    """Loses confirms: it has what was published, and who published it does not know."""

    confirms_to_lose = 0

    async def publish(self, publication: Publication) -> None:
        await super().publish(publication)
        if self.confirms_to_lose:
            self.confirms_to_lose -= 1
            raise PublishFailed("connection lost")


class Receiver:
    """One process, which looks at what waited as soon as ``looks`` was called."""

    def __init__(self, vendor: Vendor) -> None:
        loop = asyncio.get_running_loop()
        self.broker = LossyBroker(vendor.server, monotonic=loop.time)
        self.queue = MemoryWaiting(vendor.server)
        sweep = MemoryTurn(vendor.turns, name="sweep", holder=f"{id(self)}")
        self.intake = ReportIntake(
            sendings=vendor.sendings,
            doubts=DoubtReports(journal=vendor.journal, sweep=sweep),
            publishing=self.broker,
            wait_s_max=WAIT_S_MAX,
            observe=vendor.seen.append,
            monotonic=loop.time,
            wall_clock=lambda: START + timedelta(seconds=loop.time() - vendor.started_s),
        )
        self.waits = ReportWaits(
            queue=self.queue,
            intake=self.intake,
            publishing=self.broker,
            observe=vendor.seen.append,
            wall_clock=lambda: START,
        )
        self._tasks = Tasks(vendor.failures.append)

    async def take(self, *reports: Report) -> NotTaken | None:
        return await self.intake.take("acme", reports)

    def looks(self) -> None:
        """Take what waited, from here on."""
        self._tasks.start(self.waits.keep_taking())

    async def dies(self) -> None:
        """The process is gone."""
        await self._tasks.cancel()
        self.queue.disconnect()
