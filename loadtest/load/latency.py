"""Times in an HdrHistogram, and what is told of them (pure)."""

import math

from hdrh.histogram import HdrHistogram

from loadtest.load.result import Latency

US_PER_MS = 1_000
LONGEST_US = 24 * 3_600 * 1_000_000
SIGNIFICANT_DIGITS = 3
HALVINGS_STEPS = 8
"""Points of the spectrum for each halving of what lies beyond a percentile."""


def histogram() -> HdrHistogram:
    """Of whole microseconds, from 1 to LONGEST_US, each to a thousandth of itself."""
    return HdrHistogram(1, LONGEST_US, SIGNIFICANT_DIGITS)


def latency(name: str, definition: str, times_us: HdrHistogram) -> Latency:
    """All that is told of these times."""
    count = times_us.get_total_count()
    if not count:
        return Latency(name, definition, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, ())

    def at(percentile: float) -> float:
        return float(times_us.get_value_at_percentile(percentile)) / US_PER_MS

    return Latency(
        name=name,
        definition=definition,
        count=count,
        mean_ms=times_us.get_mean_value() / US_PER_MS,
        p50_ms=at(50.0),
        p90_ms=at(90.0),
        p99_ms=at(99.0),
        p999_ms=at(99.9),
        max_ms=times_us.get_max_value() / US_PER_MS,
        spectrum=tuple((percentile, at(percentile)) for percentile in spectrum_percentiles(count)),
    )


def spectrum_percentiles(count: int) -> list[float]:
    """From 0 to 100, closer the nearer to 100, down to the last of `count` times."""
    halvings = max(1, math.ceil(math.log2(count)))
    beyond = (2 ** -(number / HALVINGS_STEPS) for number in range(halvings * HALVINGS_STEPS + 1))
    return [*(100.0 * (1 - share) for share in beyond), 100.0]
