"""Logs: one line per notable happening, as JSON or for a terminal. Never a phone number, a secret or a URL."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Mapping
from typing import Literal

import structlog

from worker.core.accounts import AccountsChange
from worker.core.quoting import without_numbers
from worker.core.settlement import End
from worker.flow.observations import (
    AccountLeft,
    AccountNotConsumed,
    AccountNotStarted,
    AccountResumed,
    AccountsChanged,
    AccountSuspended,
    BalanceSeen,
    BrokerBlocked,
    BrokerConnected,
    BrokerLost,
    CallbackAnswered,
    CallbackResult,
    CallFinished,
    DoubtResolved,
    DoubtsCounted,
    DoubtsWalked,
    DrainEnded,
    DrainStarted,
    DuplicateSendDetected,
    JobFinished,
    JobReceived,
    JobRequeued,
    LimiterAnswered,
    Observation,
    Published,
    ReloadApplied,
    ReloadRefused,
    RepliesPolled,
    ReplyRepeated,
    ReplyTold,
    ReportPutAside,
    ReportRepeated,
    ReportTold,
    SlotTaken,
    Surprise,
    Suspected,
    SuspectNoted,
)


def silence_libraries() -> None:
    """Keep the libraries' own words off the terminal: what matters in them reaches us as values and exceptions."""
    logging.basicConfig(handlers=[logging.NullHandler()], force=True)


def started(*, version: str, accounts: Mapping[str, float], admin: str, **more: str) -> None:
    """Say what has started; ``accounts``: calls per second by name."""
    structlog.get_logger().info("started", version=version, accounts=dict(accounts), admin=admin, **more)


def login_renewed(setting: str) -> None:
    """Say whose user or password a reload has renewed. Nobody has to read it."""
    with contextlib.suppress(OSError, ValueError):
        structlog.get_logger().info("login_renewed", setting=setting, counts_from="the next connection")


def closing_cut_short(what: str) -> None:
    """Say what did not close in time when the process ended. Nobody has to read it."""
    with contextlib.suppress(OSError, ValueError):
        structlog.get_logger().warning("closing_cut_short", what=what)


