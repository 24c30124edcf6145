"""The broker's users and topology as objects of RabbitMQ's messaging topology operator.

Made of the same definitions that a broker without operators imports (`deploy/rabbitmq/definitions.json`).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from deploy.access.broker import definitions

CLUSTER: Final = "rabbitmq"
_HEAD: Final = """\
# Made from worker/core/topology.py and deploy/access by `make generate`: do not edit.
# Kubernetes' names have no underscore; the broker's are in `spec`. Queues that are removed here stay in the broker.
"""


def topology_text() -> str:
    """All objects, in the order in which they depend on each other."""
    return _HEAD + yaml.safe_dump_all(objects(definitions()), sort_keys=False, width=1_000, explicit_start=True)


def objects(defined: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One object for each virtual host, user, permission, exchange, queue and binding."""
    for vhost in defined["vhosts"]:
        name = vhost["name"]
        yield _object("Vhost", name, {"name": name, "defaultQueueType": "quorum", "deletionPolicy": "retain"})
    for user in defined["users"]:
        name = user["name"]
        tags = {"tags": user["tags"]} if user["tags"] else {}
        yield _object("User", name, {**tags, "importCredentialsSecret": {"name": f"{CLUSTER}-{name}"}})
    for allowed in defined["permissions"]:
        rights = {right: allowed[right] for right in ("configure", "write", "read")}
        yield _object(
            "Permission",
            allowed["user"],
            {"vhost": allowed["vhost"], "userReference": {"name": allowed["user"]}, "permissions": rights},
        )
    for exchange in defined["exchanges"]:
        yield _object("Exchange", exchange["name"], _declared(exchange, exchange["type"], exchange["arguments"]))
    for queue in defined["queues"]:
        arguments = {name: value for name, value in queue["arguments"].items() if name != "x-queue-type"}
        declared = _declared(queue, queue["arguments"]["x-queue-type"], arguments)
        yield _object("Queue", queue["name"], {**declared, "deletionPolicy": "retain"})
    for binding in defined["bindings"]:
        spec = {
            "vhost": binding["vhost"],
            "source": binding["source"],
            "destination": binding["destination"],
            "destinationType": binding["destination_type"],
            "routingKey": binding["routing_key"],
        }
        yield _object("Binding", f"{binding['source']}-to-{binding['destination']}", spec)


def _declared(what: Mapping[str, Any], kind: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    spec = {"name": what["name"], "vhost": what["vhost"], "type": kind, "durable": what["durable"]}
    return {**spec, "autoDelete": what["auto_delete"], **({"arguments": dict(arguments)} if arguments else {})}


def _object(kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "rabbitmq.com/v1beta1",
        "kind": kind,
        "metadata": {"name": name.replace("_", "-")},
        "spec": {**spec, "rabbitmqClusterReference": {"name": CLUSTER}},
    }
