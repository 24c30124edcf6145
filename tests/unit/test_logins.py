"""Which logins a reload takes over, and which not."""

from __future__ import annotations

import pytest

from worker.logins import Logins, differ_in_login

AMQP, REDIS = "amqps://worker:old@broker:5671/mms", "rediss://worker:old@redis:6379/0"
NEW = {"MMS_AMQP_URL": AMQP.replace("old", "new"), "MMS_REDIS_URL": REDIS.replace("old", "n%40w")}


@pytest.fixture
def logins() -> Logins:
    return Logins(AMQP, REDIS)


def test_a_new_password_counts_for_both(logins: Logins) -> None:
    login = logins.redis  # the client has it
    assert login.get_credentials() == ("worker", "old")
    assert logins.renew(NEW) == {"MMS_AMQP_URL", "MMS_REDIS_URL"}
    assert logins.amqp_url == NEW["MMS_AMQP_URL"]
    assert login.get_credentials() == ("worker", "n@w")


def test_a_second_reload_is_told_from_the_first(logins: Logins) -> None:
    logins.renew(NEW)
    assert logins.renew({"MMS_AMQP_URL": AMQP, "MMS_REDIS_URL": NEW["MMS_REDIS_URL"]}) == {*NEW}
    assert (logins.amqp_url, logins.redis.password) == (AMQP, "n@w")


@pytest.mark.parametrize(
    ("setting", "url"),
    [
        ("MMS_AMQP_URL", "amqps://worker:new@other:5671/mms"),
        ("MMS_AMQP_URL", "amqps://worker:new@broker:5671/other"),
        ("MMS_AMQP_URL", "amqp://worker:new@broker:5671/mms"),
        ("MMS_REDIS_URL", "rediss://worker:new@redis:6379/1"),
        ("MMS_REDIS_URL", "rediss://worker:new@redis:6380/0"),
        ("MMS_REDIS_URL", "redis://worker:new@redis:6379/0"),
    ],
)
def test_a_login_for_another_place_waits_for_the_next_start(logins: Logins, setting: str, url: str) -> None:
    """What is remembered, and what is taken, must not change its place under a worker."""
    unchanged = {"MMS_AMQP_URL": AMQP, "MMS_REDIS_URL": REDIS}
    assert logins.renew(unchanged | {setting: url}) == unchanged.keys() - {setting}
    assert (logins.amqp_url, logins.redis.get_credentials()) == (AMQP, ("worker", "old"))


@pytest.mark.parametrize(
    ("url", "credentials"),
    [("redis://redis/0", ()), ("redis://:only@redis/0", ("only",)), ("redis://user:word@redis/0", ("user", "word"))],
)
def test_a_login_is_what_follows_auth(url: str, credentials: tuple[str, ...]) -> None:
    assert Logins(AMQP, url).redis.get_credentials() == credentials
    assert "word" not in repr(Logins(AMQP, url))


def test_no_login_and_one_differ_in_the_login() -> None:
    assert differ_in_login("redis://redis/0", "redis://:new@redis/0")
    assert not differ_in_login(REDIS, REDIS)
