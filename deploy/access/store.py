"""Redis' users, and what each may do: keys, one channel, and single commands.

Scripts run with the rights of whoever calls them, so what they call is listed as well. `AUTH` and `HELLO` need no
right. A file of such rights can hold no comments: the reasons are here.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

CHANNEL: Final = "mms:limiter:news"

_SCRIPTS: Final = ("evalsha", "script|load")
#: redis_limiter.lua, and what is heard of it by all workers.
_SLOTS: Final = ("time", "hmget", "hset", "publish")
_NEWS: Final = ("subscribe",)
#: redis_journal.lua: all of it; what a report resolves; what an operator does; and the look at what is in doubt.
_JOURNAL: Final = ("time", "get", "set", "del", "zadd", "zrem", "zscore")
_JOURNAL_OF_REPORTS: Final = ("time", "get", "set", "zrem", "zscore")
_JOURNAL_OF_OPERATORS: Final = ("time", "get", "set", "del", "zrem")
_DOUBTS: Final = ("zcard", "zrange")
#: redis_sendings.lua; MGET beside it finds the jobs of replies.
_MESSAGES: Final = ("time", "get", "set")
#: The script of redis_turn.py.
_TURN: Final = ("get", "set", "del")
#: The script of redis_reply_book.py.
_REPLIES: Final = ("get", "set", "del")
#: redis_presence.py: tell that one is there, and how one has ended; see who is.
_PRESENCE: Final = ("sadd", "srem", "set", "del", "hincrby")
_WORKERS: Final = ("smembers", "mget", "srem")
#: The look at an account's slots, of redis_limiter.py.
_LOOK: Final = ("multi", "exec", "time", "hgetall")
#: redis_backlog.py: with that, the waits that are planned.
_BACKLOG: Final = (*_WORKERS, *_LOOK, "hset", "expire")
#: redis_suspects.py: both or none.
_SUSPECTS: Final = ("multi", "exec", "incrby", "expire", "del")
#: To have the file of users read again, when it holds other passwords; what it says is for whoever can write it.
_USERS: Final = ("acl|load",)
#: Does it answer, and in which database.
_CONNECTION: Final = ("ping", "select")


@dataclass(frozen=True, slots=True)
class StoreRole:
    """A user of Redis. ``keys`` are patterns; ``keys_read``: those that it may only read."""

    name: str
    does: str
    keys: Collection[str]
    commands: Collection[str]
    keys_read: Collection[str] = ()

    def line(self) -> str:
        """Its line in the file; without a password nobody can log in."""
        keys = [*(f"~{each}" for each in self.keys), *(f"%R~{each}" for each in self.keys_read)]
        commands = [f"+{each}" for each in sorted(set(self.commands))]
        return " ".join(["user", self.name, "on", *keys, f"&{CHANNEL}", "-@all", *commands])


_BUCKETS: Final = "mms:bucket:*"
_OF_JOBS: Final = ("mms:job:*", "mms:journal:*", "mms:in_doubt:*")
_OF_MESSAGES: Final = "mms:to:*"
_TURNS: Final = "mms:turn:*"
_OF_WORKERS: Final = ("mms:worker:*", "mms:workers", "mms:drains")

ROLES: Final = (
    StoreRole(
        "worker",
        "slots, journal, traces of messages, who is there, the backlog, notes on messages that are looked at",
        keys=(_BUCKETS, *_OF_JOBS, _OF_MESSAGES, _TURNS, *_OF_WORKERS, "mms:planned:*", "mms:suspect:*"),
        commands=(
            *_CONNECTION,
            *_SCRIPTS,
            *_SLOTS,
            *_NEWS,
            *_JOURNAL,
            *_DOUBTS,
            *_MESSAGES,
            *_TURN,
            *_PRESENCE,
            *_BACKLOG,
            *_SUSPECTS,
        ),
    ),
    StoreRole(
        "receiver",
        "messages and replies, slots for its questions, the journal to resolve what is in doubt",
        keys=(_BUCKETS, *_OF_JOBS, _OF_MESSAGES, _TURNS, "mms:reply:*"),
        commands=(
            *_CONNECTION,
            *_SCRIPTS,
            *_SLOTS,
            *_NEWS,
            *_JOURNAL_OF_REPORTS,
            *_MESSAGES,
            "mget",
            *_TURN,
            *_REPLIES,
        ),
    ),
    StoreRole(
        "operator",
        "the commands of mms-worker: status, account, check, in-doubt; other passwords",
        keys=(_BUCKETS, *_OF_JOBS, "mms:workers"),
        keys_read=("mms:worker:*",),
        commands=(
            *_CONNECTION,
            *_SCRIPTS,
            *_SLOTS,
            *_JOURNAL_OF_OPERATORS,
            *_DOUBTS,
            *_WORKERS,
            *_LOOK,
            *_USERS,
            "info",
        ),
    ),
)


def users_acl_text() -> str:
    """The committed file: nobody can log in with it as it is, and without a login nothing can be done."""
    return "\n".join(["user default off resetchannels -@all", *(role.line() for role in ROLES), ""])
