"""What each rival is told on its command line."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loadtest.rivals.catalogue import RIVAL_NAMES


@dataclass(frozen=True, slots=True)
class Setup:
    """Where everything is, and the limit: `rate_per_s` calls a second, of all `processes` together."""

    name: str
    amqp_url: str = field(repr=False)
    queue: str
    redis_url: str
    api_url: str
    ca_file: Path
    app_key: str = field(repr=False)
    rate_per_s: int
    processes: int
    sent_file: Path
    is_to_publish: bool


def read_setup(arguments: Sequence[str] | None = None) -> Setup:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.rivals", description="One process of a rival.")
    add = parser.add_argument
    add("name", choices=RIVAL_NAMES)
    for name in ("--amqp-url", "--queue", "--redis-url", "--api-url", "--app-key"):
        add(name, required=True)
    add("--ca-file", type=Path, required=True)
    add("--rate", type=int, required=True, help="calls a second, of all processes together")
    add("--processes", type=int, required=True, help="how many there are")
    add("--sent-file", type=Path, required=True, help="gets a byte for each job that was sent")
    add("--publish", action="store_true", help="publish the jobs on standard input (celery)")
    told = parser.parse_args(arguments)
    return Setup(
        name=told.name,
        amqp_url=told.amqp_url,
        queue=told.queue,
        redis_url=told.redis_url,
        api_url=told.api_url,
        ca_file=told.ca_file,
        app_key=told.app_key,
        rate_per_s=told.rate,
        processes=told.processes,
        sent_file=told.sent_file,
        is_to_publish=told.publish,
    )
