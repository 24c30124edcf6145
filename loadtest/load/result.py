"""What a load test has found: these dataclasses are the JSON format, and nothing else is (pure).

Moments are seconds since the run's zero: its first intended publication, or the workers' start where a backlog was
published before. A rate is per second, a share lies between 0 and 1 (and a little above, by rounding), None says
"there is no such thing here": no limit, no ideal, not measured. `result_files` writes, reads and checks it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

FORMAT = 1
"""Raised whenever an old reader could misread what is written."""
POINTS_MAX = 2_000
"""Of a series; a longer run has points that stand for several seconds."""
ALL = "all"
"""The name of the series and of the figures over all accounts together; no account is called so."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it ran. `load_averages`: over 1, 5 and 15 minutes, before anything of ours ran."""

    cores: int
    load_averages: tuple[float, float, float]
    python: str
    system: str


@dataclass(frozen=True, slots=True)
class Versions:
    """As each tells itself."""

    worker: str
    rabbitmq: str
    redis: str


@dataclass(frozen=True, slots=True)
class Conditions:
    """What jobs and the API were like, as the scenario has it: `Jobs` and `Api` there say what each means."""

    recipients: int
    content: str
    picture: str
    urgent_share: float
    window: str
    latency_ms: float
    spread_ms: float


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the schedule, for the plots: what was published in it, in words ("spike to 150 jobs/s")."""

    name: str
    began_s: float
    ended_s: float


@dataclass(frozen=True, slots=True)
class Preload:
    """What was published before the run's zero, without a schedule and as fast as the broker confirmed it."""

    jobs: int
    seconds: float
    jobs_per_s: float


@dataclass(frozen=True, slots=True)
class Producer:
    """How well the schedule was kept. `behind_ms_max`: of a publication, after its intended moment.

    `republished` were not confirmed in time, by a broker that was away, and published again with the same id.
    """

    jobs: int
    behind_ms_p99: float
    behind_ms_max: float
    republished: int


@dataclass(frozen=True, slots=True)
class AccountFigures:
    """One account, or all together (`name` is ALL), by the simulator's ledger.

    `limit_per_s`: at the beginning; None without one. `calls`: that arrived, with `throttled_calls` (answered 429).
    `busy_s`: in so many seconds a backlog (two jobs for each worker) waited from beginning to end. `share_of_limit`:
    admitted calls over permitted ones in these seconds alone; None when there were none. `best_share`: what nobody can
    exceed with the jitter of this run's way to the API. `worst_rolling_second`: the most arrivals, refused ones
    included, within any half-open second. `recipients`: that the API accepted. `recipients_per_s`, `calls_per_s`: from
    the first arrival to the last.
    """

    name: str
    limit_per_s: int | None
    calls: int
    throttled_calls: int
    busy_s: float
    share_of_limit: float | None
    best_share: float | None
    worst_rolling_second: int
    recipients: int
    recipients_per_s: float
    calls_per_s: float

    @property
    def excess(self) -> int:
        """So many of the arrivals in the busiest second are more than the limit; 0 without one."""
        return 0 if self.limit_per_s is None else max(0, self.worst_rolling_second - self.limit_per_s)


@dataclass(frozen=True, slots=True)
class AccountSeries:
    """One account, or all together; each tuple has one entry for each of `Series.t_s`.

    `arrivals_per_s`: calls that arrived at the API, refused ones included, the mean of the step. `rolling_max`: the
    most arrivals in a rolling second that ended within the step. `limit_per_s`: in force at the end of the step; None
    without a limit. `throttled_per_s`: calls answered 429, the mean of the step.
    """

    arrivals_per_s: tuple[float, ...]
    rolling_max: tuple[int, ...]
    limit_per_s: tuple[int | None, ...]
    throttled_per_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ProcessSeries:
    """One process, or what came after it under the same name. None while there was none (it was being restarted).

    `cpu_cores`: cores used, the mean of the step (1.0 is one core). `memory_mb`: resident, the most of the step, in
    units of 1,000,000 bytes.
    """

    cpu_cores: tuple[float | None, ...]
    memory_mb: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """What was seen over time. `t_s`: the end of each step, `step_s` after the one before.

    `accounts`: by name, and under ALL all of them together. `published_per_s`: intended publications, and
    `ended_per_s`: jobs whose end was told, both the mean of the step. `backlog`: jobs published and not ended, the
    most of the step. `ideal_backlog`: what would wait if calls left evenly spaced at the limit; None without one.
    `processes`: by name ("worker 1", "simulator", "rabbitmq", "redis", "producer").
    """

    step_s: float
    t_s: tuple[float, ...]
    accounts: Mapping[str, AccountSeries]
    published_per_s: tuple[float, ...]
    ended_per_s: tuple[float, ...]
    backlog: tuple[int, ...]
    ideal_backlog: tuple[float, ...] | None
    processes: Mapping[str, ProcessSeries]


