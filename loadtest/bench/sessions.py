"""Programs of others that are measured: each leader of a session of its own, whose end ends its children too."""

import os
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.jobs import BenchJob
from loadtest.failure import LoadTestError
from loadtest.worker_process import PROJECT

PUBLISH_S_MAX = 180.0
LOG_BYTES_SHOWN = 1_500


@dataclass(frozen=True, slots=True)
class Session:
    """One of them; its output goes to `log`."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def id(self) -> int:
        """Of the session, and of the process that leads it."""
        return self.process.pid

    def require_running(self) -> None:
        """Raise NotMeasuredError when it has ended."""
        code = self.process.poll()
        if code is not None:
            raise NotMeasuredError(f"{self.name} ended with exit code {code}. The end of its log:\n{self.log_tail()}")

    def end(self) -> None:
        """At once, with its child processes; what it held goes back to the broker."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()

    def log_tail(self) -> str:
        """The end of what it wrote."""
        return self.log.read_bytes()[-LOG_BYTES_SHOWN:].decode(errors="replace")


def start_session(
    name: str, command: Sequence[str], *, log: Path, variables: Mapping[str, str] | None = None
) -> Session:
    """Start it in the project's folder, with these environment variables on top of ours."""
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own modules with our own options
            command,
            cwd=PROJECT,
            env={**os.environ, **(variables or {})},
            # Its end tells the program that nobody is left to end it.
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Session(name, process, log)


def have_published(
    name: str, command: Sequence[str], jobs: Iterable[BenchJob], *, variables: Mapping[str, str] | None = None
) -> None:
    """Have a program publish the jobs, whose bodies it reads line by line. Raises LoadTestError."""
    lines = b"".join(job.body + b"\n" for job in jobs)
    try:
        done = subprocess.run(  # noqa: S603 - our own modules with our own options
            command,
            cwd=PROJECT,
            env={**os.environ, **(variables or {})},
            input=lines,
            capture_output=True,
            check=False,
            timeout=PUBLISH_S_MAX,
        )
    except subprocess.TimeoutExpired as error:
        raise LoadTestError(f"{name} did not publish its jobs within {PUBLISH_S_MAX:.0f} s.") from error
    if done.returncode:
        tail = done.stderr[-LOG_BYTES_SHOWN:].decode(errors="replace")
        raise LoadTestError(f"{name} could not publish its jobs:\n{tail}")
