"""What panels show of given series: the answers to some of the dashboards' questions, by promtool."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.catalogue import DASHBOARDS

AT = "10m"
LATER = "2h20m"
"""More than any time that is looked back."""
VARIABLES = {"$job": ".+", "$instance": ".+", "$account": ".+", "$__rate_interval": "1m", "$__range": "1h"}
BUILD = 'mms_build_info{job="w", instance="a"}'
DUPLICATES = 'mms_duplicate_sends_detected_total{account="x", job="w", instance="a"}'
WAITS = {'mms_account:has_backlog:bool{account="x"}': "1x60", 'mms_account:has_backlog:bool{account="y"}': "0x60"}
USED = {
    'mms_account:limit_used:ratio_rate1m{account="x"}': "0.5x60",
    'mms_account:limit_used:ratio_rate1m{account="y"}': "0.1x60",
}
WORKERS = {"mms:workers:count": "2x60"}


def asked(dashboard: str, panel: str, place: int) -> str:
    (board,) = [board for board in DASHBOARDS if board.title == dashboard]
    (found,) = [each for each in board.panels if each.title == panel]
    expression = found.queries[place].expression
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


@pytest.mark.parametrize(
    ("panel", "series", "answers"),
    [
        pytest.param(
            ("Overview", "Messages that went out twice"),
            {DUPLICATES: "_x36 1x4"},
            {'{account="x"}': 1.0},
            id="what a process had counted when it was scraped first",
        ),
        pytest.param(
            ("Overview", "Messages that went out twice", LATER),
            {DUPLICATES: "1x600"},
            {'{account="x"}': 0.0},
            id="what was counted long ago",
        ),
        pytest.param(("Overview", "Least use of a limit"), WAITS | USED | WORKERS, {"{}": 0.5}, id="one waits"),
        pytest.param(
            ("Overview", "Least use of a limit"),
            USED | WORKERS | {'mms_account:has_backlog:bool{account="x"}': "0x60"},
            {"{}": -1.0},
            id="nothing waits",
        ),
        pytest.param(("Overview", "Least use of a limit"), USED, {}, id="nobody knows what waits"),
        pytest.param(
            ("Overview", "Processes up"),
            {
                'up{job="w", instance="a"}': "1x60",
                'up{job="w", instance="b"}': "0x60",
                'up{job="z", instance="a"}': "1x60",
            }
            | {BUILD: "1x60"},
            {'{job="w"}': 1.0},
            id="a process that is down, and one of another kind",
        ),
        pytest.param(
            ("Overview", "Processes up"),
            {'up{job="w", instance="a"}': "0x60", BUILD: "1x10"},
            {'{job="w"}': 0.0},
            id="all are down",
        ),
        pytest.param(
            ("Load test", "CPU for a call"),
            {
                BUILD: "1x60",
                'process_cpu_seconds_total{job="w", instance="a"}': "0+6x60",
                'process_cpu_seconds_total{job="z", instance="a"}': "0+60x60",
                'mms_api_requests_total{account="x", operation="send_mms", job="w", instance="a"}': "0+600x60",
                'mms_api_requests_total{account="x", operation="account", job="w", instance="a"}': "0+600x60",
            },
            {"{}": 0.01},
            id="the CPU of ours alone",
        ),
        pytest.param(
            ("Overview", "Share of recipients with a final report"),
            {
                'mms_recipients_total{account="x", result="sent", job="w", instance="a"}': "5x60",
                'mms_reports_total{account="x", status="delivered", job="w", instance="a"}': "5x60",
            },
            {},
            id="nothing was sent",
        ),
        pytest.param(
            ("Load test", "Backlog against the ideal line"),
            {
                'mms_account:backlog:jobs{account="x"}': "600x60",
                'mms_account:backlog:jobs{account="y"}': "0x60",
                'mms_account:limit:calls_per_second{account="x"}': "1x60",
                'mms_account:limit:calls_per_second{account="y"}': "100x60",
            },
            {"{}": 300.0},
            id="the ideal line of each account",
        ),
    ],
)
def test_a_panel_shows(
    panel: tuple[str, ...], series: Mapping[str, str], answers: Mapping[str, float], promtool: str, tmp_path: Path
) -> None:
    dashboard, title, at = (*panel, AT)[:3]
    place = 1 if title == "Backlog against the ideal line" else 0
    # promtool asks at one moment: what is shown began five minutes before.
    expression = asked(dashboard, title, place).replace("start()", "300").replace("$__from", "300000")
    test: dict[str, Any] = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": expression,
                "eval_time": at,
                "exp_samples": [{"labels": labels, "value": value} for labels, value in answers.items()],
            }
        ],
    }
    path = tmp_path / "panel.yaml"
    path.write_text(yaml.safe_dump({"evaluation_interval": "15s", "tests": [test]}))
    done = subprocess.run(
        [promtool, "test", "rules", str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
