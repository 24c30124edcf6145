"""The parts that the worker and the commands build alike, each from the settings alone."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from redis.asyncio import Redis

from worker.adapters.http_transport import TransportLimits
from worker.adapters.http_watched_body import WatchedBody
from worker.adapters.mms_http import MmsHttpApi
from worker.adapters.rabbitmq_connection import AMQP_TLS_PARAMETERS, BrokerAddress
from worker.adapters.rabbitmq_walk import open_walk
from worker.adapters.redis_connection import REDIS_TLS_PARAMETERS, redis_client, require_redis
from worker.adapters.redis_groups import RedisGroups
from worker.adapters.redis_journal import RedisJournal
from worker.adapters.redis_reply_book import RedisReplyBook
from worker.adapters.redis_sendings import RedisSendings
from worker.adapters.redis_turn import RedisTurn
from worker.adapters.tls import tls_at, trusting
from worker.closing import ClosingStack
from worker.core.accounts import Account, Credentials
from worker.core.doubt_rules import Deadline, DoubtRule
from worker.core.journal import JOURNAL_SLACK_S
from worker.core.sendings import NOTED_LATE_S_MAX
from worker.core.steps import Passed, unwatched
from worker.core.topology import IN_DOUBT_QUEUE
from worker.flow.doubts import DoubtKeeper
from worker.flow.observations import Observer
from worker.flow.pipeline import utc_now
from worker.flow.ports import CannotStart
from worker.flow.roster import Roster
from worker.logins import Logins
from worker.settings import AccountSettings, BrokerSettings, Settings

#: Connections opened before the first slot: enough for the calls of a second at the usual answer time.
CONNECTIONS_AHEAD_MAX = 16
#: How long the keeper of jobs in doubt goes through them at a time.
DOUBTS_WALK_S_MAX = 600.0


def worker_version() -> str:
    """The installed version, or a word for a source tree that is not installed."""
    try:
        return version("mms-worker")
    except PackageNotFoundError:
        return "source"


def accounts_of(settings: Settings, accounts: Iterable[AccountSettings]) -> tuple[Account, ...]:
    """``accounts`` as the flow knows them, in a worker that runs with ``settings``."""
    return tuple(
        Account(
            name=account.name,
            limit_per_s=account.rate_per_s,
            prefetch=settings.prefetch_for(account),
            credentials=Credentials(
                app_key=account.app_key.get_secret_value(),
                app_secret=account.app_secret.get_secret_value(),
                auth=account.auth,
            ),
            doubts=Deadline(DoubtRule(account.in_doubt_rule), account.in_doubt_after_s),
        )
        for account in accounts
    )


def build_groups(redis: Redis, *, observe: Observer, on_failure: Callable[[BaseException], None]) -> RedisGroups:
    """The way to Redis that the process's scripts share."""
    return RedisGroups(redis=redis, monotonic=time.monotonic, observe=observe, on_failure=on_failure)


def build_journal(
    settings: Settings, groups: RedisGroups, *, on_failure: Callable[[BaseException], None]
) -> RedisJournal:
    """The journal, as everybody must have it: what one takes for the claim of a worker that died, nobody may use."""
    return RedisJournal(
        groups=groups, keep_s=settings.deduplication_s, call_s_max=_call_s_max(settings), on_failure=on_failure
    )


def build_sendings(settings: Settings, groups: RedisGroups) -> RedisSendings:
    """What is remembered of messages, as workers and receivers must have it alike."""
    return RedisSendings(groups=groups, keep_s=settings.reports_s, noted_s_max=report_wait_s_max(settings))


def build_reply_book(settings: Settings, redis: Redis) -> RedisReplyBook:
    """What is remembered of replies: as long as of jobs, and no shorter than of reports, which come late as well."""
    return RedisReplyBook(redis=redis, keep_s=max(settings.deduplication_s, settings.reports_s))


def report_wait_s_max(settings: Settings) -> float:
    """How long a report of a message that nobody knows waits: until surely all is noted of a call that sent it."""
    return _call_s_max(settings) + NOTED_LATE_S_MAX


def _call_s_max(settings: Settings) -> float:
    """From the claim for a call until its outcome is on record, at most."""
    return settings.connect_timeout_s + settings.read_timeout_s + JOURNAL_SLACK_S


