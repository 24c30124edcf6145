"""The table, the verdict and the live view."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from loadtest.demo.books import Death, Duplicate, Reckoning
from loadtest.demo.inbound import InboundReckoning
from loadtest.demo.jobs import End
from loadtest.demo.live import Moment, Screen, WorkerSeen, line, view
from loadtest.demo.table import Mood, Result, draw, rows, verdict
from loadtest.simulator.records import Summary

SECOND_US = 1_000_000
RECKONING = Reckoning(
    published=4,
    ends={End.SENT: 3, End.DEAD: 1},
    resolved=0,
    recipients_told=5,
    recipients_accepted=5,
    lost=(),
    duplicates=(),
    problems=(),
    first_accepted_at_us={"demo-0001": 2 * SECOND_US, "demo-0002": 3 * SECOND_US},
)
INBOUND = InboundReckoning(
    reports=8,
    reports_made=8,
    again=2,
    early=1,
    statuses={"dispatched": 3, "delivered": 3, "failed": 1, "expired": 1},
    replies=2,
    replies_made=2,
    both_ways=1,
    problems=(),
)
SUMMARY = Summary(
    calls=4,
    accepted_calls=3,
    throttled_calls=1,
    recipients_accepted=5,
    duplicates=0,
    worst_rolling_second=49,
    worst_rolling_second_admitted=48,
    share_of_limit=0.98,
    calls_by_result={},
    span_s=1.0,
)
WELL = Result(
    reckoning=RECKONING,
    inbound=INBOUND,
    summary=SUMMARY,
    limit_per_s=50,
    bursts=2,
    deaths=(),
    is_kill_asked=False,
    published_at_us={"demo-0001": SECOND_US, "demo-0002": SECOND_US},
)
TWICE = replace(
    WELL,
    reckoning=replace(RECKONING, duplicates=(Duplicate("demo-0001", 2 * SECOND_US, 4 * SECOND_US),)),
    summary=replace(SUMMARY, duplicates=1),
)
DEATH = Death(alive_at_us=2 * SECOND_US, noticed_at_us=2 * SECOND_US)


def row_values(result: Result) -> dict[str, str]:
    return {row.name: row.value for row in rows(result)}


def test_the_table_has_a_row_for_everything_that_is_promised() -> None:
    assert row_values(WELL) == {
        "published": "4",
        "sent": "3",
        "refused": "0",
        "expired": "0",
        "dead": "1",
        "unroutable": "0",
        "in doubt": "0",
        "lost": "0",
        "duplicated": "0",
        "reports": "8",
        "messages delivered": "3",
        "replies": "2",
        "429s": "1",
        "worst rolling second": "49",
        "p50": "1.00 s",
        "p99": "2.00 s",
    }


def test_without_a_single_acceptance_there_is_no_latency() -> None:
    assert row_values(replace(WELL, reckoning=replace(RECKONING, first_accepted_at_us={})))["p99"] == "-"


@pytest.mark.parametrize(
    ("result", "is_well"),
    [
        (WELL, True),
        (replace(WELL, reckoning=replace(RECKONING, lost=("demo-0003",))), False),
        (replace(WELL, reckoning=replace(RECKONING, problems=("It does not balance.",))), False),
        (replace(WELL, inbound=replace(INBOUND, problems=("3 replies were lost.",))), False),
        (TWICE, False),
        (replace(TWICE, deaths=(DEATH,)), False),  # nobody asked the demo for the kill
        (replace(TWICE, is_kill_asked=True), False),
        (replace(TWICE, is_kill_asked=True, deaths=(DEATH,)), True),
        (replace(TWICE, is_kill_asked=True, deaths=(Death(9 * SECOND_US, 9 * SECOND_US),)), False),
        # The ledger counts one that the books cannot show: it stays unexplained.
        (replace(WELL, summary=replace(SUMMARY, duplicates=1), is_kill_asked=True, deaths=(DEATH,)), False),
    ],
)
def test_all_is_well_only_by_the_rule(result: Result, is_well: bool) -> None:  # noqa: FBT001 - a column of the table
    assert result.is_well is is_well
    assert verdict(result)[0].startswith("All is well" if is_well else "Not well")


def test_an_explained_duplicate_is_told_as_such() -> None:
    notes = {row.name: row.note for row in rows(replace(TWICE, deaths=(DEATH,), is_kill_asked=True))}
    assert notes["duplicated"] == "1 explained: under way in the killed worker"
    assert {row.name: row.note for row in rows(TWICE)}["duplicated"] == "1 without an explanation"


def test_what_came_back_is_told_beside_its_count() -> None:
    notes = {row.name: row.note for row in rows(WELL)}
    assert notes["reports"] == "of 8; 2 came again, 1 too early"
    assert notes["messages delivered"] == "1 expired, 1 failed"
    assert notes["replies"] == "of 2; 1 came two ways"
    missing = replace(WELL, inbound=replace(INBOUND, reports=7, problems=("1 report was lost.",)))
    assert {row.name: row.mood for row in rows(missing)}["reports"] is Mood.BAD
    assert "1 report was lost." in verdict(missing)


@pytest.mark.parametrize(
    ("in_doubt", "resolved", "note"),
    [
        (0, 0, ""),
        (0, 1, "1 was: its report proved it sent"),
        (2, 0, "nobody knows; kept in mms.in_doubt"),
        (2, 3, "nobody knows; kept in mms.in_doubt; 3 were: reports proved them sent"),
    ],
)
def test_a_job_that_is_no_longer_in_doubt_is_told_as_such(in_doubt: int, resolved: int, note: str) -> None:
    reckoning = replace(RECKONING, ends={End.IN_DOUBT: in_doubt}, resolved=resolved)
    assert {row.name: row.note for row in rows(replace(WELL, reckoning=reckoning))}["in doubt"] == note


def test_lost_jobs_are_named_but_not_all_of_them() -> None:
    lost = tuple(f"demo-{number:04}" for number in range(1, 8))
    note = {row.name: row.note for row in rows(replace(WELL, reckoning=replace(RECKONING, lost=lost)))}["lost"]
    assert note == "demo-0001, demo-0002, demo-0003, demo-0004, demo-0005 and 2 more"


MOMENT = Moment(
    elapsed_s=4.25,
    published=600,
    ended=200,
    sent=190,
    pace_per_s=49,
    limit_per_s=25,
    limit_usual_per_s=50,
    queued=144,
    throttled=12,
    reports=77,
    replies=0,
    in_doubt=1,
    workers=(WorkerSeen("worker 1", 4_194_304, None), WorkerSeen("worker 2", 4_194_303, "ended by signal 9")),
)


def test_a_plain_line_tells_pace_backlog_and_dead_workers() -> None:
    told = "  4.2 s  190 sent  49 calls/s of 25  backlog 400  12 429s  77 reports  0 replies"
    assert line(MOMENT) == f"{told}  1 in doubt  worker 2 ended by signal 9"
    assert line(replace(MOMENT, in_doubt=0, workers=())) == told


def printed(console_width: int) -> list[str]:
    console = Console(file=StringIO(), width=console_width, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(view(MOMENT, 600))
        draw(console, WELL)
    return capture.get().splitlines()


def test_board_and_table_do_not_wrap_at_80_columns() -> None:
    assert max(map(len, printed(200))) > 80  # the verdict is a long sentence
    board_and_table = [text.rstrip() for text in printed(80)]
    wide = [text.rstrip() for text in printed(200)]
    assert board_and_table[: len(wide) - 2] == wide[:-2]


def test_without_a_terminal_lines_come_at_an_interval() -> None:
    console = Console(file=StringIO(), width=200)
    with console.capture() as capture, Screen(console, 600) as screen:
        for tick in range(21):
            screen.show(replace(MOMENT, elapsed_s=tick * 0.2))
    assert [text.split(" s ")[0].strip() for text in capture.get().splitlines()] == ["0.0", "2.0", "4.0"]


def test_what_is_said_in_a_terminal_breaks_between_words_and_elsewhere_not_at_all() -> None:
    sentence = " ".join(f"word{number}" for number in range(30))
    for in_terminal in (True, False):
        file = StringIO()
        console = Console(file=file, width=80, force_terminal=in_terminal, color_system=None)
        Screen(console, 600).say(sentence)
        lines = file.getvalue().splitlines()
        assert " ".join(line.strip() for line in lines) == sentence
        assert all(len(line) <= 80 for line in lines) is in_terminal
