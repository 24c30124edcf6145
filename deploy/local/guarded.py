"""The owner's side of `guard.py`: processes that cannot outlive the one that asked for them."""

import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any, Self

from deploy.local.failure import ServerError

GUARD = Path(__file__).with_name("guard.py")
CLOSE_S_MAX = 90.0
"""More than the guard's own limits together: sweeping, removing, cleaning up."""


@dataclass(frozen=True, slots=True)
class Command:
    """One server process: its output goes to `log`, and `env` is all of its environment."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    log: Path


class Guard:
    """One guard process, whose methods may be called from any thread.

    Each answers within milliseconds, `end` within the guard's SWEEP_S_MAX.
    """

    def __init__(self, *, folder: Path | None = None, cleanup: Sequence[str] = ()) -> None:
        options = {"folder": str(folder) if folder else None, "cleanup": list(cleanup) or None}
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Its own session: Ctrl-C in the terminal reaches the owner, which then closes it in order.
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @classmethod
    def over(cls, pid: int) -> Self:
        """For one process that the owner started itself: where the owner goes, it is killed with its session."""
        guard = cls()
        try:
            guard._ask(do="watch", pid=pid)
        except BaseException:
            guard.close()
            raise
        return guard

    def start(self, command: Command) -> int:
        """Its process id. Raises ServerError when there is no such program."""
        reply = self._ask(
            do="start",
            name=command.name,
            argv=list(command.argv),
            env=dict(command.env),
            log=str(command.log),
        )
        if "error" in reply:
            raise ServerError(str(reply["error"]))
        return int(reply["pid"])

    def signal(self, name: str, signal: Signals, *, group: bool) -> bool:
        """False when it has ended already."""
        return bool(self._ask(do="signal", name=name, signal=int(signal), group=group)["sent"])

    def has_ended(self, name: str) -> bool:
        return self._ask(do="poll", name=name)["returncode"] is not None

    def end(self, name: str) -> None:
        """SIGKILL to all of it; it is gone when this returns."""
        self._ask(do="end", name=name)

    def close(self) -> None:
        """Kill what still runs, remove the folder, run the clean-up command; all done when this returns."""
        with self._lock:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe:
                    with suppress(BrokenPipeError):  # it was killed, and a request to it is still unsent
                        pipe.close()
            self._process.wait(CLOSE_S_MAX)

    def _ask(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            line = b""
            if self._process.stdin and self._process.stdout and not self._process.stdin.closed:
                try:
                    self._process.stdin.write(json.dumps(request).encode() + b"\n")
                    self._process.stdin.flush()
                    line = self._process.stdout.readline()
                except BrokenPipeError:
                    pass  # told below, as when it closed its end without an answer
        if not line:
            raise ServerError("The guard of the local servers has ended, and its servers with it.")
        reply: dict[str, Any] = json.loads(line)
        return reply