def build_doubt_keeper(
    settings: Settings,
    redis: Redis,
    *,
    address: BrokerAddress,
    journal: RedisJournal,
    roster: Roster,
    process: str,
    observe: Observer,
) -> DoubtKeeper:
    """The keeper of the jobs in doubt of the accounts in ``roster``; ``process``: its name among all that ever were."""
    which = _doubts_turn(settings)
    return DoubtKeeper(
        open_walk=lambda: open_walk(
            address, IN_DOUBT_QUEUE, walk_s_max=DOUBTS_WALK_S_MAX, is_order_kept_when_cancelled=False
        ),
        journal=journal,
        turn=RedisTurn(redis=redis, name=which, holder=process),
        sweep=build_sweep(settings, redis, process=process),
        deadlines=lambda: {account.name: account.doubts for account in roster.accounts},
        region=settings.region,
        observe=observe,
        monotonic=time.monotonic,
        wall_clock=utc_now,
    )


def build_sweep(settings: Settings, redis: Redis, *, process: str) -> RedisTurn:
    """The turn of the keeper of jobs in doubt that whoever resolves one frees, so that he looks soon."""
    return RedisTurn(redis=redis, name=f"{_doubts_turn(settings)}:sweep", holder=process)


def _doubts_turn(settings: Settings) -> str:
    """Workers that serve other accounts have a turn of their own."""
    names = "\n".join(sorted(account.name for account in settings.accounts))
    return f"in_doubt:{hashlib.sha256(names.encode()).hexdigest()[:16]}"


def build_api(settings: Settings, *, passed: Passed = unwatched) -> MmsHttpApi:
    """The API's client, for all accounts."""
    return MmsHttpApi(
        api_url=settings.api_url,
        credentials={account.name: account.credentials for account in accounts_of(settings, settings.accounts)},
        user_agent=f"mms-worker/{worker_version()}",
        ssl_context=trusting(settings.api_ca_file),
        limits=TransportLimits(
            # One bound: a call that may run has a connection, and so has a probe, so that nothing queues in the pool.
            connections_max=settings.calls_max + 1,
            connect_timeout_s=settings.connect_timeout_s,
            read_timeout_s=settings.read_timeout_s,
            keepalive_s=settings.api_keepalive_s,
        ),
        connections_ahead=min(settings.calls_max, CONNECTIONS_AHEAD_MAX),
        make_body=bytes if passed is unwatched else partial(WatchedBody, passed=passed),
    )


def process_name() -> str:
    """How this process is told from others."""
    return f"{socket.gethostname()} {os.getpid()}"


def logins_of(settings: Settings) -> Logins:
    """The logins to begin with."""
    return Logins(settings.amqp_url.get_secret_value(), settings.redis_url.get_secret_value())


def broker_address(settings: BrokerSettings, logins: Logins | None = None, *, name: str | None = None) -> BrokerAddress:
    """Where the broker is, and how this process is named there. ``CannotStart`` says why there can be no TLS.

    With ``logins`` each connection has the login that they hold then.
    """
    url = settings.amqp_url.get_secret_value()
    return BrokerAddress(
        url=url,
        name=name or f"mms-worker {process_name()}",
        timeout_s=settings.publish_timeout_s,
        tls=_tls("MMS_AMQP_URL", lambda: tls_at(url, AMQP_TLS_PARAMETERS, settings.amqp_ca_file)),
        url_now=None if logins is None else lambda: logins.amqp_url,
    )


def build_redis(settings: Settings, logins: Logins | None = None) -> Redis:
    """The client of Redis, not connected yet. ``logins`` and ``CannotStart`` as above."""
    url = settings.redis_url.get_secret_value()
    return redis_client(
        url,
        timeout_s=settings.redis_timeout_s,
        tls=_tls("MMS_REDIS_URL", lambda: tls_at(url, REDIS_TLS_PARAMETERS, settings.redis_ca_file)),
        login=None if logins is None else logins.redis,
    )


async def open_redis(settings: Settings, stack: ClosingStack, logins: Logins | None = None) -> Redis:
    """Connect to Redis; ``CannotStart`` says in a sentence why not. ``stack`` closes it."""
    redis = build_redis(settings, logins)
    stack.closes(redis.aclose)
    await require_redis(redis)
    return redis


def _tls(setting: str, make: Callable[[], ssl.SSLContext | None]) -> ssl.SSLContext | None:
    """What ``make`` makes of an address. The file of a setting of its own was looked at with the settings."""
    try:
        return make()
    except OSError as error:
        why = "no readable certificate or key" if isinstance(error, ssl.SSLError) else error.strerror
        raise CannotStart(
            f"A file that is named behind the '?' of {setting} cannot be used ({why}): name PEM files there."
        ) from error
