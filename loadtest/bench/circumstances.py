"""Under which circumstances a measurement was made: without them its figures say little."""

import os
import platform
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Versions:
    """As each tells itself."""

    worker: str
    rabbitmq: str
    redis: str


@dataclass(frozen=True, slots=True)
class Circumstances:
    """`load_averages`: over 1, 5 and 15 minutes, before anything of ours ran."""

    command: str
    started_at: str
    python: str
    cores: int
    load_averages: tuple[float, float, float]
    seed: int


def circumstances(arguments: Sequence[str], *, seed: int) -> Circumstances:
    """Look at the machine now."""
    return Circumstances(
        command=shlex.join(["python", "-m", "loadtest.bench", *arguments]),
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        python=platform.python_version(),
        cores=len(os.sched_getaffinity(0)),
        load_averages=os.getloadavg(),
        seed=seed,
    )
