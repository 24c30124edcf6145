"""Connecting to Redis: every answer has a limit, and failures are told in words for a person."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import Connection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from worker.adapters.tls import tls_at, tls_fault
from worker.flow.ports import CannotStart

#: What the client raises when Redis, or the way to it, fails. ``RuntimeError`` is uvloop's word for a connection that
#: was reset before the client came to write.
REDIS_FAILURES = (RedisError, OSError, TimeoutError, RuntimeError)
#: What may stand behind the '?' of an address: files with whom to trust, what to show, and the key to that.
REDIS_TLS_PARAMETERS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_PACKER = HiredisRespSerializer()


def words_for(error: BaseException) -> str:
    """What a failure says."""
    return f"{type(error).__name__}: {error}"


@dataclass(slots=True)
class RedisLogin(CredentialProvider):
    """The user and the password in force: each new connection asks. Empty: as nobody, or with a password alone."""

    user: str = ""
    password: str = field(default="", repr=False)

    def get_credentials(self) -> tuple[str, str] | tuple[str]:
        """What follows ``AUTH``; without a password nothing is asked for, and this is empty all the same."""
        if not self.password:
            return ()  # type: ignore[return-value]  # the client looks whether there is anything
        return (self.user, self.password) if self.user else (self.password,)

    async def get_credentials_async(self) -> tuple[str, str] | tuple[str]:
        """The same."""
        return self.get_credentials()


class _PlainConnection(Connection):
    """Commands are packed in C, as the client that blocks does; in Python it costs more than all else about them."""

    def pack_command(self, *args: Any) -> list[bytes]:
        return list(_PACKER.pack(*args))


class _TlsConnection(SSLConnection):
    """TLS by a context of ours: the client's own one trusts the system as well as the file that is named."""

    def __init__(self, *, tls: ssl.SSLContext, **options: Any) -> None:
        super().__init__(**options)
        self._tls = tls

    def pack_command(self, *args: Any) -> list[bytes]:
        return list(_PACKER.pack(*args))

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {"host": self.host, "port": self.port, "ssl": self._tls}


def login_in(url: str) -> RedisLogin:
    """The login that stands in an address."""
    options = parse_url(url)
    return RedisLogin(options.get("username") or "", options.get("password") or "")


def redis_client(
    url: str, *, timeout_s: float, tls: ssl.SSLContext | None = None, login: RedisLogin | None = None
) -> Redis:
    """A client that gives up after ``timeout_s``; it connects when it is first used.

    ``tls``: for rediss, whom to trust; without it, whom ``url`` names, or the system. ``login`` counts instead of that
    in ``url``, as it is when a connection begins.
    """
    options: dict[str, Any] = dict(parse_url(url))
    for name in ("username", "password", *REDIS_TLS_PARAMETERS):
        options.pop(name, None)
    if options.get("connection_class") is SSLConnection:
        options |= {"connection_class": _TlsConnection, "tls": tls or tls_at(url, REDIS_TLS_PARAMETERS)}
    elif "connection_class" not in options:
        options["connection_class"] = _PlainConnection
    return Redis.from_pool(
        ConnectionPool(
            **options,
            credential_provider=login or login_in(url),
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            # Once more, for a connection that went stale while idle; further tries are the flow's to make.
            retry=Retry(NoBackoff(), 1),
            # What a worker's user in Redis is not permitted, and nobody needs.
            driver_info=None,
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
    )


async def forgets_because(redis: Redis) -> list[str]:
    """What in its configuration makes Redis forget, in words for a person. Raises what ``REDIS_FAILURES`` names."""
    persistence, memory = await redis.info("persistence"), await redis.info("memory")
    problems = []
    if not persistence.get("aof_enabled"):
        problems.append("it is not append-only (set appendonly yes)")
    policy = str(memory.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        problems.append(f"it evicts (maxmemory-policy is {policy}, set noeviction)")
    return problems


async def require_redis(redis: Redis) -> None:
    """Return when Redis answers; ``CannotStart`` says in a sentence why it does not."""
    try:
        await redis.ping()
    except AuthenticationError as error:
        raise CannotStart(f"Redis refused the login ({error}): check user and password in MMS_REDIS_URL.") from error
    except NoPermissionError as error:
        raise CannotStart(
            f"Redis does not permit what is needed ({error}): give the user in MMS_REDIS_URL the rights that stand in "
            "deploy/redis/users.acl."
        ) from error
    except REDIS_FAILURES as error:
        if fault := tls_fault(error, url="MMS_REDIS_URL", ca_file="MMS_REDIS_CA_FILE"):
            raise CannotStart(f"Redis cannot be trusted: {fault}.") from error
        raise CannotStart(
            f"Redis cannot be reached or used ({error}): check MMS_REDIS_URL, and that Redis runs."
        ) from error
