"""Options, tables, JSON and exit codes."""

import json
import os
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from loadtest.bench.circumstances import Circumstances, Versions, circumstances
from loadtest.bench.ledger_figures import LedgerFigures
from loadtest.bench.options import read_options
from loadtest.bench.pace import PaceFigures
from loadtest.bench.report import draw_pace, draw_speed, pace_rows, result, write_json
from loadtest.bench.speed import Cost, SpeedFigures
from tests.bench.options import PACE, SPEED

LEDGER = LedgerFigures(
    calls=1_000,
    throttled_calls=2,
    span_s=66.7,
    worst_second_calls=15,
    share_of_limit=0.9904,
    gap_p1_ms=60.25,
    gap_p50_ms=67.5,
    gap_p99_ms=75.5,
    gap_max_ms=80.5,
)
PACED = PaceFigures(
    ledger=LEDGER,
    shares=(0.25, 0.25, 0.26, 0.24),
    cpu_s_per_1000_jobs=2.5,
    redis_scripts_per_call=1,
    redis_commands_per_call=3,
)
COST = Cost(cpu_us_per_job=1_234.5, cores=0.987)
SPED = SpeedFigures(
    picture="url",
    seconds=12.0,
    jobs=15_000,
    calls_per_s=1_234.5,
    costs={"worker": COST, "simulator": COST, "rabbitmq": COST, "redis": COST},
    confirm_ms=12.34,
    call_ms=23.45,
    peak_resident_bytes=123_400_000,
)
VERSIONS = Versions(worker="0.1.0", rabbitmq="3.10.8", redis="7.0.15")


def drawn(draw: object, *arguments: object) -> list[str]:
    console = Console(file=StringIO(), width=80, color_system=None)
    with console.capture() as capture:
        draw(console, *arguments)  # type: ignore[operator]  # one of two functions of that form
    return capture.get().splitlines()


def test_nothing_said_means_the_usual_measurement() -> None:
    assert read_options(["pace"]) == PACE
    assert read_options(["speed"]) == SPEED


def test_every_option_is_heard(tmp_path: Path) -> None:
    file = tmp_path / "pace.json"
    told = "--rate 150 --workers 2 --seconds 9 --window bucket --spread-ms 7.5 --latency-ms 3 --seed 8"
    assert read_options(["pace", *told.split(), "--json", str(file)]) == replace(
        PACE,
        rate_per_s=150,
        workers=2,
        seconds=9,
        window="bucket",
        spread_ms=7.5,
        latency_ms=3,
        seed=8,
        json_file=file,
    )
    told = "--jobs 5000 --picture data --workers 2 --recipients 10 --latency-ms 3 --seed 8"
    assert read_options(["speed", *told.split()]) == replace(
        SPEED, jobs=5_000, pictures=("data",), workers=2, recipients=10, latency_ms=3, seed=8
    )


@pytest.mark.parametrize(
    "told",
    [
        "",
        "walk",
        "pace --rate 0",
        "pace --seconds many",
        "pace --window rolled",
        "pace --spread-ms nan",
        "pace --jobs 5000",
        "pace --json .",
        "speed --jobs 999",
        "speed --picture mms",
        "speed --json no/such/folder.json",
    ],
)
def test_a_wrong_option_is_told_in_one_line_with_exit_code_2(told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read_options(told.split())
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("python -m loadtest.bench")


def test_the_pace_is_told_in_full() -> None:
    values = {name: value for name, value, _ in pace_rows(PACE, PACED)}
    assert values == {
        "share of the limit used": "99.04%",
        "calls": "1,000",
        "answers 429": "2",
        "worst rolling second": "15",
        "gaps between arrivals": "60.2 67.5 75.5 80.5",
        "shares of the workers": "25.0% 25.0% 26.0% 24.0%",
        "workers' CPU": "2.50 s",
        "Redis scripts": "1.00",
        "Redis commands": "3.00",
    }


def test_jitter_says_what_could_be_had() -> None:
    assert pace_rows(replace(PACE, spread_ms=100), PACED)[0][2] == "with this jitter, 90.9% is the most"


def test_each_kind_of_picture_has_a_row_within_80_columns() -> None:
    lines = drawn(draw_speed, SPEED, [SPED, replace(SPED, picture="data")])
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 80
    assert "…" not in text
    for told in ("by url", "in job", "1,234", "99%", "12.3", "23.4", "123"):
        assert told in text


def test_the_pace_fits_80_columns() -> None:
    lines = drawn(draw_pace, PACE, PACED)
    assert max(map(len, lines)) <= 80
    assert len(lines) == 1 + 1 + len(pace_rows(PACE, PACED)) + 1  # title, frame, and a line for each row


def test_json_tells_the_command_and_where_it_ran(tmp_path: Path) -> None:
    seen = circumstances(["pace", "--json", "a b.json"], seed=3)
    assert isinstance(seen, Circumstances)
    assert seen.command == "python -m loadtest.bench pace --json 'a b.json'"
    assert seen.cores == len(os.sched_getaffinity(0))
    file = tmp_path / "pace.json"
    write_json(file, result(replace(PACE, json_file=file), seen, VERSIONS, asdict(PACED)))
    told = json.loads(file.read_text())
    assert told["measurement"] == "pace"
    assert told["circumstances"]["seed"] == 3
    assert told["circumstances"]["versions"] == {"worker": "0.1.0", "rabbitmq": "3.10.8", "redis": "7.0.15"}
    assert "json_file" not in told["options"]
    assert told["figures"]["ledger"]["share_of_limit"] == 0.9904
