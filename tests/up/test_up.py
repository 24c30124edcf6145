"""`make up` and `make down` without a Docker engine: ready when they say so, kept running, and gone without a trace."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local.located import Missing, installed
from deploy.up.native import PORTS
from deploy.up.places import ROOT, State, running
from tests.jobs import PNG
from tests.servers.process_table import await_gone, descendants

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(
        isinstance(installed(), Missing) and not os.environ.get("CI"), reason="no RabbitMQ or Redis of this machine"
    ),
]


def command(what: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", "deploy.up", what, "--native", "--folder", str(folder), *options]
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)


def done(what: str, folder: Path, *options: str) -> str:
    ended = command(what, folder, *options)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Ended in any case."""
    folder = tmp_path / "up"
    yield folder
    if (state := running(folder)) is not None:
        pids = descendants(state.pid)
        os.kill(state.pid, signal.SIGKILL)
        await_gone(pids)


def state_of(folder: Path) -> State:
    state = running(folder)
    assert state is not None
    assert state.is_ready
    return state


def worker(folder: Path, login: str, *arguments: str) -> str:
    """A command of the product, as somebody in a shell runs it."""
    script = f'. {folder}/{login}.env && exec {sys.executable} -m worker "$@"'
    ended = subprocess.run(
        ["bash", "-c", script, "-", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def until(is_so: Callable[[], object], limit_s: float = 40) -> None:
    give_up_s = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < give_up_s
        time.sleep(0.1)


def metrics(folder: Path, name: str) -> str:
    (address,) = (place.address for place in state_of(folder).places if place.what == name)
    with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310 - of this machine
        return str(answer.read().decode())


def test_it_runs_is_kept_ends_and_begins_again_where_it_ended(folder: Path) -> None:
    told = done("up", folder)
    state = state_of(folder)
    for place in state.places:
        assert place.address in told
    (folder / "picture.png").write_bytes(PNG)
    to = ("--to", "0412345678", "--text", "Hello", "--media", str(folder / "picture.png"))
    worker(folder, "upstream", "publish", *to)
    until(lambda: 'mms_reports_total{account="default",status="delivered"} 1.0' in metrics(folder, "receiver"))
    assert "✗" not in worker(folder, "operator", "check")
    assert done("up", folder) == told.partition("...\n")[2]  # it runs already
    assert state_of(folder).pid == state.pid

    # What dies comes again.
    victims = [pid for pid in descendants(state.pid) if b"worker\0run" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(victims) == 2
    os.kill(victims[0], signal.SIGKILL)
    log = folder / "keeper.log"
    until(lambda: "had ended: starting it again" in log.read_text())
    worker(folder, "upstream", "publish", *to)
    until(lambda: 'mms_reports_total{account="default",status="delivered"} 2.0' in metrics(folder, "receiver"))

    # Down: all of it, in order, and what it held stays.
    pids = descendants(state.pid)
    assert len(pids) > 8
    assert done("down", folder) == "Ended.\n"
    await_gone([state.pid, *pids])
    assert log.read_text().endswith("ended\n")
    for name in ("worker-1", "worker-2", "receiver"):
        assert '"drain_ended"' in (folder / "logs" / f"{name}.log").read_text()
    ports = json.loads((folder / "ports.json").read_text())
    assert ports.keys() == PORTS.keys()
    done("up", folder)
    assert json.loads((folder / "ports.json").read_text()) == ports
    status = json.loads(worker(folder, "operator", "status", "--json"))
    assert status["accounts"][0]["worst_second"] >= 1  # Redis remembers the calls

    # However its keeper ends, nothing of it is left.
    state = state_of(folder)
    pids = descendants(state.pid)
    os.kill(state.pid, signal.SIGKILL)
    await_gone(pids)
    assert running(folder) is None
    assert done("down", folder, "--forget") == "Nothing runs.\nWhat it held is removed.\n"
    assert not folder.exists()


def test_what_cannot_start_is_said_and_leaves_nothing_running(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        folder.mkdir()
        ports = dict.fromkeys(PORTS, 1) | {"amqp": taken.getsockname()[1]}
        (folder / "ports.json").write_text(json.dumps(ports))
        ended = command("up", folder)
    assert ended.returncode == 1
    assert "error: The system could not be started: RabbitMQ ended while starting" in ended.stderr
    assert "keeper.log" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert running(folder) is None


def test_nobody_else_can_read_the_secrets(folder: Path) -> None:
    """The folder is what keeps others out, as for containers, who read single files of it under users of their own."""
    made = subprocess.run(
        [sys.executable, "-m", "deploy.access", str(folder / "secrets")], cwd=ROOT, capture_output=True, check=True
    )
    assert b"secrets" in made.stdout
    assert (folder / "secrets").stat().st_mode & 0o777 == 0o700
    passwords = {path.read_text() for path in (folder / "secrets").glob("*password")}
    assert len(passwords) == len(list((folder / "secrets").glob("*password"))) == 9
    before = {path.name: path.read_bytes() for path in (folder / "secrets").iterdir()}
    subprocess.run([sys.executable, "-m", "deploy.access", str(folder / "secrets")], cwd=ROOT, check=True)
    after = {path.name: path.read_bytes() for path in (folder / "secrets").iterdir()}
    assert {name for name in before if before[name] != after[name]} <= {"definitions.json"}  # new salts
