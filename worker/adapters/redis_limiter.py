"""The limiter on Redis: one Lua script, on the server's clock (the arithmetic: ``core/bucket.py``, ``core/pace.py``).

What happens to Redis, and what becomes of sending:

* **gone, hanging, refusing** (READONLY, out of memory, a key of another type, no permission): a value, ``LimiterAway``,
  and then nothing is sent: a limiter that cannot be asked must not be guessed. Slots are promised less than a second
  ahead, so sending ends within that. Each question has a limit (the client's time-outs, set where it is built).
* **back**, without its memory or with an older one (restart, flush, failover): it remembers less than this worker was
  last told; what was promised since is not known, so the first slot comes after ``FRESH_WAIT_US``, when all of it has
  passed. What this worker knew of the guard goes along. A store that only could not be reached goes on at once: one
  worker's bad way to it must not slow the others down.
* **slow**: slots are asked for ahead by the time that answers take.
* **its clock was set back**: the script moves the account to the clock as it is. **Forward**: what was promised before
  lies in the past by the new clock and ahead by ours; the answer is not used, and the next question waits it out.
* **script forgotten**: the client loads it again.

A 429, a closure or a suspension is published, so that every worker drops at once what it was promised. Who misses the
news finds out with the next question.
"""

from __future__ import annotations

import asyncio
import dataclasses
import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ReadOnlyError

from worker.adapters.redis_connection import REDIS_FAILURES, words_for
from worker.core.bucket import FRESH_WAIT_US, Bucket, Row
from worker.core.clock import ForeignClock
from worker.core.pace import GUARD_NS_FIRST, Pace, calls_per_s, micro
from worker.core.status import Look
from worker.flow.ports import Late, LimiterAway, LimiterState, Monotonic, Slots

#: Slots that lie within this of the first are reserved in one question, so that Redis work does not grow with the
#: rate. Not more: a worker sends its row at the pace of all, and while it does it must not fall behind; and it is what
#: a dead worker leaves unused.
SPAN_US = 12_000
#: Of a slow store so many round trips are reserved at a time: the next row is asked for when half of one is used up.
ROUND_TRIPS_SPANNED = 4
#: Slots are not asked for further ahead than this, however slow the store is: beyond it, it counts as away.
LEAD_US_MAX = 400_000
#: The round trip is the median of so many: some answers wait here for the event loop, and that says nothing.
ROUND_TRIPS_KEPT = 15
CHANNEL = "mms:limiter:news"
LISTEN_AGAIN_S = 1.0
LISTEN_S = 5.0


@dataclass(frozen=True, slots=True)
class _Proof:
    """A row of slots on the server's clock."""

    row: Row
    next_us: int
    shift_us: int


