"""How many workers there may be: a ceiling from the limit, and a backlog that is really counted."""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import httpx
import pytest

from deploy.access.broker import VHOST
from deploy.local import RabbitMQ
from tests.deploy.cluster import BASE, EXAMPLE, built, named
from tests.deploy.places import KUBERNETES
from worker.core.delivery import Lane
from worker.core.topology import jobs_queue, topology
from worker.settings.model import Settings

#: An API that takes so long is an alarm already.
SLOW_ANSWER_S = 5
ACCOUNTS = ("default", "shop", "a-B_9")


def trigger() -> dict[str, Any]:
    (found,) = named("ScaledObject", "worker")["spec"]["triggers"]
    metadata: dict[str, Any] = found["metadata"]
    return metadata


def workers_that_use_the_limit(accounts_file: Path) -> int:
    """As many as it takes to have `rate * SLOW_ANSWER_S` calls under way, for the fastest account."""
    accounts = tomllib.loads(accounts_file.read_text())["accounts"].values()
    calls: float = max(account["rate_per_s"] for account in accounts) * SLOW_ANSWER_S
    calls_max: int = Settings.model_fields["calls_max"].default
    return max(2, math.ceil(calls / calls_max))


def test_the_ceiling_comes_from_the_limit(tmp_path: Path) -> None:
    assert named("ScaledObject", "worker")["spec"]["maxReplicaCount"] == workers_that_use_the_limit(
        EXAMPLE / "accounts.toml"
    )
    (tmp_path / "kustomization.yaml").write_text("resources: [scaled-object.yaml]\n")
    (tmp_path / "scaled-object.yaml").write_text((KUBERNETES / "components/keda/scaled-object.yaml").read_text())
    (plain,) = (each for each in built(tmp_path) if each["kind"] == "ScaledObject")
    assert plain["spec"]["maxReplicaCount"] == workers_that_use_the_limit(BASE / "accounts.toml")


def test_kedas_number_is_not_fought_over() -> None:
    spec = named("ScaledObject", "worker")["spec"]
    assert "replicas" not in named("Deployment", spec["scaleTargetRef"]["name"])["spec"]
    assert 2 <= spec["minReplicaCount"] <= spec["maxReplicaCount"]
    assert spec["minReplicaCount"] <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"]


def test_the_jobs_of_all_accounts_are_counted_and_nothing_else() -> None:
    pattern = re.compile(trigger()["queueName"])
    counted = {queue.name for queue in topology(ACCOUNTS).queues if pattern.search(queue.name)}
    assert counted == {jobs_queue(account, lane) for account in ACCOUNTS for lane in Lane}
    assert trigger()["value"] == str(Settings.model_fields["prefetch"].default)


def test_the_broker_answers_the_question_that_keda_asks(rabbitmq: RabbitMQ, amqp_url: str) -> None:
    """The address is KEDA's, letter by letter (pkg/scalers/rabbitmq_scaler.go), with this broker and virtual host."""
    vhost = amqp_url.partition("?")[0].rpartition("/")[2]
    queues = {jobs_queue(account, lane) for account in ACCOUNTS for lane in Lane}
    with httpx.Client(base_url=rabbitmq.management_url, trust_env=False) as manage:
        for name in (*queues, "mms.dead.of.this.test"):
            manage.put(f"/api/queues/{vhost}/{name}", json={"durable": True}).raise_for_status()
        name, size = quote_plus(trigger()["queueName"]), trigger()["pageSize"]
        asked = f"/api/queues/{vhost}?page=1&use_regex=true&pagination=false&name={name}&page_size={size}"
        told = manage.get(asked).raise_for_status().json()
    assert {each["name"] for each in told["items"]} == queues
    assert told["page_count"] == 1
    assert trigger()["vhostName"] == VHOST


@pytest.mark.parametrize("accounts", [200])
def test_the_queues_of_as_many_accounts_as_there_may_be_fit_into_a_page(accounts: int) -> None:
    assert accounts * len(Lane) <= int(trigger()["pageSize"]) <= 500  # RabbitMQ gives no more at once
