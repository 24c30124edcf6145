"""Background tasks whose failures are seen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


async def before(event: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do ``work`` unless ``event`` comes first, which cancels it; whether it was done to the end."""
    working = asyncio.ensure_future(work)
    interrupting = asyncio.ensure_future(event.wait())
    await asyncio.wait((working, interrupting), return_when=asyncio.FIRST_COMPLETED)
    interrupting.cancel()
    if working.done():
        await working  # raises what it raised
        return True
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    return False


async def to_its_end(work: Coroutine[Any, Any, Result]) -> Result:
    """Do ``work``, which must be bounded, to its end, also when who waits for it is cancelled: that is heard then."""
    working = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not working.done():
        try:
            await asyncio.wait([working])
        except asyncio.CancelledError as error:
            cancelled = error
    result = working.result()  # or what it raised
    if cancelled is not None:
        raise cancelled
    return result


class Tasks:
    """A set of running tasks of one kind. A failure goes to ``on_failure``; nothing is forgotten silently."""

    def __init__(self, on_failure: Callable[[BaseException], None]) -> None:
        self._on_failure = on_failure
        self._running: set[asyncio.Task[None]] = set()
        self._is_cancelling = False

    def __len__(self) -> int:
        return len(self._running)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` beside everything else."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    async def finish(self, limit_s: float) -> bool:
        """Wait until all have ended, also those started meanwhile; False when ``limit_s`` passed first."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + limit_s
        while self._running:
            left_s = until_s - loop.time()
            if left_s <= 0:
                return False
            await asyncio.wait(self._running, timeout=left_s)
        return True

    def cancel_all(self) -> None:
        """Ask all to end; none does anything more but clean up."""
        self._is_cancelling = True
        for task in self._running:
            task.cancel()

    async def cancel(self) -> None:
        """Cancel all and wait until they have ended."""
        self.cancel_all()
        while self._running:
            await asyncio.wait(self._running)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if task.cancelled():
            if not self._is_cancelling:
                self._on_failure(RuntimeError(f"{task.get_name()} was cancelled, and nobody asked for it"))
        elif (error := task.exception()) is not None:
            self._on_failure(error)
