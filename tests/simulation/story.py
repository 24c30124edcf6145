"""One seeded run of the world, and what must hold after it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.simulation.world import ACCOUNT, CALL_S_MAX, DiedError, Worker, World
from worker.core.recipients import job_of
from worker.core.sendings import SentJob
from worker.core.steps import Step
from worker.flow.observations import DuplicateSendDetected

JOBS_MAX = 80
TROUBLE_S = 8.0
#: After the last fault: a claim comes of age, a copy goes round, an attempt's longest delays pass.
SETTLE_S_MAX = 4_000.0
#: Steps before which nothing was claimed: a death there leaves nothing in doubt.
KILL_STEPS = [step for step in Step if step not in {Step.MID_UPLOAD, Step.AFTER_REQUEST, Step.IN_DRAIN}]


@dataclass(frozen=True, slots=True)
class Books:
    """What a run came to; ``problems``: in words, none when all is well."""

    seed: int
    jobs: int
    crashes: int
    sent: int
    in_doubt: int
    problems: tuple[str, ...]


async def play(seed: int) -> Books:
    """Run it and look at the books."""
    asyncio.get_running_loop().set_exception_handler(_seen)
    world = World(seed)
    dice = world.dice
    for _ in range(dice.randint(1, 3)):
        await world.start_worker()
    jobs = dice.randint(10, JOBS_MAX)
    for number in range(jobs):
        asyncio.get_running_loop().call_later(dice.uniform(0, TROUBLE_S / 2), world.publish, number)
    faults: list[Callable[[World], None]] = [kill, kill_at_a_step, cut_off, lose_journal, lose_limiter, take_api_down]
    if world.forgets:
        faults.append(forget)
    for _ in range(dice.randint(0, 8)):
        asyncio.get_running_loop().call_later(dice.uniform(0.5, TROUBLE_S), dice.choice(faults), world)
    until_s = world.started_s + TROUBLE_S
    while asyncio.get_running_loop().time() < until_s:
        await asyncio.sleep(0.5)
        if not world.living():
            await world.start_worker()
    mend(world)
    await world.start_worker()
    until_s = asyncio.get_running_loop().time() + SETTLE_S_MAX
    while asyncio.get_running_loop().time() < until_s and not is_settled(world, jobs):  # noqa: ASYNC110 - virtual time
        await asyncio.sleep(1)
    await asyncio.sleep(CALL_S_MAX + 10)
    return books(world, seed)


def _seen(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if not isinstance(context.get("exception"), DiedError):
        loop.default_exception_handler(context)


def is_settled(world: World, jobs: int) -> bool:
    """Whether all are published, none waits, and each has ended."""
    return len(world.published) == jobs and not world.waiting() and all(world.ends().values())


# --- Faults ----------------------------------------------------------------------------------------------


def kill(world: World) -> None:
    """A worker dies, whatever it is doing."""
    if living := world.living():
        world.dice.choice(living).kill()


def kill_at_a_step(world: World) -> None:
    """A worker dies at the next passing of a step."""
    if living := world.living():
        worker: Worker = world.dice.choice(living)
        worker.dies_at = (world.dice.choice(KILL_STEPS), world.dice.randint(1, 3))


def cut_off(world: World) -> None:
    """A worker's connection to the broker ends; acks under way are lost."""
    if living := world.living():
        world.dice.choice(living).broker.disconnect()


def lose_journal(world: World) -> None:
    """The journal, and the store of traces, which is the same, do not answer for a while."""
    world.journal.away_because = world.sendings.away_because = "gone"
    asyncio.get_running_loop().call_later(world.dice.uniform(0.05, 4), mend, world)


def lose_limiter(world: World) -> None:
    """The limiter does not answer for a while."""
    world.limiter.away = "gone"
    asyncio.get_running_loop().call_later(world.dice.uniform(0.05, 3), mend, world)


