"""What a scenario says: typed, and checked for what cannot be (pure)."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    model_validator,
)

from loadtest.chaos.faults import Kind
from loadtest.load.schedule import US_PER_S, Arrivals, Intended, Piece, Shape, constant, merged, moments_us, spike, step

SECONDS_MAX = 86_400
WORKERS_MAX = 16
ACCOUNTS_MAX = 100
LIMIT_PER_S_MAX = 10_000
JOBS_MAX = 2_000_000
RECIPIENTS_PER_CALL_MAX = 1_000
RECIPIENTS_SETTING = "MMS_RECIPIENTS_PER_CALL_MAX"
"""The worker's, which takes fewer into a call than the API would."""
RECIPIENTS_MAX = 5_000_000
"""Of all jobs together: so many does the simulator's ledger take."""
PHASES_MAX, FAULTS_MAX, LEVELS_MAX = 50, 50, 100
NO_LIMIT = "none"
FAULT_S_MIN = 2.0
"""A fault that lasts does not get shorter in a shorter schedule: the API counts over a second, which has to be seen."""
AGAIN_S: Mapping[Kind, float] = {
    Kind.BROKER_RESTARTED: 7.0,
    Kind.BROKER_KILLED: 7.0,
    Kind.STORE_RESTARTED: 0.5,
    Kind.STORE_KILLED: 0.5,
}
"""What a server takes until it is there again, at most, as it was seen on two cores: no schedule makes that shorter."""

KINDS: Mapping[str, Kind] = {
    "worker killed": Kind.KILL_ONE,
    "all workers killed": Kind.KILL_ALL,
    "worker replaced": Kind.REPLACE_ONE,
    "worker frozen": Kind.FREEZE_ONE,
    "Redis restarted": Kind.STORE_RESTARTED,
    "Redis killed": Kind.STORE_KILLED,
    "RabbitMQ restarted": Kind.BROKER_RESTARTED,
    "RabbitMQ killed": Kind.BROKER_KILLED,
    "API refuses": Kind.API_REFUSES,
    "API answers 502": Kind.API_502,
    "API hangs": Kind.API_HANGS,
    "limit lowered": Kind.API_LOWERED,
}

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
Sentence = Annotated[str, StringConstraints(min_length=1, max_length=300)]


def _limit(told: object) -> int | None:
    if told == NO_LIMIT:
        return None
    if isinstance(told, bool) or not isinstance(told, int) or not 1 <= told <= LIMIT_PER_S_MAX:
        raise ValueError(f'needs a whole number from 1 to {LIMIT_PER_S_MAX:,}, or "{NO_LIMIT}", not {told!r}')
    return told


Limit = Annotated[
    int | None, PlainValidator(_limit), PlainSerializer(lambda limit: NO_LIMIT if limit is None else limit)
]
Setting = Annotated[str, StringConstraints(pattern=r"^MMS_[A-Z_]+$")]
Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Phase(_Part):
    """A part of the schedule, of each account. `of_limit`: jobs as a multiple of its limit; or so many `per_s`.

    `levels` (of a step) are multiples of that, and so is `times` (of a spike), which lasts `spike_s`.
    """

    seconds: Annotated[float, Field(gt=0, le=SECONDS_MAX)]
    shape: Shape = "constant"
    arrivals: Arrivals = "poisson"
    of_limit: Annotated[float, Field(ge=0, le=1_000)] | None = None
    per_s: Annotated[float, Field(ge=0, le=100_000)] | None = None
    levels: (
        Annotated[tuple[Annotated[float, Field(ge=0, le=1_000)], ...], Field(min_length=2, max_length=LEVELS_MAX)]
        | None
    ) = None
    times: Annotated[float, Field(gt=0, le=1_000)] | None = None
    spike_s: Annotated[float, Field(gt=0, le=SECONDS_MAX)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.of_limit is None) == (self.per_s is None):
            raise ValueError("needs either of_limit or per_s")
        if (self.levels is not None) != (self.shape == "step"):
            raise ValueError("has levels when its shape is step, and only then")
        if any((one is not None) != (self.shape == "spike") for one in (self.times, self.spike_s)):
            raise ValueError("has times and spike_s when its shape is spike, and only then")
        if self.spike_s is not None and self.spike_s >= self.seconds:
            raise ValueError("has a spike that is longer than itself")
        return self

    def rate_per_s(self, limit_per_s: int | None) -> float:
        """Of an account with that limit; for a phase by `of_limit` it needs one."""
        if self.per_s is not None:
            return self.per_s
        if self.of_limit is None or limit_per_s is None:
            raise AssertionError("checked when the scenario was read")
        return self.of_limit * limit_per_s

    def pieces(self, began_us: int, limit_per_s: int | None) -> list[Piece]:
        """The rates over time, from `began_us` on."""
        lasts_us, per_s = round(self.seconds * US_PER_S), self.rate_per_s(limit_per_s)
        if self.levels is not None:
            return step(began_us, lasts_us, [level * per_s for level in self.levels], self.arrivals)
        if self.times is not None and self.spike_s is not None:
            peak_per_s, peak_us = self.times * per_s, round(self.spike_s * US_PER_S)
            return spike(began_us, lasts_us, per_s, peak_per_s=peak_per_s, peak_us=peak_us, arrivals=self.arrivals)
        return constant(began_us, lasts_us, per_s, self.arrivals)

    def words(self) -> str:
        """For a plot."""
        base = f"{self.of_limit:g} x limit" if self.per_s is None else f"{self.per_s:g} jobs/s"
        if self.levels is not None:
            return f"steps of {base}: " + ", ".join(f"{level:g}" for level in self.levels)
        return base if self.times is None else f"{base}, a spike to {self.times:g} times that"


