"""Where the rules are, and what tests them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from deploy.local import ServersMissingError
from deploy.local.located import prometheus_binary
from tests.conftest import make_or_skip

FOLDER = Path(__file__).resolve().parents[2] / "deploy/prometheus"


@pytest.fixture(scope="session")
def promtool() -> str:
    make_or_skip(prometheus_binary)
    found = shutil.which("promtool")
    if found is None:
        raise ServersMissingError("There is a prometheus here, but no promtool.")
    return found
