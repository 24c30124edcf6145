"""Many kills at a time."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadtest.kills.books import Found, Plan, problems
from loadtest.kills.points import Point
from loadtest.kills.scenario import Site, kill, plan_of

RUN_S_MAX = 180.0
"""For one kill."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A kill, what was found (None: it could not be carried out), and what is wrong with that."""

    plan: Plan
    found: Found | None
    problems: tuple[str, ...]


def plans_of(points: Sequence[Point], times: int) -> list[Plan]:
    """`times` kills at each point: by turns quiet and loaded."""
    return [plan_of(point, number, is_quiet=number % 2 == 0) for number in range(times) for point in points]


async def run_kills(
    site: Site, plans: Sequence[Plan], *, parallel: int, on_verdict: Callable[[Verdict], None] = lambda _: None
) -> list[Verdict]:
    """Carry all of them out, `parallel` at a time; the verdicts in the order of the plans."""
    room = asyncio.Semaphore(parallel)

    async def one(plan: Plan) -> Verdict:
        async with room:
            verdict = await _verdict(site, plan)
        on_verdict(verdict)
        return verdict

    return list(await asyncio.gather(*map(one, plans)))


async def _verdict(site: Site, plan: Plan) -> Verdict:
    try:
        async with asyncio.timeout(RUN_S_MAX):
            found = await kill(site, plan)
    except Exception as error:  # noqa: BLE001 - one kill that fails must not end the others: it is its verdict
        return Verdict(plan, None, (f"It could not be carried out: {type(error).__name__}: {error}.",))
    return Verdict(plan, found, tuple(problems(plan, found)))
