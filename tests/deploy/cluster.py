"""What kustomize makes of the files, and how to find one's way in it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.places import KUBERNETES

Manifest = dict[str, Any]
EXAMPLE = KUBERNETES / "overlays" / "example"
BASE = KUBERNETES / "base"
#: Workloads of our image, and the command of each.
OURS = {"worker": "run", "receiver": "receive", "console": None}


def built(folder: Path) -> list[Manifest]:
    """All objects of a kustomization."""
    command = (Path(sys.executable).with_name("kubectl"), "kustomize", folder)
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return [each for each in yaml.safe_load_all(made.stdout) if each]


@cache
def example() -> tuple[Manifest, ...]:
    """All objects of the example."""
    return tuple(built(EXAMPLE))


def of_kind(*kinds: str) -> list[Manifest]:
    """Those of the example that are of one of these kinds."""
    return [each for each in example() if each["kind"] in kinds]


def named(kind: str, name: str) -> Manifest:
    """The one object of the example that is called so."""
    (found,) = (each for each in of_kind(kind) if each["metadata"]["name"] == name)
    return found


def workloads() -> list[Manifest]:
    """Whatever has pods, but for what an operator makes."""
    return of_kind("Deployment", "StatefulSet")


def pod_of(workload: Manifest) -> Manifest:
    """Its pods' specification."""
    pod: Manifest = workload["spec"]["template"]["spec"]
    return pod


def labels_of(workload: Manifest) -> dict[str, str]:
    """Its pods' labels."""
    labels: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return labels


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """As Kubernetes decides it; of the operators only those that are used here."""
    wanted = selector.get("matchLabels", {})
    expressions = selector.get("matchExpressions", ())
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    assert all(each["operator"] == "In" for each in expressions)
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        labels.get(each["key"]) in each["values"] for each in expressions
    )


def projected(volume: Manifest) -> Iterator[tuple[str, str, str]]:
    """Of a volume of Secrets: (Secret, its key or "" for all, the file's name or "" for the key's)."""
    sources = [source["secret"] for source in volume.get("projected", {}).get("sources", ())]
    if "secret" in volume:
        sources.append({"name": volume["secret"]["secretName"], **volume["secret"]})
    for source in sources:
        if "items" not in source:
            yield source["name"], "", ""
        for item in source.get("items", ()):
            yield source["name"], item["key"], item["path"]