def configure(*, level: str, style: Literal["json", "console"]) -> None:
    """Set up logging for the process, on standard error."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    console = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    last = structlog.processors.JSONRenderer() if style == "json" else console
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(level.upper()),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )


_PLACE = re.compile(r"\d[\d,]*")
_METRICS_ONLY = (
    JobReceived,
    Suspected,
    CallFinished,
    SlotTaken,
    Published,
    DoubtsCounted,
    ReportTold,
    ReportRepeated,
    ReportPutAside,
    ReplyTold,
    ReplyRepeated,
)


class LogObserver:
    """Writes the observations that a person wants to read; the many others are metrics only."""

    def __init__(self) -> None:
        self._log = structlog.get_logger().bind()
        self._is_limiter_away = False
        self._lowered: set[str] = set()
        #: Accounts whose callbacks are not taken; what was told last of malformed ones, and why no replies are polled.
        self._not_taken: set[str | None] = set()
        self._malformed: dict[str | None, str] = {}
        self._not_polled: dict[str, str] = {}
        self._low_balances: set[str] = set()
        self._suspects_not_noted: str | None = None

    def observe(self, seen: Observation) -> None:  # noqa: C901, PLR0912, PLR0915 - one case per kind of line
        """Take in what the flow tells."""
        log = self._log
        if isinstance(seen, _METRICS_ONLY):
            return
        match seen:
            case JobFinished(end=End.DEAD | End.IN_DOUBT | End.REFUSED):
                log.warning("job_ended", **_of_job(seen), why=seen.why)
            case JobFinished():
                log.debug("job_ended", **_of_job(seen))
            case JobRequeued(account, reason, delay_s, job_id, why):
                log.info("job_requeued", account=account, job_id=job_id, reason=reason.value, delay_s=delay_s, why=why)
            case DuplicateSendDetected(account, job_id):
                log.error("duplicate_send_detected", account=account, job_id=job_id)
            case DoubtResolved(account, resolved_as, job_id):
                log.warning("in_doubt_resolved", account=account, job_id=job_id, resolution=resolved_as.value)
            case DoubtsWalked(looked_at, done, why) if done or why:
                log.info("in_doubt_walked", looked_at=looked_at, done=dict(done), ended_early_because=why)
            case SuspectNoted(account, why):
                self._suspect_noted(account, why)
            case LimiterAnswered():
                self._limiter_answered(seen)
            case AccountSuspended(account, because, description):
                said = without_numbers(description)  # the API's own words: siblings of it list numbers there
                log.error("account_suspended", account=account, reason=because.value, description=said)
            case AccountResumed(account, because):
                log.info("account_resumed", account=account, reason=because.value)
            case AccountNotStarted(account, why):
                log.error("account_not_started", account=account, why=why)
            case AccountNotConsumed(account, None):
                log.info("account_consumed_again", account=account)
            case AccountNotConsumed(account, why):
                log.error("account_not_consumed", account=account, why=why, so="it is tried again")
            case AccountLeft(account):
                self._lowered.discard(account)
                log.info("account_left", account=account)
            case AccountsChanged(change):
                log.info("accounts_changed", **_names(change))
            case ReloadApplied(at_next_start=(_, *_) as names):
                log.warning("settings_changed", settings=list(names), takes_effect="at the next start")
            case ReloadRefused(problems):
                log.error("reload_refused", problems=list(problems), so="nothing changed")
            case BrokerConnected(role):
                log.info("broker_connected", role=role.value)
            case BrokerLost(role, why):
                log.warning("broker_lost", role=role.value, why=why)
            case BrokerBlocked(role, is_blocked):
                log.warning("broker_blocked" if is_blocked else "broker_unblocked", role=role.value)
            case CallbackAnswered():
                self._callback_answered(seen)
            case RepliesPolled(account, seen_now, why):
                self._replies_polled(account, seen_now, why)
            case BalanceSeen(account, balance, is_low):
                self._balance_seen(account, balance, is_low=is_low)
            case DrainStarted(in_flight):
                log.info("drain_started", calls_under_way=in_flight)
            case DrainEnded(duration_s, aborted, untold):
                log.info("drain_ended", duration_s=round(duration_s, 3), calls_broken_off=aborted, jobs_untold=untold)
            case Surprise(where, error):
                log.error("surprise", where=where, exc_info=error)
            case _:
                pass

    def _suspect_noted(self, account: str, why: str | None) -> None:
        """It is tried again several times a second; what is said of one account holds for all."""
        if why is not None and why != self._suspects_not_noted:
            self._log.warning("suspect_not_noted", account=account, why=why, so="it is not read, and tried again")
        elif why is None and self._suspects_not_noted is not None:
            self._log.info("suspects_noted_again")
        self._suspects_not_noted = why

    def _callback_answered(self, seen: CallbackAnswered) -> None:
        """What a flood of callbacks can bring about is told at debug level, or when it begins and ends."""
        account, result, why = seen.account, seen.result, seen.why
        match result:
            case CallbackResult.NOT_TAKEN if account not in self._not_taken:
                self._not_taken.add(account)
                self._log.warning("callbacks_not_taken", account=account, why=why, so="the vendor repeats them")
            case CallbackResult.TAKEN if account in self._not_taken:
                self._not_taken.discard(account)
                self._log.info("callbacks_taken_again", account=account)
            case CallbackResult.MALFORMED if self._malformed.get(account) != (kind := _wherever(why)):
                self._malformed[account] = kind
                self._log.warning("callback_malformed", account=account, why=why)
            case CallbackResult.TAKEN:
                pass
            case _:
                self._log.debug("callback_refused", account=account, result=result.value, why=why)

    def _replies_polled(self, account: str, seen: int, why: str | None) -> None:
        if why is None:
            if self._not_polled.pop(account, None) is not None:
                self._log.info("replies_polled_again", account=account)
            self._log.debug("replies_polled", account=account, replies=seen)
        elif self._not_polled.get(account) != why:
            self._not_polled[account] = why
            self._log.warning("replies_not_polled", account=account, why=why)

    def _balance_seen(self, account: str, balance: float, *, is_low: bool) -> None:
        if is_low is (account in self._low_balances):
            return
        (self._low_balances.add if is_low else self._low_balances.discard)(account)
        if is_low:
            self._log.warning("balance_low", account=account, balance=balance)
        else:
            self._log.info("balance_restored", account=account, balance=balance)

    def _limiter_answered(self, seen: LimiterAnswered) -> None:
        is_away = seen.away_because is not None
        if is_away != self._is_limiter_away:
            self._is_limiter_away = is_away
            event = "sending_stopped" if is_away else "sending_resumed"
            self._log.warning(event, because="limiter", why=seen.away_because)
        if seen.state is None or seen.account is None:
            return
        is_lowered = seen.state.lowered_to_per_s is not None
        if is_lowered is not (seen.account in self._lowered):
            (self._lowered.add if is_lowered else self._lowered.discard)(seen.account)
            event = "limit_lowered" if is_lowered else "limit_restored"
            self._log.warning(
                event, account=seen.account, to_per_s=seen.state.lowered_to_per_s, because="the API answered 429"
            )


def _wherever(why: str | None) -> str:
    """The mistakes, whichever entries and characters they are at: those differ from one callback to the next."""
    return _PLACE.sub("", why or "")


def _of_job(seen: JobFinished) -> dict[str, object]:
    return {"end": seen.end.value, "account": seen.account, "job_id": seen.job_id, "attempts": seen.attempts}


def _names(change: AccountsChange) -> dict[str, list[str]]:
    return {
        "added": [account.name for account in change.added],
        "removed": list(change.removed),
        "changed": [changed.account.name for changed in change.changed],
    }
