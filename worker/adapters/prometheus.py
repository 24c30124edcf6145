"""The observer that feeds the metrics (which there are: ``prometheus_series.py``)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import assert_never

from worker.adapters.prometheus_receiving import POLLS
from worker.adapters.prometheus_series import CODES, PUBLISH_FAILURES, Does, Series
from worker.core.outcome import SuspendedBecause
from worker.core.status import AccountState
from worker.flow.observations import (
    AccountLeft,
    AccountNotConsumed,
    AccountNotStarted,
    AccountResumed,
    AccountsChanged,
    AccountServed,
    AccountSuspended,
    BacklogSeen,
    BalanceSeen,
    BrokerBlocked,
    BrokerConnected,
    BrokerLost,
    CallbackAnswered,
    CallFinished,
    Consuming,
    DoubtResolved,
    DoubtsCounted,
    DoubtsWalked,
    DrainEnded,
    DrainsCounted,
    DrainStarted,
    DuplicateSendDetected,
    DuplicateSuppressed,
    HeldJobsCounted,
    JobFinished,
    JobReceived,
    JobRequeued,
    JobTimed,
    JournalAnswered,
    LimiterAnswered,
    Observation,
    Operation,
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


class Metrics(Series):
    """The metrics of one process. ``observe`` is the observer to hand to the flow."""

    def __init__(
        self,
        *,
        accounts: Mapping[str, float],
        version: str,
        calls_max: int,
        does: Does = Does.SEND,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``accounts``: the configured limit (calls per second) by name, of those that are there at the start."""
        super().__init__(version=version, does=does, monotonic=monotonic)
        for account, limit_per_s in accounts.items():
            self.serve(account, limit_per_s)
        self.calls_max.set(calls_max)

    def watch_stage(self, stage: str, count: Callable[[], int]) -> None:
        """Export ``count()`` as the number of jobs in ``stage``."""
        self.jobs_in_flight.labels(stage).set_function(count)

    def watch_lacking(self, count: Callable[[], int]) -> None:
        """Export ``count()`` as the number of accounts that are wanted and not started."""
        self.accounts_not_started.set_function(count)

    def observe(self, seen: Observation) -> None:  # noqa: C901, PLR0912, PLR0915 - one line per kind of observation
        """Take in what the flow tells."""
        match seen:
            # Those that come with each job are first: a case costs what those before it cost.
            case JobReceived(account, redelivered):
                self.of(self.jobs_received, account, "true" if redelivered else "false").inc()
            case SlotTaken(account, waited_s, late_s, slot_wait_s):
                self.of(self.job_queue_wait, account).observe(waited_s)
                self.of(self.ratelimit_wait, account).observe(slot_wait_s)
                self.slot_late.observe(late_s)
            case CallFinished():
                self._call_finished(seen)
            case Published(duration_s, failure):
                self.publish_duration.observe(duration_s)
                if failure is not None:
                    self.of(self.publish_failures, failure if failure in PUBLISH_FAILURES else "other").inc()
            case JobFinished():
                self._job_finished(seen)
            case JournalAnswered(duration_s, away_because):
                self.journal_duration.observe(duration_s)
                if away_because is not None:
                    self.journal_failures.inc()
            case Suspected(account):
                self.of(self.jobs_suspected, account).inc()
            case DuplicateSuppressed(account, source):
                self.of(self.duplicates_suppressed, account, source).inc()
            case DuplicateSendDetected(account):
                self.of(self.duplicate_sends, account).inc()
            case DoubtsCounted(account, jobs, oldest_s):
                if self.is_served(account):  # it may have left since it was asked about
                    self.in_doubt_jobs.set(jobs, account)
                    self.in_doubt_oldest.set(oldest_s, account)
            case DoubtResolved(account, resolved_as):
                self.of(self.in_doubt_resolved, account, resolved_as).inc()
            case JobTimed(account, lane, overdue_s):
                self.of(self.job_overdue, account, lane).observe(overdue_s)
            case BacklogSeen():
                self._backlog_seen(seen)
            case HeldJobsCounted(dead, unroutable):
                self.dead_letters.set(dead)
                self.unroutable_jobs.set(unroutable)
            case DrainsCounted(by_result):
                for result, count in by_result.items():
                    self.drains.set(count, result)
            case JobRequeued(account, reason):
                self.of(self.jobs_requeued, account, reason).inc()
            case LimiterAnswered():
                self._limiter_answered(seen)
            case AccountSuspended(account, because):
                self.of(self.account_suspended, account, because).set(1)
            case AccountResumed(account):
                for because in SuspendedBecause:
                    self.of(self.account_suspended, account, because).set(0)
            case AccountServed(account, limit_per_s):
                self.serve(account, limit_per_s)
            case AccountLeft(account):
                self.forget(account)
            case AccountNotStarted() | AccountNotConsumed() | AccountsChanged() | DoubtsWalked() | SuspectNoted():
                pass
            case ReloadApplied():
                self.of(self.reloads, "applied").inc()
            case ReloadRefused():
                self.of(self.reloads, "refused").inc()
            case BrokerConnected(role):
                self.of(self.broker_connected, role).set(1)
            case BrokerLost(role):
                self.of(self.broker_connected, role).set(0)
                self.of(self.broker_losses, role).inc()
            case BrokerBlocked(role, is_blocked):
                self.of(self.broker_blocked, role).set(is_blocked)
            case Consuming(queue, is_active):
                self.of(self.consumer_active, queue).set(is_active)
            case DrainStarted():
                self.draining.set(1)
            case DrainEnded():
                self.draining.set(0)
            case ReportTold():
                self._report_told(seen)
            case ReportRepeated(account):
                self.of(self.reports_repeated, account).inc()
            case ReportPutAside(account):
                self.of(self.reports_put_aside, account).inc()
            case ReplyTold(account, way):
                self.of(self.replies, account, way).inc()
            case ReplyRepeated(account, way):
                self.of(self.replies_repeated, account, way).inc()
            case CallbackAnswered(result, account, duration_s):
                self.of(self.callback_requests, result).inc()
                if account is not None:
                    self.callback_duration.observe(duration_s)
            case RepliesPolled(account, replies, why):
                self.of(self.reply_polls, account, POLLS[why is not None]).inc()
                self.of(self.replies_polled, account).inc(replies)
            case BalanceSeen(account, balance, is_low):
                if self.is_served(account):  # it may have left since it was asked about
                    self.of(self.balance, account).set(balance)
                    self.of(self.balance_low, account).set(is_low)
            case Surprise():
                self.surprises.inc()
            case _:
                assert_never(seen)

    def _limiter_answered(self, seen: LimiterAnswered) -> None:
        self.limiter_duration.observe(seen.duration_s)
        self.of(self.limiter_mode, "shared").set(seen.away_because is None)
        self.of(self.limiter_mode, "stopped").set(seen.away_because is not None)
        # What a receiver hears of the pace, once in a while, would be old for most of the time.
        if (state := seen.state) is not None and seen.account is not None and self.sends:
            self.of(self.ratelimit_pace, seen.account).set(state.pace_per_s)
            self.of(self.ratelimit_guard, seen.account).set(state.guard_s)
            self.of(self.ratelimit_rolling_max, seen.account).set(state.worst_second)
            self.closed_until_s[seen.account] = self._monotonic() + state.closed_for_s
            self.of(self.ratelimit_lowered, seen.account).set(state.lowered_to_per_s is not None)

    def _backlog_seen(self, seen: BacklogSeen) -> None:
        if not self.is_served(seen.account):  # it may have left since it was looked at
            return
        for lane, jobs in seen.jobs.items():
            self.backlog_jobs.set(jobs, seen.account, lane)
        self.backlog_drain.set(seen.drain_s, seen.account)
        # Also what a worker would not hear of that has nothing to send.
        if seen.pace_per_s is not None:
            self.of(self.ratelimit_pace, seen.account).set(seen.pace_per_s)
        if seen.worst_second is not None:
            self.of(self.ratelimit_rolling_max, seen.account).set(seen.worst_second)
        if seen.state in (AccountState.OPEN, AccountState.LOWERED):
            self.of(self.ratelimit_lowered, seen.account).set(seen.state is AccountState.LOWERED)

    def _job_finished(self, seen: JobFinished) -> None:
        self.of(self.jobs_finished, seen.account, seen.end).inc()
        self.job_attempts.observe(seen.attempts)
        if seen.end_to_end_s is not None:
            self.of(self.job_end_to_end, seen.account, seen.end).observe(seen.end_to_end_s)
        if seen.recipients_sent:
            self.of(self.recipients, seen.account, "sent").inc(seen.recipients_sent)
            self.of(self.last_sent, seen.account).set_to_current_time()
        if seen.recipients_refused:
            self.of(self.recipients, seen.account, "refused").inc(seen.recipients_refused)

    def _report_told(self, seen: ReportTold) -> None:
        self.of(self.reports, seen.account, seen.status).inc()
        if seen.delay_s is not None:
            self.report_delay.observe(seen.delay_s)
        if not seen.is_of_known_job:
            self.of(self.reports_of_nobody, seen.account).inc()

    def _call_finished(self, seen: CallFinished) -> None:
        self.of(self.api_requests, seen.account, seen.operation, seen.result).inc()
        self.of(self.api_duration, seen.operation).observe(seen.duration_s)
        if seen.code:
            self.of(self.api_refusals, seen.account, seen.code if seen.code in CODES else "other").inc()
        if seen.operation is Operation.SEND:
            self.recipients_per_call.observe(seen.recipients)
            self.jobs_per_call.observe(seen.jobs)
        if seen.low_balance:
            self.of(self.low_balance, seen.account).inc()
