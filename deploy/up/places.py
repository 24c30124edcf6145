"""Where everything of a running system lives, below `.run/up`, and how one is told from another."""

import fcntl
import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final, Self

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / ".run" / "up"
#: All that is ever made there.
CONTENT: Final = (
    *("logs", "secrets", "rabbitmq", "redis", "prometheus", "simulator"),
    *("upstream.env", "operator.env", "ports.json", "ports.new", "keeper.log", "state.json", "state.new", "lock"),
)
REMOVE_S_MAX, TRY_AGAIN_S = 10.0, 0.1
LOCK_S_MAX = 2.0
COMPOSE_SECRETS: Final = ROOT / ".run" / "compose-secrets"


@dataclass(frozen=True, slots=True)
class Place:
    """One thing that can be reached: what it is, its address, and how to get in."""

    what: str
    address: str
    login: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """What the keeper says of itself. `failure`: why it could not start; empty while it starts and once it is ready.

    `pid` is 0 when it has not said anything yet.
    """

    pid: int
    is_ready: bool = False
    failure: str = ""
    places: tuple[Place, ...] = ()

    @classmethod
    def of_this_process(cls) -> Self:
        """While it starts."""
        return cls(os.getpid())

    def write(self, folder: Path) -> None:
        """Whole or not at all: somebody may be reading."""
        fresh = folder / "state.new"
        fresh.write_text(json.dumps(asdict(self)))
        fresh.replace(folder / "state.json")

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """What was written last, by whomever."""
        try:
            told = json.loads((folder / "state.json").read_text())
        except FileNotFoundError:
            return None
        places = tuple(Place(**place) for place in told.pop("places"))
        return cls(**told, places=places)


class Lock:
    """Held by the keeper as long as it lives, however it ends: whoever finds it taken knows that the state is true.

    A process id alone may be somebody else's by now.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file: IO[str] = (folder / "lock").open("w")

    def take(self) -> bool:
        """Whether it is ours now."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def take_soon(self) -> bool:
        """The same, for whoever is to keep it: somebody else may just be looking."""
        give_up_s = time.monotonic() + LOCK_S_MAX
        while not self.take():
            if time.monotonic() > give_up_s:
                return False
            time.sleep(TRY_AGAIN_S)
        return True

    def close(self) -> None:
        """Let go of it."""
        self._file.close()


def running(folder: Path) -> State | None:
    """What runs with this folder now, or None."""
    if not folder.exists():
        return None
    lock = Lock(folder)
    try:
        return None if lock.take() else State.read(folder) or State(pid=0)
    finally:
        lock.close()


def tidied(folder: Path) -> bool:
    """Take away what a keeper has said that is gone; False when there is one."""
    lock = Lock(folder)
    try:
        if not lock.take_soon():
            return False
        (folder / "state.json").unlink(missing_ok=True)
        return True
    finally:
        lock.close()


def forget(folder: Path) -> bool:
    """Remove what a system that has ended held; False when there is something else in the folder, which stays.

    Raises OSError.
    """
    give_up_s = time.monotonic() + REMOVE_S_MAX
    for path in (folder / name for name in CONTENT):
        while path.exists():
            try:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            except OSError:
                # Of a keeper that was killed, servers may write for a moment more.
                if time.monotonic() > give_up_s:
                    raise
                time.sleep(TRY_AGAIN_S)
    with suppress(OSError):
        folder.rmdir()
    return not folder.exists()
