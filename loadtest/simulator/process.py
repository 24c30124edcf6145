"""The simulator as a subprocess, from sync or async code: `with SimulatorProcess(rate_per_s=50) as sim: …`."""

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from loadtest.simulator.control_client import SimulatorControl
from loadtest.simulator.envelopes import EnvelopeKind
from loadtest.simulator.limit import Window

START_S_MAX = 20.0
STOP_S_MAX = 5.0
_LINE_BYTES_MAX = 65_536
_PROJECT = Path(__file__).resolve().parents[2]


class SimulatorProcessError(Exception):
    """The simulator did not start; the sentence holds what it said."""


class SimulatorProcess:
    """Starts the simulator, waits until it serves, and ends it with the `with` block.

    The arguments are the options of `python -m loadtest.simulator` (None: its default); `accounts` maps an
    APPKEY to its rate. Raises SimulatorProcessError when it is not ready within START_S_MAX.
    """

    def __init__(
        self,
        *,
        rate_per_s: int | None = None,
        window: Window | None = None,
        burst: int | None = None,
        count_refused: bool = False,
        unlimited: bool = False,
        latency_ms: float | None = None,
        latency_spread_ms: float | None = None,
        spread_ms: float | None = None,
        envelope: EnvelopeKind | None = None,
        accounts: Mapping[str, int] | None = None,
        seed: int | None = None,
        directory: Path | None = None,
        host: str | None = None,
        port: int | None = None,
        control_host: str | None = None,
        control_port: int | None = None,
        keep_alive_s: float | None = None,
    ) -> None:
        options = {
            "--rate": rate_per_s,
            "--window": window,
            "--burst": burst,
            "--latency-ms": latency_ms,
            "--latency-spread-ms": latency_spread_ms,
            "--spread-ms": spread_ms,
            "--envelope": envelope,
            "--seed": seed,
            "--dir": directory,
            "--host": host,
            "--port": port,
            "--control-host": control_host,
            "--control-port": control_port,
            "--keep-alive-s": keep_alive_s,
        }
        self._arguments = [f"{name}={value}" for name, value in options.items() if value is not None]
        self._arguments += ["--count-refused"] * count_refused + ["--unlimited"] * unlimited
        self._arguments.append("--while-stdin-is-open")
        self._accounts = accounts
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._control: SimulatorControl | None = None
        self.api_url = ""
        self.control_url = ""
        self.ca_file = Path()

    @property
    def control(self) -> SimulatorControl:
        """The control interface of the running simulator."""
        if self._control is None:
            raise SimulatorProcessError("The simulator is not running: use it inside its with block.")
        return self._control

    @property
    def pid(self) -> int:
        """The process id of the running simulator."""
        if self._process is None:
            raise SimulatorProcessError("The simulator is not running: use it inside its with block.")
        return self._process.pid

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process: SIGTERM, and SIGKILL when that has not helped within STOP_S_MAX."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if (process := self._process) is not None:
            self._process = None
            process.terminate()
            try:
                process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def _start(self) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="mms-simulator-")
        scratch = Path(self._scratch.name)
        arguments = list(self._arguments)
        if not any(argument.startswith("--dir=") for argument in arguments):
            arguments.append(f"--dir={scratch}")
        if self._accounts is not None:
            accounts_file = scratch / "accounts.toml"
            accounts_file.write_text(_accounts_toml(self._accounts), encoding="utf-8")
            arguments.append(f"--accounts={accounts_file}")
        errors = scratch / "stderr"
        with errors.open("wb") as error_output:
            self._process = subprocess.Popen(  # noqa: S603 - our own module with our own options
                [sys.executable, "-m", "loadtest.simulator", *arguments],
                cwd=_PROJECT,
                # Closes where this process goes, however it ends.
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=error_output,
            )
        if self._process.stdout is None:
            raise AssertionError("stdout was asked to be a pipe")
        line = _first_line(self._process.stdout, START_S_MAX)
        if not line.endswith(b"\n"):
            said = errors.read_text(encoding="utf-8", errors="replace").strip()
            raise SimulatorProcessError(f"The simulator was not ready within {START_S_MAX:.0f} s: {said}")
        ready = json.loads(line)
        self.api_url, self.control_url = ready["api_url"], ready["control_url"]
        self.ca_file = Path(ready["ca_file"])
        self._control = SimulatorControl(self.control_url)


def _first_line(output: IO[bytes], wait_s_max: float) -> bytes:
    """The first line, or what there is of it when the output or the time ends."""
    line = b""
    give_up_at = time.monotonic() + wait_s_max
    while not line.endswith(b"\n") and len(line) < _LINE_BYTES_MAX:
        left_s = give_up_at - time.monotonic()
        if left_s <= 0 or not select.select([output], [], [], left_s)[0]:
            break
        if not (piece := os.read(output.fileno(), _LINE_BYTES_MAX)):
            break
        line += piece
    return line


def _accounts_toml(accounts: Mapping[str, int]) -> str:
    return "".join(f"[accounts.{json.dumps(key)}]\nrate_per_s = {rate}\n" for key, rate in accounts.items())
