"""Scenarios out of a TOML file; every mistake in it is told at once, each in a sentence."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from loadtest.failure import LoadTestError
from loadtest.load.scenario import Scenario

SCENARIOS = Path(__file__).with_name("scenarios.toml")
MISTAKES_SHOWN_MAX = 20


class ScenarioMistakesError(LoadTestError):
    """The file is not right; `mistakes` are sentences."""

    def __init__(self, path: Path, mistakes: list[str]) -> None:
        shown = mistakes[:MISTAKES_SHOWN_MAX]
        more = len(mistakes) - len(shown)
        lines = [f"{path} is not right.", *shown, *([f"And {more} more mistakes."] if more else [])]
        super().__init__("\n".join(lines))
        self.mistakes = mistakes


def read_scenarios(path: Path = SCENARIOS) -> dict[str, Scenario]:
    """All scenarios by name, in the order of the file. Raises LoadTestError, or ScenarioMistakesError of it."""
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LoadTestError(f"{path} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LoadTestError(f"{path} is no TOML: {error}.") from error
    scenarios, mistakes = dict[str, Scenario](), list[str]()
    if not told:
        mistakes.append("It holds no scenario.")
    for name, table in told.items():
        try:
            scenarios[name] = scenario_from(table)
        except ValidationError as error:
            mistakes += [f"In {name}, {words}" for words in words_of(error)]
    if mistakes:
        raise ScenarioMistakesError(path, mistakes)
    return scenarios


def scenario_from(table: object) -> Scenario:
    """Out of what TOML (or JSON) holds. Raises ValidationError; see `words_of`."""
    # As JSON, since that has lists alone, as TOML does, and whole numbers where fractions are wanted.
    return Scenario.model_validate_json(json.dumps(table, default=str))


def words_of(error: ValidationError) -> Iterator[str]:
    """One part of a sentence for each mistake, with its full stop: "phases 2: seconds should be greater than 0."."""
    for one in error.errors(include_url=False):
        *where, last = [*one["loc"]] or [""]
        place = "".join(f"{part}: " if isinstance(part, str) else f"number {part + 1}: " for part in where)
        yield f"{place}{_what(last, one)}."


def _what(last: int | str, one: Mapping[str, Any]) -> str:
    name = last if isinstance(last, str) else f"number {last + 1}"
    match one["type"]:
        case "missing":
            return f"{name} is missing"
        case "extra_forbidden":
            return f"{name} is not known here"
        case "value_error":
            return f"{name or 'it'} {one['ctx']['error']}"
    said = str(one["msg"])
    words = said.removeprefix("Input ") if said.startswith("Input ") else f"is wrong: {said.lower()}"
    return f"{name or 'it'} {words}, not {one['input']!r}"