class RedisLimiter:
    """Implements the ``Limiter`` port. ``limit_per_s``: calls per second that the API allows, by account."""

    def __init__(self, *, redis: Redis, limit_per_s: Mapping[str, float], monotonic: Monotonic) -> None:
        self._redis = redis
        self._script = redis.register_script(
            resources.files("worker.adapters").joinpath("redis_limiter.lua").read_text()
        )
        self._limit_micro = {account: micro(per_s) for account, per_s in limit_per_s.items()}
        self._monotonic = monotonic
        self._clock = ForeignClock()
        self._round_trips_s: deque[float] = deque([0.0], maxlen=ROUND_TRIPS_KEPT)
        self._guard_ns: dict[str, int] = {}
        #: The latest slot of each account whose call was answered properly.
        self._answered_us: dict[str, int] = {}
        #: The store's clock at each account's last answer.
        self._seen_us: dict[str, int] = {}
        #: Counts the times at which the store's clock was set forward; and how far each account has waited that out.
        self._steps = 0
        self._steps_waited_out: dict[str, int] = {}
        self._listeners: dict[str, Callable[[], None]] = {}

    def set_limit(self, account: str, limit_per_s: float) -> None:
        """Add an account, or change its limit from the next question on."""
        self._limit_micro[account] = micro(limit_per_s)

    def forget(self, account: str) -> None:
        """The account is served here no more."""
        self._limit_micro.pop(account, None)
        self._guard_ns.pop(account, None)
        self._answered_us.pop(account, None)
        self._seen_us.pop(account, None)
        self._steps_waited_out.pop(account, None)
        self._listeners.pop(account, None)

    async def reserve(
        self,
        account: str,
        count: int,
        *,
        lead_s: float = 0.0,
        jobs: int = 0,
        late: Late | None = None,
        has_stalled: bool = False,
        is_probe: bool = False,
    ) -> Slots | LimiterAway:
        """Reserve up to ``count`` slots."""
        steps = self._steps
        wait_us = 0 if self._steps_waited_out.get(account, 0) == steps else FRESH_WAIT_US
        lead_us = min(int(statistics.median(self._round_trips_s) * 1e6), LEAD_US_MAX)
        late_us, late_shift_us = (0, 0) if late is None else (int(late.by_s * 1e6), _proof(late.slots).shift_us)
        guard_ns = self._guard_ns.get(account, GUARD_NS_FIRST)
        span_us = max(SPAN_US, ROUND_TRIPS_SPANNED * lead_us)
        asked_at_s = self._monotonic()
        answer = await self._ask(
            account,
            "reserve",
            self._limit_micro[account],
            count,
            span_us,
            lead_us + int(lead_s * 1e6),
            wait_us,
            self._seen_us.get(account, 0),
            late_us,
            late_shift_us,
            jobs,
            guard_ns,
            int(is_probe),
            self._answered_us.get(account, 0),
            int(has_stalled),
        )
        if isinstance(answer, LimiterAway):
            return answer
        answered_at_s = self._monotonic()
        self._round_trips_s.append(answered_at_s - asked_at_s)
        granted, first_us, interval_ns, next_us, now_us, shift_us, guard_ns, *_ = answer
        step_s = self._clock.learn(asked_at_s=asked_at_s, answered_at_s=answered_at_s, foreign_us=now_us)
        self._guard_ns[account] = guard_ns
        self._seen_us[account] = now_us
        row = Row(first_us, granted, interval_ns)
        if step_s > 0:
            self._steps += 1
            row = Row(now_us, 0, interval_ns)
        else:
            self._steps_waited_out[account] = steps
        return Slots(
            count=row.count,
            first_at_s=self._clock.own_s(row.first_us),
            interval_s=interval_ns / 1e9,
            state=_state(answer),
            proof=_Proof(row, next_us, shift_us),
        )

    async def give_back(self, account: str, slots: Slots, used: int) -> None:
        """Return unused slots; a failure only costs their time."""
        if used < slots.count:
            await self._ask(account, "give_back", used, _proof(slots).next_us)

    async def refused(
        self, account: str, slots: Slots, n: int, *, spread_s: float, retry_after_s: float | None
    ) -> None:
        """React for all workers; a failure is made good by the next 429."""
        await self._ask(
            account,
            "refuse",
            self._limit_micro[account],
            _proof(slots).row.slot_us(n),
            int(spread_s * 1e9),
            -1 if retry_after_s is None else int(retry_after_s * 1e6),
            CHANNEL,
            account,
        )

    def answered(self, account: str, slots: Slots, n: int) -> None:
        """Told with the next question."""
        slot_us = _proof(slots).row.slot_us(n)
        self._answered_us[account] = max(self._answered_us.get(account, 0), slot_us)

    async def failed(self, account: str, slots: Slots, n: int) -> bool:
        """Note it for all workers; True when that suspends the account."""
        answer = await self._ask(account, "fail", _proof(slots).row.slot_us(n), CHANNEL, account)
        return answer == [1]

    async def suspend(self, account: str, reason: str) -> bool:
        """Suspend or resume for all workers; one that does not hear of it finds out by its own calls."""
        return not isinstance(await self._ask(account, "suspend", reason, CHANNEL, account), LimiterAway)

    def on_news(self, account: str, listener: Callable[[], None]) -> None:
        """Have ``listener`` called when promised slots became worthless."""
        self._listeners[account] = listener

    async def listen(self) -> None:
        """Hear what other workers found out, for ever; without Redis, try again."""
        while True:
            try:
                async with self._redis.pubsub() as news:
                    await news.subscribe(CHANNEL)
                    while True:
                        message = await news.get_message(ignore_subscribe_messages=True, timeout=LISTEN_S)
                        if message is not None and (
                            listener := self._listeners.get(message["data"].decode(errors="replace"))
                        ):
                            listener()
            except REDIS_FAILURES:
                await asyncio.sleep(LISTEN_AGAIN_S)

    async def away_because(self) -> str | None:
        """Why the store does not answer, or None when it does; for a look while nobody asks for slots."""
        try:
            await self._redis.ping()
        except REDIS_FAILURES as error:
            return words_for(error)
        return None

    async def _ask(self, account: str, command: str, *details: int | str) -> Any | LimiterAway:
        try:
            return await self._script(keys=[bucket_key(account)], args=[command, *details])
        except REDIS_FAILURES as error:
            if isinstance(error, ReadOnlyError):
                # A master that became a replica: the name may lead to the new master by now.
                await self._redis.connection_pool.disconnect(inuse_connections=False)
            return LimiterAway(words_for(error))


def bucket_key(account: str) -> str:
    """Where the account's bucket lives."""
    return f"mms:bucket:{account}"


async def look_at(redis: Redis, accounts: Sequence[str]) -> dict[str, Look]:
    """Each account's bucket now. Raises what ``redis_connection.REDIS_FAILURES`` names."""
    async with redis.pipeline(transaction=True) as asking:
        asking.time()
        for account in accounts:
            asking.hgetall(bucket_key(account))
        (seconds, micros), *held = await asking.execute()
    at_us = seconds * 1_000_000 + micros
    return {account: Look(bucket_in(fields), at_us) for account, fields in zip(accounts, held, strict=True)}


def bucket_in(held: Mapping[bytes, bytes]) -> Bucket | None:
    """The bucket that ``HGETALL`` shows; None when there is none, or what another release left."""
    fields = {name.decode(): value.decode() for name, value in held.items()}
    of_pace = {field.name for field in dataclasses.fields(Pace)}
    others = {"suspended", "rows", "refused_us"}
    of_bucket = {field.name for field in dataclasses.fields(Bucket)} - others - {"pace"}
    if not of_pace | of_bucket | others <= fields.keys():
        return None
    return Bucket(
        **{name: int(fields[name]) for name in of_bucket},
        suspended=fields["suspended"],
        rows=tuple(Row(*map(int, row.split(","))) for row in fields["rows"].split()),
        refused_us=tuple(map(int, fields["refused_us"].split())),
        pace=Pace(**{name: int(fields[name]) for name in of_pace}),
    )


def _state(answer: list[Any]) -> LimiterState:
    _, _, interval_ns, _, now_us, _, guard_ns, lowered_micro, closed_until_us, worst, suspended = answer
    return LimiterState(
        pace_per_s=calls_per_s(interval_ns),
        guard_s=guard_ns / 1e9,
        lowered_to_per_s=lowered_micro / 1e6 if lowered_micro else None,
        closed_for_s=max(0, closed_until_us - now_us) / 1e6,
        worst_second=worst,
        suspended=suspended.decode(errors="replace"),
    )


def _proof(slots: Slots) -> _Proof:
    assert isinstance(slots.proof, _Proof)  # noqa: S101 - only this adapter makes proofs
    return slots.proof
