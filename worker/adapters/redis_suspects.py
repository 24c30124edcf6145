"""Notes on messages that are being looked at, in Redis: one counter for each, which its name tells from all others."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable

from redis.asyncio import Redis

from worker.adapters.redis_connection import REDIS_FAILURES, words_for
from worker.core.delivery import Delivery
from worker.flow.ports import SuspectsAway
from worker.flow.tasks import Tasks

#: Longer than any supervisor waits before it starts a worker again that keeps dying.
KEEP_S = 86_400
#: A note that cannot be taken away now is tried again so often; one that stays is a death too many, and not yet two.
TRIES_MAX, AGAIN_S = 20, 0.5
_NAME_BYTES = 16


class RedisSuspects:
    """Implements the ``Suspects`` port."""

    def __init__(self, *, redis: Redis, on_failure: Callable[[BaseException], None]) -> None:
        self._redis = redis
        self._tasks = Tasks(on_failure)

    async def begin(self, delivery: Delivery) -> int | SuspectsAway:
        """Count the look."""
        key = note_key(delivery)
        try:
            # Both or none: a note without an end would be held against a message that comes a year later.
            async with self._redis.pipeline(transaction=True) as together:
                together.incr(key)
                together.expire(key, KEEP_S)
                looks, _ = await together.execute()
        except REDIS_FAILURES as error:
            return SuspectsAway(words_for(error))
        return int(looks) - 1

    async def done(self, delivery: Delivery) -> None:
        """Forget the looks, also when who asks for it is stopped meanwhile; while Redis is away, later."""
        await asyncio.shield(self._tasks.start(self._forget(note_key(delivery), TRIES_MAX)))

    async def close(self) -> None:
        """Take away what can be taken away now."""
        await self._tasks.finish(AGAIN_S)
        await self._tasks.cancel()

    async def _forget(self, key: str, tries_left: int) -> None:
        try:
            await self._redis.delete(key)
        except REDIS_FAILURES:
            if tries_left:
                self._tasks.start(self._forget_later(key, tries_left - 1))

    async def _forget_later(self, key: str, tries_left: int) -> None:
        await asyncio.sleep(AGAIN_S)
        await self._forget(key, tries_left)


def note_key(delivery: Delivery) -> str:
    """Where the note on a message lives. Its id cannot be used: to read it is to look at the message."""
    name = hashlib.blake2b(delivery.body, digest_size=_NAME_BYTES).hexdigest()
    return f"mms:suspect:{{{delivery.account}}}:{name}"
