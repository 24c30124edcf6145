"""The registry of one process, and how its metrics are made and found; accounts come and go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

Family = type[CounterMetricFamily | GaugeMetricFamily]
Labelled = TypeVar("Labelled", Counter, Gauge, Histogram)


class Found(Collector):
    """A metric of what is counted elsewhere, and found there now and then: before it is found it has no series.

    A 0 meanwhile would look like news when the count is found to be another. ``label`` "" is for one series without.
    """

    def __init__(self, family: Family, name: str, meaning: str, label: str = "") -> None:
        self._family, self._name, self._meaning = family, name, meaning
        self._labels = [label] if label else []
        self._values: Mapping[str, float] = {}

    def set(self, values: Mapping[str, float]) -> None:
        """Export these, by the label's value, or for "" alone."""
        self._values = values

    def collect(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        """What was found."""
        family = self._family(self._name, self._meaning, labels=self._labels)
        for value, number in self._values.items():
            family.add_metric([value] if self._labels else [], number)
        yield family


class Registry:
    """Makes metrics, all with the prefix, and finds their children."""

    def __init__(self) -> None:
        self._of_accounts: list[Counter | Gauge | Histogram] = []
        self._children: dict[tuple[MetricWrapperBase, tuple[str, ...]], MetricWrapperBase] = {}
        disable_created_metrics()  # type: ignore[no-untyped-call] # the library has no type for it
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)

    def of(self, metric: Labelled, *labels: str) -> Labelled:
        """The child of ``metric`` for ``labels``, looked up once: the library's own way costs a lock each time."""
        child = self._children.get((metric, labels))
        if child is None:
            child = self._children[metric, labels] = metric.labels(*labels)
        return cast("Labelled", child)

    def _drop(self, account: str, *others: str) -> None:
        """Have no series of the account any more; ``others``: labels that are its own as well."""
        gone = {account, *others}
        for metric, labels in list(self._children):
            if not gone.isdisjoint(labels):
                del self._children[metric, labels]
        for metric in self._of_accounts:
            metric.remove_by_labels({"account": account})

    def _counter(self, name: str, meaning: str, labels: Iterable[str] = ()) -> Counter:
        return self._noted(Counter(f"mms_{name}", meaning, labels, registry=self.registry), labels)

    def _gauge(self, name: str, meaning: str, labels: Iterable[str] = ()) -> Gauge:
        return self._noted(Gauge(f"mms_{name}", meaning, labels, registry=self.registry), labels)

    def _histogram(self, name: str, meaning: str, buckets: Iterable[float], labels: Iterable[str] = ()) -> Histogram:
        made = Histogram(f"mms_{name}", meaning, labels, buckets=tuple(buckets), registry=self.registry)
        return self._noted(made, labels)

    def _found(self, family: Family, name: str, meaning: str, label: str = "") -> Found:
        found = Found(family, f"mms_{name}", meaning, label)
        self.registry.register(found)
        return found

    def _noted(self, metric: Labelled, labels: Iterable[str]) -> Labelled:
        if "account" in labels:
            self._of_accounts.append(metric)
        return metric
