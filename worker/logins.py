"""The logins in force at the broker and at Redis: a reload may renew them, and each new connection asks for them.

Only a user and a password are renewed: whoever changes hosts under a running worker would have it use two journals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from worker.adapters import logs
from worker.adapters.redis_connection import RedisLogin, login_in


@dataclass(slots=True)
class Logins:
    """Addresses with users and passwords in them; ``redis`` is asked by its client."""

    amqp_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    redis: RedisLogin = field(init=False)

    def __post_init__(self) -> None:
        self.redis = login_in(self.redis_url)

    def renew(self, urls: Mapping[str, str]) -> frozenset[str]:
        """Take over what differs in user and password only, from the addresses by setting.

        Returns the settings whose addresses are in force now. Those that differ in more are left as they were.
        """
        amqp_url, redis_url = urls["MMS_AMQP_URL"], urls["MMS_REDIS_URL"]
        if differ_in_login(self.amqp_url, amqp_url):
            self.amqp_url = amqp_url
            logs.login_renewed("MMS_AMQP_URL")
        if differ_in_login(self.redis_url, redis_url):
            self.redis_url = redis_url
            login = login_in(redis_url)
            self.redis.user, self.redis.password = login.user, login.password
            logs.login_renewed("MMS_REDIS_URL")
        in_force = {"MMS_AMQP_URL": self.amqp_url, "MMS_REDIS_URL": self.redis_url}
        return frozenset(name for name, url in urls.items() if in_force[name] == url)


def differ_in_login(one: str, other: str) -> bool:
    """Whether the two addresses differ, and in nothing but user and password."""
    return one != other and _without_login(one) == _without_login(other)


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
