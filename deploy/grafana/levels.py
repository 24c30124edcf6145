"""The service levels: how much of each budget is left, and how fast it goes."""

from deploy.grafana.dashboard import Row
from deploy.grafana.panels import Panel, Stat, TimeSeries
from deploy.grafana.parts import Query, falling, rising
from deploy.grafana.promql import ACCOUNT, ruled
from deploy.grafana.table import Column, Table

_FAST, _SLOW = "ErrorBudgetBurnFast", "ErrorBudgetBurnSlow"
#: Nothing is left, and a quarter.
_LEFT = falling(0, 0.25)


def _budget(slo: str) -> str:
    is_slo = f'slo="{slo}"'
    return ruled("mms_slo:budget_left:ratio", ACCOUNT, is_slo)


def _least(slo: str, means: str, otherwise: str) -> Panel:
    return Stat(
        title=f"Budget left: {slo}",
        shows=f"What is left of the 30 days' error budget, of the account with the least. {means}",
        healthy="above 0; 100 % is all of it.",
        otherwise=otherwise,
        queries=(Query(f"min({_budget(slo)})", "left"),),
        unit="percentunit",
        decimals=0,
        minimum=None,
        steps=_LEFT,
        alerts=(_FAST, _SLOW),
        height=3,
    )


LEAST_LEFT = (
    _least(
        "goodput",
        "Goodput: of the time with a backlog, 95 % have at least 95 % of the limit in use.",
        "the pace is below the limit for too long: see what keeps it back, and Account, Pace.",
    ),
    _least(
        "timeliness",
        "Timeliness: of all jobs, 99 % end within a minute after the wait that the backlog explains.",
        "jobs wait longer than their place in the queue explains: a slow API, faults, or retries.",
    ),
    _least(
        "acceptance",
        "Acceptance: of all jobs that are sent, dead or in doubt, 99 % are sent.",
        "see dead letters and doubts: their reasons are in words.",
    ),
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
                f"max by (slo, account) ({ruled(f'mms_slo:burn:ratio_rate{window}', ACCOUNT)})", "{{account}}: {{slo}}"
            ),
        ),
        unit="none",
        decimals=1,
        steps=rising(warn, bad),
        alerts=(_FAST, _SLOW),
    )


SERVICE_LEVELS = Row(
    "Service levels",
    (
        Table(
            title="Budgets left",
            shows="What is left of the 30 days' error budget of each account. 100 %: nothing is used; below 0: more "
            "than there was.",
            healthy="above 0, all of them.",
            otherwise="the panels beside say which goes fast now; Account, Later than planned, says since when.",
            alerts=(_FAST, _SLOW),
            width=8,
            labels=("account",),
            to_account=True,
            columns=tuple(
                Column(
                    title=slo.capitalize(),
                    query=Query(f"max by (account) ({_budget(slo)})"),
                    unit="percentunit",
                    decimals=0,
                    steps=_LEFT,
                )
                for slo in ("goodput", "timeliness", "acceptance")
            ),
        ),
        _burn("1h", "one hour", 3, 14.4),
        _burn("6h", "six hours", 1, 6),
    ),
)
