"""One judge for all: the simulator's ledger counts the jobs, /proc tells what they cost."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from loadtest.bench.failure import NotMeasuredError
from loadtest.bench.processes import SessionMemory, cpu_s, cpu_s_of_session, machine_ticks, memory_of_session
from loadtest.bench.speed import STEADY_FROM, STEADY_S_MIN, STEADY_TO
from loadtest.bench.system import System
from loadtest.bench.watching import StallWatch

POLL_S = 0.25
SERVERS = ("simulator", "rabbitmq", "redis")


@dataclass(frozen=True, slots=True)
class Contender:
    """What runs. `sessions`: of its processes; `keepers`: processes in them that only look after the others.

    `require_running` raises NotMeasuredError; `log_tail` is the end of what the first process wrote.
    """

    sessions: tuple[int, ...]
    require_running: Callable[[], None]
    log_tail: Callable[[], str]
    keepers: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Reading:
    """At a moment of the monotonic clock. A job is one accepted recipient, since each job here has one.

    `machine_s`: processor time of everything on the machine.
    """

    at_s: float
    jobs: int
    calls: int
    cpu_s: Mapping[str, float]
    machine_s: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Of the steady state. `cores`: by process, 1 is one core always busy; `others_cores`: by all else here."""

    seconds: float
    jobs: int
    jobs_per_s: float
    recipients_per_call: float
    cpu_s_per_1000_jobs: float
    cores: Mapping[str, float]
    others_cores: float
    processes: int
    largest_peak_bytes: int
    total_bytes: int
    sent_twice: int


def watch(system: System, contender: Contender, jobs: int, on_count: Callable[[int], object]) -> Figures:
    """From the first job to the last. Raises NotMeasuredError when it ends early or sends nothing for long."""
    control = system.simulator.control
    taken: list[Reading] = []
    memory: SessionMemory | None = None
    stall = StallWatch(time.monotonic())
    while not taken or taken[-1].jobs < jobs:
        contender.require_running()
        summary = control.summary()
        now_s = time.monotonic()
        spent_s = {"sender": sum(map(cpu_s_of_session, contender.sessions))}
        spent_s |= {name: cpu_s(pid) for name, pid in system.servers.items()}
        machine_s = machine_ticks().busy_s
        taken.append(Reading(now_s, summary.recipients_accepted, summary.accepted_calls, spent_s, machine_s))
        try:
            stall.note(summary.recipients_accepted, now_s)
        except NotMeasuredError as error:
            raise NotMeasuredError(f"{error} The end of its log:\n{contender.log_tail()}") from error
        on_count(summary.recipients_accepted)
        if memory is None and summary.recipients_accepted >= jobs * STEADY_TO:
            memory = _memory(contender)
        if summary.recipients_accepted < jobs:
            time.sleep(POLL_S)
    return figures(taken, jobs, memory=memory or _memory(contender), sent_twice=control.summary().duplicates)


def _memory(contender: Contender) -> SessionMemory:
    each = [memory_of_session(session, without=contender.keepers) for session in contender.sessions]
    return SessionMemory(
        processes=sum(one.processes for one in each),
        largest_peak_bytes=max(one.largest_peak_bytes for one in each),
        total_bytes=sum(one.total_bytes for one in each),
    )


def figures(taken: Sequence[Reading], jobs: int, *, memory: SessionMemory, sent_twice: int) -> Figures:
    """Out of the readings, in order. Raises NotMeasuredError when the steady state was too short (pure)."""
    first = next((one for one in taken if one.jobs >= jobs * STEADY_FROM), taken[-1])
    last = next((one for one in taken if one.jobs >= jobs * STEADY_TO), taken[-1])
    seconds, done = last.at_s - first.at_s, last.jobs - first.jobs
    if seconds < STEADY_S_MIN or not done:
        raise NotMeasuredError(f"The steady state lasted {seconds:.1f} s, which is too short: take more --jobs.")
    spent_s = {name: last.cpu_s[name] - before_s for name, before_s in first.cpu_s.items()}
    return Figures(
        seconds=seconds,
        jobs=done,
        jobs_per_s=done / seconds,
        recipients_per_call=done / max(1, last.calls - first.calls),
        cpu_s_per_1000_jobs=spent_s["sender"] * 1_000 / done,
        cores={name: cpu / seconds for name, cpu in spent_s.items()},
        others_cores=max(0.0, (last.machine_s - first.machine_s - sum(spent_s.values())) / seconds),
        processes=memory.processes,
        largest_peak_bytes=memory.largest_peak_bytes,
        total_bytes=memory.total_bytes,
        sent_twice=sent_twice,
    )


def middle_of(rounds: Sequence[Figures]) -> Figures:
    """The round in the middle by jobs a second, the slower one of two: its figures belong together (pure)."""
    in_order = sorted(rounds, key=lambda one: one.jobs_per_s)
    return in_order[(len(in_order) - 1) // 2]
