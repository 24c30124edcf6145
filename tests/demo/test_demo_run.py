"""The demo itself, short: what is sent is reported and replied to, and a job in doubt is resolved by its report."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.demo.__main__ import JOBS_MIN

ROOT = Path(__file__).resolve().parents[2]
RUN_S_MAX = 200.0


@pytest.mark.timeout(RUN_S_MAX + 10)
def test_everything_that_is_sent_comes_back_as_events() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "loadtest.demo", f"--jobs={JOBS_MIN}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=RUN_S_MAX,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    cells = re.findall("│ ([a-z ]+?) *│ *([0-9]+) │ (.*?) *│", ran.stdout)
    told = {name: (int(count), note) for name, count, note in cells}
    assert told["in doubt"] == (0, "1 was: its report proved it sent")
    assert told["lost"][0] == told["duplicated"][0] == 0
    assert told["sent"][0] > JOBS_MIN / 2
    reports, note = told["reports"]
    assert reports >= told["sent"][0]
    assert note.startswith(f"of {reports};")
    assert told["replies"][0] == 10
