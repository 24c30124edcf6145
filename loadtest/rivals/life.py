"""How a rival is looked after from outside: that it is ready, what it has sent, and its end with its owner."""

import os
import signal
import sys
import threading
from pathlib import Path


def say_ready() -> None:
    """Tell the owner, who reads the output, that jobs are being taken."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()


def end_with_owner() -> None:
    """When the owner's end of standard input closes, end the whole session, child processes too.

    Only in a session of its own, as the owner starts it: in a terminal it would end what else runs there.
    """
    if os.getsid(0) != os.getpid():
        return

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


class SentFile:
    """Grows by a byte for each job that was sent, by whichever process of a rival."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self) -> None:
        """Another one."""
        os.write(self._file, b".")
