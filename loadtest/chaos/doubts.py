"""Which fault can be the reason for a doubt, and which ends of workers were to be expected (pure)."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from loadtest.chaos.faults import Family, Kind

SIGNALLED, STOPPED, NOT_STARTED = "ended by signal 9", "ended with exit code 0", "ended with exit code 2"
US = 1_000_000
#: After a fault of these is over, calls that it hit may still be found in doubt for so long: until the answer that does
#: not come; and, where a worker died, until no call can be as old as its claims and their jobs have come round again,
#: which they do when the account is not suspended.
LATER_S_API, LATER_S_DEATH = 12.0, 180.0
EARLIER_S = 1.0
#: A call is in doubt for a worker's death when it was accepted so shortly before: what came of it is told at once,
#: unless Redis or RabbitMQ is away at that moment.
UNTOLD_S = 25.0
#: A worker that is started while RabbitMQ or Redis is away, or that is frozen while it starts, gives up so soon.
START_S = 20.0
BEGUN = "a worker had begun to call"
#: How the worker begins the reason for which a job is in doubt, and which faults may be it. What is not named here is
#: something that the API did, or that a frozen worker slept through.
REASONS: Mapping[str, Collection[Kind]] = {
    "the worker was stopped": (Kind.REPLACE_ONE,),
    "the job was handed out before": (Kind.STORE_EMPTIED,),
}
OTHER_REASONS = (*(kind for kind in Kind if kind.family is Family.API), Kind.FREEZE_ONE)


@dataclass(frozen=True, slots=True)
class Window:
    """A fault as it was: from when to when, in microseconds of the wall clock."""

    kind: Kind
    began_us: int
    ended_us: int


@dataclass(frozen=True, slots=True)
class Ending:
    """How a worker ended, between ``alive_us`` and ``gone_us``; ``is_meant``: it was made to."""

    worker: str
    how: str
    alive_us: int
    gone_us: int
    is_meant: bool


@dataclass(frozen=True, slots=True)
class Doubt:
    """A job in doubt: ``why`` in the worker's words, since when, and when the API accepted its call, if it did."""

    why: str
    since_us: int
    called_us: int | None


def is_explained(doubt: Doubt, windows: Iterable[Window], endings: Iterable[Ending]) -> bool:
    """Whether a fault that can be the reason fell so that it was."""
    if doubt.why.startswith(BEGUN):
        return any(_left_untold(began_us, ended_us, doubt) for began_us, ended_us in _away_us(windows, endings))
    kinds = next((kinds for start, kinds in REASONS.items() if doubt.why.startswith(start)), OTHER_REASONS)
    return any(
        window.kind in kinds
        and window.began_us - EARLIER_S * US <= doubt.since_us <= window.ended_us + _later_s(window.kind) * US
        for window in windows
    )


def is_expected(ending: Ending, windows: Iterable[Window]) -> bool:
    """Whether the worker ended as it should: made to, or because what it needs to start was away."""
    if ending.how == NOT_STARTED:
        return any(
            (window.kind.family in (Family.BROKER, Family.STORE) or window.kind is Kind.FREEZE_ONE)
            and window.began_us <= ending.gone_us <= window.ended_us + START_S * US
            for window in windows
        )
    return ending.is_meant and ending.how in (SIGNALLED, STOPPED)


def _away_us(windows: Iterable[Window], endings: Iterable[Ending]) -> Iterator[tuple[int, int]]:
    """When workers died or were frozen."""
    yield from ((one.alive_us, one.gone_us) for one in endings if one.how == SIGNALLED)
    yield from ((one.began_us, one.ended_us) for one in windows if one.kind is Kind.FREEZE_ONE)


def _left_untold(began_us: int, ended_us: int, doubt: Doubt) -> bool:
    """Whether a worker that was away then can have left a call untold, of which others found out later."""
    if not began_us <= doubt.since_us <= ended_us + LATER_S_DEATH * US:
        return False
    return doubt.called_us is None or began_us - UNTOLD_S * US <= doubt.called_us <= ended_us + EARLIER_S * US


def _later_s(kind: Kind) -> float:
    return LATER_S_API if kind.family is Family.API else LATER_S_DEATH
