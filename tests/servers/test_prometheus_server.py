"""A private Prometheus scrapes what it is told, hears of other targets, hurries rules on demand, and leaves nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy.local import Prometheus, ServerError
from tests.conftest import make_or_skip
from tests.servers.process_table import await_gone

LIMIT_S = 25.0
RULES = """
groups:
  - name: slow
    interval: 1h
    rules:
      - record: it:doubled
        expr: 2 * it
      - alert: ItIsThere
        expr: it > 0
        for: 1h
"""


class Exposed:
    """An address that serves one metric."""

    def __init__(self, value: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = f"it {value}\n".encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def exposed() -> Iterator[Callable[[int], str]]:
    made: list[Exposed] = []

    def make(value: int) -> str:
        made.append(Exposed(value))
        return made[-1].address

    yield make
    for each in made:
        each.close()


def until(holds: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < give_up_at
        time.sleep(0.1)


def test_targets_rules_and_what_is_left(
    exposed: Callable[[int], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # leads out of this machine, and is not for what is on it
    monkeypatch.setattr("urllib.request._opener", None)  # made once, of the environment
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    first, second = exposed(3), exposed(5)

    def values(expression: str) -> dict[str, float]:
        return {sample.labels.get("instance", ""): sample.value for sample in server.query(expression)}

    server = make_or_skip(
        lambda: Prometheus({"ours": [first], "others": []}, rules=[rules], scrape_s=0.5, evaluate_s=0.5, hold_s=1)
    )
    with server:
        pid, folder = server.pid, server._runner.folder
        until(lambda: values("it") == {first: 3})
        until(lambda: values("it:doubled") == {first: 6})
        until(lambda: server.firing() == {"ItIsThere"})
        server.set_targets({"ours": [second]})
        until(lambda: values("it") == {second: 5})
        (course,) = server.query_range("it", start_s=time.time() - 2, end_s=time.time(), step_s=0.5)[-1:]
        assert {value for _, value in course.points} <= {3.0, 5.0}
        assert {one["instance"] for one in server.series("it", start_s=time.time() - 60, end_s=time.time())} == {
            first,
            second,
        }
        assert [sample.value for sample in server.query("1 + 1")] == [2]
        assert server.rule_problems() == []
        with pytest.raises(ServerError, match="parse error"):
            server.query("sum(")
        with pytest.raises(ServerError, match="unheard"):
            server.set_targets({"unheard": [first]})
    await_gone([pid])
    assert not folder.exists()
    with pytest.raises(ServerError, match="does not answer"):
        server.query("1")


def test_the_projects_own_rules_run_without_a_problem() -> None:
    with make_or_skip(lambda: Prometheus({"mms-worker": []}, scrape_s=0.5, evaluate_s=0.5, hold_s=0)) as server:
        until(lambda: server.firing() == {"WorkersAbsent", "Watchdog"})
        assert server.rule_problems() == []


def test_what_was_kept_is_there_after_a_restart(exposed: Callable[[int], str], tmp_path: Path) -> None:
    target, folder = exposed(7), tmp_path / "data"
    with make_or_skip(lambda: Prometheus({"ours": [target]}, rules=[], scrape_s=0.5, folder=folder)) as server:
        until(lambda: bool(server.query("it")))
        server.restart()
        assert server.query("max_over_time(it[5m])")[0].value == 7
    assert folder.exists()
