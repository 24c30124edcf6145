"""`python -m deploy.generate`: write every file that is made from something else; `--check` only says which differ.

Each entry of GENERATED is a path in the project and what makes its text. A file like that is committed, so that
people can read it and tools can use it as it is, and never edited: a test makes all of them again and compares.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from deploy.access.broker import definitions_text
from deploy.access.store import users_acl_text
from deploy.grafana.catalogue import DASHBOARDS, file_of
from deploy.image.locks import build_lock, simulator_lock, worker_lock
from deploy.kubernetes.topology import topology_text
from deploy.prometheus.operator import prometheus_rule

PROJECT = Path(__file__).resolve().parents[1]

GENERATED: Mapping[str, Callable[[], str]] = {
    **{file_of(dashboard): dashboard.text for dashboard in DASHBOARDS},
    "deploy/kubernetes/components/monitoring/prometheusrule.yaml": partial(
        prometheus_rule, PROJECT / "deploy/prometheus/rules"
    ),
    "deploy/rabbitmq/definitions.json": definitions_text,
    "deploy/redis/users.acl": users_acl_text,
    "deploy/kubernetes/components/rabbitmq/topology.yaml": topology_text,
    "deploy/image/build.lock": build_lock,
    "deploy/image/simulator.lock": simulator_lock,
    "deploy/image/worker.lock": worker_lock,
}


def differing() -> dict[str, str]:
    """What is not as it should be: path to the text that belongs there."""
    made = {path: make() for path, make in GENERATED.items()}
    return {path: text for path, text in made.items() if _text_at(path) != text}


def _text_at(path: str) -> str | None:
    try:
        return (PROJECT / path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def main() -> int:
    """The exit code: 1 when `--check` finds a difference."""
    parser = argparse.ArgumentParser(prog="python -m deploy.generate", description="Write all generated files.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 when a file is not up to date")
    is_check = parser.parse_args().check
    wrong = differing()
    for path, text in wrong.items():
        if is_check:
            print(f"{path} is not what would be generated: run make generate.", file=sys.stderr)
        else:
            (PROJECT / path).parent.mkdir(parents=True, exist_ok=True)
            (PROJECT / path).write_text(text, encoding="utf-8")
            print(f"written: {path}")
    if not wrong:
        print(f"{len(GENERATED)} generated files are up to date.")
    return 1 if is_check and wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
