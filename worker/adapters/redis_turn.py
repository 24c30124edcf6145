"""Something that one worker at a time does: a key in Redis that says whose turn it is, and for how long."""

from __future__ import annotations

from redis.asyncio import Redis

from worker.adapters.redis_connection import REDIS_FAILURES

#: KEYS[1]: the turn. ARGV: 'take' or 'leave', who asks, for how long (ms). What is left belongs to nobody for a while.
_SCRIPT = """
local holder = redis.call('GET', KEYS[1])
local is_ours = holder == ARGV[2]
if not is_ours and (holder or ARGV[1] == 'leave') then return 0 end
local next_one = ARGV[1] == 'take' and ARGV[2] or 'nobody'
if ARGV[3] == '0' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], next_one, 'PX', ARGV[3]) end
return 1
"""


class RedisTurn:
    """Implements the ``Turn`` port. ``name``: which turn; ``holder``: this process's name among all that ever were."""

    def __init__(self, *, redis: Redis, name: str, holder: str) -> None:
        self._redis = redis
        self._script = redis.register_script(_SCRIPT)
        self._key = f"mms:turn:{name}"
        self._holder = holder

    async def take(self, for_s: float) -> bool:
        """Whether it is ours now."""
        return await self._ask("take", for_s)

    async def leave(self, for_s: float) -> None:
        """Let nobody take it for ``for_s``, if it is ours."""
        await self._ask("leave", for_s)

    async def free(self) -> None:
        """Let anybody take it now."""
        try:
            await self._redis.delete(self._key)
        except REDIS_FAILURES:
            return

    async def _ask(self, command: str, for_s: float) -> bool:
        try:
            return bool(await self._script(keys=[self._key], args=[command, self._holder, round(for_s * 1000)]))
        except REDIS_FAILURES:
            return False
