"""Which labels an expression's series have, worked out without data: a wrong name or label is found while it is read.

`Series` knows of each metric its labels, and of labels that are closed sets their values. WrongError says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import promql_parser as promql
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

#: Values that are whatever a machine, a configuration or a person makes of them.
OPEN = {"account", "instance", "job", "key", "le", "queue", "alertname", "alertstate", "service", "severity", "version"}
KEPT = {"rate", "irate", "increase", "clamp_min", "clamp_max", "clamp", "abs", "floor", "ceil", "delta", "deriv"}
KEPT |= {f"{fold}_over_time" for fold in ("avg", "min", "max", "sum", "count", "last", "present", "quantile")}
NO_SERIES = {"time", "scalar"}
SCALAR = None

Labels = frozenset[str]


class WrongError(Exception):
    """What is wrong with an expression."""


class Series:
    """All metrics there are: labels by name, and values by name and label."""

    def __init__(self) -> None:
        self.labels: dict[str, Labels] = {}
        self.values: dict[str, dict[str, set[str]]] = {}

    def add(self, name: str, labels: Iterable[str], values: Mapping[str, Iterable[str]] | None = None) -> None:
        self.labels[name] = self.labels.get(name, frozenset()) | frozenset(labels)
        for label, some in (values or {}).items():
            self.values.setdefault(name, {}).setdefault(label, set()).update(some)

    def add_registry(self, registry: CollectorRegistry, scraped: Labels = frozenset({"job", "instance"})) -> None:
        """What a process exports, with what Prometheus adds."""
        for family in registry.collect():
            for sample in family.samples:
                values = {label: [value] for label, value in sample.labels.items()}
                self.add(sample.name, {*sample.labels, *scraped}, values)
        # Those whose children are made when they are needed have no sample yet.
        for collector in list(registry._collector_to_names):
            if isinstance(collector, MetricWrapperBase):
                for name, more in _sample_names(collector):
                    self.add(name, {*collector._labelnames, *more, *scraped})

    def labels_of(self, expression: str) -> Labels | None:
        """None: it is one number."""
        try:
            tree = promql.parse(expression)
        except ValueError as error:
            raise WrongError(f"{expression}: {error}") from error
        return self._of(tree)

    def _of(self, node: Any) -> Labels | None:  # noqa: PLR0911 - one line per kind of node
        match node:
            case promql.VectorSelector():
                return self._selected(node)
            case promql.MatrixSelector():
                return self._selected(node.vector_selector)
            case promql.SubqueryExpr() | promql.ParenExpr() | promql.UnaryExpr():
                return self._of(node.expr)
            case promql.NumberLiteral() | promql.StringLiteral():
                return SCALAR
            case promql.Call():
                return self._called(node)
            case promql.AggregateExpr():
                return self._aggregated(node)
            case promql.BinaryExpr():
                return self._binary(node)
        raise WrongError(f"{node}: not known here")

    def _selected(self, node: Any) -> Labels:
        if node.name not in self.labels:
            raise WrongError(f"{node.name}: there is no such metric")
        labels = self.labels[node.name]
        for matcher in node.matchers.matchers:
            if matcher.name not in labels:
                raise WrongError(f"{node.name} has no label {matcher.name}, only {sorted(labels)}")
            known = self.values.get(node.name, {}).get(matcher.name)
            if matcher.name in OPEN or not known or "$" in matcher.value:
                continue
            for value in matcher.value.split("|"):
                if value not in known:
                    raise WrongError(f"{node.name}: {matcher.name} is never {value!r}, only {sorted(known)}")
        return labels

    def _called(self, node: Any) -> Labels | None:
        name, found = node.func.name, [self._of(argument) for argument in node.args]
        vectors = [labels for labels in found if labels is not SCALAR]
        if name in NO_SERIES:
            return SCALAR
        if name == "vector":
            return frozenset()
        if name == "histogram_quantile":
            if "le" not in vectors[0]:
                raise WrongError(f"{node}: the buckets' le is lost before the quantile is taken")
            return vectors[0] - {"le"}
        if name == "label_replace":
            return vectors[0] | {node.args[1].val}
        if name in KEPT:
            return vectors[0]
        if name == "absent":
            return frozenset()
        raise WrongError(f"{name}: this function is not known here")

    def _aggregated(self, node: Any) -> Labels:
        inner = self._of(node.expr)
        if inner is SCALAR:
            raise WrongError(f"{node}: a number cannot be aggregated")
        if node.modifier is None:
            return frozenset()
        kept = frozenset(node.modifier.labels)
        if missing := kept - inner:
            raise WrongError(f"{node}: {sorted(missing)} cannot be kept, there is only {sorted(inner)}")
        return kept if node.modifier.type == promql.AggModifierType.By else inner - kept

    def _binary(self, node: Any) -> Labels | None:
        left, right = self._of(node.lhs), self._of(node.rhs)
        if left is SCALAR or right is SCALAR:
            return right if left is SCALAR else left
        matching = node.modifier.matching if node.modifier is not None else None
        if str(node.op) == "or":
            return left
        if matching is None:
            if left != right:
                raise WrongError(f"{node}: the sides never match, by {sorted(left)} and {sorted(right)}")
            return left
        named = frozenset(matching.labels)
        is_on = matching.type == promql.LabelModifierType.Include
        shared = named if is_on else left - named
        if is_on and (missing := (named - left) | (named - right)):
            raise WrongError(f"{node}: not both sides have {sorted(missing)}")
        if not is_on and left - named != right - named:
            raise WrongError(f"{node}: the sides never match, by {sorted(left - named)} and {sorted(right - named)}")
        match node.modifier.card:
            case promql.VectorMatchCardinality.ManyToOne:
                return left
            case promql.VectorMatchCardinality.OneToMany:
                return right
        return left if str(node.op) in ("and", "unless") else shared


def _sample_names(metric: MetricWrapperBase) -> list[tuple[str, set[str]]]:
    name = metric._name
    match metric._type:
        case "counter":
            return [(f"{name}_total", set())]
        case "histogram":
            return [(f"{name}_bucket", {"le"}), (f"{name}_count", set()), (f"{name}_sum", set())]
        case "info":
            return [(f"{name}_info", set())]
    return [(name, set())]
