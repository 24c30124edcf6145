"""What each user of the committed ACL file may do in a real Redis, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis as Client
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError
from redis.retry import Retry

from deploy.access.installation import USERS_ACL
from deploy.access.store import ROLES, users_acl_text
from deploy.local import Redis
from tests.deployed import PASSWORD, users

EVERYBODY = [role.name for role in ROLES]


@pytest.fixture(scope="module")
def store() -> Iterator[Redis]:
    with Redis(users=users()) as server:
        yield server


def client(store: Redis, user: str | None, password: str | None = PASSWORD) -> Client:
    once = Retry(NoBackoff(), 0)
    return Client(port=store.port, username=user, password=password, driver_info=None, protocol=2, retry=once)


OF_NOBODY = (
    *("FLUSHALL", "FLUSHDB", "KEYS *", "SCAN 0", "RANDOMKEY", "SWAPDB 0 1", "MOVE mms:workers 1"),
    *("CONFIG GET *", "CONFIG SET dir /tmp", "SHUTDOWN NOSAVE", "SAVE", "BGREWRITEAOF", "REPLICAOF NO ONE"),
    *("MONITOR", "CLIENT LIST", "CLIENT KILL ID 1", "ACL LIST", "ACL WHOAMI", "MODULE LIST"),
    *("EVAL return_1 0", "SCRIPT FLUSH", "SCRIPT KILL", "FUNCTION LIST"),
    *("RENAME mms:workers a", "COPY mms:workers a", "DUMP mms:workers", "PERSIST mms:workers"),
    *("GET other", "SET other 1", "DEL other", "GET mms", "HGETALL mms:secret"),
    *("PUBLISH other x", "PUBLISH mms:limiter x"),
)
OF_OTHERS = {
    "worker": ("GET mms:reply:{a}:1", "SET mms:reply:{a}:1 x", "INFO"),
    "receiver": (
        *("GET mms:suspect:{a}:1", "GET mms:worker:x", "SADD mms:workers x", "SMEMBERS mms:workers"),
        *("HGETALL mms:drains", "HSET mms:planned:a 1 x", "EXPIRE mms:job:{a}:1 1", "MULTI", "INFO"),
        *("ZRANGE mms:in_doubt:{a} 0 0", "ZADD mms:in_doubt:{a} 1 x"),
    ),
    "operator": (
        *("GET mms:to:{a}:61400000000", "GET mms:reply:{a}:1", "SET mms:worker:x y", "DEL mms:worker:x"),
        *("SADD mms:workers x", "SUBSCRIBE mms:limiter:news", "INCRBY mms:suspect:{a}:1 1"),
        *("HINCRBY mms:drains whole 1", "ZADD mms:in_doubt:{a} 1 x"),
    ),
}


@pytest.mark.parametrize("user", EVERYBODY)
@pytest.mark.parametrize("command", OF_NOBODY)
def test_nobody_may_do_what_nobody_does(store: Redis, user: str, command: str) -> None:
    with client(store, user) as asked, pytest.raises(NoPermissionError):
        asked.execute_command(*command.split())


@pytest.mark.parametrize(("user", "command"), [(user, each) for user, them in OF_OTHERS.items() for each in them])
def test_nobody_may_do_what_is_anothers(store: Redis, user: str, command: str) -> None:
    with client(store, user) as asked, pytest.raises(NoPermissionError):
        asked.execute_command(*command.split())


@pytest.mark.parametrize("user", EVERYBODY)
@pytest.mark.parametrize("body", ["redis.call('FLUSHALL')", "redis.call('SET', 'other', 1)", "redis.call('KEYS', '*')"])
def test_a_script_may_no_more_than_who_calls_it(store: Redis, user: str, body: str) -> None:
    with client(store, user) as asked:
        sha = asked.script_load(body)
        with pytest.raises(ResponseError, match="The user executing the script can't"):
            asked.evalsha(sha, 0)


def test_without_a_login_nothing_can_be_done(store: Redis) -> None:
    with client(store, None, None) as asked, pytest.raises(AuthenticationError):
        asked.ping()


def test_with_the_committed_file_nobody_can_log_in() -> None:
    with Redis(users=USERS_ACL.read_text().splitlines()) as bare:
        for user in (*EVERYBODY, "default"):
            for password in (PASSWORD, user):
                with client(bare, user, password) as asked, pytest.raises(AuthenticationError):
                    asked.ping()


def test_the_committed_file_is_what_is_said_of_the_roles() -> None:
    assert USERS_ACL.read_text() == users_acl_text()
