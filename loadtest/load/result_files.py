"""A result as a file: written, and read again with a check of everything that others rely on."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from pydantic import ConfigDict, RootModel, ValidationError

from loadtest.failure import LoadTestError
from loadtest.load.result import ALL, FORMAT, POINTS_MAX, Result, Series

BYTES_MAX = 100_000_000
MISTAKES_SHOWN_MAX = 5


class _File(RootModel[Result]):
    """Python's JSON has NaN and Infinity, which are no figures."""

    model_config = ConfigDict(allow_inf_nan=False)


def write_result(path: Path, result: Result) -> None:
    """Write it as JSON, and its folder if need be. Raises LoadTestError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(as_json(result), encoding="utf-8")
    except OSError as error:
        raise LoadTestError(f"The result cannot be written to {path}: {error.strerror}.") from error


def read_result(path: Path) -> Result:
    """Read what `write_result` wrote. Raises LoadTestError with what is wrong, in one sentence."""
    try:
        if path.stat().st_size > BYTES_MAX:
            raise LoadTestError(f"{path} is larger than any result of a load test.")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise LoadTestError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError:
        raise LoadTestError(f"{path} is not the result of a load test: it is no text.") from None
    try:
        return from_json(text)
    except ValueError as error:
        raise LoadTestError(f"{path} is not the result of a load test: {error}.") from None


def as_json(result: Result) -> str:
    """The file's text."""
    return json.dumps(asdict(result), ensure_ascii=False, allow_nan=False) + "\n"


def from_json(text: str) -> Result:
    """Out of the file's text. Raises ValueError, with what is wrong in words and without a full stop."""
    try:
        told = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON ({error.msg}, line {error.lineno})") from None
    if not isinstance(told, dict) or "format" not in told:
        raise ValueError("it does not say which format it has")
    if told["format"] != FORMAT:
        raise ValueError(f"it has format {told['format']!r}, and this program reads format {FORMAT}")
    try:
        result = _File.model_validate(told).root
    except ValidationError as error:
        raise ValueError(_words(error)) from None
    if mistakes := [*_uneven(result.series)]:
        raise ValueError("; ".join(mistakes[:MISTAKES_SHOWN_MAX]))
    return result


def _words(error: ValidationError) -> str:
    mistakes = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [f"{'.'.join(map(str, one['loc']))}: {one['msg'].lower()}" for one in mistakes[:MISTAKES_SHOWN_MAX]]
    more = len(mistakes) - len(shown)
    return "; ".join([*shown, f"and {more} more such mistakes"] if more else shown)


def _uneven(series: Series) -> Iterator[str]:
    """What does not have an entry for each moment, or is missing."""
    points = len(series.t_s)
    if points > POINTS_MAX:
        yield f"series.t_s has {points} entries, and {POINTS_MAX} are the most"
    if ALL not in series.accounts:
        yield f"series.accounts has nothing under {ALL!r}"
    for name, length in _lengths(series):
        if length != points:
            yield f"series.{name} has {length} entries, and series.t_s has {points}"


def _lengths(series: Series) -> Iterator[tuple[str, int]]:
    yield from (
        ("published_per_s", len(series.published_per_s)),
        ("ended_per_s", len(series.ended_per_s)),
        ("backlog", len(series.backlog)),
    )
    if series.ideal_backlog is not None:
        yield "ideal_backlog", len(series.ideal_backlog)
    for kind, named in (("accounts", series.accounts), ("processes", series.processes)):
        for name, one in named.items():
            for field in one.__dataclass_fields__:
                yield f"{kind}.{name}.{field}", len(getattr(one, field))
