"""Redis' commands, those of clients told from those that scripts ran.

INFO commandstats counts both alike, so they are watched with MONITOR, which names the origin of each. It costs Redis
a microsecond or so a command, and this process next to nothing: nothing is parsed but the marks that are counted.
"""

import socket
import threading
from types import TracebackType
from typing import Self

from deploy.local.ports import LOOPBACK
from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.limit.figures import RedisUse

ANSWER_S_MAX = 5.0
READ_BYTES = 1 << 20
LINE_END = b"\r\n"
OUR_KEYS = b'"mms:'
LIMITER_KEYS = (b'"mms:bucket:', b'"mms:limiter:')
"""What else we keep there, of jobs, messages and workers, is not the limiter's."""
SCRIPT_MARK = b" lua] "
"""Stands where an address of a client stands otherwise: `+1700000000.000001 [0 lua] "TIME"`."""


class RedisMonitor:
    """Counts from the start of the `with` block to its end; `use` afterwards. Raises NotMeasuredError."""

    def __init__(self, port: int) -> None:
        self.use = RedisUse(0, 0)
        self._counted = CommandCount()
        try:
            self._peer = socket.create_connection((LOOPBACK, port), ANSWER_S_MAX)
        except OSError as error:
            raise NotMeasuredError(f"Redis cannot be watched: {error}.") from error
        self._thread = threading.Thread(target=self._count, daemon=True)

    def __enter__(self) -> Self:
        try:
            self._peer.sendall(b"MONITOR\r\n")
            answer = self._peer.recv(READ_BYTES)
        except OSError as error:
            self._peer.close()
            raise NotMeasuredError(f"Redis cannot be watched: {error}.") from error
        confirm, _, rest = answer.partition(LINE_END)
        if confirm != b"+OK":
            self._peer.close()
            raise NotMeasuredError(f"Redis does not let itself be watched: {confirm!r}.")
        self._counted.take(rest)
        self._peer.settimeout(None)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._peer.shutdown(socket.SHUT_RDWR)
        self._thread.join(ANSWER_S_MAX)
        self._peer.close()
        self.use = self._counted.use()

    def _count(self) -> None:
        try:
            while piece := self._peer.recv(READ_BYTES):
                self._counted.take(piece)
        except OSError:
            return  # Redis has gone, which whoever needs it will tell


class CommandCount:
    """Counts commands in what MONITOR says, in pieces of any size."""

    def __init__(self) -> None:
        self._all = 0
        self._of_scripts = 0
        self._tail = b""

    def take(self, piece: bytes) -> None:
        """Count the lines that are whole by now."""
        told = self._tail + piece
        whole, end, self._tail = told.rpartition(LINE_END)
        for line in whole.split(LINE_END) if end else ():
            if OUR_KEYS not in line or any(key in line for key in LIMITER_KEYS):
                self._all += 1
                self._of_scripts += SCRIPT_MARK in line

    def use(self) -> RedisUse:
        """All so far."""
        return RedisUse(self._all - self._of_scripts, self._of_scripts)
