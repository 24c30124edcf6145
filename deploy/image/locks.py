"""The lock files of the images, cut out of `requirements.lock`: same versions, same hashes, and nothing for tests.

`requirements.lock` says of each package which others ask for it (`# via …`); what an image needs is what can be reached
from the few packages that are named for it.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
BUILD_ROOTS: Final = ("hatchling",)
SIMULATOR_ROOTS: Final = ("aiohttp", "httpx", "multipart", "orjson", "prometheus-client", "trustme", "uvloop")
"""What `loadtest/simulator` imports."""

_HEAD: Final = "# Made by `make generate` from requirements.lock: do not edit.\n"
_PINNED: Final = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Pinned:
    """One package of the lock: its lines as they stand there, and the names of those that ask for it."""

    lines: str
    wanted_by: frozenset[str]


def worker_lock() -> str:
    """What the worker needs to run."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return part_of_lock(_whole_lock(), map(_name, project["dependencies"]))


def build_lock() -> str:
    """What makes a wheel of the worker."""
    return part_of_lock(_whole_lock(), BUILD_ROOTS)


def simulator_lock() -> str:
    """What the simulator needs to run."""
    return part_of_lock(_whole_lock(), SIMULATOR_ROOTS)


def part_of_lock(lock: str, roots: Iterable[str]) -> str:
    """The entries of `roots` and of all that they ask for. ValueError names a root that is not locked."""
    pinned = _pinned(lock)
    reached: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in pinned:
            raise ValueError(f"{name} is not in requirements.lock: run make lock.")
        if name not in reached:
            reached.add(name)
            waiting += [other for other, entry in pinned.items() if name in entry.wanted_by]
    return _HEAD + "".join(entry.lines for name, entry in pinned.items() if name in reached)


def _pinned(lock: str) -> Mapping[str, _Pinned]:
    starts = [(match[1], match.start()) for match in _PINNED.finditer(lock)]
    ends = [start for _, start in starts[1:]] + [len(lock)]
    return {name: _entry(lock[start:end]) for (name, start), end in zip(starts, ends, strict=True)}


def _entry(lines: str) -> _Pinned:
    comments = re.findall(r"^ +# +(.+)$", lines, re.MULTILINE)
    names = (comment.removeprefix("via").strip() for comment in comments)
    return _Pinned(lines, frozenset(name for name in names if name))


def _name(requirement: str) -> str:
    """The normalised name in a requirement such as `redis[hiredis]>=8.1`."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", found[0] if found else requirement).lower()


def _whole_lock() -> str:
    return (ROOT / "requirements.lock").read_text()
