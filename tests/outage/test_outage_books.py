"""The books of an outage balance when all is well, and each thing that is not right is one sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from loadtest.outage.__main__ import options_of
from loadtest.outage.books import Case, Found, Job, Outage, found, problems
from loadtest.outage.scenario import Verdict, jobs_of
from loadtest.outage.table import draw
from loadtest.simulator.records import Accepted, CallRecord, Operation
from worker.core.job import Job as WorkerJob
from worker.core.job import decode

CASE = Case("502", 3)
S = 1_000_000
OUTAGE = Outage(began_us=100 * S, ended_us=130 * S)
JOBS = [Job(f"j{n}", f"t{n}", b"", "acme") for n in range(6)]
WELL = Found(
    published=6,
    sent=4,
    in_doubt=2,
    cut=0,
    other_ends={},
    lost=0,
    twice=0,
    untrue=0,
    sends=2,
    probes=3,
    back_s=1.5,
    share=0.99,
    surprises=0,
    ended=("ended with exit code 0",) * 3,
)


def call(at_s: float, result: str = "SUCCESS", operation: Operation = "send-mms") -> CallRecord:
    return CallRecord(0, "key", operation, int(at_s * S), result, 200, 1)


def accepted(n: int, at_s: float) -> Accepted:
    return Accepted(0, "key", "+61400000000", f"t{n}", "", "", "id", int(at_s * S), 0)


def test_events_and_ledger_are_put_together() -> None:
    seen = found(
        JOBS,
        {"j0": {"sent"}, "j1": {"in_doubt"}, "j2": {"in_doubt"}, "j3": {"sent"}, "j4": {"dead"}},
        [call(99), call(99.9, "broken_off"), call(105), call(110, "AUTH", "account"), call(141)],
        [accepted(0, 99), accepted(1, 99.99), accepted(3, 133), accepted(3, 141), accepted(3, 149)],
        OUTAGE,
        rate_per_s=1,
        surprises=1,
        ended=["ended with exit code 0"],
    )
    assert seen == Found(
        published=6,
        sent=2,
        in_doubt=2,
        cut=2,  # j1's call was taken, the other one's was not whole
        other_ends={"dead": 1},
        lost=1,
        twice=1,
        untrue=0,
        sends=1,
        probes=1,
        back_s=3.0,
        share=0.2,
        surprises=1,
        ended=("ended with exit code 0",),
    )


def test_nothing_is_said_when_all_is_well() -> None:
    assert problems(CASE, WELL) == []
    assert problems(Case("refuse", 1), replace(WELL, cut=2)) == []


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("refuse", {}, "2 jobs are in doubt, and 0 may be"),
        ("502", {"in_doubt": 11, "published": 15}, "11 jobs are in doubt, and 10 may be"),
        ("hang", {"in_doubt": 31, "published": 35}, "31 jobs are in doubt, and 30 may be"),
        ("hang", {"back_s": 10.1}, "back after 10.1 s"),
        ("hang", {"back_s": None}, "back never"),
        ("hang", {"share": 0.89}, "89% of the limit"),
        ("hang", {"other_ends": {"dead": 1}, "sent": 3}, "1 jobs ended as dead"),
        ("hang", {"lost": 1, "sent": 3}, "1 jobs have no end"),
        ("hang", {"twice": 1}, "accepted more than once"),
        ("hang", {"untrue": 1}, "never accepted"),
        ("hang", {"surprises": 1}, "surprises"),
        ("hang", {"sent": 5}, "more than one way"),
        ("hang", {"ended": ("ended with exit code 1",)}, "did not drain"),
    ],
)
def test_what_is_wrong_is_one_sentence(kind: Any, changes: dict[str, Any], words: str) -> None:
    (told,) = problems(Case(kind, 3), replace(WELL, **changes))
    assert words in told
    assert told.endswith(".")


def test_the_worker_reads_every_job_and_none_can_share_a_call() -> None:
    jobs = jobs_of(CASE, 1)
    read = [decode(job.body, region="AU") for job in jobs]
    assert all(isinstance(one, WorkerJob) for one in read)
    assert len({job.text for job in jobs}) == len({job.name for job in jobs}) == len(jobs)


def test_the_table_fits_80_columns_and_shows_every_problem() -> None:
    console = Console(record=True, width=80)
    wide = replace(WELL, in_doubt=22, sends=22, probes=14, back_s=10.5)
    draw(console, [Verdict(CASE, wide, ()), Verdict(CASE, replace(WELL, back_s=None), ("Not back.",))], lasts_s=30)
    shown = console.export_text()
    assert "…" not in shown
    for word in ("doubt", "22/10", "22+14", "10.5 s", "never", "502, 3 workers: Not back."):
        assert word in shown


def test_nothing_said_means_every_kind_with_one_worker_and_with_three() -> None:
    options = options_of([])
    assert options.cases == [Case(kind, workers) for kind in ("refuse", "502", "hang") for workers in (1, 3)]
    assert options.lasts_s == 30


@pytest.mark.parametrize(
    "arguments", [["--kinds", "flood"], ["--workers", "0"], ["--workers", ""], ["--seconds", "0"], ["--parallel", "99"]]
)
def test_a_wrong_option_is_told_in_one_line_with_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        options_of(arguments)
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
