"""An account's replies at the API, in memory: shown in pages that shift, until they are marked as read."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from worker.core.outcome import Answer, Response
from worker.core.responses import PAGE_ENTRIES

ANSWER_S = 0.02


class MemoryInbox:
    """What ``get-responses`` and ``inbound-read-bulk`` are about. ``is_newest_first``: the order of the pages."""

    def __init__(self, *, is_newest_first: bool = True) -> None:
        self._is_newest_first = is_newest_first
        #: In the order in which they came in.
        self.unread: list[dict[str, Any]] = []
        #: Ids of what was marked, in that order.
        self.marked: list[str] = []
        #: Every call: the page that was asked for, or the ids that were to be marked.
        self.calls: list[int | tuple[str, ...]] = []
        #: Ids that cannot be marked: a call with one of them is refused as a whole.
        self.unmarkable: set[str] = set()
        #: Answers to the next calls, in place of what is true; None: that is told.
        self.answers: deque[Response | None] = deque()
        #: Called after each page that is shown.
        self.shown: Callable[[int], None] | None = None

    def add(self, message_id: str, **fields: Any) -> None:
        """A reply comes in."""
        plain = {"from": "+61400000001", "body": "Thanks!", "received_at": "2019-04-08 17:37:49", "subaccount_id": ""}
        self.unread.append({**plain, "message_id": message_id, **fields})

    async def responses(self, page: int) -> Response:
        """One page of what is unread."""
        await asyncio.sleep(ANSWER_S)
        self.calls.append(page)
        if (instead := self._instead()) is not None:
            return instead
        ordered = self.unread[::-1] if self._is_newest_first else self.unread
        entries = ordered[(page - 1) * PAGE_ENTRIES : page * PAGE_ENTRIES]
        pages = -(-len(ordered) // PAGE_ENTRIES)
        answer = _success(
            {
                "page": {"count": str(pages), "number": page if pages else 0},
                "total": str(len(ordered)),
                "responses": entries or "",
            }
        )
        if self.shown is not None:
            self.shown(page)
        return answer

    async def mark_read(self, message_ids: Sequence[str]) -> Response:
        """Mark them, and no more are unread."""
        await asyncio.sleep(ANSWER_S)
        self.calls.append(tuple(message_ids))
        if (instead := self._instead()) is not None:
            return instead
        if self.unmarkable & set(message_ids):
            return Answer(400, orjson.dumps({"meta": {"code": 400, "status": "NOT_FOUND"}, "msg": "?", "data": []}))
        self.unread = [reply for reply in self.unread if reply.get("message_id") not in message_ids]
        self.marked += message_ids
        return _success([])

    def _instead(self) -> Response | None:
        return self.answers.popleft() if self.answers else None


def _success(data: object) -> Answer:
    return Answer(200, orjson.dumps({"meta": {"code": 200, "status": "SUCCESS"}, "msg": "", "data": data}))
