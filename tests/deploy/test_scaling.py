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
import yaml

from deploy.access.broker import VHOST
from deploy.local import RabbitMQ
from tests.deploy.cluster import BASE, EXAMPLE, named
from tests.deploy.places import KUBERNETES
from worker.core.delivery import Lane
from worker.core.topology import jobs_queue, topology
from worker.settings.model import Settings

#: An API that takes so long is an alarm already.
SLOW_ANSWER_S = 5
ACCOUNTS = ("default", "shop", "a-B_9")


def in_file(place: str, kind: str) -> dict[str, Any]:
    """The object as it stands in the file, which needs no kustomize."""
    (found,) = (each for each in yaml.safe_load_all((KUBERNETES / place).read_text()) if each["kind"] == kind)
    spec: dict[str, Any] = found["spec"]
    return spec


def trigger() -> dict[str, Any]:
    (found,) = in_file("components/keda/scaled-object.yaml", "ScaledObject")["triggers"]
    metadata: dict[str, Any] = found["metadata"]
    return metadata


def workers_that_use_the_limit(accounts_file: Path) -> int:
    """As many as it takes to have `rate * SLOW_ANSWER_S` calls under way, for the fastest account."""
    accounts = tomllib.loads(accounts_file.read_text())["accounts"].values()
    calls: float = max(account["rate_per_s"] for account in accounts) * SLOW_ANSWER_S
    calls_max: int = Settings.model_fields["calls_max"].default
    return max(2, math.ceil(calls / calls_max))


def test_the_ceiling_comes_from_the_limit() -> None:
    plain = in_file("components/keda/scaled-object.yaml", "ScaledObject")
    assert plain["maxReplicaCount"] == workers_that_use_the_limit(BASE / "accounts.toml")
    assert named("ScaledObject", "worker")["spec"]["maxReplicaCount"] == workers_that_use_the_limit(
        EXAMPLE / "accounts.toml"
    )


def bytes_to_remember(accounts_file: Path) -> float:
    """What Redis holds when all accounts send at their limit for a week, a recipient each (README, "Decisions")."""
    accounts = tomllib.loads(accounts_file.read_text())["accounts"].values()
    fields = Settings.model_fields
    a_second: int = 210 * fields["deduplication_s"].default + 230 * fields["reports_s"].default
    return float(sum(account["rate_per_s"] for account in accounts) * a_second)


def test_redis_has_room_for_what_is_to_be_remembered() -> None:
    """Full, it takes nothing more, and nothing is sent."""
    plain = in_file("components/redis/redis.yaml", "StatefulSet")
    fits(plain, bytes_to_remember(BASE / "accounts.toml"))
    fits(named("StatefulSet", "redis")["spec"], bytes_to_remember(EXAMPLE / "accounts.toml"))


def fits(redis: dict[str, Any], needed: float) -> None:
    (container,) = redis["template"]["spec"]["containers"]
    (volume,) = redis["volumeClaimTemplates"]
    option, most = container["args"]
    assert option == "--maxmemory"
    held = int(most.removesuffix("gb")) * 1024**3
    assert needed <= held
    assert gibibytes(container["resources"]["limits"]["memory"]) >= held * 4 / 3
    assert gibibytes(volume["spec"]["resources"]["requests"]["storage"]) >= held * 3


def gibibytes(quantity: str) -> int:
    return int(quantity.removesuffix("Gi")) * 1024**3


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
