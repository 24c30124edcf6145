"""What the simulator tells Prometheus: the ledger's counts, without anybody's key."""

from __future__ import annotations

import ssl

import httpx
from prometheus_client.parser import text_string_to_metric_families

from loadtest.simulator.ledger import Content, Ledger
from loadtest.simulator.limit import LATELY_S, SECOND_US, WorstSecond
from loadtest.simulator.metrics import metrics_text
from loadtest.simulator.process import SimulatorProcess
from loadtest.simulator.records import CallbackSummary

NONE_POSTED = CallbackSummary(
    reports=5,
    reports_taken=4,
    replies=3,
    replies_taken=2,
    taken_again=0,
    requests=9,
    requests_refused=1,
    given_up=0,
    waiting=0,
)


def told(text: bytes) -> dict[str, float]:
    """Name, with the key's number where there is one, to value."""
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_counts_are_the_ledgers() -> None:
    ledger = Ledger()
    for place in range(4):
        handle = ledger.open_call("secret", 15, "send-mms", place * 1_000)
        if place < 3:
            ledger.admitted("secret", place * 1_000)
            ledger.accept(handle, Content("secret", "text", "", b""), [61412345678], place * 1_000)
        ledger.close_call(handle, "OK" if place < 3 else "OVER_LIMIT", 200 if place < 3 else 429, int(place < 3))
    ledger.open_call("", None, "send-mms", 5_000)
    text = metrics_text(ledger.tallies(6_000), [15], NONE_POSTED)
    assert b"secret" not in text
    assert told(text) == {
        "mms_simulator_calls_total 1": 4,
        "mms_simulator_calls_throttled_total 1": 1,
        "mms_simulator_calls_admitted_total 1": 3,
        "mms_simulator_recipients_accepted_total 1": 3,
        "mms_simulator_recipients_twice_total 1": 2,
        "mms_simulator_rolling_second_calls 1": 4,
        "mms_simulator_rolling_second_admitted 1": 3,
        "mms_simulator_limit 1": 15,
        "mms_simulator_reports_total": 5,
        "mms_simulator_reports_taken_total": 4,
        "mms_simulator_replies_total": 3,
        "mms_simulator_replies_taken_total": 2,
        "mms_simulator_callback_requests_total": 9,
        "mms_simulator_callback_requests_refused_total": 1,
    }


def test_an_account_without_a_limit_has_none() -> None:
    ledger = Ledger()
    ledger.open_call("a", None, "account", 0)
    assert "mms_simulator_limit 1" not in told(metrics_text(ledger.tallies(0), [None], NONE_POSTED))


def test_the_worst_second_of_late_is_forgotten_and_that_of_all_is_not() -> None:
    worst = WorstSecond()
    for at_us in (0, 10, 20, 3 * SECOND_US):
        worst.observe(at_us)
    assert worst.lately(3 * SECOND_US) == 3
    assert worst.lately(LATELY_S * SECOND_US) == 3, "something that looks every 15 s sees it"
    assert worst.lately((LATELY_S + 1) * SECOND_US) == 1
    assert worst.lately((LATELY_S + 4) * SECOND_US) == 0
    assert worst.worst == 3


def test_the_control_port_serves_them() -> None:
    with SimulatorProcess(rate_per_s=7) as simulator:
        asked = httpx.get(
            f"{simulator.api_url}/account",
            auth=("key-a", ""),
            verify=ssl.create_default_context(cafile=simulator.ca_file),
        )
        assert asked.status_code == 200
        answer = httpx.get(f"{simulator.control_url}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert told(answer.content)["mms_simulator_calls_total 1"] == 1
    assert told(answer.content)["mms_simulator_limit 1"] == 7
