"""What the vendor posts to us, from a body to an answer: read, taken in, and only then said to be taken.

An answer of "taken" ends the vendor's duty to repeat, so it is given only for what is kept safe. Whatever goes wrong on
the way, a bug of ours too, is answered with "not taken", and the vendor posts it again.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from worker.core.callbacks import read_replies, read_reports
from worker.core.replies import Reply
from worker.core.reports import Report
from worker.flow.observations import Observer, ReplyWay, Surprise
from worker.flow.ports import NotTaken

#: The vendor waits for so long; what takes longer is told as not taken.
TAKE_S_MAX = 10.0
#: Of that, what is left to note which of them were confirmed: those are not to be told again.
NOTE_S = 1.0
NOT_IN_TIME = NotTaken("it could not be kept safe in time")


class CallbackKind(enum.StrEnum):
    """What is posted, by the last word of the address."""

    REPORTS = "reports"
    REPLIES = "replies"


@dataclass(frozen=True, slots=True)
class Malformed:
    """What cannot be read, however often it comes. ``mistakes``: sentences that quote nothing of it, at least one.

    What could be read of the same body is taken.
    """

    mistakes: tuple[str, ...]


class TakesReports(Protocol):
    """Takes reports in: ``flow/reports.py``."""

    async def take(self, account: str, reports: Sequence[Report], *, limit_s: float) -> NotTaken | None:
        """None once every one of them is kept safe. No confirm is waited for longer than ``limit_s``."""


class TakesReplies(Protocol):
    """Takes replies in: ``flow/replies.py``."""

    async def take(self, account: str, replies: Sequence[Reply], way: ReplyWay, *, limit_s: float) -> NotTaken | None:
        """None once every one of them is kept safe. No confirm is waited for longer than ``limit_s``."""


class Callbacks:
    """Takes callbacks, for all accounts. Numbers without a country code are read as of ``region``."""

    def __init__(self, *, reports: TakesReports, replies: TakesReplies, region: str, observe: Observer) -> None:
        self._reports = reports
        self._replies = replies
        self._region = region
        self._observe = observe

    async def take(
        self, kind: CallbackKind, account: str, body: bytes, *, limit_s: float
    ) -> NotTaken | Malformed | None:
        """Take in what was posted; None once all of it is kept safe. Takes ``limit_s`` at most, and never fails."""
        try:
            async with asyncio.timeout(limit_s):
                return await self._take(kind, account, body, confirm_s_max=limit_s - NOTE_S)
        except TimeoutError:
            return NOT_IN_TIME
        except Exception as error:  # noqa: BLE001 - a bug that one body trips must not take the others with it
            self._observe(Surprise("callback", error))
            return NotTaken(f"internal error: {type(error).__name__}")

    async def _take(
        self, kind: CallbackKind, account: str, body: bytes, *, confirm_s_max: float
    ) -> NotTaken | Malformed | None:
        fault: NotTaken | None = None
        if kind is CallbackKind.REPORTS:
            reports = read_reports(body, region=self._region)
            mistakes = reports.mistakes
            if reports.entries:
                fault = await self._reports.take(account, reports.entries, limit_s=confirm_s_max)
        else:
            replies = read_replies(body, region=self._region)
            mistakes = replies.mistakes
            if replies.entries:
                fault = await self._replies.take(account, replies.entries, ReplyWay.CALLBACK, limit_s=confirm_s_max)
        if fault is not None:
            return fault
        return Malformed(mistakes) if mistakes else None
