"""The dashboards as a whole: shape, words, places, and that the committed files are what is generated."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from deploy.generate import GENERATED, differing
from deploy.grafana.catalogue import DASHBOARDS, file_of
from deploy.grafana.dashboard import Dashboard
from tests.grafana.known import ROOT, alerts

BY_NAME = pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.name)
GRAFANA = ROOT / "deploy/grafana"
RUNBOOK = ROOT / "deploy/RUNBOOK.md"
#: Watchdog says that alerting works, and no panel of a value does.
IN_RUNBOOK = re.compile(r"`(Overview|Account|Internals|Load test) / ([^`]+)`")


def test_generated_files_are_up_to_date() -> None:
    assert sorted(differing()) == []
    assert set(GENERATED) >= {file_of(board) for board in DASHBOARDS}


def test_no_dashboard_is_left_over() -> None:
    files = {path.relative_to(ROOT).as_posix() for path in (GRAFANA / "dashboards").glob("*.json")}
    assert files == {file_of(board) for board in DASHBOARDS}


@BY_NAME
def test_ids_and_titles_are_unique(board: Dashboard) -> None:
    panels = board.json()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    titles = [panel.title for panel in board.panels]
    assert len(set(titles)) == len(titles)
    for panel in board.panels:
        assert len({query.legend for query in panel.queries}) == len(panel.queries) or panel.kind == "table"


@BY_NAME
def test_panels_do_not_overlap_and_stay_in_the_grid(board: Dashboard) -> None:
    cells: set[tuple[int, int]] = set()
    for panel in board.json()["panels"]:
        place = panel["gridPos"]
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & own, panel["title"]
        cells |= own


@BY_NAME
def test_lines_of_panels_are_full(board: Dashboard) -> None:
    """No hole at the right: a line that ends early looks as if something were missing."""
    widths: dict[int, int] = {}
    for panel in board.json()["panels"]:
        place = panel["gridPos"]
        widths[place["y"]] = widths.get(place["y"], 0) + place["w"]
    assert set(widths.values()) == {24}


@BY_NAME
def test_every_panel_says_what_it_shows_what_is_healthy_and_what_to_do(board: Dashboard) -> None:
    for panel in board.panels:
        assert panel.steps, panel.title
        for sentence in (panel.shows, panel.healthy, panel.otherwise):
            assert sentence.endswith((".", "?")), f"{panel.title}: {sentence}"
            assert len(sentence) < 300


@BY_NAME
def test_thresholds_rise(board: Dashboard) -> None:
    for panel in board.json()["panels"]:
        if panel["type"] != "row":
            values = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
            assert values[0] is None
            assert values[1:] == sorted(values[1:])


def test_every_alert_is_spoken_of_by_a_panel_and_every_name_is_an_alert() -> None:
    named = {alert for board in DASHBOARDS for panel in board.panels for alert in panel.alerts}
    assert named == set(alerts())


def test_the_runbook_names_panels_that_there_are() -> None:
    titles = {(board.title, panel.title) for board in DASHBOARDS for panel in board.panels}
    named = set(IN_RUNBOOK.findall(RUNBOOK.read_text()))
    assert named
    assert named <= titles


def test_all_alerts_that_the_panels_count_have_the_label_of_ours() -> None:
    for name, alert in alerts().items():
        assert alert["labels"].get("service") == "mms-worker", name


@BY_NAME
def test_accounts_dashboard_is_where_the_links_lead(board: Dashboard) -> None:
    addresses = re.findall(r'"url": "/d/([\w-]+)', json.dumps(board.json()))
    assert set(addresses) <= {f"mms-{other.name}" for other in DASHBOARDS}
    if board.name == "overview":
        assert addresses


def test_grafana_is_given_the_folder_and_the_source_that_dashboards_expect() -> None:
    source = yaml.safe_load((GRAFANA / "provisioning/datasources/mms.yaml").read_text())["datasources"][0]
    assert source["type"] == "prometheus"
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yaml").read_text())
    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]
    made = yaml.safe_load((GRAFANA / "kustomization.yaml").read_text())["configMapGenerator"]
    named = [Path("deploy/grafana", *each["files"]).as_posix() for each in made]
    assert named == [file_of(board) for board in DASHBOARDS]


def test_series_of_one_panel_have_names_of_their_own() -> None:
    for board in DASHBOARDS:
        for panel in board.panels:
            for one, other in combinations(panel.queries, 2):
                assert one.expression != other.expression, panel.title
