"""Which replies were told, on Redis: a key for each, with the token of who is about to tell it, or that it is told."""

from __future__ import annotations

from collections.abc import Sequence

from redis.asyncio import Redis

from worker.adapters.redis_connection import REDIS_FAILURES, words_for
from worker.flow.ports import JournalAway, ReplyFound

#: Who is about to tell a reply and has not told it after this is dead.
TELLING_MS_MAX = 15_000
#: One run of the script is about so many at most.
TOGETHER_MAX = 256
#: No token of anybody: those are not empty.
TOLD = ""

#: KEYS: of replies. ARGV: 'look', token, for how long (ms); 'told', '', for how long (ms); or 'put_off', token.
#: Returns for each: 1 ours, 2 somebody else's, 3 told. A key of another type is nobody's, and is taken.
_SCRIPT = """
local answer = {}
for n, key in ipairs(KEYS) do
  local holder = redis.pcall('GET', key)
  if type(holder) == 'table' then holder = false end
  if ARGV[1] == 'put_off' then
    if holder == ARGV[2] then redis.call('DEL', key) end
  elseif ARGV[1] == 'told' or not holder or holder == ARGV[2] then
    redis.call('SET', key, ARGV[2], 'PX', ARGV[3])
    answer[n] = 1
  else
    answer[n] = holder == '' and 3 or 2
  end
end
return answer
"""
_FOUND = {1: ReplyFound.OURS, 2: ReplyFound.BUSY, 3: ReplyFound.TOLD}


class RedisReplyBook:
    """Implements the ``ReplyBook`` port. ``keep_s``: how long it is remembered that a reply was told."""

    def __init__(self, *, redis: Redis, keep_s: int) -> None:
        self._script = redis.register_script(_SCRIPT)
        self._keep_s = keep_s

    async def look(self, account: str, reply_ids: Sequence[str], token: str) -> list[ReplyFound] | JournalAway:
        """What is known of each; those that are ``OURS`` are nobody else's meanwhile."""
        answer = await self._ask(account, reply_ids, "look", token, TELLING_MS_MAX)
        return answer if isinstance(answer, JournalAway) else [_FOUND[verdict] for verdict in answer]

    async def told(self, account: str, reply_ids: Sequence[str]) -> JournalAway | None:
        """These are told; told again, they are remembered for longer."""
        answer = await self._ask(account, reply_ids, "told", TOLD, self._keep_s * 1_000)
        return answer if isinstance(answer, JournalAway) else None

    async def put_off(self, account: str, reply_ids: Sequence[str], token: str) -> JournalAway | None:
        """These are not told now; anybody may."""
        answer = await self._ask(account, reply_ids, "put_off", token, 0)
        return answer if isinstance(answer, JournalAway) else None

    async def _ask(
        self, account: str, reply_ids: Sequence[str], command: str, token: str, for_ms: int
    ) -> list[int] | JournalAway:
        answers: list[int] = []
        try:
            for at in range(0, len(reply_ids), TOGETHER_MAX):
                keys = [reply_key(account, reply_id) for reply_id in reply_ids[at : at + TOGETHER_MAX]]
                answers += await self._script(keys=keys, args=[command, token, for_ms])
        except REDIS_FAILURES as error:
            return JournalAway(words_for(error))
        return answers


def reply_key(account: str, reply_id: str) -> str:
    """Where it is kept what is known of a reply."""
    return f"mms:reply:{{{account}}}:{reply_id}"
