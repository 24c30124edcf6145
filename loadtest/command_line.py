"""How the programs here read their arguments and end: one sentence for a mistake, everything put away on a signal."""

import argparse
import signal
import sys
from types import FrameType
from typing import Never

EXIT_CANNOT_RUN, EXIT_INTERRUPTED = 2, 130
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class OneSentenceParser(argparse.ArgumentParser):
    """A mistake is told in one sentence, without the usage before it."""

    def error(self, message: str) -> Never:
        """Tell it, and end."""
        sys.stderr.write(f"{self.prog}: {message}\n")
        raise SystemExit(EXIT_CANNOT_RUN)


def unwind_on_signals() -> None:
    """From now on a signal to stop raises KeyboardInterrupt, once."""
    for number in SIGNALS:
        signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> Never:
    """Unwind, which puts everything away; a second signal must not break that off."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
