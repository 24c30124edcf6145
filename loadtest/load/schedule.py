"""When each job is to be published: intended moments out of a seed, made one by one (pure).

A schedule waits for nobody: these moments stand, however the system fares. All are whole microseconds from the run's
zero. A million of them take no memory until somebody keeps them.
"""

import heapq
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

US_PER_S = 1_000_000

Shape = Literal["constant", "step", "spike"]
"""`constant`: one rate; `step`: several, each for an equal part of the time; `spike`: a higher one in the middle."""
Arrivals = Literal["even", "poisson"]
"""`even`: at equal distances; `poisson`: independent of each other, as many independent senders publish."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the schedule with one rate, from `began_us` to before `ended_us`."""

    began_us: int
    ended_us: int
    per_s: float
    arrivals: Arrivals


@dataclass(frozen=True, slots=True)
class Intended:
    """One publication: when, and for the account in which place."""

    at_us: int
    account: int


def constant(began_us: int, lasts_us: int, per_s: float, arrivals: Arrivals) -> list[Piece]:
    """One rate all the time."""
    return [Piece(began_us, began_us + lasts_us, per_s, arrivals)]


def step(began_us: int, lasts_us: int, rates_per_s: Sequence[float], arrivals: Arrivals) -> list[Piece]:
    """One rate after the other, each for an equal part of the time."""
    edges_us = [began_us + lasts_us * number // len(rates_per_s) for number in range(len(rates_per_s) + 1)]
    return [
        Piece(since_us, until_us, per_s, arrivals)
        for since_us, until_us, per_s in zip(edges_us, edges_us[1:], rates_per_s, strict=False)
    ]


def spike(
    began_us: int, lasts_us: int, per_s: float, *, peak_per_s: float, peak_us: int, arrivals: Arrivals
) -> list[Piece]:
    """One rate, and for `peak_us` in the middle another."""
    peak_began_us = began_us + (lasts_us - peak_us) // 2
    peak_ended_us = peak_began_us + peak_us
    return [
        Piece(began_us, peak_began_us, per_s, arrivals),
        Piece(peak_began_us, peak_ended_us, peak_per_s, arrivals),
        Piece(peak_ended_us, began_us + lasts_us, per_s, arrivals),
    ]


def moments_us(pieces: Iterable[Piece], *, seed: str) -> Iterator[int]:
    """The intended moments of one account, upwards; the same for a seed."""
    chance = random.Random(seed)
    for piece in pieces:
        if piece.per_s > 0:
            yield from _even_us(piece) if piece.arrivals == "even" else _poisson_us(piece, chance)


def merged(schedules: Sequence[Iterable[int]]) -> Iterator[Intended]:
    """The moments of all accounts in one order; of equal ones the account that comes first is first."""

    def of_account(account: int, moments: Iterable[int]) -> Iterator[tuple[int, int]]:
        for at_us in moments:
            yield at_us, account

    each = [of_account(account, moments) for account, moments in enumerate(schedules)]
    for at_us, account in heapq.merge(*each):
        yield Intended(at_us, account)


def _even_us(piece: Piece) -> Iterator[int]:
    number = 0
    while (at_us := piece.began_us + round(number * US_PER_S / piece.per_s)) < piece.ended_us:
        yield at_us
        number += 1


def _poisson_us(piece: Piece, chance: random.Random) -> Iterator[int]:
    # Such a process has no memory: it begins anew with each piece.
    at_s = chance.expovariate(piece.per_s)
    while (at_us := piece.began_us + round(at_s * US_PER_S)) < piece.ended_us:
        yield at_us
        at_s += chance.expovariate(piece.per_s)
