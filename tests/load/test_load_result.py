"""A result survives the way to a file and back, and what is not one is told in a sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.failure import LoadTestError
from loadtest.load.result import POINTS_MAX, Latency
from loadtest.load.result_files import as_json, from_json, read_result, write_result
from tests.load.results import small_result

Told = dict[str, Any]


@given(st.from_type(Latency).filter(lambda one: str(one) == str(one).replace("nan", "").replace("inf", "")))
def test_what_is_written_is_read_again(time: Latency) -> None:
    result = small_result(latencies=(time,))
    assert from_json(as_json(result)) == result


def test_a_file_is_written_into_a_folder_that_is_made_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "some" / "result.json"
    write_result(path, small_result())
    assert read_result(path) == small_result()


def test_a_file_from_before_the_limit_was_claimed_to_be_kept_can_be_read() -> None:
    content = json.loads(as_json(small_result(is_limit_kept=True)))
    del content["is_limit_kept"]
    assert from_json(json.dumps(content)) == small_result()


def test_a_result_from_before_there_were_conditions_is_read(tmp_path: Path) -> None:
    content = json.loads(as_json(small_result()))
    del content["conditions"]
    path = tmp_path / "result.json"
    path.write_text(json.dumps(content))
    assert read_result(path) == small_result(conditions=None)


def without(*names: str) -> Callable[[Told], None]:
    def change(told: Told) -> None:
        *where, last = names
        for name in where:
            told = told[name]
        del told[last]

    return change


def having(value: object, *names: str | int) -> Callable[[Any], None]:
    def change(told: Any) -> None:
        *where, last = names
        for name in where:
            told = told[name]
        told[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without("format"), "does not say which format"),
        (having(99, "format"), "has format 99, and this program reads format 1"),
        (without("seed"), "seed: field required"),
        (without("correctness", "lost"), "correctness.lost: field required"),
        (having("many", "correctness", "lost"), "correctness.lost: input should be a valid integer"),
        (having({}, "series", "accounts"), "series.accounts has nothing under 'all'"),
        (having([1], "series", "backlog"), "series.backlog has 1 entries, and series.t_s has 3"),
        (having([0.5], "series", "processes", "worker 1", "cpu_cores"), "processes.worker 1.cpu_cores has 1 entries"),
        (having(math.nan, "accounts", 0, "share_of_limit"), "accounts.0.share_of_limit: input should be a finite"),
        (having(-math.inf, "series", "t_s", 0), "series.t_s.0: input should be a finite number"),
        (having("NaN", "latencies", 0, "p99_ms"), "latencies.0.p99_ms: input should be a finite number"),
        (having([1.0] * (POINTS_MAX + 1), "series", "t_s"), f"{POINTS_MAX} are the most"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, change: Callable[[Told], None], told: str) -> None:
    content = json.loads(as_json(small_result()))
    change(content)
    path = tmp_path / "result.json"
    path.write_text(json.dumps(content))
    with pytest.raises(LoadTestError) as caught:
        read_result(path)
    assert told in str(caught.value)
    assert str(caught.value).endswith(".")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_what_is_no_result_at_all(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(content)
    with pytest.raises(LoadTestError, match="is not the result of a load test"):
        read_result(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LoadTestError, match="cannot be read"):
        read_result(tmp_path / "none.json")
    with pytest.raises(LoadTestError, match="cannot be written"):
        write_result(tmp_path, small_result())
