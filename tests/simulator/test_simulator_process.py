"""The simulator as a process, its control interface and its options."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from loadtest.simulator.config import SimulatorConfig
from loadtest.simulator.control_client import SimulatorControlError
from loadtest.simulator.faults import Fault
from loadtest.simulator.ledger import PAGE_MAX
from loadtest.simulator.process import SimulatorProcess, SimulatorProcessError
from tests.simulator.sending import CONTENT_TYPE, KEY, NUMBER, form

# The reset is on the wire; a blocking TLS socket of Python tells it now as a reset, now as an early end.
CUT = (httpx.ReadError, httpx.RemoteProtocolError)
PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def process() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(rate_per_s=1_000, latency_ms=0, latency_spread_ms=0) as started:
        yield started


@pytest.fixture
def simulator(process: SimulatorProcess) -> SimulatorProcess:
    process.control.reset()
    return process


def send(
    simulator: SimulatorProcess, body: bytes | None = None, key: str = KEY, timeout_s: float = 10
) -> httpx.Response:
    context = ssl.create_default_context(cafile=str(simulator.ca_file))
    with httpx.Client(verify=context, auth=(key, ""), trust_env=False, timeout=timeout_s) as client:
        return client.post(
            f"{simulator.api_url}/send-mms",
            content=form() if body is None else body,
            headers={"Content-Type": CONTENT_TYPE},
        )


def test_the_ledger_is_told_through_the_control_interface(simulator: SimulatorProcess) -> None:
    assert [send(simulator).status_code for _ in range(2)] == [200, 200]
    summary = simulator.control.summary()
    assert (summary.calls, summary.accepted_calls, summary.duplicates) == (2, 2, 1)
    assert summary == simulator.control.summary(KEY)
    assert simulator.control.summary("nobody").calls == 0
    first, second = simulator.control.accepted()
    assert (first.to, first.text, first.account, first.call) == (NUMBER, "Text", KEY, 0)
    assert simulator.control.accepted(since=1) == [second]
    assert [call.result for call in simulator.control.calls()] == ["SUCCESS", "SUCCESS"]


def test_whoever_trusts_it_trusts_it_after_its_next_start(tmp_path: Path) -> None:
    """Workers read whom to trust when they start, and go on while it is started again, also with another address."""
    trusted = None
    for host in ("127.0.0.1", "127.0.0.2", "127.0.0.1"):
        with SimulatorProcess(directory=tmp_path, host=host) as started:
            trusted = trusted or ssl.create_default_context(cafile=str(started.ca_file))
            with httpx.Client(verify=trusted, auth=(KEY, ""), trust_env=False) as client:
                assert client.get(f"{started.api_url}/account").status_code == 200
    assert (tmp_path / "ca.key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("lost", ["ca.key", "ca.pem"])
def test_a_directory_of_which_a_part_is_lost_gets_a_new_authority(tmp_path: Path, lost: str) -> None:
    for _ in range(2):
        with SimulatorProcess(directory=tmp_path) as started:
            assert send(started).status_code == 200
        (tmp_path / lost).unlink()


def test_all_pages_of_the_ledger_are_read(simulator: SimulatorProcess) -> None:
    numbers = [f"+614{place:08d}" for place in range(1_000)]
    for round_ in range(2):
        send(simulator, form(text=f"Text {round_}", numbers=numbers))
    assert PAGE_MAX < 2_000
    assert [entry.index for entry in simulator.control.accepted()] == list(range(2_000))


def test_everything_can_be_steered(simulator: SimulatorProcess) -> None:
    control = simulator.control
    control.add_fault(Fault("502_page", count=1, account=KEY))
    assert send(simulator).status_code == 502
    control.add_fault(Fault("redirect"))
    control.clear_faults()
    control.revoke(KEY)
    assert send(simulator).json()["meta"]["status"] == "AUTH_FAILED"
    control.restore(KEY)
    control.opt_out(NUMBER)
    assert send(simulator).json()["meta"]["status"] == "RECIPIENTS_ERROR"
    control.reset()
    control.set_credit(KEY, 0)
    assert "enough credit" in send(simulator).json()["msg"]
    control.set_credit(KEY, None)
    control.set_rate(1, "OTHER")
    assert {send(simulator, key="OTHER").status_code for _ in range(2)} == {200, 429}
    control.outage("refuse")
    with pytest.raises(httpx.ConnectError):
        send(simulator)
    control.outage(None)
    assert send(simulator).status_code == 200


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        ("reset_after_accept", CUT),
        ("reset_before_accept", CUT),
        ("truncated_200", httpx.RemoteProtocolError),
        ("never", httpx.ReadTimeout),
        ("slow_body", httpx.ReadTimeout),
    ],
)
def test_connections_are_cut_and_kept_silent_in_the_process_too(
    simulator: SimulatorProcess, kind: str, seen: type[Exception] | tuple[type[Exception], ...]
) -> None:
    with pytest.raises(seen):
        send(simulator, form(text=f"[[fault:{kind}]]"), timeout_s=0.5)
    assert simulator.control.summary().calls_by_result == {kind: 1}


def test_a_key_with_odd_characters_can_be_steered(simulator: SimulatorProcess) -> None:
    simulator.control.revoke("a/b c")
    assert send(simulator, key="a/b c").status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/rate", {"rate_per_s": 0}),
        ("POST", "/rate", {"rate_per_s": 1.5}),
        ("POST", "/rate", {"rate_per_s": float("1e400")}),
        ("POST", "/rate", {"rate": 5}),
        ("POST", "/rate", [5]),
        ("POST", "/faults", {"kind": "explode"}),
        ("POST", "/faults", {}),
        ("POST", "/faults", {"kind": "late", "count": "many"}),
        ("POST", "/outage", {"kind": "flood"}),
        ("POST", "/optout", {"number": "12"}),
        ("POST", "/accounts/K/credit", {"amount": -1}),
        ("GET", "/calls?since=-1", None),
    ],
)
def test_a_wrong_control_request_is_refused_in_one_sentence(
    simulator: SimulatorProcess, method: str, path: str, body: object
) -> None:
    content = b"" if body is None else json.dumps(body).encode()
    answer = httpx.request(method, simulator.control_url + path, content=content, trust_env=False)
    assert answer.status_code == 400
    assert answer.json()["error"].endswith(".")


def test_only_the_accounts_of_the_file_are_known() -> None:
    with SimulatorProcess(accounts={"A b": 1}, latency_ms=0, latency_spread_ms=0) as simulator:
        assert [send(simulator, key="A b").status_code for _ in range(2)] == [200, 429]
        assert send(simulator, key="B").status_code == 401
        with pytest.raises(SimulatorControlError, match="no account 'B'"):
            simulator.control.revoke("B")


def test_the_control_interface_listens_where_it_is_told_to() -> None:
    with SimulatorProcess(control_host="127.0.0.2") as simulator:
        assert simulator.control_url.startswith("http://127.0.0.2:")
        assert httpx.get(f"{simulator.control_url}/healthz", trust_env=False).json() == {"status": "ok"}


def test_the_process_is_gone_after_its_block_even_with_a_call_that_hangs() -> None:
    with SimulatorProcess() as simulator:
        pid = simulator.pid
        host, port = simulator.api_url.removeprefix("https://").partition("/")[0].split(":")
        half_open = socket.create_connection((host, int(port)))
    half_open.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not simulator.ca_file.exists()


def test_a_process_that_cannot_start_says_why() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SimulatorProcessError, match="in use"), SimulatorProcess(port=port):
            pass


def test_callbacks_that_cannot_be_posted_are_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "callbacks.json").write_text('{"K": {"url": "https://127.0.0.1/c", "ca_file": "/nowhere/ca.pem"}}')
    ended = run(f"--callbacks={tmp_path / 'callbacks.json'}")
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert "/nowhere/ca.pem, cannot be read" in ended.stderr


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "loadtest.simulator", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rate=0"],
        ["--rate=fast"],
        ["--window=week"],
        ["--burst=5"],
        ["--accounts=/nowhere/accounts.toml"],
        ["--callbacks=/nowhere/callbacks.json"],
        ["--nonsense"],
    ],
)
def test_a_wrong_option_is_one_sentence_and_exit_code_2(arguments: list[str]) -> None:
    ended = run(*arguments)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)


def test_help_has_examples() -> None:
    ended = run("--help")
    assert ended.returncode == 0
    assert "examples:\n  python -m loadtest.simulator" in ended.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_quietly(number: signal.Signals) -> None:
    with SimulatorProcess() as simulator:
        started = simulator._process
        assert started is not None
        started.send_signal(number)
        assert started.wait(5) == 0


def test_it_ends_with_whoever_started_it() -> None:
    with SimulatorProcess() as simulator:
        started = simulator._process
        assert started is not None
        assert started.stdin is not None
        started.stdin.close()  # as the kernel does when its owner was killed
        assert started.wait(5) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate_per_s": 0},
        {"window": "week"},
        {"envelope": "paper"},
        {"port": 70_000},
        {"latency_ms": -1},
        {"burst": 3},
        {"accounts": {"A": 0}},
        {"keep_alive_s": 0},
        {"window": "bucket", "burst": 0},
        {"spread_ms": float("nan")},
    ],
)
def test_a_wrong_setting_is_one_sentence(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"^The|^A burst"):
        SimulatorConfig(**wrong)  # type: ignore[arg-type]  # wrong on purpose
