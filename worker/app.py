"""The composition root: builds everything by keyword, and runs it.

Only this module, ``parts.py`` and the commands know adapters and settings.
"""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
import time
from collections.abc import Callable, Sequence

from redis.asyncio import Redis

from worker.adapters import logs as logs_adapter
from worker.adapters.admin_http import AdminServer
from worker.adapters.failpoint import KillAt, KillOver
from worker.adapters.logs import LogObserver
from worker.adapters.media import MediaFetcher
from worker.adapters.prometheus import Metrics
from worker.adapters.rabbitmq import RabbitBroker
from worker.adapters.redis_backlog import RedisBacklogStore
from worker.adapters.redis_journal import RedisJournal
from worker.adapters.redis_limiter import RedisLimiter
from worker.adapters.redis_presence import Presence
from worker.adapters.redis_sendings import RedisSendings
from worker.adapters.redis_suspects import RedisSuspects
from worker.adapters.tls import trusting
from worker.closing import ClosingStack
from worker.core.accounts import Account
from worker.core.job import decode
from worker.core.steps import Failpoint, Passed, Poison, unwatched
from worker.core.topology import for_sending
from worker.flow.account import AccountSender, SendLimits
from worker.flow.backlog_watch import BacklogWatch
from worker.flow.doubt_watch import DoubtWatch
from worker.flow.drain import DrainLimits
from worker.flow.held import HeldBytes
from worker.flow.limiter_watch import LimiterWatch
from worker.flow.observations import Observation, Observer, Surprise
from worker.flow.pipeline import Pipeline, Read, Rules, utc_now
from worker.flow.quarantine import Quarantine
from worker.flow.reloads import Reloads, Unusable, Wanted
from worker.flow.remembrance import Remembrance
from worker.flow.roster import Roster
from worker.flow.runner import Stop, run
from worker.flow.tasks import Tasks, before
from worker.logins import Logins
from worker.parts import (
    accounts_of,
    broker_address,
    build_api,
    build_doubt_keeper,
    build_groups,
    build_journal,
    build_sendings,
    logins_of,
    open_redis,
    process_name,
    worker_version,
)
from worker.settings import Settings, SettingsProblems, changed_settings, load

#: Telling what became of broken-off calls takes this long at most, after the drain's limit; see ``runner``.
TELL_S_MAX = 5.0
LOOP_LAG_LOOK_S = 0.5
OLDEST_LOOK_S = 5.0
#: New objects between two collections: a job makes some hundred, nearly all of which die without the collector.
GC_THRESHOLD = 20_000


