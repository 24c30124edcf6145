"""Who reaches whom, by the network policies: computed as a cluster would decide it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from tests.deploy.cluster import labels_of, named, of_kind, pod_of, selects

NAMESPACE = "mms"


@dataclass(frozen=True)
class Pod:
    """Somebody in the cluster."""

    labels: dict[str, str]
    namespace: str = NAMESPACE
    ports: tuple[tuple[str, int], ...] = ()


def ours(kind: str, name: str) -> Pod:
    workload = named(kind, name)
    ports = [port for container in pod_of(workload)["containers"] for port in container.get("ports", ())]
    return Pod(labels_of(workload), ports=tuple((port["name"], port["containerPort"]) for port in ports))


WORKER = ours("Deployment", "worker")
RECEIVER = ours("Deployment", "receiver")
CONSOLE = ours("Deployment", "console")
REDIS = ours("StatefulSet", "redis")
#: As the cluster operator labels them.
BROKER = Pod({"app.kubernetes.io/name": "rabbitmq"})
DNS = Pod({"k8s-app": "kube-dns"}, "kube-system")
PROMETHEUS = Pod({"app.kubernetes.io/name": "prometheus"}, "monitoring")
KEDA = Pod({"app": "keda-operator"}, "keda")
TOPOLOGY_OPERATOR = Pod({"app.kubernetes.io/name": "messaging-topology-operator"}, "rabbitmq-system")
PRODUCER = Pod({"app": "shop", "mms/producer": "true"}, "shop")
STRANGER = Pod({"app": "elsewhere"}, "elsewhere")
NEIGHBOUR = Pod({"app": "neighbour"})


def policies_for(pod: Pod, direction: str) -> list[dict[str, Any]]:
    return [
        each["spec"]
        for each in of_kind("NetworkPolicy")
        if pod.namespace == NAMESPACE
        and direction in each["spec"]["policyTypes"]
        and selects(each["spec"]["podSelector"], pod.labels)
    ]


def matches(peer: dict[str, Any], other: Pod | str) -> bool:
    if isinstance(other, str):
        block = peer.get("ipBlock")
        address = ip_address(other)
        if block is None or address.version != ip_network(block["cidr"]).version:
            return False
        return address in ip_network(block["cidr"]) and not any(address in ip_network(n) for n in block["except"])
    if "ipBlock" in peer:
        return False
    spaces = peer.get("namespaceSelector")
    is_space = (
        other.namespace == NAMESPACE
        if spaces is None
        else selects(spaces, {"kubernetes.io/metadata.name": other.namespace})
    )
    return is_space and selects(peer.get("podSelector", {}), other.labels)


def ports_of(rule: dict[str, Any], target: Pod | str) -> Iterator[tuple[str, int]]:
    names = dict(target.ports) if isinstance(target, Pod) else {}
    for each in rule["ports"]:
        yield each["protocol"], names.get(each["port"], each["port"])


def allowed(subject: Pod, direction: str, other: Pod | str, target: Pod | str, port: tuple[str, int]) -> bool:
    """Whether `subject` may in this direction; who is under no policy may everything."""
    policies = policies_for(subject, direction)
    side, peers = {"Ingress": ("ingress", "from"), "Egress": ("egress", "to")}[direction]
    return not policies or any(
        (peers not in rule or any(matches(peer, other) for peer in rule[peers]))
        and ("ports" not in rule or port in ports_of(rule, target))
        for policy in policies
        for rule in policy.get(side, ())
    )


def reaches(source: Pod | str, target: Pod | str, port: int, protocol: str = "TCP") -> bool:
    """An address is somebody outside."""
    asked = protocol, port
    leaves = isinstance(source, str) or allowed(source, "Egress", target, target, asked)
    enters = isinstance(target, str) or allowed(target, "Ingress", source, target, asked)
    return leaves and enters


@pytest.mark.parametrize("client", [WORKER, RECEIVER, CONSOLE])
def test_ours_reach_what_they_need_and_nothing_else(client: Pod) -> None:
    assert reaches(client, BROKER, 5671)
    assert reaches(client, REDIS, 6379)
    assert reaches(client, DNS, 53, "UDP")
    assert reaches(client, DNS, 53)
    assert reaches(client, "203.0.113.7", 443)
    assert reaches(client, "2001:4860:4860::8888", 443)
    assert not reaches(client, BROKER, 15671)
    assert not reaches(client, "203.0.113.7", 80)
    assert not reaches(client, STRANGER, 443)
    assert not reaches(client, NEIGHBOUR, 443)


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "172.20.1.1", "192.168.1.1", "169.254.169.254", "127.0.0.1", "100.64.1.1", "fd00::1", "::1"]
)
def test_a_picture_cannot_be_fetched_from_inside(address: str) -> None:
    assert not reaches(WORKER, address, 443)


def test_the_vendor_reaches_the_callbacks_alone() -> None:
    assert reaches("203.0.113.7", RECEIVER, 8443)
    assert not reaches("203.0.113.7", RECEIVER, 9464)
    for target, port in ((WORKER, 9464), (WORKER, 8443), (CONSOLE, 9464), (REDIS, 6379), (BROKER, 5671)):
        assert not reaches("203.0.113.7", target, port)


def test_metrics_are_for_prometheus() -> None:
    for target in (WORKER, RECEIVER):
        assert reaches(PROMETHEUS, target, 9464)
        assert not reaches(STRANGER, target, 9464)
        assert not reaches(NEIGHBOUR, target, 9464)
    assert not reaches(PROMETHEUS, WORKER, 22)


def test_the_broker_is_for_ours_for_producers_and_for_its_operators() -> None:
    assert reaches(PRODUCER, BROKER, 5671)
    assert not reaches(PRODUCER, BROKER, 15671)
    for operator in (KEDA, TOPOLOGY_OPERATOR):
        assert reaches(operator, BROKER, 15671)
        assert not reaches(operator, BROKER, 5671)
    assert reaches(BROKER, BROKER, 25672)
    for stranger in (STRANGER, NEIGHBOUR):
        assert not reaches(stranger, BROKER, 5671)


def test_redis_is_for_ours_and_calls_nobody() -> None:
    for stranger in (STRANGER, NEIGHBOUR, PRODUCER, PROMETHEUS):
        assert not reaches(stranger, REDIS, 6379)
    for target, port in ((DNS, 53), (BROKER, 5671), ("203.0.113.7", 443)):
        assert not reaches(REDIS, target, port)
