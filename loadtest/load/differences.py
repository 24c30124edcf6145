"""What makes two results hard to compare: they were not made alike (pure)."""

from collections.abc import Iterator, Mapping

from loadtest.load.result import ALL, Result

LOAD_NOISE = 0.5
"""Of a load average: a machine that was busier by less before it began was as quiet."""
SHOWN_MAX = 5
"""So many limits, and so many settings, are told one by one; a hundred accounts would fill the screen."""
NONE, NOT_THERE = "none", "not there"
CONDITIONS: Mapping[str, str] = {
    "recipients": "number of recipients of a job",
    "content": "content of the jobs",
    "picture": "way in which jobs have their picture",
    "urgent_share": "share of urgent jobs",
    "window": "API's window",
    "latency_ms": "API's latency in ms",
    "spread_ms": "jitter on the way to the API in ms",
}
"""What each field of `Conditions` is called."""


def differences(before: Result, after: Result) -> list[str]:
    """Sentences; none when the two were made alike."""
    of_both = zip(_made_with(before), _made_with(after), strict=True)
    return [
        *(_not_same(name, one, other) for (name, one), (_, other) in of_both if one != other),
        *_unlike("limit of", "limits", _limits(before), _limits(after)),
        *_unlike("setting", "settings", before.settings, after.settings),
        *_other_conditions(before, after),
        *_other_load(before, after),
    ]


def _made_with(result: Result) -> Iterator[tuple[str, object]]:
    yield "scenario", result.scenario
    yield "length of the schedule in s", result.seconds
    yield "number of workers", result.workers
    yield "seed", result.seed
    yield "number of cores", result.machine.cores
    yield "number of jobs", result.correctness.published
    yield "number of jobs that waited before", 0 if result.preload is None else result.preload.jobs
    yield "schedule", "; ".join(phase.name for phase in result.phases) or NONE
    yield "list of faults", ", ".join(fault.name for fault in result.faults) or NONE
    yield "version of the worker", result.versions.worker
    yield "version of RabbitMQ", result.versions.rabbitmq
    yield "version of Redis", result.versions.redis
    yield "version of Python", result.machine.python
    yield "system", result.machine.system


def _limits(result: Result) -> dict[str, str]:
    limits = ((one.name, one.limit_per_s) for one in result.accounts if one.name != ALL)
    return {name: NONE if limit is None else f"{limit:,}/s" for name, limit in limits}


def _unlike(kind: str, several: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    """One sentence for each name, and one for all that would be too many."""
    each = ((name, before.get(name, NOT_THERE), after.get(name, NOT_THERE)) for name in {**before, **after})
    found = [(name, one, other) for name, one, other in each if one != other]
    for name, one, other in found[:SHOWN_MAX]:
        yield _not_same(f"{kind} {name}", one, other)
    if len(found) > SHOWN_MAX:
        yield f"{len(found) - SHOWN_MAX} more {several} are not the same."


def _other_conditions(before: Result, after: Result) -> Iterator[str]:
    one, other = before.conditions, after.conditions
    if one is None or other is None:
        whose = "neither result" if one is other else "the second result alone" if one is None else "the first alone"
        yield f"What jobs and API were like is told in {whose}."
        return
    for field, name in CONDITIONS.items():
        was, now = getattr(one, field), getattr(other, field)
        if was != now:
            yield _not_same(name, was, now)


def _other_load(before: Result, after: Result) -> Iterator[str]:
    """Over the last minute before anything of ours ran."""
    one, other = before.machine.load_averages[0], after.machine.load_averages[0]
    if abs(other - one) > LOAD_NOISE:
        yield _not_same("load of the machine before it began", f"{one:.2f}", f"{other:.2f}")


def _not_same(name: str, one: object, other: object) -> str:
    return f"The {name} is not the same: {one} and {other}."
