"""The judge's own view for Prometheus: what reached the API, whatever the workers say.

An account's name is its key here, which is nobody's business: label `key` is its place in the order of first calls.
"""

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from loadtest.simulator.records import CallbackSummary, Tally

PREFIX = "mms_simulator_"


def metrics_text(tallies: Sequence[Tally], limits: Sequence[int | None], callbacks: CallbackSummary) -> bytes:
    """In Prometheus' text format; `limits` are the calls a second of each tally's account (None: any number)."""
    registry = CollectorRegistry()
    registry.register(counts(tallies, limits, callbacks))
    return generate_latest(registry)


def counts(tallies: Sequence[Tally], limits: Sequence[int | None], callbacks: CallbackSummary) -> Collector:
    """What a registry asks."""
    return _Counts(tallies, limits, callbacks)


class _Counts(Collector):
    def __init__(self, tallies: Sequence[Tally], limits: Sequence[int | None], callbacks: CallbackSummary) -> None:
        self._tallies = tallies
        self._limits = limits
        self._callbacks = callbacks

    def collect(self) -> Iterator[Metric]:
        yield from self._of_accounts()
        posted = self._callbacks
        yield _counter("reports", "Different reports to be posted.", posted.reports)
        yield _counter("reports_taken", "Of these, answered with 200 at least once.", posted.reports_taken)
        yield _counter("replies", "Different replies to be posted.", posted.replies)
        yield _counter("replies_taken", "Of these, answered with 200 at least once.", posted.replies_taken)
        yield _counter("callback_requests", "Requests that were posted.", posted.requests)
        yield _counter("callback_requests_refused", "Of these, not answered with 200.", posted.requests_refused)

    def _of_accounts(self) -> Iterator[Metric]:
        tallies = self._tallies
        yield _counters("calls", "Calls that arrived.", [one.calls for one in tallies])
        yield _counters("calls_throttled", "Calls answered 429.", [one.throttled_calls for one in tallies])
        yield _counters("calls_admitted", "Calls within the limit.", [one.admitted_calls for one in tallies])
        yield _counters("recipients_accepted", "Recipients accepted.", [one.recipients_accepted for one in tallies])
        yield _counters(
            "recipients_twice",
            "Recipients accepted again, with the same text, subject and picture.",
            [one.duplicates for one in tallies],
        )
        yield _gauges(
            "rolling_second_calls",
            "The most calls that arrived within a second, in the last 20 s.",
            [one.worst_second_lately for one in tallies],
        )
        yield _gauges(
            "rolling_second_admitted",
            "The most calls within the limit within a second, in the last 20 s.",
            [one.worst_second_lately_admitted for one in tallies],
        )
        yield _gauges("limit", "Calls a second that are permitted.", self._limits)


def _counter(name: str, meaning: str, value: int) -> Metric:
    return CounterMetricFamily(PREFIX + name, meaning, value=value)


def _counters(name: str, meaning: str, values: Sequence[int]) -> Metric:
    family = CounterMetricFamily(PREFIX + name, meaning, labels=("key",))
    for place, value in enumerate(values, 1):
        family.add_metric((str(place),), value)
    return family


def _gauges(name: str, meaning: str, values: Sequence[int | None]) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, meaning, labels=("key",))
    for place, value in enumerate(values, 1):
        if value is not None:
            family.add_metric((str(place),), value)
    return family
