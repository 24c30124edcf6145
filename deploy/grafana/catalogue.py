"""All dashboards, in the order in which one looks at them, and the files that they become."""

from deploy.grafana.account import ACCOUNT_BOARD
from deploy.grafana.dashboard import Dashboard
from deploy.grafana.internals import INTERNALS
from deploy.grafana.load_test import LOAD_TEST
from deploy.grafana.overview import OVERVIEW

DASHBOARDS: tuple[Dashboard, ...] = (OVERVIEW, ACCOUNT_BOARD, INTERNALS, LOAD_TEST)


def file_of(dashboard: Dashboard) -> str:
    """Its path in the project."""
    return f"deploy/grafana/dashboards/{dashboard.name}.json"
