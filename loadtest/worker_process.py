"""The workers: subprocesses of this machine, set up by environment variables alone."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from deploy.local.guarded import Guard
from loadtest.failure import LoadTestError

READY_S_MAX = 30.0
READY_POLL_S = 0.05
STOP_S_MAX = 45.0
"""A worker that was told to stop may wait for a call's answer, for 45 s at most by its own settings."""
LOG_LINES_SHOWN = 8
LOG_BYTES_READ = 16_384
PROJECT = Path(__file__).resolve().parents[1]


class WorkerProcess:
    """`python -m worker run`, from the start of the `with` block to its end. Its log goes to a file in `folder`.

    `command` is what it runs instead: "receive". `admin_port`: 0 is any free one.
    """

    def __init__(
        self,
        name: str,
        *,
        folder: Path,
        settings: Mapping[str, str],
        command: str = "run",
        admin_port: int = 0,
    ) -> None:
        self.name = name
        self._command = command
        self._log = folder / f"{name.replace(' ', '-')}.log"
        self._settings = settings
        self._admin_port = admin_port
        self._admin_url: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: Guard | None = None
        self.alive_at_us = 0
        """When it was last seen alive (wall clock)."""

    def __enter__(self) -> Self:
        own = {name: value for name, value in os.environ.items() if not name.upper().startswith("MMS_")}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "worker", self._command],
                cwd=PROJECT,
                env={**own, **self._settings, "MMS_ADMIN_PORT": str(self._admin_port)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal reaches the caller alone, which then stops everything in order.
                start_new_session=True,
            )
        try:
            self._guard = Guard.over(self._process.pid)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._guard is not None:
            self._guard.close()

    @property
    def pid(self) -> int:
        """The process id, to be killed by anyone."""
        return self._running.pid

    @property
    def admin_url(self) -> str:
        """Where it serves its metrics and its health, once it has said so."""
        self._admin_url = self._admin_url or told_admin_url(self.log())
        if self._admin_url is None:
            raise LoadTestError(f"{self.name.capitalize()} has not started. The end of its log:\n{self.log_tail()}")
        return self._admin_url

    @property
    def ended(self) -> str | None:
        """How it ended, or None while it runs."""
        code = self._running.poll()
        if code is None:
            self.alive_at_us = time.time_ns() // 1_000
            return None
        return f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"

    def wait_until_ready(self) -> None:
        """Return when it is connected and consuming; raises LoadTestError when it ended or took too long."""
        give_up_at_s = time.monotonic() + READY_S_MAX
        while not self._is_ready():
            if self.ended is not None or time.monotonic() > give_up_at_s:
                what = self.ended or f"was not ready within {READY_S_MAX:.0f} s"
                raise LoadTestError(f"{self.name.capitalize()} {what}. The end of its log:\n{self.log_tail()}")
            time.sleep(READY_POLL_S)

    def kill(self) -> None:
        """SIGKILL, as a crash would end it. Returns when it is gone."""
        self._running.kill()
        self._running.wait(STOP_S_MAX)

    def ask_to_stop(self) -> None:
        """SIGTERM: it ends its calls and stops."""
        if self.ended is None:
            self._running.send_signal(signal.SIGTERM)

    def wait_until_stopped(self) -> bool:
        """Whether it ended by itself within STOP_S_MAX; it is killed otherwise."""
        try:
            self._running.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        return True

    def log(self) -> str:
        """All of its log."""
        return self._log.read_text(errors="replace")

    def log_tail(self) -> str:
        """The last lines of its log, indented."""
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - LOG_BYTES_READ))
            lines = log.read().decode(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return "\n".join(f"  {line}" for line in lines) or "  (it is empty)"

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise AssertionError("a worker is used inside its with block")
        return self._process

    def _is_ready(self) -> bool:
        try:
            answer = httpx.get(f"{self.admin_url}/readyz", timeout=1.0, trust_env=False)
        except (LoadTestError, httpx.HTTPError):
            return False
        return answer.is_success


def told_admin_url(log: str) -> str | None:
    """Where a process serves its metrics and its health, by its log; None until it says that it has started.

    It takes a free port itself: one that is chosen for it may be taken by another when it comes to it.
    """
    for line in log.splitlines():
        if '"started"' in line and line.endswith("}"):
            return f"http://{json.loads(line)['admin']}"
    return None
