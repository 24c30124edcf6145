"""Rules and alerts: promtool accepts them, each alert fires when it should and no minute earlier, and is explained."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.prometheus.conftest import FOLDER

TESTS = sorted((Path(__file__).parent / "rules").glob("*.yaml"))
MINUTE_S = 60
#: As promtool reads them.
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_ALERT_ASKED = re.compile(r'ALERTS\{alertname=~?"([^"]+)",alertstate="firing"\}')
#: Alerts that hold from the first moment, of which there is no moment before.
ALWAYS = {"Watchdog"}


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "rules/alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


NAMES = [alert["alert"] for alert in alerts()]
#: Windows of service levels: the pairs that alerts look at, and the budget's own.
WINDOWS = {"5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d"}


def told_by(promtool: str, *arguments: str) -> tuple[int, str]:
    done = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False, timeout=300)
    return done.returncode, done.stdout + done.stderr


# --- What promtool says ----------------------------------------------------------------------------------


def test_rules_and_configuration_are_accepted(promtool: str) -> None:
    for what, files in (("rules", sorted((FOLDER / "rules").glob("*.yaml"))), ("config", [FOLDER / "prometheus.yaml"])):
        code, told = told_by(promtool, "check", what, *map(str, files))
        assert code == 0, told
        assert "SUCCESS" in told
        assert "WARNING" not in told.upper(), told


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should(promtool: str, path: Path) -> None:
    code, told = told_by(promtool, "test", "rules", str(path))
    assert code == 0, told


def test_service_levels_are_asked_alike_over_each_window() -> None:
    """So that what is shown of one window is shown of all."""
    groups = yaml.safe_load((FOLDER / "rules/recording.yaml").read_text())["groups"]
    asked_of: dict[tuple[str, str], dict[str, str]] = {}
    for rule in (rule for group in groups for rule in group["rules"]):
        if found := re.fullmatch(r"(mms_slo:(?:errors|burn):ratio_rate)(\w+)", rule["record"]):
            quarter = f", {seconds(found[2]) // 60})"  # of the looks of the window, every 15 s
            expression = rule["expr"].replace(quarter, ", QUARTER)")
            expression = re.sub(rf"(\[|ratio_rate){found[2]}\b", r"\1WINDOW", expression)
            asked_of.setdefault((found[1], rule.get("labels", {}).get("slo", "")), {})[found[2]] = expression
    assert [set(windows) for windows in asked_of.values()] == [WINDOWS, WINDOWS, WINDOWS, WINDOWS - {"30d"}]
    for windows in asked_of.values():
        assert len(set(windows.values())) == 1
        assert all("WINDOW" in expression for expression in windows.values())
    assert all("QUARTER" in each for each in asked_of["mms_slo:errors:ratio_rate", "goodput"].values())


# --- What is tested of each ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """One question of one case: does the alert fire at a moment?"""

    alert: str
    at_s: int
    fires: bool
    file: Path
    case: int


def seconds(duration: str) -> int:
    return sum(int(count) * _UNITS_S[unit] for count, unit in re.findall(r"(\d+)([smhd])", duration))


def asked() -> Iterator[Asked]:
    for path in TESTS:
        for number, case in enumerate(yaml.safe_load(path.read_text())["tests"]):
            for question in case["promql_expr_test"]:
                if found := _ALERT_ASKED.search(question["expr"]):
                    of = [name for name in NAMES if re.fullmatch(found[1], name)]
                    assert of, f"{path.name}: there is no alert {found[1]}"
                    fires = bool(question.get("exp_samples"))
                    yield from (Asked(name, seconds(question["eval_time"]), fires, path, number) for name in of)


@pytest.mark.parametrize("name", NAMES)
def test_each_alert_has_a_case_in_which_it_fires_and_does_not_a_minute_before(name: str) -> None:
    of_alert = [one for one in asked() if one.alert == name]
    assert any(one.fires for one in of_alert)
    if name not in ALWAYS:
        pairs = [
            (quiet, fires)
            for fires in of_alert
            for quiet in of_alert
            if fires.fires
            and not quiet.fires
            and (quiet.file, quiet.case) == (fires.file, fires.case)
            and 0 < fires.at_s - quiet.at_s <= MINUTE_S
        ]
        assert pairs


# --- What people read ------------------------------------------------------------------------------------


@pytest.mark.parametrize("alert", alerts(), ids=NAMES)
def test_each_alert_is_explained(alert: dict[str, Any]) -> None:
    name = alert["alert"]
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    assert alert["labels"]["service"] == "mms-worker"
    annotations = alert["annotations"]
    assert annotations.keys() == {"summary", "description", "runbook_url"}
    assert annotations["runbook_url"] == f"deploy/RUNBOOK.md#{name.lower()}"
    for text in (annotations["summary"], annotations["description"]):
        assert text.rstrip().endswith(".")
        assert "  " not in text


def test_annotations_are_filled_in(promtool: str, tmp_path: Path) -> None:
    """As Prometheus does it: promtool shows what it got where something else is expected."""
    firing = [one for one in asked() if one.fires]
    first = [min((one for one in firing if one.alert == name), key=lambda one: one.at_s) for name in NAMES]
    for path in sorted({one.file for one in first}):
        # Every word as it stands there: 0x40 is a series of 41 zeros, and no number.
        suite = yaml.load(path.read_text(), Loader=yaml.BaseLoader)  # noqa: S506 - it makes strings, lists and maps only
        suite["rule_files"] = [str(FOLDER / "rules" / name) for name in ("recording.yaml", "alerts.yaml")]
        here = [one for one in first if one.file == path]
        suite["tests"] = [
            {
                "interval": suite["tests"][one.case]["interval"],
                "input_series": suite["tests"][one.case].get("input_series", []),
                "alert_rule_test": [{"alertname": one.alert, "eval_time": f"{one.at_s}s", "exp_alerts": []}],
            }
            for one in here
        ]
        (tmp_path / path.name).write_text(yaml.safe_dump(suite, allow_unicode=True))
        code, told = told_by(promtool, "test", "rules", str(tmp_path / path.name))
        assert code == 1, told
        assert sorted(re.findall(r"^ *alertname: (\w+)", told, re.MULTILINE)) == sorted(one.alert for one in here), told
        got = re.findall(r"Annotations:\{(.*)\}$", told, re.MULTILINE)
        assert len(got) >= len(here)
        for filled_in in got:
            for wrong in ("error expanding", "<no value>", "{{", "NaN", "account  ", "account ,"):
                assert wrong not in filled_in
