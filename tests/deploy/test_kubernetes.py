"""The Kubernetes files, as far as they can be seen without a cluster."""

from __future__ import annotations

import base64
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from deploy.access.installation import Hosts, prepare
from tests.deploy.cluster import (
    BASE,
    EXAMPLE,
    OURS,
    Manifest,
    built,
    example,
    labels_of,
    named,
    of_kind,
    pod_of,
    projected,
    selects,
    workloads,
)
from tests.deploy.custom_resources import SPECS, schema_of
from tests.deploy.places import DEPLOY, KUBERNETES
from worker.settings import Settings, SettingsProblems, load, load_receiver

#: The oldest and the newest of Kubernetes' schemas that are asked.
VERSIONS = ("1.30", "1.33", "1.37")
ACCOUNTS = ("shop", "campaign")
MARGIN_S = 5
UNITS = {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}


# --- Form -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_of_kubernetes_is_valid(version: str) -> None:
    checked: Counter[str] = Counter()
    for manifest in (*example(), *built(BASE)):
        if (manifest["apiVersion"], manifest["kind"]) not in SPECS:
            kubernetes_validate.validate(manifest, version, strict=True)
            checked[manifest["kind"]] += 1
    assert checked.keys() >= {"Deployment", "StatefulSet", "NetworkPolicy", "PodDisruptionBudget", "Service"}


def test_every_custom_resource_is_valid() -> None:
    kinds = set()
    for manifest in example():
        key = (manifest["apiVersion"], manifest["kind"])
        if key in SPECS:
            jsonschema.validate(manifest, schema_of(*key))
            kinds.add(key)
    assert kinds == SPECS.keys()


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("ScaledObject", {"maxReplicas": 3}),
        ("RabbitmqCluster", {"replicas": 2}),
        ("Queue", {"type": "classic"}),
        ("PodMonitor", {"podMetricsEndpoints": [{"port": "admin"}]}),
    ],
)
def test_a_mistake_in_a_custom_resource_is_seen(kind: str, change: dict[str, Any]) -> None:
    manifest = of_kind(kind)[0]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(
            {**manifest, "spec": manifest["spec"] | change}, schema_of(manifest["apiVersion"], manifest["kind"])
        )


def test_the_affinity_of_the_brokers_nodes_is_kubernetes_own() -> None:
    pod = {"containers": [{"name": "rabbitmq"}], "affinity": of_kind("RabbitmqCluster")[0]["spec"]["affinity"]}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "rabbitmq"}, "spec": pod}
    kubernetes_validate.validate(manifest, VERSIONS[0], strict=True)