class PlannedFault(_Part):
    """A fault of a kind in KINDS that begins `at_s` after the run's zero and lasts `seconds`, if its kind lasts."""

    at_s: Annotated[float, Field(ge=0, le=SECONDS_MAX)]
    kind: str
    seconds: Annotated[float, Field(ge=0, le=3_600)] = 0.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind not in KINDS:
            raise ValueError(f"has a kind that nobody knows: {self.kind!r}; use one of {', '.join(KINDS)}")
        return self

    @property
    def over_s(self) -> float:
        """When it is over at the latest, as far as that can be known before."""
        return self.at_s + self.seconds + AGAIN_S.get(KINDS[self.kind], 0.0)

    def scaled(self, factor: float) -> Self:
        """So much later and longer; one that lasts goes on for FAULT_S_MIN, if it did before."""
        lasts_s = max(self.seconds * factor, min(self.seconds, FAULT_S_MIN))
        return self.model_copy(update={"at_s": self.at_s * factor, "seconds": lasts_s})


class Jobs(_Part):
    """What a job is like. `content`: a text of its "own", or one that is "equal" in all jobs of an account.

    `picture`: by "url", or some 20 KB as "data" in the job. Every so-manyth job is urgent, by `urgent_share`.
    """

    recipients: Annotated[int, Field(ge=1, le=RECIPIENTS_PER_CALL_MAX)] = 1
    content: Literal["own", "equal"] = "own"
    picture: Literal["url", "data"] = "url"
    urgent_share: Annotated[float, Field(ge=0, le=0.5)] = 0.0


class Api(_Part):
    """The simulator. `latency_ms`: of an answer, half as much either way; `spread_ms`: jitter on the way to it."""

    window: Literal["rolling", "calendar", "bucket"] = "rolling"
    latency_ms: Annotated[float, Field(ge=0, le=10_000)] = 20.0
    spread_ms: Annotated[float, Field(ge=0, le=10_000)] = 0.0


class Holds(_Part):
    """What has to hold besides the books, which always have to. None: nothing is said.

    `share_of_limit_min`: of each account, while it has a backlog (two jobs for each worker). `throttled_per_1000_max`:
    of the calls of all accounts together, but for those of the 5 s after a limit was lowered without notice.
    `beyond_ideal_p99_ms_max`: from publication to call, less what calls evenly spaced at the limit would make wait;
    `urgent_p99_ms_max`: the whole of it. `recovery_s_max`: after each fault. `memory_mb_max`, `memory_growth_max`: of
    each worker; growth is from the median of the second tenth of the time to that of the last.
    """

    share_of_limit_min: Share | None = None
    throttled_per_1000_max: Annotated[float, Field(ge=0, le=1_000)] | None = None
    beyond_ideal_p99_ms_max: Annotated[float, Field(gt=0)] | None = None
    urgent_p99_ms_max: Annotated[float, Field(gt=0)] | None = None
    recovery_s_max: Annotated[float, Field(gt=0)] | None = None
    memory_mb_max: Annotated[float, Field(gt=0)] | None = None
    memory_growth_max: Annotated[float, Field(ge=0)] | None = None


