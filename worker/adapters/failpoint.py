"""A failpoint: the process kills itself at a step, as a crash there would end it. For tests only.

Set by ``MMS_FAILPOINT`` and by nothing else, and said loudly at start and at the end.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import structlog

from worker.core.job import Job, Rejected, decode
from worker.core.steps import Failpoint, Poison, ReplyStep, Step


def kill_this_process() -> None:
    """End it at once, without any clean-up."""
    os.kill(os.getpid(), signal.SIGKILL)


class KillAt:
    """A ``Passed`` that ends the process at ``failpoint``."""

    def __init__(self, failpoint: Failpoint, *, kill: Callable[[], None] = kill_this_process) -> None:
        self._failpoint = failpoint
        self._left = failpoint.nth
        self._kill = kill
        self._log = structlog.get_logger()
        self._log.critical(
            "failpoint_set",
            step=failpoint.step.value,
            nth=failpoint.nth,
            so="this worker will kill itself: MMS_FAILPOINT is for tests only",
        )

    def __call__(self, step: Step | ReplyStep) -> None:
        """``step`` was passed."""
        if step is not self._failpoint.step:
            return
        self._left -= 1
        if self._left == 0:
            self._log.critical("failpoint_reached", step=step.value, nth=self._failpoint.nth)
            self._kill()


class KillOver:
    """Reads messages as ``decode`` does, and ends the process over the one that is ``poison``."""

    def __init__(self, poison: Poison, *, kill: Callable[[], None] = kill_this_process) -> None:
        self._marker = poison.marker.encode()
        self._kill = kill
        self._log = structlog.get_logger()
        self._log.critical(
            "failpoint_set", marker=poison.marker, so="this worker will kill itself: MMS_FAILPOINT is for tests only"
        )

    def __call__(self, body: bytes, *, region: str) -> Job | Rejected:
        """Read ``body``, or end."""
        if self._marker in body:
            self._log.critical("failpoint_reached", marker=self._marker.decode())
            self._kill()
        return decode(body, region=region)
