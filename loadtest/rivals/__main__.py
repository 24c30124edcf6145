"""`python -m loadtest.rivals NAME …`: one process of a rival, with the Python of `.venv-rivals`."""

import importlib

import uvloop

from loadtest.rivals.command import read_setup
from loadtest.rivals.life import end_with_owner

MODULES = {
    "incr": "fixed_window",
    "throttled": "throttled_bucket",
    "limits": "limits_moving_window",
    "pyrate": "pyrate_window",
    "gcra": "gcra",
}
"""Each is loaded alone: what the others need costs nothing then."""


def main() -> None:
    """Run until the process is ended."""
    setup = read_setup()
    if not setup.is_to_publish:
        end_with_owner()
    if setup.name == "celery":
        importlib.import_module("loadtest.rivals.celery_rate_limit").run(setup)
    else:
        uvloop.run(importlib.import_module(f"loadtest.rivals.{MODULES[setup.name]}").run(setup))


if __name__ == "__main__":
    main()
