"""Every metric that the worker and the receiver export, in one place.

Labels are closed sets, created at 0 on start, or when the account comes; never a phone number, an id, a URL or an
error's text. Both processes declare all of them, and each has the series of what it does.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from functools import partial

from prometheus_client import Counter, Gauge, Histogram, Info
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

from worker.adapters.prometheus_receiving import ReceivingSeries
from worker.core.delivery import Lane
from worker.core.events import ResolvedAs
from worker.core.outcome import ALL_NOT_LISTED, REFUSAL_CODES, SuspendedBecause
from worker.core.settlement import End, RequeueReason
from worker.core.topology import REPORTS_QUEUE, jobs_queue
from worker.flow.observations import CallResult, DuplicateSource, Operation, Role

_CALL_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30)
_STORE_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 2)
_WAIT_S = (0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 1800, 3600, 14400)
#: 60 is the service level: see deploy/prometheus/rules/recording.yaml.
_OVERDUE_S = (1, 5, 15, 60, 300, 900, 3600)
_RECIPIENTS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)
_ATTEMPTS = (1, 2, 3, 4, 5, 6, 8)
#: The API's own words for "never"; others count as "other".
CODES = (*sorted(REFUSAL_CODES | {ALL_NOT_LISTED}), "other")
PUBLISH_FAILURES = ("not connected", "connection lost", "unroutable", "other")
_SENDING = (Operation.SEND, Operation.ACCOUNT)
_ASKING = (Operation.ACCOUNT, Operation.REPLIES, Operation.MARK_READ)


class Does(enum.Enum):
    """What a process does, and so which series it has."""

    SEND = enum.auto()
    RECEIVE = enum.auto()


class Series(ReceivingSeries):
    """The registry of one process, and what is in it."""

    def __init__(self, *, version: str, does: Does, monotonic: Callable[[], float]) -> None:
        super().__init__(monotonic)
        self._does = does
        self._accounts: set[str] = set()
        #: Until when (monotonic) an account gets no slots.
        self.closed_until_s: dict[str, float] = {}
        self._declare_jobs()
        self._declare_backlog()
        self._declare_calls()
        self._declare_limiter()
        self._declare_journal()
        self._declare_broker()
        self._declare_receiving()
        self._declare_runtime(version)
        self._create_at_zero()

    def serve(self, account: str, limit_per_s: float) -> None:
        """Have the account's series, at 0, and its limit (calls per second)."""
        if account not in self._accounts:
            self._accounts.add(account)
            self._create_account_at_zero(account)
            if self._does is Does.SEND:
                self.ratelimit_pace.labels(account).set(limit_per_s)
        self.ratelimit_limit.labels(account).set(limit_per_s)

    def forget(self, account: str) -> None:
        """Have the account's series no more: as they were last, they would look like an account that is stuck."""
        self._accounts.discard(account)
        self.closed_until_s.pop(account, None)
        queues = [jobs_queue(account, lane) for lane in Lane]
        self._drop(account, *queues)
        if self._does is Does.SEND:
            for queue in queues:
                self.consumer_active.remove(queue)

    @property
    def sends(self) -> bool:
        """Whether the process is a sending worker."""
        return self._does is Does.SEND

    def is_served(self, account: str) -> bool:
        """Whether the account has series."""
        return account in self._accounts

    def _is_closed(self, account: str) -> bool:
        return self._monotonic() < self.closed_until_s.get(account, 0.0)

    # --- Declarations ------------------------------------------------------------------------------------

    def _declare_jobs(self) -> None:
        self.jobs_received = self._counter(
            "jobs_received_total", "Jobs handed over by the broker.", ("account", "redelivered")
        )
        self.jobs_suspected = self._counter(
            "jobs_suspected_total",
            "Jobs that came back so often that each was looked at alone.",
            ("account",),
        )
        self.jobs_finished = self._counter("jobs_finished_total", "Jobs that ended, by how.", ("account", "outcome"))
        self.jobs_requeued = self._counter("jobs_requeued_total", "Jobs put back, by why.", ("account", "reason"))
        self.job_attempts = self._histogram("job_attempts", "Attempts that a job took until it ended.", _ATTEMPTS)
        self.job_queue_wait = self._histogram(
            "job_queue_wait_seconds",
            "Wait in this worker of the job that led a call, from delivery to its slot.",
            _WAIT_S,
            ("account",),
        )
        self.job_end_to_end = self._histogram(
            "job_end_to_end_seconds",
            "From the producer's publish (or created_at) to the job's end.",
            _WAIT_S,
            ("account", "outcome"),
        )
        self.jobs_in_flight = self._gauge("jobs_in_flight", "Jobs in this worker now, by stage.", ("stage",))
        self.last_sent = self._gauge(
            "last_sent_timestamp_seconds", "When a job was last accepted by the API.", ("account",)
        )

    def _declare_backlog(self) -> None:
        self.backlog_jobs = self._found(
            GaugeMetricFamily,
            "backlog_jobs",
            "Jobs that wait in the account's queue and in all workers' hands. All workers tell the same: take the max.",
            ("account", "lane"),
        )
        self.backlog_drain = self._found(
            GaugeMetricFamily,
            "backlog_drain_seconds",
            "How long the backlog takes at the pace in force; +Inf while nothing can be sent. Take the max.",
            ("account",),
        )
        self.job_overdue = self._histogram(
            "job_overdue_seconds",
            "How much later a job ended than the backlog at its publishing takes at the full limit.",
            _OVERDUE_S,
            ("account", "lane"),
        )
        self.dead_letters = self._found(
            GaugeMetricFamily,
            "dead_letters",
            "Jobs and reports in mms.dead. All workers tell the same: take the max.",
        )
        self.unroutable_jobs = self._found(
            GaugeMetricFamily,
            "unroutable_jobs",
            "Jobs in mms.unroutable, published for an account that does not exist. Take the max.",
        )

    def _declare_calls(self) -> None:
        self.api_requests = self._counter(
            "api_requests_total", "Calls to the API, by what came of them.", ("account", "operation", "result")
        )
        self.api_refusals = self._counter(
            "api_refusals_total", "Sends that the API refused, by its code.", ("account", "code")
        )
        self.api_duration = self._histogram(
            "api_request_duration_seconds", "From the call's start to its whole answer.", _CALL_S, ("operation",)
        )
        self.recipients = self._counter("recipients_total", "Recipients, by result.", ("account", "result"))
        self.recipients_per_call = self._histogram(
            "recipients_per_call", "Recipients that one call carried.", _RECIPIENTS
        )
        self.jobs_per_call = self._histogram("jobs_per_call", "Jobs that left together in one call.", _RECIPIENTS)
        self.account_suspended = self._gauge(
            "account_suspended", "1 while nothing is sent for the account, by why.", ("account", "reason")
        )
        self.low_balance = self._counter(
            "low_balance_warnings_total", "Answers in which the API warned of a low balance.", ("account",)
        )
        self.calls_max = self._gauge("calls_max", "Calls that may be under way at a time, per account.")

    def _declare_limiter(self) -> None:
        self.ratelimit_limit = self._gauge("ratelimit_limit", "Calls per second that the API allows.", ("account",))
        self.ratelimit_pace = self._gauge("ratelimit_pace", "Calls per second in force.", ("account",))
        self.ratelimit_guard = self._gauge(
            "ratelimit_guard_seconds", "What a second's calls take longer than it, against jitter.", ("account",)
        )
        self.ratelimit_rolling_max = self._gauge(
            "ratelimit_rolling_max", "Most slots of all workers in a rolling second, lately.", ("account",)
        )
        self.ratelimit_closed = self._gauge(
            "ratelimit_closed", "1 while the account gets no slots after a 429.", ("account",)
        )
        self.ratelimit_lowered = self._gauge(
            "ratelimit_lowered", "1 while the API is found to keep to less than the configured limit.", ("account",)
        )
        self.ratelimit_wait = self._histogram(
            "ratelimit_wait_seconds", "Wait of a call that lacked nothing but its slot.", _WAIT_S, ("account",)
        )
        self.slot_late = self._histogram("ratelimit_late_seconds", "How late after its slot a call left.", _STORE_S)
        self.limiter_duration = self._histogram(
            "ratelimit_store_duration_seconds", "Time that the limiter's store took to answer.", _STORE_S
        )
        self.limiter_mode = self._gauge(
            "ratelimit_mode", "1 for the mode in force: shared, or stopped while the store is away.", ("mode",)
        )

    def _declare_journal(self) -> None:
        self.journal_duration = self._histogram(
            "journal_duration_seconds", "Time that the journal took to answer a group of commands.", _STORE_S
        )
        self.journal_failures = self._counter(
            "journal_failures_total", "Groups of commands that the journal did not answer; each is repeated."
        )
        self.duplicates_suppressed = self._counter(
            "duplicates_suppressed_total",
            "Jobs that came again after their end was told, and were not called for.",
            ("account", "source"),
        )
        self.duplicate_sends = self._counter(
            "duplicate_sends_detected_total",
            "Jobs that somebody got twice: called for again although they had been sent, or, of a receiver, by the look"
            " of the reports. The latter is a false alarm where others send for the same account.",
            ("account",),
        )
        self.in_doubt_jobs = self._found(
            GaugeMetricFamily, "in_doubt_jobs", "Jobs in doubt: sent or not, nobody knows. Take the max.", ("account",)
        )
        self.in_doubt_oldest = self._found(
            GaugeMetricFamily,
            "in_doubt_oldest_timestamp_seconds",
            "Since when the job is in doubt that is so for longest; 0: none.",
            ("account",),
        )
        self.in_doubt_resolved = self._counter(
            "in_doubt_resolved_total",
            "Jobs in doubt resolved by this worker: by a rule, a late answer or a report.",
            ("account", "resolution"),
        )

    def _declare_broker(self) -> None:
        self.broker_connected = self._gauge("broker_connected", "1 while connected, by connection.", ("role",))
        self.broker_blocked = self._gauge(
            "broker_blocked", "1 while an alarm in the broker keeps it from taking anything in.", ("role",)
        )
        self.broker_losses = self._counter(
            "broker_losses_total", "Lost connections and failed tries to connect again.", ("role",)
        )
        self.consumer_active = self._gauge("consumer_active", "1 while this process takes from it.", ("queue",))
        self.publish_duration = self._histogram(
            "publish_confirm_duration_seconds", "From publishing to the broker's confirm, or to its failure.", _STORE_S
        )
        self.publish_failures = self._counter(
            "publish_failures_total", "Publications that were not confirmed; each is repeated.", ("reason",)
        )

    def _declare_runtime(self, version: str) -> None:
        self.event_loop_lag = self._gauge("event_loop_lag_seconds", "How late the event loop woke up at the last look.")
        self.draining = self._gauge("draining", "1 from the stop signal until the end.")
        self.drains = self._found(
            CounterMetricFamily,
            "drains",
            "Workers that have ended, of all there ever were, by how their drain came out. Take the max.",
            ("result",),
        )
        self.oldest_unacked = self._gauge(
            "oldest_unacked_seconds", "For how long the oldest job has been in this worker without an acknowledgement."
        )
        self.reloads = self._counter("reloads_total", "Reloads of the accounts, by result.", ("result",))
        self.accounts_not_started = self._gauge(
            "accounts_not_started", "Accounts that are wanted and could not be started; they are tried again."
        )
        self.surprises = self._counter("surprises_total", "Bugs that were caught; the log has the traceback.")
        Info("mms_build", "The running version.", registry=self.registry).info({"version": version})

    def _create_account_at_zero(self, account: str) -> None:
        for operation in _SENDING if self._does is Does.SEND else _ASKING:
            for result in CallResult:
                self.api_requests.labels(account, operation, result)
        for resolved_as in ResolvedAs:
            self.in_doubt_resolved.labels(account, resolved_as)
        self.duplicate_sends.labels(account)
        self.low_balance.labels(account)
        if self._does is Does.SEND:
            self._create_sending_at_zero(account)
        else:
            self._create_receiving_at_zero(account)

    def _create_sending_at_zero(self, account: str) -> None:
        self._create_limiter_at_zero(account)
        closed_sets: tuple[tuple[Counter | Gauge | Histogram, Iterable[str]], ...] = (
            (self.account_suspended, SuspendedBecause),
            (self.jobs_received, ("true", "false")),
            (self.jobs_finished, End),
            (self.job_end_to_end, End),
            (self.job_overdue, Lane),
            (self.jobs_requeued, RequeueReason),
            (self.recipients, ("sent", "refused")),
            (self.api_refusals, CODES),
            (self.duplicates_suppressed, DuplicateSource),
        )
        for metric, values in closed_sets:
            for value in values:
                metric.labels(account, value)
        for lane in Lane:
            self.consumer_active.labels(jobs_queue(account, lane))
        for alone in (
            self.jobs_suspected,
            self.job_queue_wait,
            self.last_sent,
        ):
            alone.labels(account)

    def _create_limiter_at_zero(self, account: str) -> None:
        for gauge in (self.ratelimit_guard, self.ratelimit_rolling_max, self.ratelimit_lowered):
            gauge.labels(account)
        self.ratelimit_closed.labels(account).set_function(partial(self._is_closed, account))
        self.ratelimit_wait.labels(account)

    def _create_at_zero(self) -> None:
        for role in Role:
            self.broker_connected.labels(role)
            self.broker_blocked.labels(role)
            self.broker_losses.labels(role)
        for operation in _SENDING if self._does is Does.SEND else _ASKING:
            self.api_duration.labels(operation)
        for failure in PUBLISH_FAILURES:
            self.publish_failures.labels(failure)
        self.limiter_mode.labels("shared").set(1)
        self.limiter_mode.labels("stopped").set(0)
        for result in ("applied", "refused"):
            self.reloads.labels(result)
        if self._does is Does.RECEIVE:
            self._create_callbacks_at_zero()
            self.consumer_active.labels(REPORTS_QUEUE)
