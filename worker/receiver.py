"""The composition root of ``mms-worker receive``: what is posted to us, what is asked for, and who keeps it safe."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from redis.asyncio import Redis

from worker.adapters import logs as logs_adapter
from worker.adapters.admin_http import AdminServer
from worker.adapters.failpoint import KillAt
from worker.adapters.logs import LogObserver
from worker.adapters.mms_http import MmsHttpApi
from worker.adapters.prometheus import Metrics
from worker.adapters.prometheus_series import Does
from worker.adapters.rabbitmq_events import EventPublisher
from worker.adapters.rabbitmq_waiting import RabbitWaiting
from worker.adapters.receive_http import CallbackServer
from worker.adapters.redis_limiter import RedisLimiter
from worker.adapters.redis_turn import RedisTurn
from worker.app import observer_of, wanted, watch_loop_lag
from worker.closing import ClosingStack
from worker.core.accounts import Account
from worker.core.steps import Failpoint, ReplyPassed, unwatched
from worker.core.topology import for_receiving
from worker.flow.balances import BalanceWatch
from worker.flow.callbacks import Callbacks
from worker.flow.doubt_reports import DoubtReports
from worker.flow.inquiries import Asking, Inquiries
from worker.flow.limiter_watch import LimiterWatch
from worker.flow.observations import DrainEnded, DrainStarted, Observer
from worker.flow.pipeline import utc_now
from worker.flow.questions import Questions
from worker.flow.reloads import Reloads, Unusable, Wanted
from worker.flow.replies import ReplyIntake
from worker.flow.reply_poller import ReplyPoller
from worker.flow.report_waits import ReportWaits
from worker.flow.reports import ReportIntake
from worker.flow.runner import Stop
from worker.flow.tasks import Tasks, before
from worker.logins import Logins
from worker.parts import (
    accounts_of,
    broker_address,
    build_api,
    build_groups,
    build_journal,
    build_reply_book,
    build_sendings,
    build_sweep,
    logins_of,
    open_redis,
    report_wait_s_max,
    worker_version,
)
from worker.settings import ReceiverSettings, SettingsProblems, load_receiver


async def run_receiver(settings: ReceiverSettings) -> int:
    """Run the receiver until it is told to stop; returns the exit code. Raises ``CannotStart``."""
    stop, reload_asked = Stop(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.signal)
    loop.add_signal_handler(signal.SIGHUP, reload_asked.set)
    accounts = accounts_of(settings, settings.accounts)
    limit_per_s = {account.name: account.limit_per_s for account in accounts}
    metrics = Metrics(accounts=limit_per_s, version=worker_version(), calls_max=settings.calls_max, does=Does.RECEIVE)
    logs = LogObserver()

    async with ClosingStack(cut_short=logs_adapter.closing_cut_short) as stack:
        logins = logins_of(settings)
        redis = await open_redis(settings, stack, logins)
        limiter = RedisLimiter(redis=redis, limit_per_s=limit_per_s, monotonic=time.monotonic)
        limiter_watch = LimiterWatch(
            away_because=limiter.away_because, observe=observer_of(metrics, logs.observe), monotonic=time.monotonic
        )
        observe = observer_of(metrics, logs.observe, limiter_watch.note)
        broker = _Broker.of(settings, logins, observe=observe, on_failure=stop.fail)
        process = secrets.token_hex(6)
        intakes = await _intakes(
            settings, redis, stack, publisher=broker.publisher, process=process, observe=observe, on_failure=stop.fail
        )
        api = build_api(settings)
        stack.closes(api.aclose)
        inquiries = Inquiries(
            make=lambda account: _asked_of(
                account,
                settings=settings,
                turn=RedisTurn(redis=redis, name=f"replies:{account.name}", holder=process),
                api=api,
                limiter=limiter,
                replies=intakes.replies,
                observe=observe,
            ),
            api=api,
            limiter=limiter,
            observe=observe,
            on_failure=stop.fail,
        )
        waits = ReportWaits(
            queue=broker.waiting,
            intake=intakes.reports,
            publishing=broker.publisher,
            observe=observe,
            wall_clock=utc_now,
        )
        tls = _tls(settings)
        server = CallbackServer(
            host=settings.receive_host,
            port=settings.receive_port,
            tls=tls,
            tokens=_tokens(settings),
            take=Callbacks(
                reports=intakes.reports, replies=intakes.replies, region=settings.region, observe=observe
            ).take,
            observe=observe,
            monotonic=time.monotonic,
        )
        reloads = Reloads(
            roster=inquiries,
            accounts=accounts,
            load=lambda: _reloaded(settings, server, tls, logins),
            asked=reload_asked,
            observe=observe,
        )
        admin = AdminServer(
            host=settings.admin_host,
            port=settings.admin_port,
            registry=metrics.registry,
            not_ready_because=lambda: _not_ready_because(broker, limiter_watch, stop),
        )
        await admin.start()
        stack.closes(admin.close)
        stack.closes(broker.close)
        if not await before(stop.drain, broker.start()):
            return 0
        background = Tasks(stop.fail)
        stack.closes(background.cancel)
        stack.closes(inquiries.close)
        for watching in (
            watch_loop_lag(metrics),
            limiter.listen(),
            limiter_watch.keep_looking(),
            waits.keep_taking(),
        ):
            background.start(watching)
        # Ends what it has in hand, and has a limit for that.
        stack.push_async_callback(server.close)
        await server.start()
        logs_adapter.started(
            version=worker_version(),
            accounts=limit_per_s,
            admin=f"{settings.admin_host}:{admin.port}",
            callbacks=f"{'http' if tls is None else 'https'}://{settings.receive_host}:{server.port}",
        )
        await before(stop.drain, reloads.serve())
        await stop.drain.wait()
        return await _drained(server, stop, observe)


@dataclass(frozen=True, slots=True)
class _Broker:
    """What a receiver needs of the broker, each over a connection of its own."""

    publisher: EventPublisher
    waiting: RabbitWaiting

    @classmethod
    def of(
        cls,
        settings: ReceiverSettings,
        logins: Logins,
        *,
        observe: Observer,
        on_failure: Callable[[BaseException], None],
    ) -> _Broker:
        address = broker_address(settings, logins)
        needed = for_receiving()
        return cls(
            EventPublisher(
                address=address,
                topology=needed,
                publish_timeout_s=settings.publish_timeout_s,
                observe=observe,
                monotonic=time.monotonic,
                on_failure=on_failure,
            ),
            RabbitWaiting(address=address, topology=needed, observe=observe, on_failure=on_failure),
        )

    async def start(self) -> None:
        await self.publisher.start()
        await self.waiting.start()

    async def close(self) -> None:
        await asyncio.gather(self.waiting.close(), self.publisher.close())


@dataclass(frozen=True, slots=True)
class _Intakes:
    reports: ReportIntake
    replies: ReplyIntake


async def _intakes(
    settings: ReceiverSettings,
    redis: Redis,
    stack: ClosingStack,
    *,
    publisher: EventPublisher,
    process: str,
    observe: Observer,
    on_failure: Callable[[BaseException], None],
) -> _Intakes:
    """Who takes in what the API tells. ``stack`` ends what they ask."""
    groups = build_groups(redis, observe=observe, on_failure=on_failure)
    stack.closes(groups.close)
    journal = build_journal(settings, groups, on_failure=on_failure)
    stack.closes(journal.close)
    sendings = build_sendings(settings, groups)
    await journal.warm_up()
    await sendings.warm_up()
    return _Intakes(
        ReportIntake(
            sendings=sendings,
            doubts=DoubtReports(journal=journal, sweep=build_sweep(settings, redis, process=process)),
            publishing=publisher,
            wait_s_max=report_wait_s_max(settings),
            observe=observe,
            monotonic=time.monotonic,
            wall_clock=utc_now,
        ),
        ReplyIntake(
            book=build_reply_book(settings, redis),
            sendings=sendings,
            publishing=publisher,
            observe=observe,
            monotonic=time.monotonic,
            wall_clock=utc_now,
            passed=_passed(settings),
        ),
    )


def _not_ready_because(broker: _Broker, limiter_watch: LimiterWatch, stop: Stop) -> str | None:
    """Why nothing of what is posted can be taken, or None."""
    if stop.drain.is_set():
        return "draining"
    if limiter_watch.away_because is not None:
        return f"Redis does not answer ({limiter_watch.away_because})"
    return broker.publisher.not_ready_because or broker.waiting.not_ready_because


async def _drained(server: CallbackServer, stop: Stop, observe: Observer) -> int:
    """Answer what is in hand; the exit code. What is asked for again needs no end: it is begun anew by another."""
    started_s = time.monotonic()
    observe(DrainStarted(server.in_hand))
    is_whole = await before(stop.at_once, server.close())
    observe(DrainEnded(time.monotonic() - started_s, aborted=server.in_hand, untold=0))
    if stop.failure is not None:
        raise stop.failure
    return 0 if is_whole else 1


def _asked_of(
    account: Account,
    *,
    settings: ReceiverSettings,
    turn: RedisTurn,
    api: MmsHttpApi,
    limiter: RedisLimiter,
    replies: ReplyIntake,
    observe: Observer,
) -> Iterable[Asking]:
    """What the API is asked of one account, again and again."""
    questions = Questions(account=account.name, api=api, limiter=limiter, monotonic=time.monotonic, observe=observe)
    yield BalanceWatch(questions=questions, low=settings.balance_low, observe=observe).keep_looking()
    if settings.replies_poll_s > 0:
        yield ReplyPoller(
            questions=questions,
            intake=replies,
            turn=turn,
            every_s=settings.replies_poll_s,
            region=settings.region,
            observe=observe,
            passed=_passed(settings),
        ).keep_polling()


def _passed(settings: ReceiverSettings) -> ReplyPassed:
    """Who is told of the steps: in tests, somebody who ends the process there."""
    return KillAt(settings.failpoint) if isinstance(settings.failpoint, Failpoint) else unwatched


def _tokens(settings: ReceiverSettings) -> dict[str, str]:
    return {account.name: account.callback_token.get_secret_value() for account in settings.accounts}


def _tls(settings: ReceiverSettings) -> ssl.SSLContext | None:
    """What is shown to the vendor; None when a proxy does that."""
    if settings.receive_cert_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.receive_cert_file, settings.receive_key_file)
    return context


async def _reloaded(
    running: ReceiverSettings, server: CallbackServer, tls: ssl.SSLContext | None, logins: Logins
) -> Wanted | Unusable:
    """What is wanted now. Tokens, and a certificate that was renewed, count from here on."""
    loaded = await asyncio.to_thread(load_receiver, os.environ)
    if not isinstance(loaded, SettingsProblems):
        if tls is not None and running.receive_cert_file is not None:
            # The settings have found that they fit each other, and new connections are shown it.
            tls.load_cert_chain(running.receive_cert_file, running.receive_key_file)
        server.admit(_tokens(loaded))
    return wanted(running, loaded, logins)
