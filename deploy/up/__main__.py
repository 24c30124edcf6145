"""`python -m deploy.up up` and `python -m deploy.up down`."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from deploy.access.installation import Hosts, prepare
from deploy.local.failure import ServerError
from deploy.local.located import docker_answers
from deploy.up.places import COMPOSE_SECRETS, FOLDER, ROOT, Lock, Place, State, running

UP_S_MAX = 180.0
DOWN_S_MAX = 180.0
LOOK_S = 0.1
COMPOSE = ("docker", "compose", "--file", str(ROOT / "deploy" / "compose.yaml"))
COMPOSE_PLACES = (
    Place("Grafana", "http://127.0.0.1:3000", "admin, .run/compose-secrets/grafana.password"),
    Place("Prometheus", "http://127.0.0.1:9090"),
    Place("RabbitMQ, AMQP", "amqps://127.0.0.1:5671/mms", "upstream, .run/compose-secrets/upstream.broker-password"),
    Place("RabbitMQ, management", "http://127.0.0.1:15672", "operator, .run/compose-secrets/operator.broker-password"),
    Place("Redis", "rediss://127.0.0.1:6379/0", "operator, .run/compose-secrets/operator.redis-password"),
    Place("simulator, control", "http://127.0.0.1:8444"),
)


def up(folder: Path, *, is_native: bool) -> None:
    """Return when everything is ready. Raises ServerError."""
    if not is_native:
        prepare(COMPOSE_SECRETS, Hosts())
        _compose("up", "--detach", "--build", "--wait")
        show(COMPOSE_PLACES)
        return
    state = running(folder)
    if state is None:
        state = _begin(folder)
    show(state.places)
    name = folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder
    print(
        "It runs in the background; `make down` ends it, and what it holds stays. Try:\n"
        f"  . {name}/upstream.env && .venv/bin/mms-worker publish --to 0412345678 --text Hello --media picture.png\n"
        f"  . {name}/operator.env && .venv/bin/mms-worker status"
    )


def _begin(folder: Path) -> State:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "state.json").unlink(missing_ok=True)
    print("Starting RabbitMQ, Redis, Prometheus, a simulator of the API, two workers and a receiver ...", flush=True)
    with (folder / "keeper.log").open("ab") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "deploy.up.keeping", str(folder)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    give_up_s = time.monotonic() + UP_S_MAX
    while time.monotonic() < give_up_s:
        state = State.read(folder)
        if state is not None and state.is_ready:
            return state
        if keeper.poll() is not None:
            why = state.failure if state is not None and state.failure else f"it ended with {keeper.returncode}"
            raise ServerError(f"The system could not be started: {why}\nMore is in {folder / 'keeper.log'}.")
        time.sleep(LOOK_S)
    keeper.send_signal(signal.SIGTERM)
    raise ServerError(f"The system was not ready within {UP_S_MAX:.0f} s; its log is {folder / 'keeper.log'}.")


def down(folder: Path, *, is_native: bool, is_forgotten: bool) -> None:
    """End exactly what `up` has started. Raises ServerError."""
    if not is_native:
        _compose("down", *(["--volumes"] if is_forgotten else []))
        if is_forgotten:
            shutil.rmtree(COMPOSE_SECRETS, ignore_errors=True)
        return
    state = running(folder)
    if state is None:
        print("Nothing runs.")
    else:
        os.kill(state.pid, signal.SIGTERM)
        _wait_ended(folder)
        print("Ended.")
    if is_forgotten and folder.exists():
        shutil.rmtree(folder)
        print("What it held is removed.")


def _wait_ended(folder: Path) -> None:
    give_up_s = time.monotonic() + DOWN_S_MAX
    lock = Lock(folder)
    try:
        while not lock.take():
            if time.monotonic() > give_up_s:
                raise ServerError(f"The system has not ended within {DOWN_S_MAX:.0f} s; see {folder / 'keeper.log'}.")
            time.sleep(LOOK_S)
    finally:
        lock.close()


def _compose(*arguments: str) -> None:
    if subprocess.run([*COMPOSE, *arguments], check=False, cwd=ROOT).returncode:
        raise ServerError(f"docker compose {arguments[0]} failed; what it says is above.")


def show(places: Sequence[Place]) -> None:
    """A line for each, whose address can be copied."""
    what_width = max(len(place.what) for place in places)
    address_width = max(len(place.address) for place in places)
    for place in places:
        login = f"  ({place.login})" if place.login else ""
        print(f"  {place.what:{what_width}}  {place.address:{address_width}}{login}".rstrip())


def main() -> None:
    """Do what is asked."""
    parser = argparse.ArgumentParser(prog="python -m deploy.up", description="The whole system on this machine.")
    parser.add_argument("what", choices=("up", "down"))
    parser.add_argument("--native", action="store_true", help="processes of this machine, though a Docker engine runs")
    parser.add_argument("--forget", action="store_true", help="down: remove data, secrets and logs as well")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where all of it lives (default: .run/up)")
    options = parser.parse_args()
    folder = options.folder.resolve()
    # What runs natively is ended so, also when an engine has come since.
    is_native = options.native or running(folder) is not None or not docker_answers()
    try:
        if options.what == "up":
            up(folder, is_native=is_native)
        else:
            down(folder, is_native=is_native, is_forgotten=options.forget)
    except ServerError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
