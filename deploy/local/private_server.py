"""The life of a private server, the same for all of them, for processes and for containers.

    new -> start -> running -> stop / kill -> start or restart (same port, same data) ... -> close

`close`, or leaving the `with` block, ends it at once and removes its data, unless they have a folder to stay in.
All methods block, and may be called from any thread; the longest wait is `READY_S_MAX`.
"""

import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Self

from deploy.local.failure import ServerError
from deploy.local.located import Native, locate_or_raise
from deploy.local.runners import ComposeRunner, NativeRunner, Plan, Runner

READY_S_MAX = 60.0
READY_POLL_S = 0.02
HANDSHAKE_S_MAX = 2.0
STOP_S_MAX = 15.0
PORT_TRIES_MAX = 5
LOG_TAIL_LINES = 15
PORT_TAKEN = ("eaddrinuse", "address already in use", "already allocated", "epmd has ended")


class PortTakenError(ServerError):
    """Another process was quicker to a port."""


class PrivateServer(ABC):
    """Raises ServersMissingError when this machine has no such server."""

    service: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, *, folder: Path | None = None) -> None:
        """`folder`: where its data live and stay, for servers that run as processes; None: with it they go."""
        self._has_ports = False
        self._runner = self._make_runner(folder)

    def _make_runner(self, folder: Path | None) -> Runner:
        self._located = locate_or_raise()
        native = isinstance(self._located, Native)
        return NativeRunner(self.service, folder) if native else ComposeRunner(self.service)

    @abstractmethod
    def _choose_ports(self) -> None: ...

    @abstractmethod
    def _plan(self) -> Plan: ...

    @abstractmethod
    def _is_ready(self) -> bool: ...

    @property
    @abstractmethod
    def url(self) -> str: ...

    @property
    @abstractmethod
    def port(self) -> int: ...

    @property
    def pid(self) -> int:
        """The server's main process."""
        return self._runner.pid

    @property
    def folder(self) -> Path:
        """Where its data and its log are, of a server that runs as a process."""
        return self._runner.folder

    def is_running(self) -> bool:
        return self._runner.is_running()

    def log(self) -> str:
        """What it has said since it was started, the end of it when that is a lot."""
        return self._runner.log()

    def start(self) -> None:
        """Returns when a real login or PING has succeeded; raises ServerError with the end of the log.

        The first start picks ports, and picks again when another process was quicker; later ones keep them.
        """
        for tries_left in reversed(range(PORT_TRIES_MAX)):
            if not self._has_ports:
                self._choose_ports()
            try:
                self._launch()
            except PortTakenError:
                if self._has_ports or not tries_left:
                    raise
            else:
                self._has_ports = True
                return

    def stop(self) -> None:
        """In order, within STOP_S_MAX, or else by force. The data stay."""
        self._runner.terminate(STOP_S_MAX)

    def kill(self) -> None:
        """SIGKILL, to all processes of the server. The data stay."""
        self._runner.kill()

    def restart(self) -> None:
        """On the same port, with the same data; also after `kill`."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """It holds its connections and answers nothing (SIGSTOP) until `resume`."""
        self._runner.pause()

    def resume(self) -> None:
        self._runner.resume()

    def close(self) -> None:
        """Ends it at once and removes its data; more than once does no harm."""
        self._runner.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _launch(self) -> None:
        if self._runner.is_running():
            raise ServerError(f"{self.title} is running already on port {self.port}.")
        self._runner.launch(self._plan())
        give_up_at = time.monotonic() + READY_S_MAX
        while not self._is_ready():
            log = self._runner.log()
            # Not waited for: RabbitMQ takes seconds more to end after it has found its port taken.
            port_taken = any(sign in log.lower() for sign in PORT_TAKEN)
            ended = port_taken or not self._runner.is_running()
            if ended or time.monotonic() > give_up_at:
                self._runner.kill()
                what = "ended while starting" if ended else f"was not ready within {READY_S_MAX:.0f} s"
                tail = "\n".join(log.splitlines()[-LOG_TAIL_LINES:])
                told = f"{self.title} {what}. The end of its log:\n{tail}"
                raise PortTakenError(told) if port_taken else ServerError(told)
            time.sleep(READY_POLL_S)
