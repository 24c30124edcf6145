"""The figures of a whole run, made up: when a job waits, and until when a run that was given up lasts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pytest

from loadtest.chaos.doubts import Window
from loadtest.chaos.faults import Kind
from loadtest.load.books import Found, Queues
from loadtest.load.events import DEAD, EXPIRED, IN_DOUBT, NONE, REFUSED, SENT, Told
from loadtest.load.figures import BEYOND, FaultSeen, Figures, Refusals, Run
from loadtest.load.jobs import JobMaker
from loadtest.load.ledger import Ledger, key_of
from loadtest.load.sampling import Sample
from loadtest.load.scenario import PlannedFault, Scenario
from loadtest.load.scenario_files import scenario_from
from loadtest.simulator.records import Accepted, CallRecord

ACCOUNT = "default"
ZERO_US = 1_764_000_000_000_000
US = 1_000_000
SOON_US = 10_000
LIMIT_PER_S = 10
BELOW_THE_LIMIT = {"phases": [{"seconds": 20, "of_limit": 0.5, "arrivals": "even"}]}


def scenario(**other: object) -> Scenario:
    return scenario_from({"title": "T", "purpose": "P.", "limits": {ACCOUNT: LIMIT_PER_S}, **other})


def published_us(of: Scenario) -> list[int]:
    """By job, since the run's zero."""
    return [0] * of.before + [one.at_us for one in of.schedule(1)]


def run(
    of: Scenario,
    *,
    called_us: Mapping[int, int],
    told: Mapping[int, int],
    throttled_us: Sequence[int] = (),
    faults: Sequence[FaultSeen] = (),
    sampled_us: Sequence[int] = (),
    is_drained: bool = True,
) -> Run:
    """`called_us`: of accepted calls, `told`: the end, SOON_US after that or after the publication; both by job."""
    came_us = published_us(of)
    maker = JobMaker(of.jobs, (ACCOUNT,), {"url": "https://example.com/a.png"})
    ledger, events = Ledger(maker, len(came_us)), Told(len(came_us))
    arrivals = sorted([*((at_us, job) for job, at_us in called_us.items()), *((at_us, -1) for at_us in throttled_us)])
    calls, accepted = [], []
    for index, (at_us, job) in enumerate(arrivals):
        status = 429 if job < 0 else 200
        calls.append(CallRecord(index, key_of(ACCOUNT), "send-mms", ZERO_US + at_us, "", status, 1))
        if job >= 0:
            to = f"+{maker.numbers_of(job)[0]}"
            text = maker.text_of(job)
            accepted.append(Accepted(0, key_of(ACCOUNT), to, text, "", "", "m", ZERO_US + at_us, index))
    ledger.take(calls, accepted, lambda _: None)
    for job, end in told.items():
        events.end[job], events.at_us[job] = end, ZERO_US + called_us.get(job, came_us[job]) + SOON_US
    found = Found(ledger, events, Queues({}, 0, 0), (), (), len(came_us), is_drained=is_drained, surprises=(), leaks=0)
    return Run(of, 1, ZERO_US, 0, found, faults, {"worker 1": [Sample(ZERO_US + at, 0.1, 60.0) for at in sampled_us]})


def fault(kind: str, of: Kind, began_s: float, ended_s: float) -> FaultSeen:
    window = Window(of, ZERO_US + round(began_s * US), ZERO_US + round(ended_s * US))
    return FaultSeen(PlannedFault(at_s=began_s, kind=kind, seconds=ended_s - began_s), window)


def below_the_limit(*, never_accepted: Collection[int], end: int) -> Figures:
    """Each job is called for at once, but for those that the API never accepts; a fault lies in the midst."""
    of = scenario(**BELOW_THE_LIMIT)
    came_us = published_us(of)
    called_us = {job: at_us + SOON_US for job, at_us in enumerate(came_us) if job not in never_accepted}
    told = dict.fromkeys(called_us, SENT) | ({} if end == NONE else dict.fromkeys(never_accepted, end))
    restarted = fault("Redis restarted", Kind.STORE_RESTARTED, 5, 6)
    return Figures(run(of, called_us=called_us, told=told, faults=[restarted]))


@pytest.mark.parametrize("end", [REFUSED, EXPIRED, DEAD, IN_DOUBT])
def test_what_the_api_never_accepted_waits_until_its_end_is_told(end: int) -> None:
    figures = below_the_limit(never_accepted=(3, 4, 5), end=end)
    assert figures.accounts()[0].busy_s == 0
    (restarted,) = figures.faults()
    assert restarted.recovered_s == pytest.approx(0, abs=0.25)


def test_what_nobody_told_an_end_of_waits_for_ever() -> None:
    figures = below_the_limit(never_accepted=(3, 4, 5), end=NONE)
    assert figures.accounts()[0].busy_s > 15
    assert [one.recovered_s for one in figures.faults()] == [None]


def test_a_run_that_was_given_up_lasts_until_then() -> None:
    """Its stall is a part of what was measured."""
    of = scenario(before=1_000)
    called_us = {job: US + job * US // LIMIT_PER_S for job in range(100)}
    told = dict.fromkeys(called_us, SENT)
    figures = Figures(run(of, called_us=called_us, told=told, sampled_us=[0, 80 * US], is_drained=False))
    assert figures.seconds == 81
    assert figures.accounts()[0].share_of_limit == pytest.approx(10 / 80, abs=0.02)
    drained = Figures(run(of, called_us=called_us, told=told, sampled_us=[0, 80 * US]))
    assert drained.seconds == 11


@pytest.mark.parametrize(
    ("faults", "refusals"),
    [
        ([], Refusals(13, 3, 0)),
        ([fault("limit lowered", Kind.API_LOWERED, 10, 16)], Refusals(10, 2, 1)),
        ([fault("API answers 502", Kind.API_502, 10, 16)], Refusals(13, 3, 0)),
    ],
)
def test_only_what_is_refused_until_a_lowered_limit_can_be_known_is_excused(
    faults: Sequence[FaultSeen], refusals: Refusals
) -> None:
    of = scenario(**BELOW_THE_LIMIT)
    called_us = {job: job * 2 * US + US for job in range(10)}
    throttled_us = [9 * US, 11 * US + 1, 15 * US + 1]
    told = dict.fromkeys(called_us, SENT)
    made = run(of, called_us=called_us, told=told, throttled_us=throttled_us, faults=faults)
    assert Figures(made).refusals() == refusals


def test_what_is_beyond_the_ideal_is_told_to_be_beyond_evenly_spaced_calls() -> None:
    """All are called for as they come: who is earlier than such a system has waited no negative time."""
    of = scenario(phases=[{"seconds": 1, "per_s": 10}])
    figures = Figures(run(of, called_us=dict(enumerate(published_us(of))), told={}))
    beyond = next(one for one in figures.latencies() if one.name == BEYOND)
    assert "spaces its calls evenly" in beyond.definition
    assert beyond.max_ms < 1
