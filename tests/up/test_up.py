"""`make up` and `make down` without a Docker engine: ready when they say so, kept running, and gone without a trace."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from deploy.local.located import Missing, installed
from deploy.local.ports import free_port
from deploy.local.private_server import PrivateServer
from deploy.up.__main__ import down
from deploy.up.keeping import Keeper
from deploy.up.native import PORTS, Product, System
from deploy.up.places import ROOT, Lock, State, running
from tests.jobs import PNG
from tests.servers.process_table import await_gone, descendants

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(
        isinstance(installed(), Missing) and not os.environ.get("CI"), reason="no RabbitMQ or Redis of this machine"
    ),
]


STARTING = "Starting RabbitMQ, Redis, Prometheus, a simulator of the API, two workers and a receiver ...\n"


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


def assert_nobody_shows_a_secret(folder: Path, pids: list[int]) -> None:
    """To who looks at processes, or reads logs."""
    files = [*(folder / "secrets").glob("*password"), folder / "secrets/app-key", folder / "secrets/callback-token"]
    secrets = {path.read_bytes() for path in files}
    assert len(secrets) > 10
    shown = [*(Path(f"/proc/{pid}/{what}") for pid in pids for what in ("cmdline", "environ"))]
    shown += [folder / "keeper.log", *folder.glob("*/*.log")]
    assert len(shown) > 2 * len(pids) + 6
    for place in shown:
        words = place.read_bytes()
        assert not [secret for secret in secrets if secret in words], place


def test_it_runs_is_kept_ends_and_begins_again_where_it_ended(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with ThreadPoolExecutor() as pool:  # whoever is second waits for the first one's
        one, other = (said.removeprefix(STARTING) for said in pool.map(done, ["up"] * 2, [folder] * 2))
    assert one == other
    state = state_of(folder)
    for place in state.places:
        assert place.address in one
    picture = tmp_path / "picture.png"
    picture.write_bytes(PNG)
    to = ("--to", "0412345678", "--text", "Hello", "--media", str(picture))
    worker(folder, "upstream", "publish", *to)
    until(lambda: 'mms_reports_total{account="default",status="delivered"} 1.0' in metrics(folder, "receiver"))
    assert "✗" not in worker(folder, "operator", "check")
    assert done("up", folder) == one  # it runs already
    assert state_of(folder).pid == state.pid

    assert_nobody_shows_a_secret(folder, [state.pid, *descendants(state.pid)])

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

    # However its keeper ends, nothing of it is left; and it can be started again at once.
    state = state_of(folder)
    pids = descendants(state.pid)
    os.kill(state.pid, signal.SIGKILL)
    done("up", folder)
    await_gone(pids)

    # A keeper that hangs is killed, and what is not of the system stays.
    state = state_of(folder)
    pids = descendants(state.pid)
    os.kill(state.pid, signal.SIGSTOP)
    (folder / "notes.txt").touch()
    monkeypatch.setattr("deploy.up.__main__.DOWN_S_MAX", 1.0)
    down(folder, is_native=True, is_forgotten=True)
    await_gone([state.pid, *pids])
    assert "was killed: jobs under way may be in doubt" in capsys.readouterr().out
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_what_cannot_start_is_said_and_leaves_nothing_running(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        folder.mkdir()
        ports = {what: free_port() for what in PORTS} | {"worker-1": port}
        (folder / "ports.json").write_text(json.dumps(ports))
        ended = command("up", folder)
    assert ended.returncode == 1
    assert f"have ports that it had before: {port} (worker-1). End them" in ended.stderr
    assert "keeper.log" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert running(folder) is None


def test_down_waits_for_a_keeper_that_has_not_said_who_it_is(folder: Path) -> None:
    """It is starting. There is nobody to tell yet, least of all the processes around whoever asks."""
    lock = Lock(folder)
    assert lock.take()
    keeper = subprocess.Popen(["sleep", "100"])
    arguments = [sys.executable, "-m", "deploy.up", "down", "--native", "--folder", str(folder)]
    asked = subprocess.Popen(arguments, cwd=ROOT, start_new_session=True)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            asked.wait(2)
        State(keeper.pid).write(folder)
        assert keeper.wait(20) == -signal.SIGTERM
        lock.close()
        assert asked.wait(20) == 0
    finally:
        for process in (keeper, asked):
            process.kill()
            process.wait(10)
        lock.close()


def test_what_is_asked_of_this_machine_goes_through_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setattr("urllib.request._opener", None)  # made once, of the environment
    with HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        answering = threading.Thread(target=server.handle_request)
        answering.start()
        assert Product("worker-1", (), {}, f"http://127.0.0.1:{server.server_port}/").is_ready()
        answering.join(10)


#: Answers one question, and never starts again.
BRITTLE = """
import http.server, pathlib, sys
print("started", flush=True)
first = pathlib.Path(sys.argv[1])
if first.exists():
    sys.exit(1)
first.touch()
with http.server.HTTPServer(("127.0.0.1", int(sys.argv[2])), http.server.SimpleHTTPRequestHandler) as server:
    server.handle_request()
"""


class Brittle(System):
    """A simulator alone, which does not come back."""

    def servers(self) -> list[PrivateServer]:
        return []

    def simulator(self) -> Product:
        port = str(self._ports["simulator"])
        arguments = ("-c", BRITTLE, str(self.folder / "first"), port)
        return Product("simulator", arguments, {}, f"http://127.0.0.1:{port}/")

    def workers(self) -> list[Product]:
        return []


def test_what_does_not_come_back_is_tried_again_and_ends_nothing_else(folder: Path) -> None:
    is_told = threading.Event()
    system = Brittle(folder)
    keeping = threading.Thread(target=Keeper(system, State.of_this_process(), is_told).keep)
    keeping.start()
    log = system.logs / "simulator.log"
    try:
        until(lambda: log.exists() and log.read_text().count("started") >= 3)
        assert keeping.is_alive()
    finally:
        is_told.set()
        keeping.join(20)
    assert not keeping.is_alive()
