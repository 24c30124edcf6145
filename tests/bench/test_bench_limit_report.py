"""The options of `limit`, its tables and its JSON; the rivals' command line and lock."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from loadtest.bench.circumstances import Versions, circumstances
from loadtest.bench.limit.cells import Cell
from loadtest.bench.limit.idle import IdleFigures
from loadtest.bench.limit.outcomes import Outcome, outcome
from loadtest.bench.limit.report import draw_limit, limit_result, outcome_line
from loadtest.bench.options import read_options
from loadtest.bench.report import result, write_json
from loadtest.bench.rivals_environment import COMPARED, LOCK, rival_versions
from loadtest.rivals.call import call_of
from loadtest.rivals.catalogue import RIVAL_NAMES, RIVALS, rival_named
from loadtest.rivals.command import read_setup
from tests.bench.options import LIMIT
from tests.bench.test_bench_limit import CELL, CHANGED, GOOD

BUSY = replace(GOOD, busy_share=0.97, commands_per_call=0.05)
LARGE = replace(
    GOOD,
    share_of_limit=1.033,
    throttled_per_1000=237.4,
    learning_throttled_calls=1_234,
    worst_second_calls=1_337,
    workers_apart=3.966,
    commands_per_call=571.04,
    commands_per_call_with_scripts=571.04,
    cpu_s_per_1000_calls=71.6,
)
OUTCOMES = [
    outcome("grid", CELL, GOOD),
    outcome("grid", replace(CELL, window="calendar", rate_per_s=1_000, spread_ms=40.0), BUSY),
    Outcome("grid", replace(CELL, workers=1), None, why_not="Nothing was sent.\nThe end of its log"),
    outcome("grid", CELL, replace(GOOD, share_of_limit=0.5, throttled_per_1000=80.0)),
    outcome("idle", CELL, IdleFigures(GOOD, first_throttled_calls=0)),
    outcome("changes", CELL, CHANGED),
    outcome("rivals", replace(CELL, rival="throttled"), LARGE),
]


def drawn() -> list[str]:
    console = Console(file=StringIO(), width=80, color_system=None)
    with console.capture() as capture:
        draw_limit(console, OUTCOMES)
    return capture.get().splitlines()


def test_nothing_said_means_everything() -> None:
    assert read_options(["limit"]) == LIMIT


def test_every_option_is_heard(tmp_path: Path) -> None:
    file = tmp_path / "limit.json"
    told = (
        "--parts rivals,grid --windows bucket,rolling --rates 150 --workers 2,3 --spreads 7.5 --rivals gcra,celery "
        "--learn-s 4 --rival-learn-s 5 --seconds 6 --parallel 2 --latency-ms 3 --seed 8"
    )
    assert read_options(["limit", *told.split(), "--json", str(file)]) == replace(
        LIMIT,
        parts=("grid", "rivals"),
        windows=("bucket", "rolling"),
        rates_per_s=(150,),
        workers=(2, 3),
        spreads_ms=(7.5,),
        rivals=("gcra", "celery"),
        learn_s=4,
        rival_learn_s=5,
        seconds=6,
        parallel=2,
        latency_ms=3,
        seed=8,
        json_file=file,
    )


@pytest.mark.parametrize("told", ["--no-rivals", "--only-ours", "--parts grid,idle,changes,batches,urgent,neighbours"])
def test_rivals_can_be_left_out(told: str) -> None:
    assert read_options(["limit", *told.split()]) == replace(
        LIMIT, parts=("grid", "idle", "changes", "batches", "urgent", "neighbours")
    )


@pytest.mark.parametrize(
    "told",
    [
        "--windows rolled",
        "--rates 15,",
        "--rates 0",
        "--workers 65",
        "--spreads nan",
        "--parts everything",
        "--rivals celery,nobody",
        "--rivals celery --no-rivals",
        "--parallel 17",
        "--seconds 0",
        "--json no/such/folder.json",
        "--parts rivals --no-rivals",
    ],
)
def test_a_wrong_option_is_told_in_one_line_with_exit_code_2(told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read_options(["limit", *told.split()])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_tables_fit_80_columns_and_say_how_many_cells_hold() -> None:
    lines = drawn()
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 80
    assert "…" not in text
    for told in (
        "The limit, used and kept: 2 of 4 hold, 1 not measured",
        "A burst after 5 s idle: 1 of 1 hold",
        "raised again: 1 of 1 hold",
        "The same through others: 0 of 1 hold",
        "99.3%",
        "1.02/4.10",
        "571/571",
        "1,234",
        "39.4 s",
        "calendar 1,000/s 40 ms 4 workers.",
        "Nothing was sent.",
    ):
        assert told in text
    assert "The end of its log" not in text


@pytest.mark.parametrize("one", OUTCOMES)
def test_each_cell_has_a_line_of_its_own(one: Outcome) -> None:
    assert one.cell.title in outcome_line(one)
    assert one.verdict in outcome_line(one)


def test_json_tells_every_cell_with_its_figures_and_verdict(tmp_path: Path) -> None:
    file = tmp_path / "limit.json"
    seen = circumstances(["limit"], seed=1)
    write_json(file, result(LIMIT, seen, Versions("0.1.0", "3.10", "7.0"), limit_result(OUTCOMES, {"celery": "5"})))
    told = json.loads(file.read_text())
    assert told["measurement"] == "limit"
    figures = told["figures"]
    assert figures["summary"]["grid"] == {"held": 2, "measured": 3, "cells": 4}
    assert figures["grid"][0]["figures"]["share_of_limit"] == 0.993
    assert figures["grid"][0]["holds"] is True
    assert figures["grid"][2]["not_measured"].startswith("Nothing was sent.")
    assert figures["rivals"][0]["misses"] == ["429", "apart", "Redis"]
    assert figures["rivals"][0]["title"] == "throttled-py token bucket"
    assert figures["changes"][0]["figures"]["reaction"]["probes_after_s"] == [20.5, 31.0]
    assert figures["targets"]["commands_per_call_max_by_rate"] == {"15": 1.2, "1000": 0.1}
    assert figures["rival_versions"] == {"celery": "5"}


def test_the_lock_names_the_versions_of_all_that_is_compared_with_and_no_address() -> None:
    assert set(rival_versions()) == set(COMPARED)
    assert "://" not in LOCK.read_text()


def test_rivals_are_found_by_their_names() -> None:
    assert [rival_named(name) for name in RIVAL_NAMES] == list(RIVALS)
    assert "celery" in Cell("rolling", 15, 4, 5.0, 1, 1, "celery").title


def test_a_rival_hears_all_that_it_is_told() -> None:
    told = "gcra --amqp-url a --queue q --redis-url r --api-url u --ca-file f --app-key k --rate 15 --processes 4"
    setup = read_setup([*told.split(), "--sent-file", "s"])
    assert (setup.name, setup.rate_per_s, setup.processes, setup.is_to_publish) == ("gcra", 15, 4, False)
    assert read_setup([*told.split(), "--sent-file", "s", "--publish"]).is_to_publish


def test_a_rival_makes_the_call_that_the_job_asks_for() -> None:
    call = call_of(b'{"id": "1", "to": ["+61400000001"], "text": "Hello", "media": {"data": "AAEC"}}')
    assert (call.text, json.loads(call.numbers), call.picture) == ("Hello", ["+61400000001"], b"\x00\x01\x02")
