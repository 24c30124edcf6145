"""The registry of one process, and how its metrics are made and found; accounts come and go."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

Labelled = TypeVar("Labelled", Counter, Gauge, Histogram)


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

    def _noted(self, metric: Labelled, labels: Iterable[str]) -> Labelled:
        if "account" in labels:
            self._of_accounts.append(metric)
        return metric
