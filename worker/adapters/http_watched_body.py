"""A request's body that leaves in two parts, and says when each has left: for failpoints, hence for tests only."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from worker.core.steps import Passed, Step

#: What is written reaches the socket in one of the event loop's next turns.
LEAVING_S = 0.01


class WatchedBody(aiohttp.BytesPayload):
    """``content`` as the transport sends it; ``passed`` hears of its half and of its end."""

    def __init__(self, content: bytes, *, passed: Passed, **details: Any) -> None:
        super().__init__(content, **details)
        self._content = content
        self._passed = passed

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write both halves; aiohttp asks for no less than all of them."""
        half = len(self._content) // 2
        for part, step in (
            (self._content[:half], Step.MID_UPLOAD),
            (self._content[half:content_length], Step.AFTER_REQUEST),
        ):
            await writer.write(part)
            await asyncio.sleep(LEAVING_S)
            self._passed(step)
