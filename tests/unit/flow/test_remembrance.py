"""The mark that tells a first start from a loss of all memory."""

from __future__ import annotations

import asyncio

from tests.virtual_time import run_virtual
from worker.adapters.memory import MemoryBroker, MemoryServer
from worker.adapters.memory_journal import MemoryJournal
from worker.flow.remembrance import Remembrance


class Watched(MemoryJournal):
    """Notes what is asked of it, and whether the mark was there then."""

    def __init__(self, server: MemoryServer) -> None:
        super().__init__(call_s_max=1, monotonic=asyncio.get_running_loop().time)
        self._server = server
        self.asked: list[str] = []

    def expect_memory(self, account: str) -> None:
        self.asked.append(f"expect {account}")

    async def claim(self, account, claims):  # type: ignore[no-untyped-def]
        self.asked.append("begin, marked" if self._server.marks else "begin")
        return await super().claim(account, claims)


def begun(times: int, *, away_because: str | None = None) -> tuple[list[str], set[str]]:
    """What the journal was asked, and the marks."""

    async def story() -> tuple[list[str], set[str]]:
        server = MemoryServer(["acme"])
        journal = Watched(server)
        journal.away_because = away_because
        broker = MemoryBroker(server, monotonic=asyncio.get_running_loop().time)
        for _ in range(times):
            await Remembrance(broker=broker, journal=journal).begin("acme")
        return journal.asked, server.marks

    return run_virtual(story())


def test_the_mark_is_made_once_there_is_something_to_remember() -> None:
    assert begun(1) == (["begin"], {"acme"})


def test_from_then_on_a_memory_is_expected() -> None:
    assert begun(2)[0] == ["begin", "expect acme", "begin, marked"]


def test_with_the_journal_away_there_is_no_mark() -> None:
    assert begun(1, away_because="gone") == (["begin"], set())
