"""`python -m deploy.local COMMAND`; the standard library is enough.

environment   makes .venv with the locked requirements (a no-op when up to date)
setup         makes sure that RabbitMQ, Redis and Prometheus can be started here; installs them where it may
browser       makes sure that Chromium can be started here; installs it where it may
run           starts both on free ports, prints their addresses, and serves until Ctrl-C or SIGTERM
"""

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from deploy.local.apt import apt_install, can_install
from deploy.local.environment import ensure_environment
from deploy.local.failure import ServerError, ServersMissingError
from deploy.local.located import Compose, Missing, Native, chromium_binary, locate, prometheus_binary
from deploy.local.rabbitmq_server import RabbitMQ
from deploy.local.redis_server import Redis

UNITS = {
    "rabbitmq-server": ("rabbitmq-server.service", "epmd.socket", "epmd.service"),
    "redis-server": ("redis-server.service",),
    "prometheus": ("prometheus.service",),
}


def ensure_servers() -> None:
    """Raises ServerError with what to install."""
    found = locate()
    if isinstance(found, Missing):
        if not can_install():
            raise ServerError(found.advice)
        print(f"Installing {' and '.join(found.packages)} with apt; no service will be started ...", flush=True)
        apt_install(found.packages, [unit for package in found.packages for unit in UNITS[package]])
        found = locate()
    match found:
        case Native():
            print("RabbitMQ and Redis: installed; private ones are started when needed.", flush=True)
        case Compose():
            print("RabbitMQ and Redis: by docker compose, when needed.", flush=True)
        case Missing():
            raise ServerError(found.advice)


def ensure_prometheus() -> None:
    """The demo does without it, so where it cannot be had that is said, and no more."""
    if _is_there("prometheus", prometheus_binary, UNITS["prometheus"]):
        print("Prometheus: installed; a private one is started when needed.", flush=True)


def ensure_chromium() -> None:
    """Tests of pages alone need it: where it cannot be had that is said, and they say it again."""
    if _is_there("chromium", chromium_binary):
        print("Chromium: installed; tests of pages start it without a window.", flush=True)


def _is_there(package: str, find: Callable[[], Path], units: Sequence[str] = ()) -> bool:
    """Install it where that may be done; say why not where it may not."""
    try:
        find()
    except ServersMissingError:
        try:
            if not can_install():
                raise
            print(f"Installing {package} with apt; no service will be started ...", flush=True)
            apt_install([package], units)
        except ServerError as error:
            print(f"Note: {error}", flush=True)
            return False
    return True


def ensure_all() -> None:
    ensure_servers()
    ensure_prometheus()


def run() -> None:
    done = threading.Event()
    with RabbitMQ() as broker, Redis(append_only=True) as store:
        print(f"MMS_AMQP_URL={broker.url}\nMMS_REDIS_URL={store.url}", flush=True)
        done.wait()


def end(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Both stop signals unwind: servers and temporary files are put away on the way out."""
    raise KeyboardInterrupt


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = {"environment": ensure_environment, "setup": ensure_all, "browser": ensure_chromium, "run": run}
    parser.add_argument("command", choices=commands)
    arguments = parser.parse_args()
    # Ctrl-C too: a shell starts background jobs with it ignored, and then Python leaves it so.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    try:
        commands[arguments.command]()
    except ServerError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(0 if arguments.command == "run" else 130)


if __name__ == "__main__":
    main()