def take_api_down(world: World) -> None:
    """The API refuses connections for a while."""
    world.api.is_out = True
    asyncio.get_running_loop().call_later(world.dice.uniform(0.5, 5), mend, world)


def forget(world: World) -> None:
    """The journal loses its memory, and all traces are lost."""
    world.journal.forget_all()
    world.sendings.recipients.clear()


def mend(world: World) -> None:
    """Everything is there again."""
    world.journal.away_because = world.sendings.away_because = None
    world.limiter.away = None
    world.api.is_out = False


# --- The books -------------------------------------------------------------------------------------------


def books(world: World, seed: int) -> Books:
    """Lost, sent twice, told wrongly, in doubt for nothing, faster than allowed."""
    problems = [f"a task failed: {error!r}" for error in world.failures]
    sent = in_doubt = 0
    for job_id, events in world.ends().items():
        to = world.published[job_id]
        accepted = world.ledger.accepted[to]
        ends = {event["type"] for event in events}
        sent += "mms.job.sent" in ends
        in_doubt += "mms.job.in_doubt" in ends
        if accepted > 1:
            problems.append(f"{job_id} was sent {accepted} times")
        if len(ends) != 1 and not may_have_two(ends, forgets=world.forgets):
            problems.append(f"{job_id} ended as {sorted(ends) or 'nothing'}")
        if len({event["id"] for event in events}) != len(ends):
            problems.append(f"{job_id} has events with different ids")
        told = {event["data"].get("resolution", event["type"].removeprefix("mms.job.")) for event in events}
        if "sent" in told and accepted != 1:
            problems.append(f"{job_id} was told as sent, and accepted {accepted} times")
        if told & {"refused", "dead", "given_up"} and accepted:
            problems.append(f"{job_id} was told as {sorted(told)}, and accepted")
    if not (world.crashes or world.forgets) and in_doubt > len(world.ledger.doubtful):
        problems.append(f"{in_doubt} in doubt, {len(world.ledger.doubtful)} calls without an answer")
    problems += [] if world.forgets else missing_traces(world)
    if twice := [seen for seen in world.seen if isinstance(seen, DuplicateSendDetected)]:
        problems.append(f"{len(twice)} jobs are said to be sent twice")
    if (worst := worst_second(world.ledger.arrivals_s)) > world.limit_per_s:
        problems.append(f"{worst} calls in one second, of {world.limit_per_s:g}")
    return Books(seed, len(world.published), world.crashes, sent, in_doubt, tuple(problems))


def missing_traces(world: World) -> list[str]:
    """What reports would not find."""
    problems = []
    for job_id, event in ((job_id, event) for job_id, events in world.ends().items() for event in events):
        known = world.sendings.recipient(ACCOUNT, world.published[job_id])
        if event["type"] == "mms.job.sent":
            jobs = [job_of(known, sent["message_id"]) for sent in event["data"]["recipients"]]
            problems += [f"{job_id} has a message that is nobody's" for job in jobs if job != SentJob(job_id, None)]
        if event["type"] == "mms.job.in_doubt" and known.doubt(job_id) is None:
            problems.append(f"{job_id} is in doubt, of which its recipient knows nothing")
    return problems


def may_have_two(ends: set[str], *, forgets: bool) -> bool:
    """Whether a job may have these two ends.

    A late answer resolves a doubt. And what was told as sent is in doubt for whoever is handed it again, by an ack that
    was lost, after the journal has lost its memory.
    """
    if ends == {"mms.job.in_doubt", "mms.job.resolved"}:
        return True
    return forgets and ends == {"mms.job.in_doubt", "mms.job.sent"}


def worst_second(arrivals_s: list[float]) -> int:
    """The most arrivals in any second."""
    worst = first = 0
    ordered = sorted(arrivals_s)
    for last, at_s in enumerate(ordered):
        while ordered[first] <= at_s - 1:
            first += 1
        worst = max(worst, last - first + 1)
    return worst
