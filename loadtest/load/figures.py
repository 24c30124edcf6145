"""All figures of a run, out of what was found (pure)."""

import itertools
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hdrh.histogram import HdrHistogram

from loadtest.bench.ledger_figures import worst_second
from loadtest.bench.pace import best_share
from loadtest.chaos.doubts import Ending, Window, is_explained
from loadtest.chaos.faults import Kind
from loadtest.chaos.harm import LOWERED_SHARE
from loadtest.load import recovery
from loadtest.load.books import Found
from loadtest.load.events import IN_DOUBT, NONE
from loadtest.load.ideal import LimitLine, ideal_calls_us
from loadtest.load.latency import LONGEST_US, histogram, latency
from loadtest.load.ledger import Calls
from loadtest.load.result import ALL, AccountFigures, FaultFigures, Latency, Phase, Series
from loadtest.load.sampling import Sample
from loadtest.load.scenario import PlannedFault, Scenario
from loadtest.load.series import Seen, build_series
from loadtest.load.waiting import Use, Waiting, use_of_limit, waiting

US_PER_S = 1_000_000
BACKLOG_OF_WORKER = 2
"""So many jobs for each worker are a backlog: with fewer a slot of one worker may pass while a job is at another."""
REACTION_S = 5
"""So long may it take until the workers keep a limit that was lowered without notice."""
CALL, BEYOND, URGENT, EVENT = "publish to call", "beyond the ideal", "urgent: publish to call", "publish to event"
DEFINITIONS = {
    CALL: "from the intended publication to the call's arrival at the API",
    BEYOND: "the same, less what a system makes wait that spaces its calls evenly at the limit, urgent ones first",
    URGENT: "from the intended publication to the call's arrival at the API, of urgent jobs alone",
    EVENT: "from the intended publication to the event that tells the end, by its own time",
}


@dataclass(frozen=True, slots=True)
class FaultSeen:
    """A fault as it was planned, and as it was."""

    planned: PlannedFault
    window: Window


@dataclass(frozen=True, slots=True)
class Run:
    """A run that is over. `zero_us`: its zero, by the wall clock, which all moments in `found` and `samples` are of.

    `schedule_us`: so long after that the schedule began.
    """

    scenario: Scenario
    seed: int
    zero_us: int
    schedule_us: int
    found: Found
    faults: Sequence[FaultSeen]
    samples: Mapping[str, Sequence[Sample]]


@dataclass(frozen=True, slots=True)
class Refusals:
    """Answers 429 to the calls of all accounts, but for the REACTION_S after a limit was lowered without notice.

    `excused`: answers 429 in that time.
    """

    calls: int
    throttled: int
    excused: int

    @property
    def per_1000(self) -> float:
        """Of the calls."""
        return self.throttled * 1_000 / self.calls if self.calls else 0.0


@dataclass(slots=True)
class _OfAccount:
    """One account's jobs in the order of publication: their numbers, and microseconds since the run's zero.

    `left_us`: when they stopped waiting, of those that did.
    """

    jobs: "array[int]" = field(default_factory=lambda: array("q"))
    intended_us: "array[int]" = field(default_factory=lambda: array("q"))
    left_us: "array[int]" = field(default_factory=lambda: array("q"))
    ideal_us: "array[int] | None" = None


