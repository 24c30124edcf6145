"""The service levels: how much of each budget is left, and how fast it goes."""

from deploy.grafana.dashboard import Row
from deploy.grafana.panels import Panel, Stat, TimeSeries
from deploy.grafana.parts import Query, falling, rising
from deploy.grafana.promql import ACCOUNT, ruled

_FAST, _SLOW = "ErrorBudgetBurnFast", "ErrorBudgetBurnSlow"


def _left(slo: str, title: str, means: str, otherwise: str) -> Panel:
    is_slo = f'slo="{slo}"'
    return Stat(
        title=f"Budget left: {title}",
        shows=f"What is left of the 30 days' error budget. {means}",
        healthy="above 0; 1 is all of it.",
        otherwise=otherwise,
        queries=(Query(f"min by (account) ({ruled('mms_slo:budget_left:ratio', ACCOUNT, is_slo)})", "{{account}}"),),
        unit="percentunit",
        decimals=0,
        minimum=None,
        steps=falling(0, 0.25),
        alerts=(_FAST, _SLOW),
        width=8,
        has_names=True,
        to_account=True,
    )


def _burn(window: str, shown: str, warn: float, bad: float) -> Panel:
    return TimeSeries(
        title=f"Burn rate over {shown}",
        shows=f"How fast each budget goes, over {shown}. At 1 it is just used up in 30 days; from {bad:g} on somebody "
        "is woken.",
        healthy="below 1.",
        otherwise="goodput: see the pace; timeliness: the backlog, or a slow API; acceptance: dead letters and doubts.",
        queries=(
            Query(
                f"max by (slo, account) ({ruled(f'mms_slo:burn:ratio_rate{window}', ACCOUNT)})", "{{slo}} {{account}}"
            ),
        ),
        unit="none",
        decimals=1,
        steps=rising(warn, bad),
        alerts=(_FAST, _SLOW),
        width=12,
    )


SERVICE_LEVELS = Row(
    "Service levels",
    (
        _left(
            "goodput",
            "goodput",
            "Goodput: of the time with a backlog, 95 % have at least 95 % of the limit in use.",
            "the pace is below the limit for too long: see what keeps it back, and Account, Pace.",
        ),
        _left(
            "timeliness",
            "timeliness",
            "Timeliness: of all jobs, 99 % end within a minute after the wait that the backlog explains.",
            "jobs wait longer than their place in the queue explains: a slow API, faults, or retries.",
        ),
        _left(
            "acceptance",
            "acceptance",
            "Acceptance: of all jobs that are sent, dead or in doubt, 99 % are sent.",
            "see dead letters and doubts: their reasons are in words.",
        ),
        _burn("1h", "one hour", 3, 14.4),
        _burn("6h", "six hours", 1, 6),
    ),
)
