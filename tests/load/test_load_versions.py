"""What the worker and the servers call themselves: whoever does not tell it ends no run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from loadtest.load.result import Versions
from loadtest.load.versions import UNKNOWN, told_versions
from loadtest.worker_process import WorkerProcess

NOBODY = "127.0.0.1:1"


class Worker(WorkerProcess):
    """One that is not there: `how` it ended, and where it served its metrics."""

    def __init__(self, folder: Path, url: str, how: str | None = None) -> None:
        super().__init__("worker 001", folder=folder, settings={})
        (folder / "worker-001.log").touch()
        self._url, self._how = url, how

    @property
    def admin_url(self) -> str:
        return self._url

    @property
    def ended(self) -> str | None:
        return self._how


@pytest.fixture(params=['# TYPE mms_build_info gauge\nmms_build_info{version="1.2.3"} 1\n', "} no metrics {"])
def metrics(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Where they are served, and the version that they tell."""

    class Front(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(request.param.encode())

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Front) as server:
        serving = Thread(target=server.serve_forever, daemon=True)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}", "1.2.3" if "1.2.3" in request.param else UNKNOWN
        server.shutdown()
        serving.join()


def told(worker: WorkerProcess) -> Versions:
    return asyncio.run(told_versions(worker, broker_url=f"amqp://{NOBODY}/", store_url=f"redis://{NOBODY}"))


def test_the_worker_tells_its_version_and_nonsense_is_none(tmp_path: Path, metrics: tuple[str, str]) -> None:
    url, version = metrics
    assert told(Worker(tmp_path, url)).worker == version


@pytest.mark.parametrize("how", [None, "ended by signal 9"])
def test_who_is_away_tells_nothing_and_ends_nothing(tmp_path: Path, how: str | None) -> None:
    assert told(Worker(tmp_path, f"http://{NOBODY}", how)) == Versions(UNKNOWN, UNKNOWN, UNKNOWN)
