"""What the topology operator would declare is what the worker declares: neither finds the other's in another shape."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import aio_pika
import httpx

from deploy.access.broker import definitions
from deploy.kubernetes.topology import objects
from deploy.local import RabbitMQ
from worker.adapters.rabbitmq_connection import declare
from worker.core.topology import topology

TIMEOUT_S = 10.0


def of_kind(*kinds: str) -> list[dict[str, Any]]:
    return [each for each in objects(definitions()) if each["kind"] in kinds]


def declared_by_the_operator(manage: httpx.Client, vhost: str) -> None:
    """By the requests that it makes: https://github.com/rabbitmq/messaging-topology-operator, internal/*.go."""

    def put(path: str, body: dict[str, Any]) -> None:
        manage.put(path, json=body).raise_for_status()

    for exchange in of_kind("Exchange"):
        put(f"/api/exchanges/{vhost}/{exchange['spec']['name']}", shape(exchange["spec"], {}))
    for queue in of_kind("Queue"):
        spec = queue["spec"]
        put(f"/api/queues/{vhost}/{spec['name']}", shape(spec, {"x-queue-type": spec["type"]}))
    for binding in of_kind("Binding"):
        spec = binding["spec"]
        path = f"/api/bindings/{vhost}/e/{spec['source']}/{spec['destinationType'][0]}/{spec['destination']}"
        manage.post(path, json={"routing_key": spec["routingKey"], "arguments": {}}).raise_for_status()


def shape(spec: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    arguments = {**more, **spec.get("arguments", {})}
    return {
        "type": spec["type"],
        "durable": spec["durable"],
        "auto_delete": spec["autoDelete"],
        "arguments": arguments,
    }


def shapes(manage: httpx.Client, vhost: str) -> dict[str, Any]:
    """All that is in the virtual host, in an order of its own."""
    told = manage.get(f"/api/definitions/{vhost}").raise_for_status().json()
    return {part: sorted(told[part], key=repr) for part in ("exchanges", "queues", "bindings")}


async def test_the_worker_finds_what_the_operator_declared_in_the_right_shape(
    rabbitmq: RabbitMQ, amqp_url: str
) -> None:
    vhost = quote(amqp_url.partition("?")[0].rpartition("/")[2], safe="")
    with httpx.Client(base_url=rabbitmq.management_url, trust_env=False, timeout=TIMEOUT_S) as manage:
        declared_by_the_operator(manage, vhost)
        before = shapes(manage, vhost)
        async with await aio_pika.connect(amqp_url) as connection:
            await declare(await _raw(connection), topology(()), TIMEOUT_S)
        assert shapes(manage, vhost) == before
    assert {each["name"] for each in before["queues"]} == {queue.name for queue in topology(()).queues}


def test_users_and_rights_are_those_of_the_definitions() -> None:
    defined = definitions()
    users = {each["metadata"]["name"]: each["spec"].get("tags", []) for each in of_kind("User")}
    assert users == {user["name"]: user["tags"] for user in defined["users"]}
    rights = {
        each["spec"]["userReference"]["name"]: (each["spec"]["vhost"], *sorted(each["spec"]["permissions"].items()))
        for each in of_kind("Permission")
    }
    assert rights == {
        each["user"]: (each["vhost"], *((right, each[right]) for right in ("configure", "read", "write")))
        for each in defined["permissions"]
    }


def test_each_object_has_a_name_of_its_own() -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in objects(definitions())]
    assert len(names) == len(set(names))


def test_what_is_removed_from_kubernetes_leaves_the_jobs_in_the_broker() -> None:
    kept = [each["spec"]["deletionPolicy"] for each in of_kind("Queue", "Vhost")]
    assert set(kept) == {"retain"}


async def _raw(connection: aio_pika.abc.AbstractConnection) -> Any:
    channel = await connection.channel()
    return await channel.get_underlay_channel()