def test_everything_is_in_one_namespace_that_allows_restricted_pods_alone() -> None:
    (namespace,) = of_kind("Namespace")
    name = namespace["metadata"]["name"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {each["metadata"].get("namespace", name) for each in example()} == {name}


# --- Hardening --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workload", workloads(), ids=lambda workload: workload["metadata"]["name"])
def test_pods_are_restricted(workload: Manifest) -> None:
    """Kubernetes' Pod Security Standards, "restricted", and what goes beyond: read-only, no token, by number."""
    pod = pod_of(workload)
    assert pod.keys().isdisjoint({"hostNetwork", "hostPID", "hostIPC", "hostUsers"})
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert all(volume.keys() & {"configMap", "secret", "projected", "emptyDir"} for volume in pod["volumes"])
    for container in (*pod["containers"], *pod.get("initContainers", ())):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert all("hostPort" not in port for port in container.get("ports", ()))
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
    (account,) = (each for each in of_kind("ServiceAccount") if each["metadata"]["name"] == pod["serviceAccountName"])
    assert account["automountServiceAccountToken"] is False


def test_every_image_has_an_exact_version() -> None:
    images = [container["image"] for workload in workloads() for container in pod_of(workload)["containers"]]
    images += [each["spec"]["image"] for each in of_kind("RabbitmqCluster")]
    assert [image for image in images if not re.search(r"/[a-z/-]+:v?\d+\.\d+\.\d+(-[a-z]+)?$", image)] == []


def test_kubernetes_and_compose_take_the_same_servers() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert of_kind("RabbitmqCluster")[0]["spec"]["image"] == services["rabbitmq"]["image"]
    assert pod_of(named("StatefulSet", "redis"))["containers"][0]["image"] == services["redis"]["image"]


def test_no_secret_is_committed() -> None:
    kept_out = KUBERNETES / "secrets"  # of which git takes one file
    for path in DEPLOY.rglob("*"):
        if not path.is_file() or "__pycache__" in path.parts or (path.parent == kept_out and path.suffix != ".yaml"):
            continue
        text = path.read_text(errors="replace")
        assert "PRIVATE KEY-----" not in text, path
        assert not re.search(r"^kind: Secret$", text, re.MULTILINE), path
        assert not re.search(r"\b(amqps?|rediss?)://[^\s:/@{]+:[^\s@{]+@[^\s\"]", text), path


# --- Secrets and settings ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secrets_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`secrets/` with all that its first lines say to put there."""
    folder = tmp_path_factory.mktemp("kubernetes") / "secrets"
    shutil.copytree(KUBERNETES / "secrets", folder)
    prepare(folder, Hosts("rabbitmq.mms.svc:5671", "redis.mms.svc:6379", "mms.example.com"))
    for account in ACCOUNTS:
        (folder / f"{account}.key").write_text(f"the-key-of-{account}\n")
        (folder / f"{account}.token").write_text(f"the-token-of-{account}\n")
    return folder


@pytest.fixture(scope="module")
def secrets(secrets_folder: Path) -> dict[str, Manifest]:
    return {each["metadata"]["name"]: each for each in built(secrets_folder)}


def test_the_secrets_are_valid_and_ignored_by_git(secrets: dict[str, Manifest]) -> None:
    for secret in secrets.values():
        kubernetes_validate.validate(secret, VERSIONS[0], strict=True)
        assert secret["metadata"]["namespace"] == "mms"
    ignored = (KUBERNETES / "secrets" / ".gitignore").read_text().splitlines()
    assert [line for line in ignored if not line.startswith("#")] == ["*", "!.gitignore", "!kustomization.yaml"]


def test_every_secret_that_is_asked_for_is_made_and_every_one_that_is_made_is_asked_for(
    secrets: dict[str, Manifest],
) -> None:
    keys = {name: set(secret["data"]) for name, secret in secrets.items()}
    asked: set[tuple[str, str]] = set()
    for workload in workloads():
        for volume in pod_of(workload)["volumes"]:
            asked |= {(name, key) for name, key, _ in projected(volume)}
    for auth in of_kind("TriggerAuthentication"):
        asked |= {(each["name"], each["key"]) for each in auth["spec"]["secretTargetRef"]}
    for user in of_kind("User"):
        name = user["spec"]["importCredentialsSecret"]["name"]
        asked |= {(name, "username"), (name, "password")}
        assert secrets[name]["metadata"]["labels"]["rabbitmq.com/topology-operator"] == "true"
    for cluster in of_kind("RabbitmqCluster"):
        asked |= {(cluster["spec"]["tls"]["secretName"], key) for key in ("tls.crt", "tls.key")}
    assert {name for name, _ in asked} == set(keys)
    assert {(name, key) for name, key in asked if key and key not in keys[name]} == set()


def test_nobody_sees_more_secrets_than_it_needs() -> None:
    seen = {
        workload["metadata"]["name"]: {
            name for volume in pod_of(workload)["volumes"] for name, _, _ in projected(volume)
        }
        for workload in workloads()
    }
    trusted = {"rabbitmq-tls", "redis-tls"}
    assert seen == {
        "worker": {"worker-addresses", "mms-app-keys", *trusted},
        "receiver": {"receiver-addresses", "mms-app-keys", "mms-callback-tokens", "receiver-tls", *trusted},
        "console": {"console-addresses", "mms-app-keys", *trusted},
        "redis": {"redis-users", "redis-tls"},
    }
    for name in OURS:
        for volume in pod_of(named("Deployment", name))["volumes"]:
            of_authorities = {key for secret, key, _ in projected(volume) if secret in trusted}
            assert of_authorities <= {"ca.crt"}


def files_of(workload: Manifest, folder: Path, secrets: dict[str, Manifest]) -> dict[str, str]:
    """Lay out the container's volumes in `folder`: what is mounted where, and where that is here."""
    pod = pod_of(workload)
    (container,) = pod["containers"]
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted.keys() == {volume["name"] for volume in pod["volumes"]}
    here = {}
    for volume in pod["volumes"]:
        place = folder / volume["name"]
        place.mkdir()
        here[mounted[volume["name"]]] = str(place)
        if "configMap" in volume:
            for key, text in named("ConfigMap", volume["configMap"]["name"])["data"].items():
                (place / key).write_text(text)
        for name, key, file in projected(volume):
            data = secrets[name]["data"]
            for each in [key] if key else data:
                (place / (file or each)).write_bytes(base64.b64decode(data[each]))
    return here


def settings_of(name: str, tmp_path: Path, secrets: dict[str, Manifest]) -> Settings:
    """What the process in the container would read, of the same files in another place."""
    workload = named("Deployment", name)
    here = files_of(workload, tmp_path, secrets)
    (container,) = pod_of(workload)["containers"]
    environment: dict[str, str] = {}
    for source in container["envFrom"]:
        environment |= named("ConfigMap", source["configMapRef"]["name"])["data"]
    environment |= {each["name"]: each["value"] for each in container.get("env", ())}

    def placed(text: str) -> str:
        for there, place in sorted(here.items(), reverse=True):
            text = text.replace(there, place)
        return text

    accounts = Path(placed(environment["MMS_ACCOUNTS_FILE"]))
    accounts.write_text(placed(accounts.read_text()))
    read = {"receive": load_receiver}.get(str(OURS[name]), load)
    loaded = read({key: placed(value) for key, value in environment.items()})
    assert not isinstance(loaded, SettingsProblems), loaded.problems
    return loaded


@pytest.mark.parametrize("name", OURS)
def test_the_settings_are_right(name: str, tmp_path: Path, secrets: dict[str, Manifest]) -> None:
    settings = settings_of(name, tmp_path, secrets)
    role = {"console": "operator"}.get(name, name)
    assert re.fullmatch(rf"amqps://{role}:\w+@rabbitmq\.mms\.svc:5671/mms", settings.amqp_url.get_secret_value())
    assert re.fullmatch(rf"rediss://{role}:\w+@redis\.mms\.svc:6379/0", settings.redis_url.get_secret_value())
    assert settings.amqp_ca_file is not None
    assert settings.redis_ca_file is not None
    assert [account.name for account in settings.accounts] == list(ACCOUNTS)
    assert settings.balance_low == 500
    (container,) = pod_of(named("Deployment", name))["containers"]
    assert container.get("args") == (None if OURS[name] is None else [OURS[name]])


def bytes_of(quantity: str) -> int:
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


@pytest.mark.parametrize("name", ["worker", "receiver"])
def test_there_is_time_to_drain_and_room_for_what_is_held(
    name: str, tmp_path: Path, secrets: dict[str, Manifest]
) -> None:
    settings = settings_of(name, tmp_path, secrets)
    pod = pod_of(named("Deployment", name))
    (container,) = pod["containers"]
    before_s = int(container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [0])[-1])
    assert pod["terminationGracePeriodSeconds"] >= before_s + settings.drain_s_max + MARGIN_S
    if name == "worker":
        assert bytes_of(container["resources"]["limits"]["memory"]) >= 2 * settings.held_bytes_max + 200e6


