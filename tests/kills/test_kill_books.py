"""The books of a kill balance when all is well, and each thing that goes wrong is one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from loadtest.kills.books import NEVER_TOLD, Found, Job, Plan, Told, problems
from loadtest.kills.points import POINTS, Point, nth_of
from loadtest.kills.run import Verdict
from loadtest.kills.table import draw

BY_NAME = {point.name: point for point in POINTS}
JOBS = tuple(Job(f"j{n}", f"+6140000000{n}", f"call {n // 3}", b"", "acme") for n in range(6))
NAMES = [job.name for job in JOBS]


def plan_at(point: str, *, is_quiet: bool = False, jobs: Sequence[Job] = JOBS) -> Plan:
    return Plan(BY_NAME[point], number=0, nth=1, is_quiet=is_quiet, calls_max=2, jobs=jobs)


def told(end: str, name: str) -> tuple[Told, ...]:
    return (Told(end, f"{name}/{end}", f"{NEVER_TOLD} and …" if end == "in_doubt" else ""),)


WELL = Found(
    victim_ended="ended by signal 9",
    has_said_so=True,
    heir_ended="ended with exit code 0",
    surprises=0,
    records=dict.fromkeys(NAMES, "C"),
    claims={"j0", "j1"},
    events={name: told("in_doubt" if name in {"j0", "j1"} else "sent", name) for name in NAMES},
    accepted=dict.fromkeys(NAMES, 1) | {"j0": 0},
    accepted_by_death=3,
    broken_off=0,
    held=["j1", "j0"],
    left={"mms.jobs.acme": 0},
    foreign=(),
    took_s=1.0,
)


def test_nothing_is_said_when_all_is_well() -> None:
    assert problems(plan_at("after_claim"), WELL) == []


def test_a_repeat_of_an_event_with_the_same_id_is_no_second_end() -> None:
    found = replace(WELL, events=WELL.events | {"j5": told("sent", "j5") * 2})  # type: ignore[operator]
    assert problems(plan_at("after_claim"), found) == []
    assert found.told_again == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"victim_ended": "ended with exit code 1"}, "did not die at after_claim:1, but ended with exit code 1"),
        ({"victim_ended": None}, "but lived"),
        ({"has_said_so": False}, "did not die at after_claim:1"),
        ({"heir_ended": "ended by signal 9"}, "heir did not drain"),
        ({"surprises": 2}, "2 surprises"),
        ({"events": {**WELL.events, "j5": ()}}, "j5 must end once, as sent or in doubt, and nothing is told"),
        ({"events": {**WELL.events, "j5": told("sent", "a") + told("sent", "b")}}, "sent and sent is told"),
        ({"events": {**WELL.events, "j5": told("dead", "j5")}}, "dead is told"),
        ({"accepted": {**WELL.accepted, "j5": 2}}, "j5 was accepted 2 times"),
        ({"accepted": {**WELL.accepted, "j5": 0}}, "j5 is told as sent, and the API never accepted it"),
        ({"accepted": {**WELL.accepted, "j1": 2}}, "j1 was accepted 2 times"),
        ({"claims": {"j0"}}, "2 jobs are in doubt for a worker's death, and the dead one had begun the calls of 1: j1"),
        ({"claims": {"j0", "j1", "j2"}}, "j2 make the difference"),
        (
            {"claims": {"j1"}, "events": {**WELL.events, "j0": (Told("in_doubt", "j0", "no answer"),)}},
            "1 jobs are in doubt for no death, but: no answer",
        ),
        ({"held": ["j0"]}, "mms.in_doubt holds 1 messages, and 2 jobs are in doubt"),
        ({"held": ["j0", "j1", "j1"]}, "mms.in_doubt holds 3"),
        ({"left": {"mms.jobs.acme": 1, "mms.dead": 0}}, "1 messages are left in mms.jobs.acme"),
        ({"foreign": ("call 7",)}, "nobody published: call 7"),
    ],
)
def test_what_is_wrong_is_one_sentence(changes: dict[str, Any], words: str) -> None:
    (problem,) = problems(plan_at("after_claim"), replace(WELL, **changes))
    assert words in problem


def test_no_more_may_be_in_doubt_than_the_calls_that_can_be_under_way() -> None:
    calls = [*NAMES, "j6"]
    jobs = (*JOBS, Job("j6", "+61400000006", "call 2", b"", "acme"))
    found = replace(
        WELL,
        claims=set(calls),
        events={name: told("in_doubt", name) for name in calls},
        held=calls,
    )
    (problem,) = problems(plan_at("after_claim", jobs=jobs), found)
    assert "3 calls under way, and may have 2" in problem


def quiet_at(point: Point) -> Found:
    """What is right after a quiet kill at ``point``."""
    letter = point.records[0]
    end = "in_doubt" if letter == "C" else "sent"
    return replace(
        WELL,
        records=dict.fromkeys(NAMES, letter),
        claims=set(NAMES) if letter == "C" else set(),
        events={name: told(end, name) for name in NAMES},
        accepted=dict.fromkeys(NAMES, 1),
        accepted_by_death=len(NAMES) if point.is_accepted else 0,
        broken_off=int(point.is_broken_off),
        held=NAMES if letter == "C" else [],
    )


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_a_quiet_kill_finds_exactly_what_its_step_stands_for(point: Point) -> None:
    plan, found = plan_at(point.name, is_quiet=True), quiet_at(point)
    assert problems(plan, found) == []
    for letter in set("CEOT") - set(point.records):
        told_of = problems(plan, replace(found, records=found.records | {"j3": letter}))  # type: ignore[operator]
        assert f"1 {letter}" in told_of[0]
    if point.records != "-":
        assert "6 -" in problems(plan, replace(found, records=dict.fromkeys(NAMES, "-")))[0]
    (problem,) = problems(plan, replace(found, accepted_by_death=1))
    assert "The API had accepted 1 recipients" in problem
    if point.is_broken_off:
        (problem,) = problems(plan, replace(found, broken_off=0))
        assert "no request that ends in the middle" in problem


def test_only_points_between_claim_and_outcome_leave_anything_in_doubt() -> None:
    """A quiet kill elsewhere whose jobs are in doubt is told, since the journal must not have had a claim."""
    claimed = [point.name for point in POINTS if "C" in point.records]
    assert claimed == ["after_claim", "mid_upload", "after_request", "before_outcome", "in_drain"]


def test_a_quiet_worker_dies_at_the_first_passing_and_the_others_here_and_there() -> None:
    for point in POINTS:
        assert {nth_of(point, number, is_quiet=True) for number in range(20)} == {1}
    assert len({nth_of(BY_NAME["before_ack"], number, is_quiet=False) for number in range(20)}) > 5


def test_the_table_shows_states_with_their_numbers_and_every_problem() -> None:
    plan = plan_at("after_claim", is_quiet=True)
    well = Verdict(plan, quiet_at(plan.point), ())
    failed = Verdict(plan_at("before_ack"), None, ("It could not be carried out: OSError: no.",))
    console = Console(width=140)
    with console.capture() as capture:
        draw(console, [well, well, failed])
    shown = capture.get()
    assert "3 workers were killed" in shown
    (row,) = [line.replace("│", " ").split() for line in shown.splitlines() if "after_claim" in line]
    assert row == ["after_claim", "quiet", "2", "6", "C", "0/6", "6", "0", "yes"]
    assert "before_ack:1 (loaded, kill 0): It could not be carried out" in shown
    assert "the books of 1 of 3 kills do not balance" in shown
