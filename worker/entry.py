"""Where the command ``mms-worker`` begins."""

import os
import signal
from types import FrameType

#: As a shell tells of a process that SIGTERM has ended.
EXIT_TERMINATED = 128 + signal.SIGTERM


def main() -> None:
    """Hear SIGTERM from the first moment on, then load the command line, which takes half a second, and run it.

    The first process of a container has no such default: without this a ``publish``, or a worker that is still loading,
    would not notice that it is to end, and be killed when its time is up. ``run`` and ``receive`` soon drain instead.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, _end)
    from worker.__main__ import main as command_line  # noqa: PLC0415 - the signal comes first

    command_line()


def _end(_number: int, _frame: FrameType | None) -> None:
    """At once, as any other process does."""
    os._exit(EXIT_TERMINATED)