@pytest.mark.parametrize("name", ["worker", "receiver"])
def test_probes_ask_the_admin_port(name: str, tmp_path: Path, secrets: dict[str, Manifest]) -> None:
    settings = settings_of(name, tmp_path, secrets)
    (container,) = pod_of(named("Deployment", name))["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert (settings.admin_host, settings.admin_port) == ("0.0.0.0", ports["admin"])
    assert {probe: container[f"{probe}Probe"]["httpGet"] for probe in ("startup", "liveness", "readiness")} == {
        "startup": {"path": "/healthz", "port": "admin"},
        "liveness": {"path": "/healthz", "port": "admin"},
        "readiness": {"path": "/readyz", "port": "admin"},
    }


# --- How they are found and kept ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["worker", "receiver"])
def test_a_rollout_and_an_eviction_leave_somebody_who_works(name: str) -> None:
    workload = named("Deployment", name)
    assert workload["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    (budget,) = (
        each for each in of_kind("PodDisruptionBudget") if selects(each["spec"]["selector"], labels_of(workload))
    )
    (least,) = [each["spec"]["minReplicaCount"] for each in of_kind("ScaledObject") if name == "worker"] or [
        workload["spec"]["replicas"]
    ]
    assert budget["spec"]["maxUnavailable"] < least


def test_the_broker_keeps_its_majority_when_nodes_are_emptied() -> None:
    (cluster,) = of_kind("RabbitmqCluster")
    labels = {"app.kubernetes.io/name": cluster["metadata"]["name"]}  # as its operator labels the pods
    (budget,) = (each["spec"] for each in of_kind("PodDisruptionBudget") if selects(each["spec"]["selector"], labels))
    assert budget["maxUnavailable"] <= (cluster["spec"]["replicas"] - 1) // 2


def test_services_and_monitors_find_their_pods_by_labels_and_port_names() -> None:
    pods = {
        workload["metadata"]["name"]: (
            labels_of(workload),
            {port["name"] for container in pod_of(workload)["containers"] for port in container.get("ports", ())},
        )
        for workload in workloads()
    }
    for service in of_kind("Service"):
        labels, ports = pods[service["metadata"]["name"]]
        assert selects({"matchLabels": service["spec"]["selector"]}, labels)
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    jobs = {}
    for monitor in of_kind("PodMonitor"):
        found = [name for name, (labels, _) in pods.items() if selects(monitor["spec"]["selector"], labels)]
        labels, ports = pods[found[0]]
        jobs[labels[monitor["spec"]["jobLabel"]]] = found
        assert {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]} <= ports
    assert jobs == {"mms-worker": ["worker"], "mms-receiver": ["receiver"]}


def test_another_setting_is_a_rollout_and_another_account_is_none() -> None:
    (container,) = pod_of(named("Deployment", "worker"))["containers"]
    assert re.fullmatch(r"mms-settings-[a-z0-9]{10}", container["envFrom"][0]["configMapRef"]["name"])
    accounts = next(volume for volume in pod_of(named("Deployment", "worker"))["volumes"] if "configMap" in volume)
    assert accounts["configMap"]["name"] == "mms-accounts"
    mounts = [mount for each in OURS for mount in pod_of(named("Deployment", each))["containers"][0]["volumeMounts"]]
    assert not [mount for mount in mounts if "subPath" in mount], "such a file would never change"


def test_the_dashboards_are_found_by_grafanas_sidecar() -> None:
    labelled = [each for each in of_kind("ConfigMap") if "grafana_dashboard" in each["metadata"].get("labels", {})]
    files = {path.name for path in (DEPLOY / "grafana/dashboards").glob("*.json")}
    assert {name for each in labelled for name in each["data"]} == files


def test_the_example_is_the_only_overlay() -> None:
    assert [path.name for path in EXAMPLE.parent.iterdir()] == ["example"]
