"""Two ways to run a server: as processes of this machine, or as a container through `docker compose`.

A server (`private_server.py`) says what it needs as a `Plan`; each runner takes its own part of it. Whatever a
runner started is gone when it is closed, and also when the process that made it dies, however it dies.
"""

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGCONT, SIGSTOP, SIGTERM
from typing import Protocol

from deploy.local.failure import ServerError
from deploy.local.guarded import Command, Guard

POLL_S = 0.02
LOG_LINES_MAX = 1_000
LOG_BYTES_MAX = 262_144
COMPOSE_FILE = Path(__file__).resolve().parents[1] / "compose.services.yaml"
COMPOSE_S_MAX = 300.0
"""One `docker compose` command; the first may fetch an image."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a server needs to run: its processes (the server itself last), and compose's variables."""

    commands: Sequence[Command]
    variables: Mapping[str, str]


class Runner(Protocol):
    folder: Path

    @property
    def pid(self) -> int: ...
    def launch(self, plan: Plan) -> None: ...
    def is_running(self) -> bool: ...
    def terminate(self, wait_s_max: float) -> None: ...
    def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def log(self) -> str: ...
    def close(self) -> None: ...


class NativeRunner:
    """Processes of this machine, under a guard, with a folder of their own: temporary, or one that stays."""

    def __init__(self, service: str, folder: Path | None = None) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix=f"mms-{service}-"))
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._guard = Guard(folder=None if folder else self.folder)
        self._commands: Sequence[Command] = ()
        self._pid = 0

    @property
    def pid(self) -> int:
        return self._pid

    def launch(self, plan: Plan) -> None:
        self._commands = plan.commands
        for command in plan.commands:
            command.log.unlink(missing_ok=True)
        for command in plan.commands:
            self._pid = self._guard.start(command)

    def is_running(self) -> bool:
        return bool(self._commands) and not any(self._guard.has_ended(each.name) for each in self._commands)

    def terminate(self, wait_s_max: float) -> None:
        """Ask the server itself to stop; what has not stopped by then, and its companions, are killed."""
        self.resume()
        if self._commands and self._guard.signal(self._commands[-1].name, SIGTERM, group=False):
            give_up_at = time.monotonic() + wait_s_max
            while not self._guard.has_ended(self._commands[-1].name) and time.monotonic() < give_up_at:
                time.sleep(POLL_S)
        self.kill()

    def kill(self) -> None:
        for command in reversed(self._commands):
            self._guard.end(command.name)
        self._commands = ()

    def pause(self) -> None:
        for command in self._commands[-1:]:
            self._guard.signal(command.name, SIGSTOP, group=True)

    def resume(self) -> None:
        for command in self._commands[-1:]:
            self._guard.signal(command.name, SIGCONT, group=True)

    def log(self) -> str:
        """What the server has said since it was launched, its end when that is a lot."""
        logs = (path.read_bytes()[-LOG_BYTES_MAX:] for path in sorted(self.folder.glob("*.log")))
        lines = [line for log in logs for line in log.decode(errors="replace").splitlines() if line.strip()]
        # A companion may end without a word: epmd does when its port is taken.
        companions = (each.name for each in self._commands[:-1] if self._guard.has_ended(each.name))
        return "\n".join([*(f"{name} has ended." for name in companions), *lines[-LOG_LINES_MAX:]])

    def close(self) -> None:
        self._commands = ()
        self._guard.close()


class ComposeRunner:
    """One service of `compose.services.yaml`, in a compose project of its own."""

    def __init__(self, service: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"mms-{service}-"))
        self._service = service
        self._project = f"mms-local-{secrets.token_hex(4)}"
        self._variables: Mapping[str, str] = {}
        self._told = ""
        self._guard = Guard(folder=self.folder, cleanup=self.command("down", "--volumes", "--timeout", "0"))

    def command(self, *arguments: str) -> list[str]:
        return ["docker", "compose", "--file", str(COMPOSE_FILE), "--project-name", self._project, *arguments]

    @property
    def pid(self) -> int:
        container = self._run("ps", "--quiet", self._service)
        inspect = ["docker", "inspect", "--format", "{{.State.Pid}}", container]
        return int(subprocess.run(inspect, capture_output=True, check=True, text=True).stdout)

    def launch(self, plan: Plan) -> None:
        self._variables = plan.variables
        self._run("up", "--detach", self._service)

    def is_running(self) -> bool:
        return bool(self._run("ps", "--quiet", "--status", "running", self._service))

    def terminate(self, wait_s_max: float) -> None:
        self.resume()
        self._run("stop", "--timeout", str(round(wait_s_max)), self._service)

    def kill(self) -> None:
        self._run("kill", self._service)

    def pause(self) -> None:
        self._run("pause", self._service)

    def resume(self) -> None:
        if self._run("ps", "--quiet", "--status", "paused", self._service):
            self._run("unpause", self._service)

    def execute(self, *arguments: str) -> str:
        """A command inside the container; what it prints."""
        return self._run("exec", "-T", self._service, *arguments)

    def log(self) -> str:
        logs = self._run("logs", "--no-color", "--tail", str(LOG_LINES_MAX), self._service)
        return "\n".join(line for line in (self._told, logs) if line)

    def close(self) -> None:
        self._guard.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, *arguments: str) -> str:
        """What it prints.

        What it complains about is kept for `log`: a server that did not start shows in `is_running`, as it
        does for processes.
        """
        done = subprocess.run(
            self.command(*arguments),
            env={**os.environ, **self._variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMPOSE_S_MAX,
        )
        if done.returncode:
            self._told = done.stderr.strip()
        return done.stdout.strip()


def run_once(argv: Sequence[str], env: Mapping[str, str], wait_s_max: float) -> str:
    """A command's output. Raises ServerError with what it said when it fails or takes too long."""
    try:
        done = subprocess.run(
            argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=wait_s_max
        )
    except subprocess.TimeoutExpired as error:
        raise ServerError(f"{argv[0]} did not end within {wait_s_max:.0f} s.") from error
    if done.returncode:
        raise ServerError(f"{' '.join(argv)} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout
