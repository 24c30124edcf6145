"""What the ledger's calls say about the pace (pure)."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import pairwise

from loadtest.percentile import percentile
from loadtest.simulator.records import CallRecord

US_PER_S = 1_000_000
US_PER_MS = 1_000


@dataclass(frozen=True, slots=True)
class LedgerFigures:
    """How well the limit was used and kept.

    `worst_second_calls`: arrivals within any half-open second, refused ones included. `share_of_limit`: (n - 1) /
    (rate x time from the first to the last of n admitted calls). Gaps are between arrivals.
    """

    calls: int
    throttled_calls: int
    span_s: float
    worst_second_calls: int
    share_of_limit: float
    gap_p1_ms: float
    gap_p50_ms: float
    gap_p99_ms: float
    gap_max_ms: float


def ledger_figures(calls: Sequence[CallRecord], *, rate_per_s: int) -> LedgerFigures | None:
    """None when fewer than two calls were admitted, or all at one moment: then there is no pace."""
    arrivals_us = sorted(call.at_us for call in calls)
    admitted_us = sorted(call.at_us for call in calls if call.http_status != HTTPStatus.TOO_MANY_REQUESTS)
    admitted_span_us = admitted_us[-1] - admitted_us[0] if admitted_us else 0
    if not admitted_span_us:
        return None
    gaps_us = [later - sooner for sooner, later in pairwise(arrivals_us)]

    def gap_ms(share: float) -> float:
        return (percentile(gaps_us, share) or 0.0) / US_PER_MS

    return LedgerFigures(
        calls=len(calls),
        throttled_calls=len(calls) - len(admitted_us),
        span_s=(arrivals_us[-1] - arrivals_us[0]) / US_PER_S,
        worst_second_calls=worst_second(arrivals_us),
        share_of_limit=(len(admitted_us) - 1) * US_PER_S / (rate_per_s * admitted_span_us),
        gap_p1_ms=gap_ms(0.01),
        gap_p50_ms=gap_ms(0.5),
        gap_p99_ms=gap_ms(0.99),
        gap_max_ms=gap_ms(1.0),
    )


def worst_second(arrivals_us: Sequence[int]) -> int:
    """The most of these moments, in order, within any half-open second."""
    worst = 0
    recent_us: deque[int] = deque()
    for at_us in arrivals_us:
        recent_us.append(at_us)
        while recent_us[0] <= at_us - US_PER_S:
            recent_us.popleft()
        worst = max(worst, len(recent_us))
    return worst
