"""The metrics of what a receiver takes in: reports, replies, callbacks, and the accounts' credit."""

from __future__ import annotations

from worker.adapters.prometheus_registry import Registry
from worker.core.reports import ReportStatus
from worker.flow.observations import CallbackResult, ReplyWay

_REPORT_S = (1, 5, 15, 60, 300, 900, 3600, 14400, 43200, 86400, 172800, 259200)
_CALLBACK_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
#: How the unread replies were asked for: all were had, or not.
POLLS = ("whole", "ended_early")


class ReceivingSeries(Registry):
    """Their declarations, and which children there are."""

    def _declare_receiving(self) -> None:
        self.callback_requests = self._counter(
            "callback_requests_total", "Requests where callbacks are taken, by what they were answered.", ("result",)
        )
        self.callback_duration = self._histogram(
            "callback_duration_seconds",
            "From a callback's headers to its answer, where the address was right.",
            _CALLBACK_S,
        )
        self.reports = self._counter(
            "reports_total",
            "Delivery reports that were told, each once. Missing ones: mms_recipients_total{result='sent'} an hour ago"
            " less those with a final status, which are all but queued, dispatched and other.",
            ("account", "status"),
        )
        self.report_delay = self._histogram(
            "report_delay_seconds", "From a send's answer to a delivery report, where the send is known.", _REPORT_S
        )
        self.reports_of_nobody = self._counter(
            "reports_unmatched_total",
            "Delivery reports that were told without a job: nobody knows of one.",
            ("account",),
        )
        self.reports_repeated = self._counter(
            "reports_repeated_total", "Delivery reports that were told before, and not told again.", ("account",)
        )
        self.reports_put_aside = self._counter(
            "reports_put_aside_total", "Times that a report waited, since nobody knew of its message yet.", ("account",)
        )
        self.replies = self._counter(
            "replies_total", "Replies that were told, each once, by how they came first.", ("account", "way")
        )
        self.replies_repeated = self._counter(
            "replies_repeated_total", "Replies that were told before, and not told again.", ("account", "way")
        )
        self.reply_polls = self._counter(
            "reply_polls_total",
            "Times that the unread replies were asked for, by whether all were had.",
            ("account", "result"),
        )
        self.replies_polled = self._counter(
            "replies_polled_total", "Unread replies that were had by asking.", ("account",)
        )
        self.balance = self._gauge(
            "account_balance",
            "MMS credit that is left, as the API told it last; none while it is not known.",
            ("account",),
        )
        self.balance_low = self._gauge(
            "account_balance_low", "1 while the balance is below MMS_BALANCE_LOW.", ("account",)
        )

    def _create_receiving_at_zero(self, account: str) -> None:
        for status in ReportStatus:
            self.reports.labels(account, status)
        for counter in (self.reports_of_nobody, self.reports_repeated, self.reports_put_aside, self.replies_polled):
            counter.labels(account)
        for way in ReplyWay:
            self.replies.labels(account, way)
            self.replies_repeated.labels(account, way)
        for result in POLLS:
            self.reply_polls.labels(account, result)
        self.balance_low.labels(account)

    def _create_callbacks_at_zero(self) -> None:
        for result in CallbackResult:
            self.callback_requests.labels(result)
