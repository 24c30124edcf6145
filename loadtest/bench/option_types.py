"""How single options are read; what is wrong with one is told in words."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

LATENCY_MS_MAX = 10_000

Value = TypeVar("Value")


def whole(least: int, most: int) -> Callable[[str], int]:
    """Read a whole number within bounds."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}, not {text!r}")
        return number

    return read


def milliseconds(text: str) -> float:
    """Read a time."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= LATENCY_MS_MAX:
        raise argparse.ArgumentTypeError(f"must be from 0 to {LATENCY_MS_MAX} ms, not {text!r}")
    return number


def new_file(text: str) -> Path:
    """Read the name of a file that can be written."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"no file can be written at {text!r}: name one in a folder that exists")
    return path


def one_of(names: Sequence[str]) -> Callable[[str], str]:
    """Read one of a few names."""

    def read(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"must be of {', '.join(names)}, not {text!r}")
        return text

    return read


def several(read_one: Callable[[str], Value]) -> Callable[[str], tuple[Value, ...]]:
    """Read values with commas between them; one that is said twice counts once."""

    def read(text: str) -> tuple[Value, ...]:
        return tuple(dict.fromkeys(read_one(part.strip()) for part in text.split(",")))

    return read
