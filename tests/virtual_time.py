"""An event loop whose clock jumps: nothing waits for real, a seed reproduces a run, and a deadlock raises at once."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class DeadlockError(AssertionError):
    """Everything waits, and nothing will ever wake it."""


class _JumpingSelector(selectors.DefaultSelector):
    """Does not wait for its time-out: tells the loop to jump instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise DeadlockError("every task waits for something that no task will do")
        if not ready and timeout:
            self.now_s += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """``time()`` is virtual; ``asyncio.sleep`` and time-outs take no time."""

    def __init__(self) -> None:
        self._virtual = _JumpingSelector()
        super().__init__(self._virtual)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._virtual.now_s

    def stall(self, for_s: float) -> None:
        """Let time pass without anything running, as a busy machine does."""
        self._virtual.now_s += for_s


def run_virtual(work: Coroutine[Any, Any, Result]) -> Result:
    """Run ``work`` in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)
