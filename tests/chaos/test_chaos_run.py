"""A short run, for real; `make chaos` runs for longer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
RUN_S_MAX = 240


def chaos(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "loadtest.chaos", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=RUN_S_MAX, check=False)


def test_the_books_of_a_short_run_balance(tmp_path: Path) -> None:
    told = tmp_path / "chaos.json"
    ended = chaos("--seconds", "30", "--seed", "14", "--workers", "2", "--json", str(told))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    result = json.loads(told.read_text())
    assert (result["lost"], result["sent_twice"], result["unexplained"]) == (0, 0, 0)
    assert sum(result["ends"].values()) == result["published"] > 500
    assert result["faults"]
    assert result["command"] in ended.stdout


@pytest.mark.parametrize("wrong", [("--seconds", "5"), ("--workers", "1"), ("--seed", "-1")])
def test_what_cannot_be_run_is_one_sentence(wrong: tuple[str, ...]) -> None:
    ended = chaos(*wrong)
    assert ended.returncode == 2
    assert len(ended.stderr.strip().splitlines()) == 1
