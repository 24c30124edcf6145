"""The books of a run: each way in which they may not balance is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtest.chaos.books import Found, Told, problems, recoveries_s
from loadtest.chaos.doubts import NOT_STARTED, SIGNALLED, STOPPED, US, Ending, Window
from loadtest.chaos.faults import Kind
from loadtest.chaos.jobs import Job, Sort

AT_US = 1_000 * US
DIED = "a worker had begun to call and did not tell what came of it"
FORGOTTEN = "the job was handed out before, and the journal has lost what it knew of that time"


def job(name: str, sort: Sort = Sort.PLAIN, *to: str) -> Job:
    return Job(name, sort, to, b"{}", "acme")


def ending(how: str, *, is_meant: bool, at_us: int = AT_US) -> Ending:
    return Ending("w1", how, alive_us=at_us, gone_us=at_us + US // 10, is_meant=is_meant)


ENDED_WRONG = "1 workers ended otherwise than they should"
PLAIN = job("plain", Sort.PLAIN, "1", "2")
LATE = job("late", Sort.EXPIRING, "3")
NONE = job("none", Sort.REFUSED)
BAD = job("bad", Sort.MALFORMED)
SENT = Told("sent", "a")
WELL = Found(
    jobs=(PLAIN, LATE, NONE, BAD),
    windows=(),
    events={
        "plain": (SENT, SENT),  # told again after a crash
        "late": (Told("expired", "b"),),
        "none": (Told("refused", "c"),),
        "bad": (Told("dead", "d"),),
    },
    accepted_us={"1": (AT_US,), "2": (AT_US,)},
    held=(),
    left={"mms.jobs.acme": 0},
    foreign=(),
    surprises=(),
    endings=(),
    leaks=0,
    limit_per_s=60,
    worst_second=60,
    throttled=0,
    is_drained=True,
)


def doubted(why: str, since_us: int = AT_US) -> Found:
    told = Told("in_doubt", "a", why, since_us)
    return replace(WELL, events={**WELL.events, "plain": (told,)}, accepted_us={}, held=("plain", "plain"))


@pytest.mark.parametrize(
    ("resolution", "accepted_us", "is_well"),
    [
        ("sent", {"1": (AT_US,), "2": (AT_US,)}, True),
        ("sent", {"1": (AT_US,)}, False),
        ("given_up", {}, True),
        ("given_up", {"1": (AT_US,)}, False),
    ],
)
@pytest.mark.parametrize("held", [(), ("plain",)], ids=["cleared away", "still held"])
def test_a_doubt_that_a_late_answer_resolved(
    resolution: str, accepted_us: dict[str, tuple[int, ...]], held: tuple[str, ...], *, is_well: bool
) -> None:
    doubt, late = Told("in_doubt", "a", DIED, AT_US), Told("resolved", "b", resolution=resolution)
    frozen = Window(Kind.FREEZE_ONE, AT_US - US, AT_US)
    found = replace(
        WELL, events={**WELL.events, "plain": (doubt, late)}, accepted_us=accepted_us, held=held, windows=(frozen,)
    )
    assert (problems(found) == []) is is_well
    alone = replace(found, events={**WELL.events, "plain": (late,)})
    assert (problems(alone) == []) is is_well
    wrong = replace(found, events={**WELL.events, "plain": (SENT, late)})
    assert problems(wrong)


def test_all_is_well() -> None:
    assert problems(WELL) == []
    assert WELL.told_again == 1


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (replace(WELL, events={**WELL.events, "plain": ()}), "1 jobs were lost: plain."),
        (replace(WELL, accepted_us={**WELL.accepted_us, "2": (1, 2)}), "1 recipients got a message twice: 2."),
        (
            replace(WELL, events={**WELL.events, "plain": (SENT, Told("in_doubt", "x"))}),
            "plain (plain) is told as in_doubt and sent.",
        ),
        (
            replace(WELL, events={**WELL.events, "plain": (SENT, Told("sent", "b"))}),
            "plain (plain) is told as sent and sent.",
        ),
        (replace(WELL, events={**WELL.events, "plain": (Told("expired", "a"),)}), "plain (plain) is told as expired."),
        (replace(WELL, accepted_us={"1": (1,)}), "the API accepted 1 of its 2 recipients."),
        (
            replace(WELL, accepted_us={**WELL.accepted_us, "3": (1,)}),
            "late is told as expired, and the API accepted 1 of its recipients.",
        ),
        (replace(WELL, left={"mms.jobs.acme": 3}), "3 messages are left in mms.jobs.acme."),
        (replace(WELL, held=("plain",)), "mms.in_doubt holds 1 jobs, and 0 are told to be in doubt."),
        (replace(WELL, foreign=("x",)), "1 times something is told about, or was sent to, what nobody published: x."),
        (replace(WELL, surprises=("s",)), "1 surprises are in the logs: s."),
        (
            replace(WELL, endings=(ending("ended by signal 11", is_meant=True),)),
            f"{ENDED_WRONG}: w1 ended by signal 11.",
        ),
        (replace(WELL, endings=(ending(SIGNALLED, is_meant=False),)), f"{ENDED_WRONG}: w1 ended by signal 9."),
        (replace(WELL, endings=(ending("ended with exit code 1", is_meant=True),)), ENDED_WRONG),
        (replace(WELL, endings=(ending(NOT_STARTED, is_meant=False),)), ENDED_WRONG),
        (replace(WELL, leaks=2), "2 lines of the workers' logs hold a phone number or a key."),
        (replace(WELL, is_drained=False), "Not everything had ended when the time was up."),
        (doubted(DIED), f"1 jobs are in doubt, and no fault explains it: {DIED}."),
    ],
)
def test_what_is_wrong_is_told(found: Found, words: str) -> None:
    assert any(words in sentence for sentence in problems(found)), problems(found)


@pytest.mark.parametrize(
    ("kind", "why", "is_explained"),
    [
        (Kind.FREEZE_ONE, DIED, True),
        (Kind.KILL_ONE, DIED, False),  # a death explains it, and not the wish
        (Kind.BROKER_KILLED, DIED, False),
        (Kind.API_502, DIED, False),
        (Kind.API_502, "the API answered HTTP 502", True),
        (Kind.FREEZE_ONE, "no answer within 6 s", True),
        (Kind.STORE_KILLED, "no answer within 6 s", False),
        (Kind.STORE_EMPTIED, FORGOTTEN, True),
        (Kind.KILL_ALL, FORGOTTEN, False),
        (Kind.REPLACE_ONE, "the worker was stopped while the call was under way", True),
        (Kind.API_HANGS, "the worker was stopped while the call was under way", False),
    ],
)
def test_only_a_fault_that_can_be_the_reason_explains_a_doubt(kind: Kind, why: str, *, is_explained: bool) -> None:
    found = replace(doubted(why), windows=(Window(kind, AT_US - US, AT_US),))
    assert bool(problems(found)) is not is_explained


@pytest.mark.parametrize("since_us", [AT_US - 3 * US, AT_US + 100 * US])
def test_and_only_at_its_time(since_us: int) -> None:
    found = replace(doubted("the API answered HTTP 502"), windows=(Window(Kind.API_502, AT_US, AT_US),))
    assert problems(found) == []
    assert problems(replace(doubted("the API answered HTTP 502", since_us), windows=found.windows))


@pytest.mark.parametrize(
    ("called_us", "died_us", "is_explained"),
    [
        (None, AT_US - 20 * US, True),
        (AT_US - 21 * US, AT_US - 20 * US, True),
        (AT_US - 60 * US, AT_US - 20 * US, False),  # it had been told long since
        (AT_US - 10 * US, AT_US - 20 * US, False),  # another one called, and lives
        (None, AT_US + 5 * US, False),
        (None, AT_US - 200 * US, False),
    ],
)
def test_a_death_explains_calls_shortly_before_it(called_us: int | None, died_us: int, *, is_explained: bool) -> None:
    accepted_us = {} if called_us is None else {"1": (called_us,), "2": (called_us,)}
    died = ending(SIGNALLED, is_meant=True, at_us=died_us)
    assert bool(problems(replace(doubted(DIED), endings=(died,), accepted_us=accepted_us))) is not is_explained


def test_doubts_are_counted_by_reason_and_a_job_once() -> None:
    again = Told("in_doubt", "a", "z", AT_US)
    found = doubted(DIED)
    told = found.events["plain"]
    assert replace(found, events={**found.events, "plain": (*told, again), "late": (again,)}).doubts == {
        DIED: 1,
        "z": 1,
    }


@pytest.mark.parametrize(
    ("sort", "accepted_us", "is_known"),
    [
        (Sort.REPEATED, (AT_US - US, AT_US + US), True),
        (Sort.PLAIN, (AT_US - US, AT_US + US), False),
        (Sort.REPEATED, (AT_US + US, AT_US + 2 * US), False),
        (Sort.REPEATED, (AT_US - US, AT_US + US, AT_US + 2 * US), False),
    ],
)
def test_only_a_flush_between_two_copies_excuses_a_second_message(
    sort: Sort, accepted_us: tuple[int, ...], *, is_known: bool
) -> None:
    flushed = Window(Kind.STORE_EMPTIED, AT_US, AT_US)
    one = job("plain", sort, "1")
    found = replace(WELL, jobs=(one, *WELL.jobs[1:]), windows=(flushed,), accepted_us={"1": accepted_us})
    assert bool(problems(found)) is not is_known
    assert found.forgotten == (["1"] if is_known else [])


def test_workers_end_as_they_are_made_to() -> None:
    endings = (ending(SIGNALLED, is_meant=True), ending(STOPPED, is_meant=True))
    assert problems(replace(WELL, endings=endings)) == []


@pytest.mark.parametrize(
    ("kind", "is_expected"),
    [(Kind.BROKER_DOWN, True), (Kind.STORE_KILLED, True), (Kind.FREEZE_ONE, True), (Kind.API_502, False)],
)
def test_a_worker_may_not_start_while_what_it_needs_is_away(kind: Kind, *, is_expected: bool) -> None:
    found = replace(WELL, endings=(ending(NOT_STARTED, is_meant=False),))
    assert bool(problems(replace(found, windows=(Window(kind, AT_US - 9 * US, AT_US - 2 * US),)))) is not is_expected


def test_recovery_is_counted_from_the_end_of_a_fault_unless_another_one_lasts() -> None:
    killed, slow = Window(Kind.BROKER_KILLED, 10 * US, 12 * US), Window(Kind.STORE_SLOW, 30 * US, 40 * US)
    assert recoveries_s([killed, slow], [11 * US, 14 * US, 41 * US]) == {
        Kind.BROKER_KILLED: [2.0],
        Kind.STORE_SLOW: [1.0],
    }
    assert Kind.BROKER_KILLED not in recoveries_s([killed, replace(slow, began_us=12 * US)], [14 * US])
