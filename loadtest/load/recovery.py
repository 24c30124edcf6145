"""How soon the pace is back after a fault (pure)."""

from bisect import bisect_left
from collections.abc import Sequence

US_PER_S = 1_000_000
OVER_S = 2
SHARE_MIN = 0.95
WORDS = (
    f"from the fault's end to the first {OVER_S} s in which the API admits {SHARE_MIN:.0%} of the limit, "
    "or to the moment at which nothing waits; it is looked for until the next fault begins, or the run ends"
)


def recovered_us(
    ended_us: int, until_us: int, admitted_us: Sequence[int], *, limit_per_s: float, empty_us: Sequence[int]
) -> int | None:
    """When, or None when it was not before `until_us`.

    `admitted_us`: calls that the limit let through, upwards; `empty_us`: moments at which nothing waited, upwards.
    """
    at = bisect_left(empty_us, ended_us)
    empty = empty_us[at] if at < len(empty_us) else until_us
    wanted = SHARE_MIN * limit_per_s * OVER_S
    first = bisect_left(admitted_us, ended_us)
    last = first
    for place in range(first - 1, len(admitted_us)):
        since_us = ended_us if place < first else admitted_us[place]
        if since_us > min(empty, until_us):
            break
        place_from = max(place, first)
        last = max(last, place_from)
        while last < len(admitted_us) and admitted_us[last] < since_us + OVER_S * US_PER_S:
            last += 1
        if last - place_from >= wanted:
            return since_us
    return empty if empty < until_us else None