async def run_worker(settings: Settings) -> int:
    """Run the sending worker until it is told to stop; returns the exit code. Raises ``CannotStart``."""
    stop, reload_asked = Stop(), asyncio.Event()
    hear_signals(stop, reload_asked)
    accounts = accounts_of(settings, settings.accounts)
    limit_per_s = {account.name: account.limit_per_s for account in accounts}
    metrics = Metrics(
        accounts=limit_per_s,
        version=worker_version(),
        calls_max=settings.calls_max,
    )
    logs = LogObserver()
    passed, read = set_failpoint(settings.failpoint)

    async with ClosingStack(cut_short=logs_adapter.closing_cut_short) as stack:
        logins = logins_of(settings)
        redis = await open_redis(settings, stack, logins)
        limiter = RedisLimiter(redis=redis, limit_per_s=limit_per_s, monotonic=time.monotonic)
        limiter_watch = LimiterWatch(
            away_because=limiter.away_because, observe=observer_of(metrics, logs.observe), monotonic=time.monotonic
        )
        # Who is made later, and watches all the same.
        also: list[Observer] = []
        observe = observer_of(metrics, logs.observe, limiter_watch.note, later=also)
        address = broker_address(settings, logins)
        broker = RabbitBroker(
            address=address,
            topology=for_sending(account.name for account in accounts),
            prefetch=settings.prefetch,
            publish_timeout_s=settings.publish_timeout_s,
            observe=observe,
            monotonic=time.monotonic,
            on_failure=stop.fail,
        )
        journal, sendings = await open_memory(settings, redis, stack, observe=observe, on_failure=stop.fail)
        process = secrets.token_hex(6)
        api = build_api(settings, passed=passed)
        stack.closes(api.aclose)
        media = MediaFetcher(
            allowed=settings.media_hosts_allowed,
            ssl_context=trusting(settings.media_ca_file),
            monotonic=time.monotonic,
        )
        stack.closes(media.aclose)
        pipeline = Pipeline(
            broker=broker,
            api=api,
            media=media,
            journal=journal,
            sendings=sendings,
            process=process,
            rules=Rules(region=settings.region, attempts_max=settings.attempts_max),
            observe=observe,
            monotonic=time.monotonic,
            wall_clock=utc_now,
            passed=passed,
            read=read,
        )
        held = HeldBytes(settings.held_bytes_max)
        suspects = RedisSuspects(redis=redis, on_failure=stop.fail)
        stack.closes(suspects.close)
        quarantine = Quarantine(
            suspects=suspects, is_ours=broker.is_ours, wait_s_max=settings.hold_s_max, observe=observe
        )

        def make_sender(account: Account) -> AccountSender:
            return AccountSender(
                account=account.name,
                limits=SendLimits(
                    recipients_max=settings.recipients_per_call_max,
                    calls_max=settings.calls_max,
                    prefetch=account.prefetch,
                    hold_s_max=settings.hold_s_max,
                ),
                held=held,
                quarantine=quarantine,
                pipeline=pipeline,
                broker=broker,
                limiter=limiter,
                monotonic=time.monotonic,
                observe=observe,
                on_failure=stop.fail,
                passed=passed,
            )

        drain_limits = DrainLimits(finish_s=settings.drain_s_max, tell_s=TELL_S_MAX)
        roster = Roster(
            make_sender=make_sender,
            broker=broker,
            limiter=limiter,
            api=api,
            remembrance=Remembrance(broker=broker, journal=journal),
            limits=drain_limits,
            observe=observe,
            on_failure=stop.fail,
        )
        reloads = Reloads(
            roster=roster,
            accounts=accounts,
            # In a thread: with many accounts many files are read, and calls must not miss their slots for it.
            load=lambda: asyncio.to_thread(lambda: wanted(settings, load(os.environ), logins)),
            asked=reload_asked,
            observe=observe,
        )
        watch_roster(metrics, roster)
        admin = AdminServer(
            host=settings.admin_host,
            port=settings.admin_port,
            registry=metrics.registry,
            not_ready_because=lambda: not_ready_because(broker, limiter_watch, stop),
        )
        await admin.start()
        stack.closes(admin.close)
        stack.closes(broker.close)
        if not await before(stop.drain, broker.start()):
            return 0
        background = Tasks(stop.fail)
        stack.closes(background.cancel)
        presence, backlog_watch = presence_and_backlog(
            redis, broker, roster, observe=observer_of(metrics, logs.observe)
        )
        also.extend((presence.note, backlog_watch.note))
        stack.closes(presence.leave)
        keeper = build_doubt_keeper(
            settings, redis, address=address, journal=journal, roster=roster, process=process, observe=observe
        )
        doubt_watch = DoubtWatch(
            journal=journal, accounts=lambda: [account.name for account in roster.accounts], observe=observe
        )
        for watching in (
            watch_loop_lag(metrics),
            watch_oldest_in_hand(metrics, broker),
            limiter.listen(),
            limiter_watch.keep_looking(),
            presence.keep_telling(),
            backlog_watch.keep_looking(),
            doubt_watch.keep_looking(),
            keeper.keep(),
        ):
            background.start(watching)
        logs_adapter.started(
            version=worker_version(),
            accounts=limit_per_s,
            admin=f"{settings.admin_host}:{admin.port}",
        )
        # What lives for the whole run is not looked through again and again: shorter pauses, steadier slots.
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        return await run(
            roster,
            reloads.serve(),
            stop=stop,
            limits=drain_limits,
            observe=observe,
            monotonic=time.monotonic,
        )


async def open_memory(
    settings: Settings,
    redis: Redis,
    stack: ClosingStack,
    *,
    observe: Observer,
    on_failure: Callable[[BaseException], None],
) -> tuple[RedisJournal, RedisSendings]:
    """What is remembered of jobs and of messages: asked together, and ready before the first slot."""
    groups = build_groups(redis, observe=observe, on_failure=on_failure)
    stack.closes(groups.close)
    journal = build_journal(settings, groups, on_failure=on_failure)
    stack.closes(journal.close)
    await journal.warm_up()
    return journal, build_sendings(settings, groups)


