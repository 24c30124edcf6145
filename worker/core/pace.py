"""How fast an account may call: the guard, and the way down from a lowered limit and back (pure).

Two things can make the API answer 429 to an account that keeps to its limit, and they want different remedies:

* **Jitter.** Slots are evenly spaced when calls *leave*; the API counts when they *arrive*. With jitter of J seconds on
  the way, the first of ``limit + 1`` calls may come late and the last one early. So ``limit`` calls are spread over one
  second *and a guard*. Who knew J would take it as the guard; we learn it. Every slot lowers the guard by a little. A
  refusal raises it, on trial, half of the way to the spread of the call times, which no jitter exceeds. From there it
  comes back soon, to a tenth above where it was refused. Where jitter is the reason, it meets the next refusal on the
  way, within seconds: that confirms it, it is raised again, and stays. If not, it was chance, or a machine that
  stalled. So it settles where one call in some thousands is refused (stochastic approximation of a quantile: Robbins
  and Monro, 1951), from afar within seconds.
* **A limit lower than configured**, which the vendor need not announce. It shows in what was *admitted* in the second
  before a refused call: jitter refuses a call only behind a full second, a lower limit behind a fuller one. What was
  admitted is then the limit, the *peak* of what is tried. From there the pace follows a cubic curve, as TCP CUBIC does
  (RFC 9438): a tenth below the peak at first, back at it after ``PLATEAU_S``, then beyond, ever faster, up to the
  configured limit or to the next refusal.

Rates are integers, in millionths of a call per second. The Lua script is this module's twin, down to the order of
operations: both count in IEEE doubles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

MICRO = 1_000_000
SECOND_NS = 1_000_000_000

#: Before anything was learned: little of the limit, and a jitter that a good line stays below.
GUARD_NS_FIRST = 7_500_000
#: An event loop wakes late by a millisecond now and then; no line is better than that.
GUARD_NS_MIN = 2_000_000
#: A tenth of the limit; beyond that the limit is lower than configured, whatever the reason.
GUARD_NS_MAX = 100_000_000
#: A refusal raises the guard by no less than this.
GUARD_STEP_NS_MIN = 500_000
GUARD_UP_MIN = 1.1
#: Per slot; and as long as a guard that was raised on trial is more than GUARD_UP_MIN of where it was refused.
GUARD_DOWN = 4e-5
GUARD_DOWN_FAST = 2e-3
#: Another refusal within so many slots confirms it: that is more than anybody should get. But if something had just
#: stood still, not after so long: what stalls a machine twice within a minute is no jitter, which a guard on trial
#: would have met before.
BUDGET_SLOTS = 1_000
CONFIRMED_WITHIN_US = 10 * MICRO
#: Answer times vary for reasons of the API's own; no more of their spread than this is taken for jitter.
SPREAD_NS_MAX = 50_000_000
#: The spread of the call times is from their tenth to their ninetieth percentile: so much of an even jitter.
SPREAD_SHARE = 0.8

#: Of the configured limit, what must have been admitted in the second before for jitter to explain a refusal.
FULL_SHARE = 0.9
#: How far below the peak a lowered pace begins, how long until it is there, and how it goes on beyond
#: (share of the configured limit per second³: from a third of the limit to all of it in some 15 s).
PEAK_DIP = 0.1
PLATEAU_S = 16.0
GROWTH = 2e-4
#: One refusal does not lower the pace by more than this, nor any number of them below this share of the limit.
CUT_MIN = 0.4
PEAK_MIN = 0.05


@dataclass(frozen=True, slots=True)
class Pace:
    """What is known of an account's limit.

    ``guard_ns``: how much longer than a second ``limit`` calls take. ``calm_guard_ns``: the guard before the latest
    series of refusals. ``proven_guard_ns``: what a guard that was raised on trial comes back to (0: nothing was refused
    yet). ``raised_us``: when it was last raised (0: never). ``slots_since``: slots since then.
    ``peak_micro``: the limit as a refusal showed it, in force since ``cut_us`` (0: the configured limit is).
    """

    guard_ns: int = GUARD_NS_FIRST
    calm_guard_ns: int = GUARD_NS_FIRST
    proven_guard_ns: int = 0
    raised_us: int = 0
    slots_since: int = 0
    peak_micro: int = 0
    cut_us: int = 0

    @property
    def is_lowered(self) -> bool:
        """Whether less than the configured limit is in force."""
        return self.cut_us > 0


def micro(per_s: float) -> int:
    """A rate as the limiter counts it."""
    return max(1, round(per_s * MICRO))


def rate_micro(pace: Pace, *, limit_micro: int, now_us: int) -> int:
    """The limit in force, before the guard is taken off: the configured one, or what the curve is at."""
    if not pace.is_lowered:
        return limit_micro
    since_s = (now_us - pace.cut_us) / 1e6
    if since_s < PLATEAU_S:
        below = 1 - since_s / PLATEAU_S
        rate = pace.peak_micro * (1 - PEAK_DIP * below * below * below)
    else:
        beyond_s = since_s - PLATEAU_S
        rate = pace.peak_micro + limit_micro * GROWTH * beyond_s * beyond_s * beyond_s
    return max(1, math.floor(min(rate, limit_micro)))


def interval_ns(pace: Pace, *, limit_micro: int, now_us: int) -> int:
    """The distance between two slots."""
    rate = rate_micro(pace, limit_micro=limit_micro, now_us=now_us)
    return math.ceil((SECOND_NS + pace.guard_ns) * MICRO / rate)


def calls_per_s(interval_ns: int) -> float:
    """The pace that goes with a distance between two slots."""
    return SECOND_NS / interval_ns


def after_slots(pace: Pace, count: int, *, limit_micro: int, now_us: int) -> Pace:
    """Go on after ``count`` more slots: the guard sinks, and a lowered limit that is back in full is forgotten."""
    if pace.is_lowered:
        if rate_micro(pace, limit_micro=limit_micro, now_us=now_us) < limit_micro:
            return replace(pace, slots_since=pace.slots_since + count)
        pace = replace(pace, peak_micro=0, cut_us=0)
    is_on_trial = 0 < pace.proven_guard_ns < pace.guard_ns
    down = GUARD_DOWN_FAST if is_on_trial else GUARD_DOWN
    guard_ns = math.floor(pace.guard_ns * max(0.5, 1 - down * count))
    return replace(pace, guard_ns=max(GUARD_NS_MIN, guard_ns), slots_since=pace.slots_since + count)


def is_jitter(pace: Pace, admitted: int, *, limit_micro: int) -> bool:
    """Whether jitter explains a refusal that ``admitted`` calls were admitted in the second before.

    Nothing is jitter any more once the guard is nearly all that it may become.
    """
    can_grow = pace.guard_ns * GUARD_UP_MIN < GUARD_NS_MAX
    return can_grow and not pace.is_lowered and admitted >= FULL_SHARE * limit_micro / MICRO - 1


def is_sharper(pace: Pace, admitted: int) -> bool:
    """Whether a call that left before the pace was lowered shows the limit more sharply than what lowered it.

    Not when it shows less than half: then others who were under way with it were refused for the same reason.
    """
    return pace.peak_micro <= 2 * admitted * MICRO < 2 * pace.peak_micro


def raise_guard(pace: Pace, *, spread_ns: int, has_stalled: bool, now_us: int) -> Pace:
    """After a refusal that jitter explains.

    ``spread_ns``: spread of the call times (0: not known). ``has_stalled``: a call had just left late or taken
    unusually long, which explains it as well: that something stood still for a moment.
    """
    is_new = now_us - pace.raised_us > 2 * MICRO
    is_soon = now_us - pace.raised_us < CONFIRMED_WITHIN_US or not has_stalled
    is_confirmed = pace.proven_guard_ns > 0 and pace.slots_since < BUDGET_SLOTS and is_soon
    least_ns = max(math.floor(pace.guard_ns * GUARD_UP_MIN), pace.guard_ns + GUARD_STEP_NS_MIN)
    jitter_ns = math.floor(min(spread_ns, SPREAD_NS_MAX) / SPREAD_SHARE) if spread_ns > 0 else 2 * pace.guard_ns
    guard_ns = min(GUARD_NS_MAX, max(least_ns, (pace.guard_ns + jitter_ns) // 2))
    return replace(
        pace,
        guard_ns=guard_ns,
        calm_guard_ns=pace.guard_ns if is_new else pace.calm_guard_ns,
        proven_guard_ns=guard_ns if is_confirmed else least_ns,
        raised_us=now_us,
        slots_since=0,
    )


def cut(pace: Pace, admitted: int, *, limit_micro: int, now_us: int) -> Pace:
    """After a refusal behind a second in which only ``admitted`` calls were admitted: that is the limit now."""
    rate = rate_micro(pace, limit_micro=limit_micro, now_us=now_us)
    peak_micro = min(rate, max(admitted * MICRO, math.floor(rate * CUT_MIN)))
    peak_micro = max(1, peak_micro, math.floor(limit_micro * PEAK_MIN))
    # What the guard was raised by a moment ago was the lowered limit's doing.
    was_fooled = now_us - pace.raised_us <= 2 * MICRO
    guard_ns = pace.calm_guard_ns if was_fooled else pace.guard_ns
    return replace(pace, guard_ns=guard_ns, peak_micro=peak_micro, cut_us=now_us)
