"""The producer as a subprocess; a thread reads what it tells, so that the producer never waits for anybody."""

import json
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from deploy.local.guarded import Guard
from loadtest.failure import LoadTestError
from loadtest.load.producer import Task
from loadtest.worker_process import PROJECT

READY_S_MAX = 60.0
STOP_S_MAX, LOOK_S = 5.0, 0.5
ERROR_CHARACTERS_SHOWN = 500


class ProducerProcess:
    """From the start of the `with` block to its end. Its errors go to a file in `folder`."""

    def __init__(self, task: Task, *, folder: Path) -> None:
        self._task = task
        self._errors = folder / f"producer-{task.part}.log"
        self._process: subprocess.Popen[str] | None = None
        self._guard: Guard | None = None
        self._told: dict[str, Any] = {}
        self._is_ready = threading.Event()
        self._has_ended = threading.Event()

    def __enter__(self) -> Self:
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "loadtest.load.producer"],
                cwd=PROJECT,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                # Ctrl-C in the terminal reaches the caller alone, which then stops everything in order.
                start_new_session=True,
            )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()
        try:
            self._guard = Guard.over(self._process.pid)
            self._write(self._task.as_line())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._running
        if process.poll() is None:
            process.kill()
        process.wait(STOP_S_MAX)
        if self._guard is not None:
            self._guard.close()
        self._has_ended.wait(STOP_S_MAX)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._running.pid if self._running.poll() is None else None

    @property
    def published(self) -> int:
        """Jobs that were confirmed, by the last word of it."""
        return int(self._told.get("published", 0))

    @property
    def is_done(self) -> bool:
        """Whether all is published; raises LoadTestError when it ended otherwise."""
        if not self._has_ended.is_set():
            return False
        if not self._told.get("done"):
            raise LoadTestError(f"The producer ended before it was done: {self._said()}")
        return True

    def wait_until_done(self) -> None:
        """Return when all is published; raises LoadTestError when it ended otherwise."""
        while not self.is_done:
            self._has_ended.wait(LOOK_S)

    @property
    def result(self) -> dict[str, Any]:
        """Its last word."""
        return dict(self._told)

    def wait_until_ready(self) -> None:
        """Return when it is connected; raises LoadTestError."""
        give_up_at_s = time.monotonic() + READY_S_MAX
        while not self._is_ready.wait(0.1):
            if self._has_ended.is_set() or time.monotonic() > give_up_at_s:
                raise LoadTestError(f"The producer is not ready: {self._said()}")

    def begin(self, at_us: int) -> None:
        """Have it begin at that moment of the wall clock."""
        self._write(f"{at_us}\n")

    @property
    def _running(self) -> "subprocess.Popen[str]":
        if self._process is None:
            raise AssertionError("a producer is used inside its with block")
        return self._process

    def _write(self, line: str) -> None:
        stdin = self._running.stdin
        if stdin is None:
            raise AssertionError("stdin was asked to be a pipe")
        try:
            stdin.write(line)
            stdin.flush()
        except OSError as error:
            raise LoadTestError(f"The producer has ended: {self._said()}") from error

    def _read(self, process: "subprocess.Popen[str]") -> None:
        try:
            for line in process.stdout or ():
                self._told.update(json.loads(line))
                if self._told.get("ready"):
                    self._is_ready.set()
            process.wait()
        finally:
            self._has_ended.set()

    def _said(self) -> str:
        return self._errors.read_text(errors="replace").strip()[-ERROR_CHARACTERS_SHOWN:] or "it said nothing"
