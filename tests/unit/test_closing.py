"""What does not close in time is broken off, and what comes after it still closes; in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.virtual_time import run_virtual
from worker.closing import LAST_S, ClosingStack

LIMIT_S = 6.0


class Opened:
    """Parts that take so long to close, the last one first; what became of each, and when."""

    def __init__(self, *takes_s: float) -> None:
        self.takes_s = takes_s
        self.closed: list[tuple[int, float]] = []
        self.cut_short = 0

    def heard(self, _: str) -> None:
        self.cut_short += 1

    async def close_all(self) -> float:
        """How long that took."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()

        def closing(number: int, takes_s: float) -> Callable[[], Awaitable[None]]:
            async def close() -> None:
                await asyncio.sleep(takes_s)
                self.closed.append((number, loop.time() - began_s))

            return close

        async with ClosingStack(limit_s=LIMIT_S, cut_short=self.heard) as stack:
            for number, takes_s in enumerate(self.takes_s):
                stack.closes(closing(number, takes_s))
        return loop.time() - began_s


def test_what_is_quick_closes_one_after_the_other_last_first() -> None:
    opened = Opened(1.0, 2.0)
    assert run_virtual(opened.close_all()) == pytest.approx(3.0)
    assert [number for number, _ in opened.closed] == [1, 0]
    assert [at_s for _, at_s in opened.closed] == pytest.approx([2.0, 3.0])
    assert opened.cut_short == 0


def test_all_of_it_together_has_one_limit_and_what_lies_here_still_closes() -> None:
    opened = Opened(0.0, 4.0, 4.0, 0.05)
    assert run_virtual(opened.close_all()) == pytest.approx(LIMIT_S)
    assert [number for number, _ in opened.closed] == [3, 2, 0]
    assert opened.cut_short == 1


def test_whatever_hangs_costs_hardly_more_than_the_limit() -> None:
    opened = Opened(*[float("1e6")] * 5, 0.0)
    assert run_virtual(opened.close_all()) == pytest.approx(LIMIT_S + 4 * LAST_S)
    assert (opened.closed, opened.cut_short) == ([(5, 0.0)], 5)


def test_what_fails_while_it_closes_is_raised_once_the_others_have_closed() -> None:
    closed = []

    async def close() -> None:
        closed.append("first")

    async def fail() -> None:
        raise ValueError("a bug")

    async def close_all() -> None:
        async with ClosingStack(limit_s=LIMIT_S) as stack:
            stack.closes(close)
            stack.closes(fail)

    with pytest.raises(ValueError, match="a bug"):
        run_virtual(close_all())
    assert closed == ["first"]
