"""The books of what the API tells back (pure): reports and replies as events, against what the simulator posted."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadtest.simulator.records import CallbackRecord, CallbackSummary, ReplyRecord

REPORT_EVENT, REPLY_EVENT = "mms.message.report", "mms.reply.received"

ReportKey = tuple[str, str, str]
"""Message, recipient, status in lower case: what makes two reports the same."""


@dataclass(frozen=True, slots=True)
class InboundReckoning:
    """The result: how many different reports and replies were told, and how many there were.

    `again` reports were posted more than once, `early` ones before the answer to their send; `both_ways` replies were
    posted as well as polled. `statuses`: of the reports told.
    """

    reports: int
    reports_made: int
    again: int
    early: int
    statuses: Mapping[str, int]
    replies: int
    replies_made: int
    both_ways: int
    problems: tuple[str, ...]


class Inbound:
    """Takes in the events of reports and replies while the demo runs, and reckons at the end."""

    def __init__(self) -> None:
        self._reports: dict[ReportKey, str | None] = {}
        self._replies: dict[str, str | None] = {}
        self._times: Counter[ReportKey | str] = Counter()

    @property
    def reports(self) -> int:
        """Different reports told so far."""
        return len(self._reports)

    @property
    def replies(self) -> int:
        """Different replies told so far."""
        return len(self._replies)

    @property
    def jobs_reported(self) -> frozenset[str]:
        """Jobs of which a report told."""
        return frozenset(job_id for job_id in self._reports.values() if job_id is not None)

    def take(self, event: Mapping[str, Any]) -> None:
        """Note one event, a CloudEvent as parsed; those about anything else are passed by."""
        data = event["data"]
        if event["type"] == REPORT_EVENT:
            key = (data["message_id"], data["to"], data["status"])
            self._reports[key] = data["job_id"]
            self._times[key] += 1
        elif event["type"] == REPLY_EVENT:
            self._replies[data["message_id"]] = data["job_id"]
            self._times[data["message_id"]] += 1

    def is_complete(self, posted: CallbackSummary, replies: int) -> bool:
        """Whether all is told that was to be posted, and so many replies."""
        return posted.waiting == 0 and self.reports >= posted.reports and self.replies >= replies

    def reckon(
        self,
        *,
        posted: Sequence[CallbackRecord],
        replies: Iterable[ReplyRecord],
        replies_sent: Mapping[str, str],
        job_of_message: Mapping[str, str],
    ) -> InboundReckoning:
        """Close the books.

        `posted`: all that the simulator posted; `replies`: its inbox; `replies_sent`: the message that each of them
        answers; `job_of_message`: by the ledger.
        """
        made: dict[ReportKey, CallbackRecord] = {
            (record.message_id, record.to, record.status.lower()): record
            for record in posted
            if record.kind == "report"
        }
        inbox = {reply.message_id: reply for reply in replies}
        jobs_of_replies = {reply_id: job_of_message.get(sent) for reply_id, sent in replies_sent.items()}
        wrong_reports = sum(job_id != job_of_message.get(key[0]) for key, job_id in self._reports.items())
        wrong_replies = sum(job_id != jobs_of_replies.get(reply_id) for reply_id, job_id in self._replies.items())
        found = (
            (len(made.keys() - self._reports.keys()), "reports were posted, and no event tells of them"),
            (len(self._reports.keys() - made.keys()), "reports are told that were never posted"),
            (wrong_reports, "reports are told of another job than the one that was sent"),
            (len(inbox.keys() - self._replies.keys()), "replies came in, and no event tells of them"),
            (len(self._replies.keys() - inbox.keys()), "replies are told that never came in"),
            (wrong_replies, "replies are told as answers to another job"),
            (sum(not reply.is_read for reply in inbox.values()), "replies were not marked as read"),
            (sum(times > 1 for times in self._times.values()), "reports and replies are told more than once"),
        )
        return InboundReckoning(
            reports=len(self._reports),
            reports_made=len(made),
            again=sum(record.posts > 1 for record in made.values()),
            early=sum(record.is_early for record in made.values()),
            statuses=Counter(status for _, _, status in self._reports),
            replies=len(self._replies),
            replies_made=len(inbox),
            both_ways=sum(record.kind == "reply" for record in posted),
            problems=tuple(f"{count} {words}." for count, words in found if count),
        )
