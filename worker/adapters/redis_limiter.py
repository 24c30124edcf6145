"""The limiter on Redis: one Lua script, on the server's clock (the arithmetic: ``core/bucket.py``).

Redis away or refusing is a value (``LimiterAway``), and then nothing is sent: a limiter that cannot be asked
must not be guessed. Every question has a limit (the client's socket timeouts, set where it is built).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from worker.core.bucket import AHEAD_US_MAX, FRESH_WAIT_US, interval_ns
from worker.core.clock import ForeignClock
from worker.flow.ports import LimiterAway, Monotonic, Slots

#: Slots that lie within this of the first are reserved in one question, so that Redis work does not grow with the
#: rate; it is also what a dead worker leaves unused.
SPAN_US = 25_000


@dataclass(frozen=True, slots=True)
class _Proof:
    """Where a row of slots begins and ends on the server's clock."""

    first_us: int
    next_us: int
    interval_ns: int


class RedisLimiter:
    """Implements the ``Limiter`` port. ``pace_per_s``: slots per second to give out, by account."""

    def __init__(self, *, redis: Redis, pace_per_s: Mapping[str, float], monotonic: Monotonic) -> None:
        self._script = redis.register_script(
            resources.files("worker.adapters").joinpath("redis_limiter.lua").read_text()
        )
        self._interval_ns = {account: interval_ns(pace) for account, pace in pace_per_s.items()}
        self._monotonic = monotonic
        self._clock = ForeignClock()

    async def reserve(self, account: str, count: int) -> Slots | LimiterAway:
        """Reserve up to ``count`` slots."""
        interval = self._interval_ns[account]
        asked_at_s = self._monotonic()
        answer = await self._ask(account, "reserve", interval, count, SPAN_US, AHEAD_US_MAX)
        if isinstance(answer, LimiterAway):
            return answer
        granted, first_us, next_us, now_us = answer
        self._clock.learn(asked_at_s=asked_at_s, answered_at_s=self._monotonic(), foreign_us=now_us)
        return Slots(
            count=granted,
            first_at_s=self._clock.own_s(first_us),
            interval_s=interval / 1e9,
            proof=_Proof(first_us, next_us, interval),
        )

    async def give_back(self, account: str, slots: Slots, used: int) -> None:
        """Return unused slots; a failure only costs their time."""
        proof = slots.proof
        if isinstance(proof, _Proof) and used < slots.count:
            unused_from_us = proof.first_us - (-used * proof.interval_ns // 1000)
            await self._ask(account, "give_back", unused_from_us, proof.next_us)

    async def close(self, account: str, for_s: float) -> None:
        """Close the account for all workers; a failure is made good by the next 429."""
        await self._ask(account, "close", int(for_s * 1e6))

    async def _ask(self, account: str, command: str, *details: int) -> Any | LimiterAway:
        try:
            return await self._script(keys=[f"mms:bucket:{account}"], args=[command, FRESH_WAIT_US, *details])
        except (RedisError, OSError, TimeoutError) as error:
            return LimiterAway(f"{type(error).__name__}: {error}")
