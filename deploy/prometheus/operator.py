"""The rule files as the object that Prometheus' operator reads in Kubernetes."""

from pathlib import Path
from typing import Any

import yaml

_HEAD = "# Made from deploy/prometheus/rules by `make generate`: edit those.\n"
WIDTH = 120


class _Dumper(yaml.SafeDumper):
    """Text of several lines stays so, and lists are indented, as people write them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002, ARG002
        super().increase_indent(flow, indentless=False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def prometheus_rule(folder: Path) -> str:
    """All groups of all rule files of the folder, in the order of the files' names."""
    groups: list[Any] = []
    for file in sorted(folder.glob("*.yaml")):
        groups += yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "mms-worker", "labels": {"app.kubernetes.io/part-of": "mms-worker"}},
        "spec": {"groups": groups},
    }
    return _HEAD + yaml.dump(rule, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH)