class Figures:
    """Works them out once; everything is since the run's zero."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._scenario = run.scenario
        self._ledger = run.found.ledger
        self._each = self._jobs_by_account()
        self._limits = [self._limit_line(limit) for limit in run.scenario.limits_per_s]
        for place, one in enumerate(self._each):
            one.ideal_us = self._ideal_us(place)
        self._calls = [Calls(_shifted(one.at_us, run.zero_us), one.is_throttled) for one in self._ledger.calls]
        self._admitted_us = [calls.admitted_us for calls in self._calls]
        self.seconds = self._last_us() // US_PER_S + 1
        self._waiting = [waiting(one.intended_us, sorted(one.left_us), self.seconds) for one in self._each]

    def accounts(self) -> tuple[AccountFigures, ...]:
        """ALL first, when there are several."""
        names, limits = self._scenario.accounts, self._scenario.limits_per_s
        uses = [self._use(place) for place in range(len(names))]
        each = [
            self._account(name, limits[place], self._calls[place], uses[place], self._ledger.recipients[place])
            for place, name in enumerate(names)
        ]
        if len(each) == 1:
            return tuple(each)
        everything = Use(0.0, 0.0, 0.0)
        for use in uses:
            everything = everything.plus(use)
        all_us = array("q", sorted(itertools.chain.from_iterable(calls.at_us for calls in self._calls)))
        throttled = sum(sum(calls.is_throttled) for calls in self._calls)
        together = Calls(all_us, bytearray([1] * throttled + [0] * (len(all_us) - throttled)))
        limit = None if None in limits else sum(limit for limit in limits if limit is not None)
        return (self._account(ALL, limit, together, everything, sum(self._ledger.recipients)), *each)

    def refusals(self) -> Refusals:
        """Over the whole run."""
        lowered_us = [
            one.window.began_us - self._run.zero_us for one in self._run.faults if one.window.kind is Kind.API_LOWERED
        ]
        calls = throttled = excused = 0
        for of_account in self._calls:
            for at_us, is_throttled in zip(of_account.at_us, of_account.is_throttled, strict=True):
                if any(since_us <= at_us < since_us + REACTION_S * US_PER_S for since_us in lowered_us):
                    excused += is_throttled
                else:
                    calls += 1
                    throttled += is_throttled
        return Refusals(calls, throttled, excused)

    def series(self) -> Series:
        """Over the whole run."""
        told, zero_us = self._run.found.told, self._run.zero_us
        names = self._scenario.accounts
        ideals = [one.ideal_us for one in self._each if one.ideal_us is not None]
        seen = Seen(
            calls=dict(zip(names, self._calls, strict=True)),
            limits=dict(zip(names, self._limits, strict=True)),
            published_us=_chained([one.intended_us for one in self._each]),
            ended_us=array("q", (told.at_us[job] - zero_us for job, end in enumerate(told.end) if end != NONE)),
            ideal_us=None if self._scenario.is_unlimited else _chained(ideals),
            samples={name: _since(samples, zero_us) for name, samples in self._run.samples.items()},
        )
        return build_series(seen, self.seconds)

    def latencies(self) -> tuple[Latency, ...]:
        """Of all jobs with a schedule; none when there were none."""
        if not self._scenario.phases:
            return ()
        times = {name: histogram() for name in (CALL, BEYOND, URGENT, EVENT)}
        for one in self._each:
            for place, job in enumerate(one.jobs):
                if job >= self._scenario.before:
                    self._note_times(one, place, job, times)
        shown = {
            CALL: True,
            BEYOND: not self._scenario.is_unlimited,
            URGENT: bool(self._scenario.jobs.urgent_share),
            EVENT: True,
        }
        return tuple(latency(name, DEFINITIONS[name], times[name]) for name, is_shown in shown.items() if is_shown)

    def _note_times(self, one: "_OfAccount", place: int, job: int, times: Mapping[str, HdrHistogram]) -> None:
        intended_us = one.intended_us[place] + self._run.zero_us
        if called_us := self._ledger.called_us[job]:
            times[CALL].record_value(_within(called_us - intended_us))
            if self._ledger.maker.is_urgent(job):
                times[URGENT].record_value(_within(called_us - intended_us))
            if one.ideal_us is not None:
                times[BEYOND].record_value(_within(called_us - self._run.zero_us - one.ideal_us[place]))
        told = self._run.found.told
        if told.end[job] != NONE:
            times[EVENT].record_value(_within(told.at_us[job] - intended_us))

    def faults(self) -> tuple[FaultFigures, ...]:
        """In the order in which they began."""
        unclaimed = {
            job: doubts
            for job, doubts in self._run.found.doubts_of().items()
            if self._run.found.told.end[job] == IN_DOUBT
        }
        admitted_us = array("q", sorted(itertools.chain.from_iterable(self._admitted_us)))
        # Without limits the pace is back when nothing waits any more.
        limit_per_s = math.inf if self._scenario.is_unlimited else sum(one or 0 for one in self._scenario.limits_per_s)
        empty_us = self._all_empty_us()
        figures = []
        ordered = sorted(self._run.faults, key=lambda one: one.window.began_us)
        for one, following in itertools.zip_longest(ordered, ordered[1:]):
            claimed = [
                job
                for job, doubts in unclaimed.items()
                if all(is_explained(doubt, [one.window], self._endings_of(one)) for doubt in doubts)
            ]
            for job in claimed:
                del unclaimed[job]
            began_us, ended_us = (at - self._run.zero_us for at in (one.window.began_us, one.window.ended_us))
            next_us = self.seconds * US_PER_S if following is None else following.window.began_us - self._run.zero_us
            back_us = recovery.recovered_us(ended_us, next_us, admitted_us, limit_per_s=limit_per_s, empty_us=empty_us)
            figures.append(
                FaultFigures(
                    name=one.planned.kind,
                    what=self._what(one),
                    began_s=began_us / US_PER_S,
                    ended_s=ended_us / US_PER_S,
                    recovered_s=None if back_us is None else (back_us - ended_us) / US_PER_S,
                    recovery=recovery.WORDS,
                    in_doubt=len(claimed),
                )
            )
        return tuple(figures)

    def phases(self) -> tuple[Phase, ...]:
        """As they were planned."""
        lengths_s = (phase.seconds for phase in self._scenario.phases)
        edges = list(itertools.accumulate(lengths_s, initial=self._run.schedule_us / US_PER_S))
        return tuple(
            Phase(phase.words(), began_s, ended_s)
            for phase, began_s, ended_s in zip(self._scenario.phases, edges, edges[1:], strict=False)
        )

    # In parts

    def _jobs_by_account(self) -> list[_OfAccount]:
        each = [_OfAccount() for _ in self._scenario.accounts]
        for job, account, at_us in self._intended():
            one = each[account]
            one.jobs.append(job)
            one.intended_us.append(at_us)
            if left_us := self._left_us(job):
                one.left_us.append(left_us - self._run.zero_us)
        return each

    def _left_us(self, job: int) -> int:
        """When its accepted call arrived; without one, when its end was told (wall clock); 0: it waits for ever."""
        return self._ledger.called_us[job] or self._run.found.told.at_us[job]

    def _intended(self) -> Iterator[tuple[int, int, int]]:
        before = self._scenario.before
        for job in range(before):
            yield job, job % len(self._scenario.accounts), 0
        for job, intended in enumerate(self._scenario.schedule(self._run.seed), before):
            yield job, intended.account, self._run.schedule_us + intended.at_us

    def _limit_line(self, limit_per_s: int | None) -> LimitLine | None:
        if limit_per_s is None:
            return None
        changes = [(-US_PER_S, limit_per_s)]
        for one in sorted(self._run.faults, key=lambda one: one.window.began_us):
            if one.window.kind is Kind.API_LOWERED:
                changes.append((one.window.began_us - self._run.zero_us, lowered(limit_per_s)))
                changes.append((one.window.ended_us - self._run.zero_us, limit_per_s))
        return LimitLine(tuple(changes))

    def _ideal_us(self, account: int) -> "array[int] | None":
        limit, one = self._limits[account], self._each[account]
        if limit is None:
            return None
        is_urgent = bytearray(self._ledger.maker.is_urgent(job) for job in one.jobs)
        jobs_of_a_call = self._scenario.recipients_per_call // self._scenario.jobs.recipients
        return ideal_calls_us(one.intended_us, is_urgent, limit, jobs_of_a_call=jobs_of_a_call)

    def _last_us(self) -> int:
        told = self._run.found.told
        last_told_us = max(told.at_us, default=0) - self._run.zero_us
        last_calls_us = [calls.at_us[-1] for calls in self._calls if calls.at_us]
        scheduled_us = self._run.schedule_us + round(self._scenario.seconds * US_PER_S)
        return max(scheduled_us, last_told_us, *last_calls_us, self._given_up_us(), 0)

    def _given_up_us(self) -> int:
        """When nobody waited for the rest any more, which is as long as processes were looked at; 0: all had ended."""
        if self._run.found.is_drained:
            return 0
        last_us = (samples[-1].at_us for samples in self._run.samples.values() if samples)
        return max(last_us, default=self._run.zero_us) - self._run.zero_us

    def _use(self, account: int) -> Use:
        limit = self._limits[account]
        if limit is None:
            return Use(0.0, 0.0, 0.0)
        backlog_min = BACKLOG_OF_WORKER * self._scenario.workers
        fewest, admitted_us = self._waiting[account].fewest, self._admitted_us[account]
        return use_of_limit(fewest, admitted_us, limit, backlog_min=backlog_min)

    def _account(self, name: str, limit_per_s: int | None, calls: Calls, use: Use, recipients: int) -> AccountFigures:
        span_s = (calls.at_us[-1] - calls.at_us[0]) / US_PER_S if len(calls.at_us) > 1 else 0.0
        return AccountFigures(
            name=name,
            limit_per_s=limit_per_s,
            calls=len(calls.at_us),
            throttled_calls=sum(calls.is_throttled),
            busy_s=use.busy_s,
            share_of_limit=use.share,
            best_share=None if limit_per_s is None else best_share(self._scenario.api.spread_ms),
            worst_rolling_second=worst_second(calls.at_us),
            recipients=recipients,
            recipients_per_s=recipients / span_s if span_s else 0.0,
            calls_per_s=len(calls.at_us) / span_s if span_s else 0.0,
        )

    def _all_empty_us(self) -> "array[int]":
        """When nothing waited for any account."""
        if len(self._waiting) == 1:
            return array("q", self._waiting[0].empty_us)
        published_us = _chained([one.intended_us for one in self._each])
        left_us = _chained([one.left_us for one in self._each])
        together: Waiting = waiting(sorted(published_us), sorted(left_us), self.seconds)
        return array("q", together.empty_us)

    def _what(self, one: FaultSeen) -> str:
        kind, lasted_s = one.window.kind, (one.window.ended_us - one.window.began_us) / US_PER_S
        if kind is Kind.API_LOWERED:
            limit_per_s = next(limit for limit in self._scenario.limits_per_s if limit is not None)
            return f"limit {limit_per_s} to {lowered(limit_per_s)} calls/s for {lasted_s:.1f} s"
        return f"{kind.value}, {lasted_s:.1f} s" if lasted_s >= 0.1 else kind.value  # noqa: PLR2004 - else it is a moment

    def _endings_of(self, one: FaultSeen) -> list[Ending]:
        """Of the workers that this fault ended."""
        if one.window.kind not in (Kind.KILL_ONE, Kind.KILL_ALL, Kind.REPLACE_ONE):
            return []
        until_us = one.window.ended_us + US_PER_S
        return [end for end in self._run.found.endings if one.window.began_us - US_PER_S <= end.gone_us <= until_us]


def lowered(limit_per_s: int) -> int:
    """What the fault leaves of a limit."""
    return max(1, int(limit_per_s * LOWERED_SHARE))


def throttled_per_1000(figures: AccountFigures) -> float:
    """Answers 429."""
    return figures.throttled_calls * 1_000 / figures.calls if figures.calls else 0.0


def _within(took_us: int) -> int:
    return min(max(took_us, 1), LONGEST_US)


def _shifted(moments_us: Sequence[int], zero_us: int) -> "array[int]":
    return array("q", (at_us - zero_us for at_us in moments_us))


def _chained(parts: Sequence["array[int]"]) -> "array[int]":
    return array("q", itertools.chain.from_iterable(parts))


def _since(samples: Sequence[Sample], zero_us: int) -> list[Sample]:
    return [Sample(one.at_us - zero_us, one.cores, one.memory_mb) for one in samples]