@dataclass(frozen=True, slots=True)
class Latency:
    """Times of one kind, in ms, from the *intended* publication; `definition` says from where to where.

    `spectrum`: pairs of percentile (0 to 100) and ms, upwards, as HdrHistogram's classical plot wants it. With a
    `count` of 0 there is no figure: all are 0, and the spectrum is empty.
    """

    name: str
    definition: str
    count: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    spectrum: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class FaultFigures:
    """One fault as it was. `recovered_s`: seconds after `ended_s`; None: not before the next fault, or the run's end.

    `recovery`: how recovery is defined for it, in words. `in_doubt`: jobs whose doubt it explains, counted once.
    """

    name: str
    what: str
    began_s: float
    ended_s: float
    recovered_s: float | None
    recovery: str
    in_doubt: int


@dataclass(frozen=True, slots=True)
class Correctness:
    """The books, in jobs: published = sent + refused + expired + dead + in_doubt + unroutable + lost.

    `in_doubt_explained` of `in_doubt` are so for a fault; `resolved` were in doubt, and are counted by what they turned
    out to be. `duplicated`: recipients who got a message more than once. `told_again`: events that repeat one with the
    same id. `foreign`: sent or told, and of nobody's job. `left`: messages in the queues at the end. `problems`: a
    sentence for each way in which the books do not balance; none when all is well.
    """

    published: int
    sent: int
    refused: int
    expired: int
    dead: int
    in_doubt: int
    in_doubt_explained: int
    resolved: int
    unroutable: int
    lost: int
    duplicated: int
    told_again: int
    foreign: int
    left: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the tools of the test do alone, by the processor time that they took: they must not be what was measured.

    Both would fill one core: the simulator and the producer are one process each. `simulator_calls_per_s`: of calls to
    `recipients_per_call`, as the scenario's full ones are; `producer_jobs_per_s`: confirmed by RabbitMQ.
    """

    simulator_calls_per_s: float
    producer_jobs_per_s: float
    recipients_per_call: int = 1


@dataclass(frozen=True, slots=True)
class Claim:
    """What has to hold, what was seen, and whether it does; whole sentences or short phrases for people."""

    claim: str
    seen: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Result:
    """All of it. `seconds`: of the schedule; the run itself lasts until everything has ended: see `series.t_s`.

    `started_at`: ISO 8601, UTC, of the run's zero. `settings`: of the workers, besides addresses and accounts.
    `command`: that does the same again. `accounts`: ALL first when there are several, then by name. `is_limit_kept`:
    whether no more calls were answered 429 than the scenario allows for; None where it says nothing of it.
    `conditions`: None in results that were written before there were any.
    """

    format: int
    scenario: str
    title: str
    purpose: str
    command: str
    seed: int
    started_at: str
    seconds: float
    workers: int
    settings: Mapping[str, str]
    machine: Machine
    versions: Versions
    phases: tuple[Phase, ...]
    preload: Preload | None
    producer: Producer
    accounts: tuple[AccountFigures, ...]
    series: Series
    latencies: tuple[Latency, ...]
    faults: tuple[FaultFigures, ...]
    correctness: Correctness
    capacity: Capacity | None
    claims: tuple[Claim, ...]
    is_limit_kept: bool | None = None
    conditions: Conditions | None = None

    @property
    def holds(self) -> bool:
        """Whether every claim holds."""
        return all(claim.holds for claim in self.claims)

    def not_back(self, fault: FaultFigures) -> str:
        """Until when its recovery was looked for, in words, for one that was not seen."""
        return "not before the end" if fault is self.faults[-1] else "not before the next one"

    def is_excess_refused(self, account: AccountFigures) -> bool:
        """Whether what arrived beyond the limit was answered 429, and no more was than the scenario allows for."""
        return self.is_limit_kept is True and account.excess <= account.throttled_calls
