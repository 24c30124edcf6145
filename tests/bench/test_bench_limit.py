"""What `limit` measures, and what it makes of it."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.limit.cells import Cell, best_share, grid_cells, jobs_for, measure_s, rival_cells
from loadtest.bench.limit.changes import ChangesFigures, changes_cells
from loadtest.bench.limit.figures import (
    CellFigures,
    Measured,
    Reaction,
    RedisUse,
    SenderReading,
    cell_figures,
    reaction,
    recovered_after_s,
)
from loadtest.bench.limit.idle import IdleFigures, idle_cells
from loadtest.bench.limit.outcomes import Count, Outcome, count, outcome
from loadtest.bench.limit.redis_monitor import CommandCount
from loadtest.bench.limit.targets import missed, share_min
from loadtest.bench.processes import MachineTicks, machine_ticks_in, session_in
from loadtest.simulator.records import CallRecord
from tests.bench.options import LIMIT

CELL = Cell("rolling", 15, 4, 5.0, learn_s=30, measure_s=75)
GOOD = CellFigures(
    share_of_limit=0.993,
    calls=1_117,
    seconds=75.0,
    throttled_calls=1,
    throttled_per_1000=0.895,
    learning_throttled_calls=3,
    worst_second_calls=16,
    worker_shares=(0.25, 0.25, 0.26, 0.24),
    workers_apart=0.08,
    commands_per_call=1.02,
    commands_per_call_with_scripts=4.1,
    cpu_s_per_1000_calls=3.5,
    busy_share=0.4,
)
CHANGED = ChangesFigures(
    Reaction(9, 4.3, (20.5, 31.0)), lowered_share=0.85, recovered_after_s=39.4, throttled_in_recovery=0
)


def calls(*arrivals: tuple[float, int]) -> list[CallRecord]:
    """Calls by moment in s and HTTP status."""
    return [
        CallRecord(index, "key", "send-mms", round(at_s * 1_000_000), "SUCCESS", status, 1)
        for index, (at_s, status) in enumerate(arrivals)
    ]


def test_the_whole_grid_has_36_cells_of_two_thousand_calls_each() -> None:
    cells = grid_cells(LIMIT)
    assert len(set(cells)) == 36
    assert {cell.rate_per_s: cell.measure_s for cell in cells} == {15: 150, 150: 30, 1_000: 20}
    assert all(cell.rate_per_s * cell.measure_s * 0.955 > 2_000 and cell.learn_s == 30 for cell in cells)
    assert {cell.rate_per_s for cell in cells if cell.is_quiet} == {15}


def test_rivals_are_measured_where_ours_is_compared_with_them() -> None:
    cells = rival_cells(LIMIT)
    assert len(set(cells)) == 6 * 2 * 2
    assert {(cell.window, cell.workers, cell.learn_s) for cell in cells} == {("rolling", 4, 10)}
    assert {cell.rate_per_s: cell.measure_s for cell in cells} == {15: 60, 150: 20}
    assert {cell.rival for cell in cells if cell.rate_per_s == 15 and not cell.is_quiet} == {"incr", "gcra"}


def test_what_was_asked_for_is_measured_by_all() -> None:
    asked = replace(LIMIT, windows=("bucket",), rates_per_s=(50,), workers=(2,), spreads_ms=(7.0,), seconds=9)
    assert grid_cells(asked) == [Cell("bucket", 50, 2, 7.0, 30, 9)]
    assert rival_cells(replace(asked, rivals=("celery",))) == [Cell("bucket", 50, 2, 7.0, 10, 9, "celery")]
    assert [cell.spread_ms for cell in idle_cells(asked)] == [cell.spread_ms for cell in changes_cells(asked)] == [7.0]


@given(st.integers(1, 10_000))
def test_a_thousand_calls_are_counted_at_any_rate(rate_per_s: int) -> None:
    assert measure_s(rate_per_s) * rate_per_s >= 1_000


def test_the_backlog_outlasts_the_measured_time_and_what_is_held_ahead() -> None:
    assert jobs_for(15, 105, workers=4) == 15 * (105 + 11) + 1_200


@pytest.mark.parametrize(("spread_ms", "share"), [(0, 1.0), (5, 0.995025), (40, 0.961538)])
def test_jitter_bounds_the_share(spread_ms: float, share: float) -> None:
    assert best_share(spread_ms) == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize(("spread_ms", "share"), [(5, 0.99), (40, 0.955), (0, 0.99), (100, 1 / 1.1 - 0.01)])
def test_the_expected_share_stays_below_what_can_be_had(spread_ms: float, share: float) -> None:
    assert share_min(spread_ms) == pytest.approx(share)
    assert share_min(spread_ms) < best_share(spread_ms)


@pytest.mark.parametrize(
    ("figures", "cell", "names"),
    [
        (GOOD, CELL, ()),
        (replace(GOOD, share_of_limit=0.9899), CELL, ("share",)),
        (replace(GOOD, share_of_limit=0.9899), replace(CELL, spread_ms=40.0), ()),
        (replace(GOOD, share_of_limit=0.9549), replace(CELL, spread_ms=40.0), ("share",)),
        (replace(GOOD, throttled_per_1000=1.0), CELL, ()),
        (replace(GOOD, throttled_per_1000=1.01), CELL, ("429",)),
        (replace(GOOD, workers_apart=0.101), CELL, ("apart",)),
        (replace(GOOD, commands_per_call=1.21), CELL, ("Redis",)),
        (replace(GOOD, commands_per_call=1.21), replace(CELL, rate_per_s=150), ()),
        (replace(GOOD, commands_per_call=0.11), replace(CELL, rate_per_s=1_000), ("Redis",)),
        (replace(GOOD, learning_throttled_calls=99, worst_second_calls=99, busy_share=1.0), CELL, ()),
        (replace(GOOD, share_of_limit=0.5, throttled_per_1000=80), CELL, ("share", "429")),
    ],
)
def test_every_target_has_an_edge(figures: CellFigures, cell: Cell, names: tuple[str, ...]) -> None:
    assert missed(cell, figures) == names


def measured(arrivals: Sequence[tuple[float, int]], sent: tuple[int, ...]) -> Measured:
    return Measured(
        calls=calls(*arrivals),
        learning_throttled_calls=7,
        first=tuple(SenderReading(sent=10, cpu_s=1.0) for _ in sent),
        last=tuple(SenderReading(sent=10 + jobs, cpu_s=1.5) for jobs in sent),
        redis=RedisUse(by_clients=5, in_scripts=15),
        busy_share=0.25,
    )


def test_a_row_is_made_of_the_ledger_and_of_two_readings() -> None:
    arrivals = [(0.0, 200), (0.25, 200), (0.5, 429), (0.75, 200), (1.0, 200)]
    figures = cell_figures(measured(arrivals, (3, 1)), rate_per_s=4)
    assert (figures.calls, figures.throttled_calls, figures.learning_throttled_calls) == (5, 1, 7)
    assert figures.share_of_limit == pytest.approx(3 / 4)
    assert figures.throttled_per_1000 == pytest.approx(200)
    assert figures.worst_second_calls == 4
    assert figures.worker_shares == (0.75, 0.25)
    assert figures.workers_apart == pytest.approx(1.0)  # 3 and 1 of a mean of 2
    assert figures.commands_per_call == pytest.approx(1)
    assert figures.commands_per_call_with_scripts == pytest.approx(4)
    assert figures.cpu_s_per_1000_calls == pytest.approx(250)
    assert figures.busy_share == 0.25


@pytest.mark.parametrize(
    ("arrivals", "sent"), [([], (1, 1)), ([(0.0, 200), (1.0, 429)], (1, 1)), ([(0.0, 200), (1.0, 200)], (0, 0))]
)
def test_where_next_to_nothing_was_sent_there_are_no_figures(
    arrivals: list[tuple[float, int]], sent: tuple[int, ...]
) -> None:
    with pytest.raises(NotMeasuredError):
        cell_figures(measured(arrivals, sent), rate_per_s=15)


@pytest.mark.parametrize(
    ("throttled_at_s", "expected"),
    [
        ((), Reaction(0, None, ())),
        ((100.5, 104.0, 108.9, 114.0), Reaction(3, 8.9, (14.0,))),
        ((100.5, 101.0, 120.0, 121.0), Reaction(2, 1.0, (20.0, 21.0))),
        ((106.0,), Reaction(0, None, (6.0,))),
    ],
)
def test_the_reaction_ends_when_nothing_was_refused_for_a_while(
    throttled_at_s: tuple[float, ...], expected: Reaction
) -> None:
    seen = reaction(
        calls((100.1, 200), *((at_s, 429) for at_s in throttled_at_s)), changed_at_us=100_000_000, quiet_s=5
    )
    assert seen.throttled_calls == expected.throttled_calls
    assert seen.last_429_after_s == pytest.approx(expected.last_429_after_s)
    assert seen.probes_after_s == pytest.approx(expected.probes_after_s)


def test_the_pace_is_back_when_the_last_five_seconds_say_so() -> None:
    slow = [(second / 5, 200) for second in range(100)]  # 5/s until 20 s
    quick = [(20 + second / 15, 200) for second in range(150)]
    found = recovered_after_s(calls(*slow, *quick), changed_at_us=20_000_000, pace_per_s=14.25)
    # Five seconds hold 14.25/s when at most 0.375 s of them were at 5/s; calls are 0.2 s apart there.
    assert found is not None
    assert 4.625 <= found <= 4.825


def test_refused_calls_do_not_bring_the_pace_back_nor_does_what_was_before() -> None:
    at_limit = [(number / 15, 200) for number in range(150)]  # 15/s until 10 s
    assert recovered_after_s(calls(*at_limit), changed_at_us=10_000_000, pace_per_s=14.25) is None
    refused = [(10 + number / 15, 429 if number % 2 else 200) for number in range(300)]
    found = recovered_after_s(calls(*at_limit, *refused), changed_at_us=16_000_000, pace_per_s=14.25)
    assert found is None


@pytest.mark.parametrize(
    ("figures", "names"),
    [
        (CHANGED, ()),
        (replace(CHANGED, reaction=Reaction(0, None, ())), ()),
        (replace(CHANGED, reaction=Reaction(9, 5.1, ())), ("reaction",)),
        (replace(CHANGED, recovered_after_s=60.5), ("recovery",)),
        (replace(CHANGED, recovered_after_s=None), ("recovery",)),
        (IdleFigures(GOOD, first_throttled_calls=0), ()),
        (IdleFigures(replace(GOOD, throttled_per_1000=2), first_throttled_calls=2), ("429",)),
    ],
)
def test_the_other_parts_are_judged_too(figures: ChangesFigures | IdleFigures, names: tuple[str, ...]) -> None:
    assert outcome("changes", CELL, figures).missed == names


def test_cells_are_counted_as_held_measured_and_all() -> None:
    bad = outcome("grid", CELL, replace(GOOD, share_of_limit=0.5))
    none = Outcome("grid", CELL, None, why_not="Nothing was sent.")
    assert count([outcome("grid", CELL, GOOD), bad, none]) == Count(held=1, measured=2, cells=3)
    assert [one.verdict for one in (outcome("grid", CELL, GOOD), bad, none)] == [
        "holds",
        "misses share",
        "not measured",
    ]


MONITORED = (
    b'+1700000000.000001 [0 127.0.0.1:40000] "EVALSHA" "abc" "1" "key"\r\n'
    b'+1700000000.000002 [0 lua] "TIME"\r\n'
    b'+1700000000.000003 [0 lua] "HMGET" "key" "a\\r\\nb"\r\n'
    b'+1700000000.000004 [0 127.0.0.1:40000] "PING"\r\n'
    b'+1700000000.000005 [0 127.0.0.1:40000] "EVALSHA" "def" "3" "mms:journal:{acme}" "mms:in_doubt:{acme}"\r\n'
    b'+1700000000.000006 [0 lua] "GET" "mms:job:{acme}:j1"\r\n'
    b'+1700000000.000007 [0 127.0.0.1:40000] "PING"\r\n'
    b'+1700000000.000008 [0 127.0.0.1:40000] "EVALSHA" "fed" "1" "mms:to:{acme}:61400000001" "2"\r\n'
    b'+1700000000.000009 [0 127.0.0.1:40000] "EVALSHA" "abc" "1" "mms:bucket:acme" "reserve"\r\n'
    b'+1700000000.000010 [0 127.0.0.1:40000] "PUBLISH" "mms:limiter:news" "acme"\r\n'
    b'+1700000000.000011 [0 127.0.0.1:40000] "PING"\r\n'
)


@pytest.mark.parametrize("size", [1, 7, 64, len(MONITORED)])
def test_commands_of_scripts_are_told_from_those_of_clients_in_pieces_of_any_size(size: int) -> None:
    counted = CommandCount()
    for start in range(0, len(MONITORED), size):
        counted.take(MONITORED[start : start + size])
    assert counted.use() == RedisUse(by_clients=6, in_scripts=2)


def test_a_line_that_is_not_whole_is_not_counted() -> None:
    counted = CommandCount()
    counted.take(MONITORED[:-2])
    assert counted.use() == RedisUse(by_clients=5, in_scripts=2)


def test_what_the_machine_does_is_read_out_of_its_first_line() -> None:
    before = machine_ticks_in("cpu  100 5 50 1000 45 3 2 0 7 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    assert before == MachineTicks(busy=160, idle=1_045)
    assert before.busy_share(MachineTicks(busy=190, idle=1_055)) == pytest.approx(0.75)
    assert before.busy_share(before) == 0


def test_the_session_is_read_behind_any_name() -> None:
    assert session_in("42 (a) b (c) S 1 43 44 0 -1 4194560 9 0 0 0 1200 34 0 0 20 0 1 0 5 6 7") == 44
