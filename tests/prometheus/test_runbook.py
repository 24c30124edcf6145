"""The runbook: a section for each alert, and nothing in it that is not there."""

from __future__ import annotations

import io
import re
import subprocess
from contextlib import redirect_stderr
from pathlib import Path

import pytest
import structlog
from typer.main import get_command

from tests.grafana.known import known_series
from tests.prometheus.conftest import FOLDER
from tests.prometheus.test_rules import NAMES
from worker.__main__ import cli
from worker.adapters.logs import LogObserver, configure
from worker.core.settlement import End
from worker.flow.observations import JobFinished

RUNBOOK = FOLDER.parent / "RUNBOOK.md"
WORDS = FOLDER.parent / "runbook.sh"
TEXT = RUNBOOK.read_text()
LOGS = Path(__file__).resolve().parents[2] / "worker/adapters/logs.py"


def sections() -> dict[str, str]:
    """The runbook's sections by title."""
    parts = re.split(r"^## (.+)$", TEXT, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_the_runbook_says_what_to_do_about_each(name: str) -> None:
    text = re.split(r"^# ", sections()[name], flags=re.MULTILINE)[0]
    assert re.findall(r"^(\d)\. ", text, re.MULTILINE) == ["1", "2", "3"], "the first three commands"
    assert re.search(r"\bRestart\b", text), "may I restart?"
    assert re.search(r"\bResend\b", text), "may I resend?"
    assert re.search(r"^- Panel: `\w[\w ]* / .+`", text, re.MULTILINE), "where it shows"
    assert re.search(r"^- Test: ", text, re.MULTILINE), "how to see it fire"


def test_the_runbook_has_no_section_of_an_alert_that_is_gone() -> None:
    assert [title for title in sections() if title != "What holds always"] == NAMES


def typed(word: str) -> list[str]:
    """What is written as code and begins with the word, in one line each; … is for more."""
    spans = [re.sub(r"\s+", " ", each) for each in re.findall(r"`([^`]+)`", TEXT)]
    return sorted({each for each in spans if each.startswith(f"{word} ") and "…" not in each})


# --- Its words -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["compose", "native", "kubernetes"])
def test_its_words_are_functions_of_bash(where: str, tmp_path: Path) -> None:
    secrets = tmp_path / ".run/compose-secrets"
    secrets.mkdir(parents=True)
    (secrets / "app-key").write_text("a key")
    (tmp_path / "secrets").symlink_to(secrets)
    asked = f". {WORDS} {where} .; declare -F; echo KEY=${{KEY-}}"
    done = subprocess.run(["bash", "-euc", asked], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    defined = set(re.findall(r"^declare -f ([\w-]+)$", done.stdout, re.MULTILINE))
    simulated = set() if where == "kubernetes" else {"SIM"}
    assert defined >= {"mms-worker", "LOGS", "ADMIN", "BROKER", "REDIS"} | simulated
    assert ("KEY=a key" in done.stdout) is bool(simulated)


def test_what_a_process_said_in_words_does_not_end_a_look_into_the_logs(tmp_path: Path) -> None:
    """A worker that cannot start says so in a sentence; compose 2.26 puts ESC[2K before each line."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/app-key").write_text("key")
    (tmp_path / "logs/worker-1.log").write_text('Redis cannot be reached.\n\x1b[2K{"event": "started"}\n')
    (tmp_path / "logs/receiver.log").write_text('{"event": "stopped"}\n')
    typed_in = f". {WORDS} native {tmp_path}; LOGS"
    looked = subprocess.run(["bash", "-c", typed_in], capture_output=True, text=True, check=False)
    assert looked.stdout == '{"event": "started"}\n{"event": "stopped"}\n'
    assert looked.stderr == "Redis cannot be reached.\n"


@pytest.mark.parametrize("command", typed("mms-worker"))
def test_its_commands_are_understood(command: str) -> None:
    arguments = command.partition("|")[0].replace('"portal: unknown"', "unknown").split()[1:]
    found = get_command(cli)
    while hasattr(found, "commands"):
        found = found.commands[arguments.pop(0)]
    if "--help" not in arguments:
        found.make_context("it", arguments)


def test_what_it_looks_for_in_logs_is_told_there() -> None:
    events = {name for command in typed("LOGS") for name in re.findall(r'\.event == "(\w+)"', command)}
    assert len(events) > 10
    told = set(re.findall(r'log\.(?:info|warning|error)\(\s*"(\w+)"', LOGS.read_text()))
    told |= {
        name for line in LOGS.read_text().splitlines() if "event = " in line for name in re.findall(r'"(\w+)"', line)
    }
    assert events - told == set()


def test_the_ends_that_it_looks_for_in_logs_are_told_at_the_usual_level() -> None:
    ends = {name for command in typed("LOGS") for name in re.findall(r'\.end == "(\w+)"', command)}
    assert ends
    written = io.StringIO()
    with redirect_stderr(written):
        configure(level="info", style="json")
        for end in ends:
            LogObserver().observe(JobFinished("acme", End(end), 1, 2.5, 0, 0, "job-1", "why"))
    structlog.reset_defaults()
    assert set(re.findall(r'"end": "(\w+)"', written.getvalue())) == ends


def test_what_it_looks_for_in_metrics_is_there() -> None:
    wanted = [found[1] for command in typed("ADMIN") if (found := re.search(r"grep (?:-E )?'?([\w|.*]+)'?", command))]
    assert len(wanted) >= 5
    names = " ".join(known_series().labels)
    for pattern in (each.removesuffix(".*expired") for one in wanted for each in one.split("|")):
        assert pattern in names or pattern == "process_cpu", pattern
