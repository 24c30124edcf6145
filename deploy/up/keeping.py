"""`python -m deploy.up.keeping FOLDER`: starts a system, keeps it running, and ends it in order when it is told to.

It lives in the background, with a lock that says so. Servers and processes that end are started again, with growing
waits. However this process ends, its guards see to it that nothing of the system is left.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType

from deploy.local.failure import ServerError
from deploy.local.guarded import Guard
from deploy.local.private_server import PrivateServer
from deploy.up.native import Product, System
from deploy.up.places import Lock, State

LOOK_S = 0.5
READY_S_MAX = 60.0
PORTS_S_MAX = 5.0
READY_POLL_S = 0.1
#: A worker that is asked to stop waits for its longest call, 40 s, and tells what came of it.
DRAIN_S_MAX = 60.0
AGAIN_S_MIN, AGAIN_S_MAX = 1.0, 30.0
#: What ran for so long starts again without a wait.
STEADY_S = 60.0
EXIT_FAILED, EXIT_TAKEN = 1, 3


class Keeper:
    """Keeps `system`; `is_told` is set when it is to end."""

    def __init__(self, system: System, state: State, is_told: threading.Event) -> None:
        self._system = system
        self._state = state
        self._is_told = is_told
        self._guard = Guard()
        self._servers: list[PrivateServer] = []
        self._running: dict[str, Product] = {}
        self._started_s: dict[str, float] = {}
        self._waits_s: dict[str, float] = {}

    def keep(self) -> None:
        """Until it is told to end, or cannot start. Raises ServerError."""
        try:
            self._start()
            if self._is_told.is_set():
                return
            State(self._state.pid, is_ready=True, places=self._system.places()).write(self._system.folder)
            say("ready")
            while not self._is_told.wait(LOOK_S):
                self._look()
        finally:
            self._end()

    def _start(self) -> None:
        self._wait_ports()
        self._servers = self._system.servers()
        for server in self._servers:
            if self._is_told.is_set():
                return
            say(f"starting {server.title}")
            server.start()
        simulator = self._system.simulator()
        self._run(simulator)
        self._wait_ready([simulator])
        # The receiver last: what is not of reports alone is the others' to declare.
        for worker in self._system.workers():
            if self._is_told.is_set():
                return
            self._run(worker)
            self._wait_ready([worker])
        self._system.write_environments()

    def _wait_ports(self) -> None:
        """Of a system that was killed just now something may still be ending."""
        give_up_s = time.monotonic() + PORTS_S_MAX
        while (taken := self._system.taken()) and not self._is_told.is_set():
            if time.monotonic() > give_up_s:
                which = ", ".join(f"{port} ({what})" for what, port in taken.items())
                raise ServerError(
                    f"Other processes of this machine have ports that it had before: {which}. End them, or have other "
                    "ports chosen: make down DOWN_ARGS=--forget, which removes the data as well."
                )
            time.sleep(READY_POLL_S)

    def _wait_ready(self, products: Sequence[Product]) -> None:
        give_up_s = time.monotonic() + READY_S_MAX
        for product in products:
            while not product.is_ready():
                if self._is_told.is_set():
                    return
                if self._guard.has_ended(product.name) or time.monotonic() > give_up_s:
                    log = product.command(self._system.logs).log
                    said = log.read_text(errors="replace").splitlines()[-3:]
                    raise ServerError(f"{product.name} did not become ready. The end of {log}:\n" + "\n".join(said))
                time.sleep(READY_POLL_S)

    # --- Keeping -----------------------------------------------------------------------------------------

    def _run(self, product: Product) -> None:
        self._guard.start(product.command(self._system.logs))
        self._running[product.name] = product
        self._started_s[product.name] = time.monotonic()

    def _look(self) -> None:
        """Start again what has ended."""
        for server in self._servers:
            if not server.is_running() and self._may_again(server.title):
                self._started_s[server.title] = time.monotonic()
                self._again(server.title, server.start)
        for name, product in list(self._running.items()):
            if self._guard.has_ended(name) and self._may_again(name):
                self._again(name, partial(self._run, product))

    def _again(self, name: str, start: Callable[[], None]) -> None:
        say(f"{name} had ended: starting it again")
        try:
            start()
        except ServerError as error:
            say(str(error))

    def _may_again(self, name: str) -> bool:
        """Whether its wait is over; each is twice as long as the one before, unless it ran well in between."""
        ran_s = time.monotonic() - self._started_s.get(name, time.monotonic() - STEADY_S)
        wait_s = AGAIN_S_MIN if ran_s >= STEADY_S else self._waits_s.get(name, AGAIN_S_MIN)
        if ran_s < wait_s:
            return False
        self._waits_s[name] = min(wait_s * 2, AGAIN_S_MAX)
        return True

    # --- Ending ------------------------------------------------------------------------------------------

    def _end(self) -> None:
        """Those that send first, while there is still somebody to tell what came of it."""
        names = [name for name, product in self._running.items() if product.arguments[1] == "worker"]
        for name in names:
            self._guard.signal(name, signal.SIGTERM, group=False)
        give_up_s = time.monotonic() + DRAIN_S_MAX
        while time.monotonic() < give_up_s and not all(map(self._guard.has_ended, names)):
            time.sleep(READY_POLL_S)
        self._guard.close()
        for server in reversed(self._servers):
            say(f"stopping {server.title}")
            try:
                server.stop()
            finally:
                server.close()


def say(words: str) -> None:
    """A line of the keeper's log. A disk that is full is no reason to end."""
    with suppress(OSError):
        print(time.strftime("%Y-%m-%dT%H:%M:%S"), words, flush=True)


def main() -> int:
    """Keep a system in the folder that is named; the exit code."""
    folder = Path(sys.argv[1])
    lock = Lock(folder)
    if not lock.take_soon():
        return EXIT_TAKEN
    is_told = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        is_told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    state = State.of_this_process()
    state.write(folder)
    try:
        Keeper(System(folder), state, is_told).keep()
    except (ServerError, OSError) as error:
        say(str(error))
        State(state.pid, failure=str(error)).write(folder)
        return EXIT_FAILED
    say("ended")
    return 0


if __name__ == "__main__":
    sys.exit(main())
