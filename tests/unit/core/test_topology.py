"""Names and arguments that producers and operators build on."""

from __future__ import annotations

import pytest

from worker.core.delivery import Lane
from worker.core.quarantine import CRASHES_MAX, SUSPECT_FROM
from worker.core.topology import (
    REPORT_DELAYS_S,
    RETRY_DELAYS_S,
    account_and_lane,
    for_receiving,
    for_sending,
    jobs_queue,
    jobs_queues,
    report_wait_queue,
    retry_delay_at_least,
    routing_key,
    topology,
)

BUILT = topology(["acme", "other"])
QUEUES = {queue.name: queue for queue in BUILT.queues}


def test_the_queues_are_the_documented_ones() -> None:
    retries = {f"mms.retry.{delay_s}s" for delay_s in RETRY_DELAYS_S}
    of_accounts = {"mms.jobs.acme", "mms.jobs.acme.urgent", "mms.jobs.other", "mms.jobs.other.urgent"}
    reports = {"mms.reports", "mms.reports.wait.3s", "mms.reports.wait.20s"}
    others = {"mms.dead", "mms.in_doubt", "mms.unroutable", "mms.events.log"}
    assert set(QUEUES) == others | retries | reports | of_accounts


def test_all_are_quorum_queues_but_the_event_log() -> None:
    kinds = {name: queue.arguments["x-queue-type"] for name, queue in QUEUES.items()}
    assert kinds.pop("mms.events.log") == "stream"
    assert set(kinds.values()) == {"quorum"}


def test_what_hands_jobs_on_does_so_without_loss() -> None:
    for name, queue in QUEUES.items():
        if "x-dead-letter-exchange" in queue.arguments:
            assert queue.arguments["x-dead-letter-strategy"] == "at-least-once", name
            assert queue.arguments["x-overflow"] == "reject-publish", name


def test_each_retry_queue_has_one_delay_and_keeps_the_routing_key() -> None:
    for delay_s in RETRY_DELAYS_S:
        arguments = QUEUES[f"mms.retry.{delay_s}s"].arguments
        assert arguments["x-message-ttl"] == delay_s * 1000
        assert arguments["x-dead-letter-exchange"] == "mms.jobs"
        assert "x-dead-letter-routing-key" not in arguments


def test_a_report_that_waits_is_handed_on_to_be_looked_at_and_no_more_wait_than_are_taken() -> None:
    for delay_s in REPORT_DELAYS_S:
        arguments = QUEUES[report_wait_queue(delay_s)].arguments
        assert arguments["x-message-ttl"] == delay_s * 1000
        assert (arguments["x-dead-letter-exchange"], arguments["x-dead-letter-routing-key"]) == (
            "mms.reports",
            "mms.reports",
        )
        assert arguments["x-max-length"] > 0


@pytest.mark.parametrize(("name", "through"), [("mms.reports", "mms.reports"), ("mms.jobs.acme", "")])
def test_what_is_handed_out_too_often_is_a_dead_letter(name: str, through: str) -> None:
    arguments = QUEUES[name].arguments
    assert arguments["x-delivery-limit"] == 100
    assert (arguments["x-dead-letter-exchange"], arguments["x-dead-letter-routing-key"]) == (through, "mms.dead")


def test_the_exchange_of_reports_leads_to_where_they_wait_and_die_and_nowhere_else() -> None:
    bound = {
        queue.name: binding[1] for queue in BUILT.queues for binding in queue.bindings if binding[0] == "mms.reports"
    }
    names = {"mms.dead", "mms.reports", "mms.reports.wait.3s", "mms.reports.wait.20s"}
    assert bound == {name: name for name in names}


def test_a_worker_declares_all_but_what_is_for_reports() -> None:
    sending = for_sending(["acme", "other"])
    reports = {"mms.reports", "mms.reports.wait.3s", "mms.reports.wait.20s"}
    assert {queue.name for queue in sending.queues} == QUEUES.keys() - reports
    assert {each.name for each in BUILT.exchanges} - {each.name for each in sending.exchanges} == {"mms.reports"}
    assert all(binding[0] != "mms.reports" for queue in sending.queues for binding in queue.bindings)
    assert sending.accounts == ("acme", "other")


def test_a_receiver_declares_nothing_of_jobs_and_nothing_otherwise() -> None:
    receiving = for_receiving()
    assert {each.name for each in receiving.exchanges} == {"mms.events", "mms.reports"}
    reports = {"mms.reports", "mms.reports.wait.3s", "mms.reports.wait.20s"}
    assert {queue.name for queue in receiving.queues} == {"mms.events.log", "mms.dead", *reports}
    assert all(QUEUES[queue.name] == queue for queue in receiving.queues)
    for queue in receiving.queues:
        assert queue.arguments.get("x-dead-letter-exchange", "mms.reports") == "mms.reports"
    declared = {each.name for each in receiving.exchanges} | {queue.name for queue in receiving.queues}
    assert declared - receiving.of_others == reports


def test_a_job_of_an_unknown_account_has_somewhere_to_go() -> None:
    (jobs,) = [exchange for exchange in BUILT.exchanges if exchange.name == "mms.jobs"]
    assert jobs.arguments == {"alternate-exchange": "mms.unroutable"}
    assert QUEUES["mms.unroutable"].bindings == (("mms.unroutable", ""),)


def test_the_event_log_is_bound_to_everything_and_bounded() -> None:
    log = QUEUES["mms.events.log"]
    assert log.bindings == (("mms.events", "#"),)
    assert log.arguments["x-max-length-bytes"] > 0
    assert log.arguments["x-max-age"]


def test_what_all_share_and_what_is_an_accounts_own_are_told_apart() -> None:
    assert BUILT.shared == topology([])
    assert BUILT.accounts == ("acme", "other")
    assert BUILT.queues == (*BUILT.shared.queues, *jobs_queues("acme"), *jobs_queues("other"))


def test_the_delivery_limit_of_jobs_is_said_and_leaves_room_for_what_finds_a_message_that_ends_workers() -> None:
    for queue in jobs_queues("acme"):
        assert queue.arguments["x-delivery-limit"] >= 10 * (SUSPECT_FROM + CRASHES_MAX)


def test_routing_keys_and_queues_of_the_lanes() -> None:
    assert routing_key("acme", Lane.BULK) == "acme"
    assert routing_key("acme", Lane.URGENT) == "acme.urgent"
    assert jobs_queue("acme", Lane.URGENT) == "mms.jobs.acme.urgent"


@pytest.mark.parametrize("account", ["acme", "urgent", "mms-jobs"])
@pytest.mark.parametrize("lane", Lane)
def test_a_queue_says_whose_jobs_it_holds(account: str, lane: Lane) -> None:
    assert account_and_lane(jobs_queue(account, lane)) == (account, lane)


@pytest.mark.parametrize("queue", ["", "acme", "mms.jobs.", "mms.jobs..urgent", "mms.jobs", "mms.dead"])
def test_other_queues_are_nobodys(queue: str) -> None:
    assert account_and_lane(queue) is None


@pytest.mark.parametrize("name", ["mms.dead", "mms.in_doubt", "mms.unroutable"])
def test_looking_at_what_is_held_never_drops_it(name: str) -> None:
    assert QUEUES[name].arguments["x-delivery-limit"] >= 10**6


@pytest.mark.parametrize(("wait_s", "delay_s"), [(0, 1), (1, 1), (1.1, 5), (60, 60), (61, 300), (1e9, 300)])
def test_the_shortest_delay_that_covers_a_wait(wait_s: float, delay_s: int) -> None:
    assert retry_delay_at_least(wait_s) == delay_s
