"""`python -m deploy.up up` and `python -m deploy.up down`."""

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from deploy.access.installation import Hosts, prepare
from deploy.local.failure import ServerError
from deploy.local.located import docker_answers
from deploy.up.keeping import EXIT_TAKEN
from deploy.up.places import COMPOSE_SECRETS, FOLDER, ROOT, Place, State, forget, running, tidied

UP_S_MAX = 180.0
#: Draining takes a minute at most, and each of three servers a quarter of one.
DOWN_S_MAX = 180.0
KILL_S_MAX = 10.0
LOOK_S = 0.1
#: From when the images are there: one that ends and is started again and again would be waited for without end.
COMPOSE_UP_S_MAX = 300
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
        _compose("up", "--detach", "--build", "--wait", "--wait-timeout", str(COMPOSE_UP_S_MAX))
        show(COMPOSE_PLACES)
        return
    state = running(folder)
    if state is None:
        state = _begin(folder)
    elif not state.is_ready:
        state = _awaited(folder, None)
    show(state.places)
    name = shlex.quote(str(folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder))
    print(
        "It runs in the background; `make down` ends it, and what it holds stays. Try:\n"
        f"  (. {name}/upstream.env; .venv/bin/mms-worker publish --to 0412345678 --text Hello --media picture.png)\n"
        f"  (. {name}/operator.env; .venv/bin/mms-worker status)"
    )


def _begin(folder: Path) -> State:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not tidied(folder):
        return _awaited(folder, None)  # somebody else was quicker
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
    return _awaited(folder, keeper)


def _awaited(folder: Path, keeper: subprocess.Popen[bytes] | None) -> State:
    """What is ready there in the end; `keeper`: who starts it, when that is ours."""
    give_up_s = time.monotonic() + UP_S_MAX
    while time.monotonic() < give_up_s:
        state = running(folder)
        if state is not None and state.is_ready:
            return state
        code = None if keeper is None else keeper.poll()
        if code == EXIT_TAKEN:
            keeper = None  # somebody else was quicker
        elif code is not None or (keeper is None and state is None):
            said = State.read(folder)
            why = said.failure if said is not None and said.failure else "it has ended"
            raise ServerError(f"The system could not be started: {why}\nMore is in {folder / 'keeper.log'}.")
        time.sleep(LOOK_S)
    if keeper is not None:
        keeper.send_signal(signal.SIGTERM)
    raise ServerError(f"The system was not ready within {UP_S_MAX:.0f} s; its log is {folder / 'keeper.log'}.")


def down(folder: Path, *, is_native: bool, is_forgotten: bool) -> None:
    """End exactly what `up` has started. Raises ServerError."""
    if not is_native:
        _compose("down", *(["--volumes"] if is_forgotten else []))
        if is_forgotten:
            shutil.rmtree(COMPOSE_SECRETS, ignore_errors=True)
        return
    if running(folder) is None:
        print("Nothing runs.")
    elif _ended(folder, signal.SIGTERM, DOWN_S_MAX):
        print("Ended.")
    elif _ended(folder, signal.SIGKILL, KILL_S_MAX):
        print(f"It did not end within {DOWN_S_MAX:.0f} s, and was killed: jobs under way may be in doubt.")
    else:
        raise ServerError(f"The system cannot be ended; see {folder / 'keeper.log'}.")
    if is_forgotten and folder.exists():
        others = "" if forget(folder) else f" What else is in {folder} stays."
        print(f"What it held is removed.{others}")


def _ended(folder: Path, number: signal.Signals, limit_s: float) -> bool:
    """Whether the keeper has ended within that time after the signal. With it all of the system ends."""
    give_up_s = time.monotonic() + limit_s
    told = 0
    while (state := running(folder)) is not None:
        if time.monotonic() > give_up_s:
            return False
        if state.pid != told:
            with suppress(ProcessLookupError):
                os.kill(state.pid, number)
            told = state.pid
        time.sleep(LOOK_S)
    return True


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
    try:
        # What runs natively is ended so, also when an engine has come since.
        is_native = options.native or running(folder) is not None or not docker_answers()
        if options.what == "up":
            up(folder, is_native=is_native)
        else:
            down(folder, is_native=is_native, is_forgotten=options.forget)
    except (ServerError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
