"""What `peers` measures, by which judge, and what it makes of it."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.options import read_options
from loadtest.bench.peers.floor import Spent
from loadtest.bench.peers.judge import Figures, Reading, figures, middle_of
from loadtest.bench.peers.options import PeersOptions
from loadtest.bench.peers.report import claims, cpu_us, disturbances, draw_peers, ours_over, peers_result, twice
from loadtest.bench.peers.rows import FLOOR, OURS, Row, all_rows, row_names, rows_for
from loadtest.bench.peers.run import Outcome, PeersFigures, wanted_rows
from loadtest.bench.processes import SessionMemory, memory_of_session, proportional_bytes_in
from loadtest.bench.sessions import have_published, start_session
from loadtest.failure import LoadTestError
from loadtest.rivals.peers.catalogue import PEER_NAMES, PEERS, peer_named
from loadtest.rivals.peers.surroundings import Surroundings, surroundings

PEERS_OPTIONS = PeersOptions(
    only=None, processes=(1, 2), in_flight=None, jobs=20_000, rounds=1, latency_ms=5, seed=1, json_file=None
)
MEMORY = SessionMemory(processes=2, largest_peak_bytes=60_000_000, total_bytes=90_000_000)
WAIT_S_MAX = 10.0


def of(jobs_per_s: float, cpu_s_per_1000_jobs: float = 0.5) -> Figures:
    return Figures(
        seconds=10,
        jobs=round(10 * jobs_per_s),
        jobs_per_s=jobs_per_s,
        recipients_per_call=1,
        cpu_s_per_1000_jobs=cpu_s_per_1000_jobs,
        cores={"sender": 0.99, "simulator": 0.4, "rabbitmq": 0.3, "redis": 0.1},
        others_cores=0.05,
        processes=1,
        largest_peak_bytes=60_000_000,
        total_bytes=90_000_000,
        sent_twice=0,
    )


def outcome(name: str, jobs_per_s: float, processes: int = 1) -> Outcome:
    row = next(row for row in rows_for((name,), (processes,)) if row.recipients_per_call == 1)
    return Outcome(row, (of(jobs_per_s),))


SEEN = [
    outcome(OURS, 1_800),
    outcome(OURS, 2_700, 2),
    outcome("celery-prefork", 500),
    outcome("dramatiq", 400),
    outcome("dramatiq", 900, 2),
    outcome("loop-aiohttp", 1_000),
    outcome(FLOOR, 2_000),
]


# --- What is measured ------------------------------------------------------------------------------------


def test_every_row_is_another_and_every_peer_has_one() -> None:
    rows = all_rows()
    assert len({row.key for row in rows}) == len(rows)
    assert {row.name for row in rows} == {OURS, FLOOR, *PEER_NAMES} == set(row_names())
    assert {(row.processes, row.recipients_per_call) for row in rows if row.name == OURS} == {
        (processes, batch) for processes in (1, 2) for batch in (1, 10, 100)
    }


def test_a_peer_whose_calls_are_processes_is_measured_once() -> None:
    assert [row.processes for row in rows_for(("celery-prefork",), (1, 2))] == [1]
    assert [row.processes for row in rows_for(("celery-gevent",), (1, 2))] == [1, 2]


def test_other_numbers_of_calls_are_tried_for_peers_alone() -> None:
    rows = wanted_rows(replace(PEERS_OPTIONS, only=("taskiq", FLOOR), processes=(1,), in_flight=(8, 9)))
    assert [(row.name, row.in_flight) for row in rows] == [("taskiq", 8), ("taskiq", 9), (FLOOR, 64)]
    assert len({row.key for row in rows}) == 3


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_is_told_how_many_by_its_own_options(peer: object) -> None:
    named = peer_named(peer.name)  # type: ignore[attr-defined]
    assert named is peer
    command = named.command(2, 37, 3)
    if named.starts_itself:
        assert "2" in command
    if named.library in {"celery", "dramatiq", "taskiq-aio-pika"}:
        assert "37" in command  # the others are told by their surroundings


def test_peers_find_what_they_were_told() -> None:
    told = Surroundings("amqp://u:p@h/", "https://h:1", "ca.pem", "key", "picture.png", 16, "aiohttp")
    assert surroundings({"PATH": "/bin", **told.variables()}) == told
    assert "u:p" not in repr(told)
    with pytest.raises(KeyError):
        surroundings({})


def test_options_are_heard(tmp_path: Path) -> None:
    assert read_options(["peers"]) == PEERS_OPTIONS
    file = tmp_path / "peers.json"
    told = f"--only taskiq,floor --processes 1 --in-flight 8,16 --jobs 5000 --rounds 3 --seed 2 --json {file}"
    assert read_options(["peers", *told.split()]) == PeersOptions(
        ("taskiq", "floor"), (1,), (8, 16), 5_000, 3, latency_ms=5, seed=2, json_file=file
    )


@pytest.mark.parametrize("told", ["--only others", "--jobs 5", "--rounds 10", "--processes 3", "--in-flight 0"])
def test_a_wrong_option_is_told_in_one_line(told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read_options(["peers", *told.split()])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


# --- The judge -------------------------------------------------------------------------------------------


def reading(at_s: float, jobs: int, sender_s: float = 0.0) -> Reading:
    return Reading(at_s, jobs, jobs // 2, {"sender": sender_s, "simulator": at_s / 2}, machine_s=at_s * 1.25)


def test_only_the_steady_state_counts() -> None:
    taken = [
        reading(0, 0),
        reading(5, 90, 3.0),
        reading(6, 100, 4.0),
        reading(10, 500, 6.0),
        reading(14, 900, 8.0),
        reading(30, 1_000, 9.0),
    ]
    seen = figures(taken, 1_000, memory=MEMORY, sent_twice=0)
    assert (seen.seconds, seen.jobs, seen.jobs_per_s, seen.recipients_per_call) == (8, 800, 100, 2)
    assert seen.cpu_s_per_1000_jobs == pytest.approx(5.0)
    assert seen.cores == {"sender": 0.5, "simulator": 0.5}
    assert seen.others_cores == pytest.approx(0.25)
    assert (seen.processes, seen.total_bytes) == (2, 90_000_000)


def test_a_steady_state_of_a_moment_says_nothing() -> None:
    with pytest.raises(NotMeasuredError, match=r"lasted 1\.0 s"):
        figures([reading(0, 0), reading(1, 100), reading(2, 1_000)], 1_000, memory=MEMORY, sent_twice=0)


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=9))
def test_the_round_in_the_middle_is_one_of_them(rates: list[int]) -> None:
    middle = middle_of([of(rate) for rate in rates])
    assert middle.jobs_per_s in rates
    assert sum(rate < middle.jobs_per_s for rate in rates) <= len(rates) // 2
    assert sum(rate > middle.jobs_per_s for rate in rates) <= len(rates) // 2


# --- Processes of others ---------------------------------------------------------------------------------

KEEPER = """
import subprocess, sys
from loadtest.rivals.life import end_with_owner
end_with_owner()
subprocess.call([sys.executable, "-c", "import time; print('child', flush=True); time.sleep(60)"])
"""


def wait_for(condition: Callable[[], object]) -> None:
    give_up_at_s = time.monotonic() + WAIT_S_MAX
    while not condition():
        assert time.monotonic() < give_up_at_s
        time.sleep(0.02)


def processes_of(session: int) -> int:
    return memory_of_session(session).processes


def test_a_session_counts_with_its_children_and_ends_with_them(tmp_path: Path) -> None:
    session = start_session("The sleeper", [sys.executable, "-c", KEEPER], log=tmp_path / "log")
    wait_for(lambda: "child" in session.log_tail())
    both, child = memory_of_session(session.id), memory_of_session(session.id, without=frozenset({session.id}))
    assert (both.processes, child.processes) == (2, 1)
    assert both.total_bytes > child.total_bytes > 0
    session.require_running()
    session.end()
    wait_for(lambda: processes_of(session.id) == 0)
    with pytest.raises(NotMeasuredError, match="The sleeper ended with exit code"):
        session.require_running()


def test_a_session_ends_when_its_owner_lets_go(tmp_path: Path) -> None:
    session = start_session("The sleeper", [sys.executable, "-c", KEEPER], log=tmp_path / "log")
    wait_for(lambda: "child" in session.log_tail())
    assert session.process.stdin is not None
    session.process.stdin.close()
    assert session.process.wait(WAIT_S_MAX) < 0
    wait_for(lambda: processes_of(session.id) == 0)


def test_a_program_that_cannot_publish_says_why() -> None:
    with pytest.raises(LoadTestError, match="No such broker"):
        have_published("It", [sys.executable, "-c", "raise SystemExit('No such broker')"], [])


def test_shared_pages_count_in_part() -> None:
    assert proportional_bytes_in("Rss:  9 kB\nPss:    3 kB\nPss_Dirty: 1 kB\n") == 3_072
    assert proportional_bytes_in("") == 0
    assert memory_of_session(os.getsid(0)).total_bytes > 0


# --- What is told ----------------------------------------------------------------------------------------


def test_ours_is_compared_with_as_many_processes() -> None:
    told = {(one.row.name, one.row.processes): ours_over(one.row, SEEN) for one in SEEN}
    assert told["dramatiq", 1] == pytest.approx(4.5)
    assert told["dramatiq", 2] == pytest.approx(3.0)
    assert ours_over(SEEN[2].row, SEEN[2:]) is None


def test_each_target_is_held_against_the_best_of_its_kind() -> None:
    seen = {claim.words: (round(claim.seen, 2), claim.holds) for claim in claims(SEEN)}
    assert seen == {
        "at least 3.0 x the best framework": (3.6, True),
        "at least 1.2 x the leanest loop": (1.8, True),
        "at least 0.85 of the floor": (0.9, True),
        "at most 0.6 CPU s per 1,000 jobs": (0.5, True),
    }


def test_a_missed_target_is_told() -> None:
    faster = [*SEEN, outcome("taskiq", 700)]
    assert [claim.holds for claim in claims(faster)] == [False, True, True, True]
    assert claims(SEEN[2:]) == []


def test_rows_that_others_disturbed_are_named() -> None:
    busy = replace(of(500), others_cores=0.5)
    assert disturbances(SEEN) == []
    assert disturbances([*SEEN, replace(SEEN[2], rounds=(busy,))]) == ["Celery prefork, httpx 16x1 (0.50)"]


def test_jobs_that_were_sent_twice_are_told_but_of_the_floor() -> None:
    again = [replace(one, rounds=(replace(of(500), sent_twice=3), of(400))) for one in (SEEN[2], SEEN[-1])]
    assert twice(SEEN) == []
    assert twice(again) == ["Celery prefork, httpx 16x1 sent 3 jobs twice."]


def test_the_table_has_a_row_for_each_and_fits_80_columns() -> None:
    failed = Outcome(rows_for(("faststream",), (1,))[0], (), why_not="It ended.")
    told = PeersFigures((*SEEN, failed), {"call": Spent(1_000, 0.5, 0.25)})
    console = Console(file=StringIO(), width=80, color_system=None)
    with console.capture() as capture:
        draw_peers(console, PEERS_OPTIONS, told)
    text = capture.get()
    table = text[: text.index("holds")]
    assert max(map(len, table.splitlines())) <= 80
    assert "…" not in table
    for words in ("Celery prefork, httpx", "1,800", "3.60", "aio-pika loop, aiohttp", "0.50", "2,000", "250"):
        assert words in table
    assert "MISSED" not in text


def test_json_tells_all_rounds_and_why_a_row_is_missing() -> None:
    failed = Outcome(Row("peer", "faststream", 1, 16), (), why_not="It ended.")
    twice = replace(SEEN[0], rounds=(of(1_000), of(2_000)))
    told = peers_result(PeersFigures((twice, failed), {"call": Spent(1_000, 0.5, 0.25)}))
    assert [row["figures"] and row["figures"]["jobs_per_s"] for row in told["rows"]] == [1_000, None]
    assert [len(row["rounds"]) for row in told["rows"]] == [2, 0]
    assert told["rows"][1]["why_not"] == "It ended."
    assert told["floor_parts"]["call"]["cpu_us"] == pytest.approx(250) == cpu_us(Spent(1_000, 0.5, 0.25))
