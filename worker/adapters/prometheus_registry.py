"""The registry of one process, and how its metrics are made and found; accounts come and go."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

#: What is looked for is looked for every 15 s.
FOUND_KEEP_S = 60.0

Family = type[CounterMetricFamily | GaugeMetricFamily]
Labelled = TypeVar("Labelled", Counter, Gauge, Histogram)


class Found(Collector):
    """A metric of what is counted elsewhere, and looked for now and then: what is not known has no series.

    Before it is found a 0 would look like news when the count is found to be another. And what was not found again for
    ``FOUND_KEEP_S`` is told no more: who is cut off would have the last word where all tell alike and one is believed.
    """

    def __init__(
        self, family: Family, name: str, meaning: str, labels: Iterable[str], monotonic: Callable[[], float]
    ) -> None:
        self._family, self._name, self._meaning, self._labels = family, name, meaning, list(labels)
        self._monotonic = monotonic
        #: By the labels' values: what was found, and until when (monotonic) it is told.
        self._found: dict[tuple[str, ...], tuple[float, float]] = {}

    def set(self, value: float, *labels: str) -> None:
        """Tell this from now on."""
        self._found[labels] = (value, self._monotonic() + FOUND_KEEP_S)

    def forget(self, account: str) -> None:
        """Tell nothing more of the account."""
        if "account" in self._labels:
            place = self._labels.index("account")
            self._found = {labels: found for labels, found in self._found.items() if labels[place] != account}

    def collect(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        """What is known."""
        family = self._family(self._name, self._meaning, labels=self._labels)
        for labels, (value, until_s) in self._found.items():
            if self._monotonic() < until_s:
                family.add_metric(labels, value)
        yield family


class Registry:
    """Makes metrics, all with the prefix, and finds their children."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._of_accounts: list[Counter | Gauge | Histogram] = []
        self._looked_for: list[Found] = []
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
        for found in self._looked_for:
            found.forget(account)

    def _counter(self, name: str, meaning: str, labels: Iterable[str] = ()) -> Counter:
        return self._noted(Counter(f"mms_{name}", meaning, labels, registry=self.registry), labels)

    def _gauge(self, name: str, meaning: str, labels: Iterable[str] = ()) -> Gauge:
        return self._noted(Gauge(f"mms_{name}", meaning, labels, registry=self.registry), labels)

    def _histogram(self, name: str, meaning: str, buckets: Iterable[float], labels: Iterable[str] = ()) -> Histogram:
        made = Histogram(f"mms_{name}", meaning, labels, buckets=tuple(buckets), registry=self.registry)
        return self._noted(made, labels)

    def _found(self, family: Family, name: str, meaning: str, labels: Iterable[str] = ()) -> Found:
        found = Found(family, f"mms_{name}", meaning, labels, self._monotonic)
        self._looked_for.append(found)
        self.registry.register(found)
        return found

    def _noted(self, metric: Labelled, labels: Iterable[str]) -> Labelled:
        if "account" in labels:
            self._of_accounts.append(metric)
        return metric
