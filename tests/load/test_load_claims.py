"""What has to hold is said in words, and does not hold when it is not so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtest.load.claims import Figured, claims, is_limit_kept
from loadtest.load.figures import BEYOND, URGENT, Refusals
from loadtest.load.result import Claim, ProcessSeries
from loadtest.load.scenario import Scenario
from loadtest.load.scenario_files import scenario_from
from tests.load.results import BOOKS, CALL, FAULT, FIGURES, RESULT, SERIES, SIMULATOR, WORKER

HOLDS = {
    "share_of_limit_min": 0.99,
    "throttled_per_1000_max": 1,
    "beyond_ideal_p99_ms_max": 100,
    "urgent_p99_ms_max": 50,
    "recovery_s_max": 1,
    "memory_mb_max": 70,
    "memory_growth_max": 0.1,
}
TABLE = {
    "title": "T",
    "purpose": "P.",
    "limits": {"default": 15},
    "phases": [{"seconds": 10, "of_limit": 1}],
    "holds": HOLDS,
}
FLAT = replace(WORKER, memory_mb=(60.0,) * 20)
CLEAR = replace(BOOKS, in_doubt=0, in_doubt_explained=0, sent=44)
PRODUCER = RESULT.producer
WELL = Figured(
    accounts=(FIGURES,),
    refusals=Refusals(44, 0, 0),
    series=replace(SERIES, processes={"worker 1": FLAT, "simulator": SIMULATOR}),
    latencies=(replace(CALL, name=BEYOND), replace(CALL, name=URGENT)),
    faults=(FAULT,),
    correctness=CLEAR,
    producer=PRODUCER,
)


def scenario(**other: object) -> Scenario:
    return scenario_from({**TABLE, **other})


def broken(seen: Figured, of: Scenario | None = None) -> list[Claim]:
    return [one for one in claims(of or scenario(), seen) if not one.holds]


def with_memory(*memory_mb: float) -> Figured:
    processes: dict[str, ProcessSeries] = {"worker 1": replace(WORKER, memory_mb=memory_mb), "simulator": SIMULATOR}
    return replace(WELL, series=replace(SERIES, processes=processes))


def test_all_claims_hold_when_all_is_well() -> None:
    told = claims(scenario(), WELL)
    assert len(told) == 13
    assert all(one.holds for one in told), broken(WELL)


def test_only_what_is_asked_for_is_claimed() -> None:
    assert len(claims(scenario(holds={}), WELL)) == 6


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (replace(WELL, correctness=replace(CLEAR, lost=1)), "no job is lost"),
        (replace(WELL, correctness=replace(CLEAR, duplicated=1)), "nobody gets a message twice"),
        (replace(WELL, correctness=replace(CLEAR, problems=("x",))), "the books balance"),
        (replace(WELL, correctness=replace(CLEAR, in_doubt=1)), "nothing is in doubt"),
        (replace(WELL, accounts=(replace(FIGURES, share_of_limit=0.98),)), "99.0% of the limit"),
        (replace(WELL, accounts=(replace(FIGURES, share_of_limit=None),)), "99.0% of the limit"),
        (replace(WELL, refusals=Refusals(900, 1, 0)), "the limit is kept"),
        (replace(WELL, latencies=(replace(CALL, name=BEYOND, p99_ms=101.0), WELL.latencies[1])), "evenly spaced"),
        (replace(WELL, latencies=(WELL.latencies[0], replace(CALL, name=URGENT, p99_ms=51.0))), "urgent jobs"),
        (replace(WELL, latencies=(WELL.latencies[0],)), "urgent jobs"),
        (replace(WELL, faults=(replace(FAULT, recovered_s=1.1),)), "the pace is back"),
        (replace(WELL, faults=(replace(FAULT, recovered_s=None),)), "the pace is back"),
        (with_memory(*[60.0] * 19, 71.0), "holds at most"),
        (with_memory(*[60.0] * 18, 67.0, 67.0), "grows by at most"),
        (replace(WELL, producer=replace(PRODUCER, behind_ms_p99=101.0)), "the producer keeps"),
        (
            replace(WELL, series=replace(WELL.series, processes={"simulator": replace(SIMULATOR, cpu_cores=(0.9,))})),
            "the simulator is not the bottleneck",
        ),
    ],
)
def test_a_claim_does_not_hold_when_it_is_not_so(seen: Figured, words: str) -> None:
    assert any(words in one.claim for one in broken(seen)), broken(seen)


def test_the_worst_account_is_named_and_that_of_all_together_is_none() -> None:
    seen = replace(
        WELL,
        accounts=(
            replace(FIGURES, name="all", share_of_limit=0.5),
            replace(FIGURES, name="a"),
            replace(FIGURES, name="b", share_of_limit=0.6),
        ),
    )
    assert [one.seen for one in broken(seen)] == ["60.00% (b)"]


@pytest.mark.parametrize(
    ("refusals", "told", "is_kept"),
    [
        (Refusals(0, 0, 0), "0.00 (0 calls)", True),
        (Refusals(1_000, 1, 0), "1.00 (1 calls)", True),
        (Refusals(999, 1, 0), "1.00 (1 calls)", False),
        (Refusals(4_000, 1, 12), "0.25 (1 calls), and 12 calls in the 5 s after the limit was lowered", True),
    ],
)
def test_the_limit_is_kept_when_hardly_a_call_is_refused(refusals: Refusals, told: str, *, is_kept: bool) -> None:
    assert is_limit_kept(scenario().holds, refusals) is is_kept
    claim = next(one for one in claims(scenario(), replace(WELL, refusals=refusals)) if "limit is kept" in one.claim)
    assert (claim.seen, claim.holds) == (told, is_kept)
    assert is_limit_kept(scenario(holds={}).holds, refusals) is None


def test_a_doubt_with_a_fault_is_no_broken_claim_and_one_without_is() -> None:
    faulty = scenario(faults=[{"at_s": 1, "kind": "RabbitMQ killed"}])
    assert broken(replace(WELL, correctness=BOOKS), faulty) == []
    unexplained = replace(BOOKS, in_doubt_explained=0)
    assert [one.claim for one in broken(replace(WELL, correctness=unexplained), faulty)] == [
        "every doubt has its fault"
    ]


def test_a_broker_that_is_away_holds_the_producer_up() -> None:
    faulty = scenario(faults=[{"at_s": 1, "kind": "RabbitMQ killed"}])
    assert broken(replace(WELL, producer=replace(PRODUCER, behind_ms_p99=5_000.0)), faulty) == []
