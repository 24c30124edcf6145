"""The whole: a run with faults under a real Prometheus, and every panel of every dashboard shows something."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from deploy.grafana.catalogue import DASHBOARDS
from deploy.grafana.dashboard import Dashboard, Row, marks
from deploy.grafana.panels import TimeSeries
from deploy.grafana.parts import NEUTRAL, Query
from loadtest.dashboards.asking import Shown, ask, faults
from loadtest.dashboards.jobs import SHOP
from loadtest.dashboards.pictures import picture
from loadtest.dashboards.run import Recorded, recorded

pytestmark = pytest.mark.timeout(500)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    with recorded(tmp_path_factory.mktemp("run"), print) as found:
        yield found


@pytest.fixture(scope="module")
def asked(run: Recorded) -> Mapping[str, Sequence[Shown]]:
    return {board.name: ask(run.prometheus, board, SHOP, run.start_s, run.end_s) for board in DASHBOARDS}


@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.name)
def test_every_panel_shows_something(
    run: Recorded, asked: Mapping[str, Sequence[Shown]], board: Dashboard, tmp_path: Path
) -> None:
    shown = asked[board.name]
    assert faults(board, shown) == []
    (tmp_path / "picture.svg").write_text(picture(board, shown, run.start_s, run.end_s))


def test_the_marks_over_the_panels_have_been_there(run: Recorded) -> None:
    for mark in marks():
        if mark.get("name") == "Starts of a process":
            expression = mark["expr"].replace("$job", ".+").replace("$instance", ".+")
            assert run.prometheus.query_range(expression, start_s=run.start_s, end_s=run.end_s, step_s=1)


def test_what_shows_nothing_is_found(run: Recorded) -> None:
    queries = (
        Query("mms_no_such_metric", "nothing"),
        Query("0 * mms_ratelimit_limit", "flat"),
        Query("mms_ratelimit_limit", "moves", zero_because="it must"),
        Query("mms_ratelimit_limit", "well"),
    )
    panel = TimeSeries(
        title="Bad", shows="It.", healthy="No.", otherwise="Yes.", queries=queries, unit="none", steps=NEUTRAL
    )
    board = Dashboard(name="bad", title="Bad", about="", rows=(Row("Row", (panel,)),))
    shown = ask(run.prometheus, board, SHOP, run.start_s, run.end_s)
    assert [found.rpartition(": ")[2] for found in faults(board, shown)] == [
        "no data",
        "0 all the time",
        "not 0, although it must",
    ]


def test_nothing_else_that_prometheus_scrapes_is_shown_as_ours(
    run: Recorded, asked: Mapping[str, Sequence[Shown]]
) -> None:
    """With all jobs chosen. Prometheus itself has series that every program has."""
    scraped = run.prometheus.series("process_cpu_seconds_total", start_s=run.start_s, end_s=run.end_s)
    assert {labels["job"] for labels in scraped} == {"mms-worker", "mms-receiver", "prometheus"}
    ours = {None, *(labels["instance"] for labels in scraped if labels["job"] != "prometheus")}
    for shown in (each for panels in asked.values() for each in panels):
        found = [line.labels for answer in shown.answers for line in answer.lines if line.points]
        assert {labels.get("job") for labels in found} <= {None, "mms-worker", "mms-receiver"}, shown.panel.title
        assert {labels.get("instance") for labels in found} <= ours, shown.panel.title