class Scenario(_Part):
    """One scenario; `limits`: calls a second by the account's name, or "none". `before`: jobs that wait already.

    `phases` come one after the other. `settings`: of the workers, besides addresses and accounts.
    """

    title: Sentence
    purpose: Sentence
    workers: Annotated[int, Field(ge=1, le=WORKERS_MAX)] = 1
    limits: Annotated[dict[Name, Limit], Field(min_length=1, max_length=ACCOUNTS_MAX)]
    before: Annotated[int, Field(ge=0, le=JOBS_MAX)] = 0
    jobs: Jobs = Jobs()
    api: Api = Api()
    phases: Annotated[tuple[Phase, ...], Field(max_length=PHASES_MAX)] = ()
    faults: Annotated[tuple[PlannedFault, ...], Field(max_length=FAULTS_MAX)] = ()
    settings: dict[Setting, str] = {}
    holds: Holds = Holds()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if mistakes := list(self._mistakes()):
            raise ValueError("; ".join(mistakes))
        return self

    @property
    def accounts(self) -> tuple[str, ...]:
        """Their names, in the order of the file."""
        return tuple(self.limits)

    @property
    def limits_per_s(self) -> tuple[int | None, ...]:
        """In the order of `accounts`; None without a limit."""
        return tuple(self.limits.values())

    @property
    def recipients_per_call(self) -> int:
        """Of a full call: those of one job, or of as many equal ones as share it when enough of them wait."""
        alone, most = self.jobs.recipients, self.settings.get(RECIPIENTS_SETTING, "")
        if self.jobs.content == "own":
            return alone
        shared = min(int(most), RECIPIENTS_PER_CALL_MAX) if most.isdecimal() else RECIPIENTS_PER_CALL_MAX
        # No job is split: what does not fit alone has a call of its own.
        return max(alone, shared // alone * alone)

    @property
    def is_unlimited(self) -> bool:
        """Whether the API counts nothing."""
        return None in self.limits_per_s

    @property
    def seconds(self) -> float:
        """Of the schedule."""
        return sum(phase.seconds for phase in self.phases)

    def schedule(self, seed: int) -> Iterator[Intended]:
        """All intended publications but those `before`, in order; the same for a seed."""
        each = []
        for name, limit_per_s in zip(self.accounts, self.limits_per_s, strict=True):
            pieces, began_us = list[Piece](), 0
            for phase in self.phases:
                pieces += phase.pieces(began_us, limit_per_s)
                began_us = pieces[-1].ended_us
            each.append(moments_us(pieces, seed=f"{seed}:{name}"))
        return merged(each)

    def expected_jobs(self) -> float:
        """About so many, with those `before`."""
        scheduled = sum(
            piece.per_s * (piece.ended_us - piece.began_us) / US_PER_S
            for limit_per_s in self.limits_per_s
            for phase in self.phases
            for piece in phase.pieces(0, limit_per_s)
        )
        return self.before + scheduled

    def scaled(self, *, seconds: float | None = None, workers: int | None = None, before: int | None = None) -> Self:
        """The same for another length, with its phases and faults in proportion, and so on.

        Raises ValueError when it cannot be: also when a fault would last into one that it was over before.
        """
        told = self.model_dump()
        if seconds is not None and self.seconds:
            factor = seconds / self.seconds
            faults = tuple(fault.scaled(factor) for fault in self.faults)
            if met := overlapping(faults) - overlapping(self.faults):
                first, second = (faults[place] for place in min(met))
                raise ValueError(
                    f"{first.kind} would last until some {first.over_s:.1f} s, "
                    f"and {second.kind} begins at {second.at_s:.1f} s."
                )
            told["phases"] = [_scaled(phase, factor, ("seconds", "spike_s")) for phase in told["phases"]]
            told["faults"] = [fault.model_dump() for fault in faults]
        told["workers"] = self.workers if workers is None else workers
        told["before"] = self.before if before is None else before
        told["phases"], told["faults"] = tuple(told["phases"]), tuple(told["faults"])
        return self.model_validate(told)

    def _mistakes(self) -> Iterator[str]:
        if not self.before and not self.phases:
            yield "publishes nothing: give it phases, or jobs that wait before"
            return
        if "all" in self.limits:
            yield "has an account with the name 'all', which stands for all accounts together"
        limits = self.limits_per_s
        if None in limits and any(limit is not None for limit in limits):
            yield "has accounts with and without a limit: the simulator lifts all of them or none"
        if None in limits and any(phase.per_s is None for phase in self.phases):
            yield "has no limits, so that its phases need per_s"
        elif (jobs := self.expected_jobs()) > JOBS_MAX:
            yield f"publishes some {jobs:,.0f} jobs, and {JOBS_MAX:,} are the most"
        elif jobs * self.jobs.recipients > RECIPIENTS_MAX:
            yield f"sends to some {jobs * self.jobs.recipients:,.0f} recipients, and {RECIPIENTS_MAX:,} are the most"
        if any(fault.at_s > self.seconds for fault in self.faults):
            yield "has faults that begin after its schedule has ended"
        if any(KINDS[fault.kind] is Kind.API_LOWERED for fault in self.faults) and (None in limits or len(limits) > 1):
            yield "lowers a limit, for which it needs one account with a limit"


def overlapping(faults: Sequence[PlannedFault]) -> set[tuple[int, int]]:
    """Places of any two, the one of which is not over when the other begins."""
    ordered = sorted(range(len(faults)), key=lambda place: faults[place].at_s)
    return {pair for pair in combinations(ordered, 2) if faults[pair[0]].over_s > faults[pair[1]].at_s}


def _scaled(part: dict[str, object], factor: float, names: tuple[str, ...]) -> dict[str, object]:
    return part | {name: value * factor for name in names if isinstance(value := part[name], float | int)}