def hear_signals(stop: Stop, reload_asked: asyncio.Event) -> None:
    """SIGTERM and SIGINT stop, SIGHUP reloads."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.signal)
    loop.add_signal_handler(signal.SIGHUP, reload_asked.set)


def presence_and_backlog(
    redis: Redis, broker: RabbitBroker, roster: Roster, *, observe: Observer
) -> tuple[Presence, BacklogWatch]:
    """Who tells other workers what waits here, and who tells whoever watches what waits in all of them."""

    def waiting() -> dict[str, tuple[int, int]]:
        return {sender.account: sender.waiting_by_lane for sender in roster.senders}

    return Presence(redis=redis, name=process_name(), waiting=waiting), BacklogWatch(
        queues=broker,
        store=RedisBacklogStore(redis),
        accounts=lambda: roster.accounts,
        waiting=waiting,
        observe=observe,
        wall_clock=utc_now,
    )


def set_failpoint(failpoint: Failpoint | Poison | None) -> tuple[Passed, Read]:
    """Who is told of the steps, and who reads messages: in tests, somebody who ends the process there."""
    match failpoint:
        case Failpoint():
            return KillAt(failpoint), decode
        case Poison():
            return unwatched, KillOver(failpoint)
        case _:
            return unwatched, decode


def observer_of(metrics: Metrics, *others: Observer, later: Sequence[Observer] = ()) -> Observer:
    """One observer of all; ``later`` may grow.

    Whoever watches must not be able to stop what is watched: a log that nobody reads any more raises, and that
    counts as a surprise.
    """

    def observe(seen: Observation) -> None:
        metrics.observe(seen)
        for observer in (*others, *later):
            try:
                observer(seen)
            except Exception as error:  # noqa: BLE001 - see above
                metrics.observe(Surprise("log", error))

    return observe


def wanted(running: Settings, loaded: Settings | SettingsProblems, logins: Logins) -> Wanted | Unusable:
    """What is wanted of a worker that runs with ``running``, by what was ``loaded`` now.

    Logins at the broker and at Redis that have changed count from the next connection on.
    """
    if isinstance(loaded, SettingsProblems):
        return Unusable(loaded.problems)
    urls = {"MMS_AMQP_URL": loaded.amqp_url, "MMS_REDIS_URL": loaded.redis_url}
    in_force = logins.renew({name: url.get_secret_value() for name, url in urls.items()})
    changed = changed_settings(running, loaded)
    return Wanted(
        accounts_of(running, loaded.accounts), at_next_start=tuple(name for name in changed if name not in in_force)
    )


def not_ready_because(broker: RabbitBroker, limiter_watch: LimiterWatch, stop: Stop) -> str | None:
    """Why this worker takes or sends no jobs, or None."""
    if stop.drain.is_set():
        return "draining"
    if limiter_watch.away_because is not None:
        return f"Redis gives no slots ({limiter_watch.away_because})"
    return broker.not_ready_because


def watch_roster(metrics: Metrics, roster: Roster) -> None:
    """Export how many jobs are in which stage, and how many accounts are missing."""

    def total(of: Callable[[AccountSender], int]) -> Callable[[], int]:
        return lambda: sum(map(of, roster.senders))

    metrics.watch_lacking(lambda: len(roster.lacking))

    metrics.watch_stage("preparing", total(lambda sender: sender.underway.preparing))
    metrics.watch_stage("waiting", total(lambda sender: sender.waiting))
    metrics.watch_stage("calling", total(lambda sender: sender.underway.calling))
    metrics.watch_stage("settling", total(lambda sender: sender.underway.settling))


async def watch_loop_lag(metrics: Metrics) -> None:
    """Measure how late the event loop wakes a sleeper."""
    while True:
        asked_at_s = time.monotonic()
        await asyncio.sleep(LOOP_LAG_LOOK_S)
        metrics.event_loop_lag.set(max(0.0, time.monotonic() - asked_at_s - LOOP_LAG_LOOK_S))


async def watch_oldest_in_hand(metrics: Metrics, broker: RabbitBroker) -> None:
    """Tell for how long the oldest delivery has been in hand."""
    while True:
        metrics.oldest_unacked.set(broker.oldest_in_hand_s)
        await asyncio.sleep(OLDEST_LOOK_S)
