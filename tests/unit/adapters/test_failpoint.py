"""A failpoint ends the process at its step and nowhere else, and cannot be set by accident or in silence."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from structlog.testing import capture_logs

from tests.jobs import job_body
from worker.adapters.failpoint import KillAt, KillOver
from worker.core.job import Job, Rejected
from worker.core.steps import Failpoint, Poison, ReplyStep, Step
from worker.settings import Settings, SettingsProblems, load

REQUIRED = {"MMS_API_URL": "https://api.example/api/v3", "MMS_APP_KEY": "key-1"}


@pytest.mark.parametrize(
    ("text", "failpoint"),
    [
        (None, None),
        ("", None),
        ("after_claim", Failpoint(Step.AFTER_CLAIM, 1)),
        (" before_ack:17 ", Failpoint(Step.BEFORE_ACK, 17)),
        *((step.value, Failpoint(step)) for step in (*Step, *ReplyStep)),
        ("decode:POISON-1", Poison("POISON-1")),
    ],
)
def test_a_failpoint_is_a_step_and_perhaps_a_number(text: str | None, failpoint: Failpoint | Poison | None) -> None:
    settings = load(REQUIRED if text is None else REQUIRED | {"MMS_FAILPOINT": text})
    assert isinstance(settings, Settings)
    assert settings.failpoint == failpoint


@pytest.mark.parametrize(
    "text", ["after_lunch", "after_claim:0", "after_claim:", "after_claim:x", ":3", "1", "true", "decode", "decode:a b"]
)
def test_a_wrong_failpoint_is_one_clear_mistake_that_names_the_steps(text: str) -> None:
    told = load(REQUIRED | {"MMS_FAILPOINT": text})
    assert isinstance(told, SettingsProblems)
    (problem,) = told.problems
    assert problem.startswith("MMS_FAILPOINT ")
    assert repr(text) in problem
    assert "for tests only" in problem
    assert all(step in problem for step in (*Step, *ReplyStep))


def test_it_kills_once_at_the_nth_passing_of_its_own_step_and_says_so_before() -> None:
    kills: list[int] = []
    with capture_logs() as lines:
        passed = KillAt(Failpoint(Step.BEFORE_ACK, 3), kill=lambda: kills.append(len(lines)))
        assert [line["event"] for line in lines] == ["failpoint_set"]
        assert lines[0]["log_level"] == "critical"
        for _ in range(2):
            for step in Step:
                passed(step)
        assert kills == []
        for _ in range(5):
            passed(Step.BEFORE_ACK)
    assert kills == [2]
    assert [(line["event"], line.get("step")) for line in lines] == [
        ("failpoint_set", "before_ack"),
        ("failpoint_reached", "before_ack"),
    ]


def test_it_kills_over_the_message_that_is_marked_and_reads_all_others() -> None:
    kills: list[int] = []
    with capture_logs() as lines:
        read = KillOver(Poison("POISON"), kill=lambda: kills.append(len(lines)))
        assert isinstance(read(job_body("good"), region="AU"), Job)
        assert isinstance(read(b"broken", region="AU"), Rejected)
        assert kills == []
        read(job_body("POISON-1"), region="AU")
    assert kills == [2]
    assert [line["event"] for line in lines] == ["failpoint_set", "failpoint_reached"]


def test_nothing_runs_after_the_kill() -> None:
    program = (
        "from worker.adapters.failpoint import KillAt\n"
        "from worker.core.steps import Failpoint, Step\n"
        "try:\n"
        "    KillAt(Failpoint(Step.AFTER_SLOT))(Step.AFTER_SLOT)\n"
        "finally:\n"
        "    print('went on', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=20, check=False)
    assert done.returncode == -signal.SIGKILL
    assert b"failpoint_reached" in done.stdout + done.stderr
    assert b"went on" not in done.stdout
