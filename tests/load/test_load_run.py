"""A short run for real: it closes its books, writes a result that can be read, and ends as it should."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import astuple
from pathlib import Path

import pytest

from loadtest.load.options import PageOptions, RunOptions, read_options
from loadtest.load.result import ALL, Result
from loadtest.load.result_files import read_result, write_result
from loadtest.load.versions import UNKNOWN
from tests.load.results import small_result

PROJECT = Path(__file__).resolve().parents[2]
RUN_S_MAX = 55
SCENARIOS = """
[short]
title = "Short"
purpose = "Two accounts, a backlog, a schedule and a fault, in a few seconds."
workers = 1
limits = { first = 40, second = 20 }
before = 40
jobs = { recipients = 2, urgent_share = 0.1 }
phases = [{ seconds = 2, of_limit = 0.5, arrivals = "even" }, { seconds = 2, of_limit = 1.2 }]
faults = [{ at_s = 1, kind = "Redis restarted" }]
"""


def load_test(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "loadtest", *map(str, arguments)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=RUN_S_MAX, check=False)


@pytest.fixture
def scenarios(tmp_path: Path) -> Path:
    path = tmp_path / "scenarios.toml"
    path.write_text(SCENARIOS)
    return path


def test_a_short_run_closes_its_books(tmp_path: Path, scenarios: Path) -> None:
    told = tmp_path / "short.json"
    ended = load_test("run", "short", "--file", scenarios, "--seed", "5", "--no-capacity", "--json", told)
    assert told.exists(), ended.stdout + ended.stderr
    result = read_result(told)
    books = result.correctness
    assert books.problems == (), ended.stdout
    assert (books.lost, books.duplicated, books.sent) == (0, 0, books.published)
    assert books.published == result.producer.jobs > 140
    assert (ended.returncode == 0) is result.holds
    assert told.with_suffix(".html").stat().st_size > 0
    assert_figures(result)


def assert_figures(result: Result) -> None:
    everything, first, second = result.accounts
    assert (everything.name, first.name, second.name) == (ALL, "first", "second")
    assert everything.recipients == first.recipients + second.recipients == 2 * result.correctness.published
    assert everything.calls == first.calls + second.calls
    assert sum(result.series.accounts[ALL].arrivals_per_s) == pytest.approx(everything.calls)
    assert sum(result.series.published_per_s) == sum(result.series.ended_per_s) == result.correctness.published
    assert result.series.backlog[-1] == 0
    assert {"worker 1", "simulator", "rabbitmq", "redis", "producer"} == result.series.processes.keys()
    assert max(mb for mb in result.series.processes["worker 1"].memory_mb if mb is not None) > 10
    assert result.preload is not None
    assert result.preload.jobs == 40
    calls, beyond, urgent, events = result.latencies
    assert calls.count == beyond.count == events.count == result.correctness.published - 40
    assert 0 < urgent.count < calls.count
    assert beyond.p50_ms <= calls.p50_ms <= events.p50_ms * 1.01 + 1
    assert UNKNOWN not in astuple(result.versions)
    assert result.conditions is not None
    assert (result.conditions.recipients, result.conditions.urgent_share, result.conditions.window) == (
        2, 0.1, "rolling",
    )  # fmt: skip
    began_s = result.phases[0].began_s
    assert began_s > 1
    assert sum(result.series.published_per_s[: int(began_s)]) == 40
    assert result.phases[-1].ended_s == pytest.approx(began_s + 4)
    (fault,) = result.faults
    assert fault.name == "Redis restarted"
    assert began_s + 1 <= fault.began_s < fault.ended_s < 30


def test_what_cannot_be_done_is_one_sentence_and_exit_code_2(scenarios: Path) -> None:
    ended = load_test("run", "nothing", "--file", scenarios)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "There is no scenario 'nothing': use one of short.\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "short", "--seconds", "0"], "must be a whole number from 1"),
        (["run", "short", "--json", "/nowhere/at/all.json"], "no file can be written"),
        (["run"], "SCENARIO"),
        (["compare", "a.json"], "B.json"),
        ([], "required"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        read_options(arguments)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert told in said
    assert len(said.strip().splitlines()) == 1


def test_a_result_goes_to_its_usual_place_and_its_page_beside_it() -> None:
    options = read_options(["page", "some/result.json"])
    assert options == PageOptions(Path("some/result.json"), Path("some/result.html"))
    run = read_options(["run", "steady"])
    assert isinstance(run, RunOptions)
    assert (run.seed, run.seconds, run.json_file, run.is_capacity_wanted) == (1, None, None, True)


def test_the_scenarios_are_listed(scenarios: Path) -> None:
    ended = load_test("list", "--file", scenarios)
    assert ended.returncode == 0
    assert "short" in ended.stdout


def test_a_path_that_looks_like_markup_is_shown_as_it_is(tmp_path: Path) -> None:
    told = tmp_path / "[" / "x.json"
    write_result(told, small_result())
    page = tmp_path / "[" / "red].html"
    ended = load_test("page", told, "--page", page)
    assert (ended.returncode, ended.stdout) == (0, f"Page: {page}\n")


def test_two_results_are_compared_and_one_is_made_a_page(tmp_path: Path) -> None:
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    write_result(before, small_result())
    write_result(after, small_result(claims=()))
    assert load_test("compare", before, after).returncode == 0
    broken = small_result().claims[0]
    write_result(after, small_result(claims=(type(broken)(broken.claim, "1 of 44", holds=False),)))
    ended = load_test("compare", before, after)
    assert ended.returncode == 1
    assert "does not hold any more" in ended.stdout
    assert load_test("page", before).returncode == 0
    assert before.with_suffix(".html").stat().st_size > 0
