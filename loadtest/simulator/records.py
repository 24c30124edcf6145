"""What the simulator tells about itself: the same shapes in process and through the control interface."""

from dataclasses import dataclass
from typing import Literal

OutageKind = Literal["refuse", "502", "hang"]
"""`refuse`: connections are refused, open ones cut; `502`: a gateway's page; `hang`: never answered."""

Operation = Literal["send-mms", "account", "get-responses", "inbound-read", "inbound-read-bulk", "unknown"]


@dataclass(frozen=True, slots=True)
class Summary:
    """The answers to the questions asked most often, over one account or all of them.

    `duplicates` counts acceptances beyond the first of the same (account, recipient, text, subject, picture).
    `worst_rolling_second` is over arrivals, refused ones included, the worst of one account within any
    half-open second; `…_admitted` over the calls that the limit let through. `share_of_limit` is admitted
    calls over (rate x time from the first to the last admitted), so a short perfect run is a little over 1;
    None with fewer than two calls or no limit. `span_s` runs from the first arrival to the last.
    """

    calls: int
    accepted_calls: int
    throttled_calls: int
    recipients_accepted: int
    duplicates: int
    worst_rolling_second: int
    worst_rolling_second_admitted: int
    share_of_limit: float | None
    calls_by_result: dict[str, int]
    span_s: float


@dataclass(frozen=True, slots=True)
class Tally:
    """One account's counts since the start, and its worst rolling seconds of late, with and without refused calls."""

    account: str
    calls: int
    throttled_calls: int
    admitted_calls: int
    recipients_accepted: int
    duplicates: int
    worst_second_lately: int
    worst_second_lately_admitted: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """One recipient of one accepted call; `at_us` is wall clock, `call` the index of the call."""

    index: int
    account: str
    to: str
    text: str
    subject: str
    picture_sha256: str
    message_id: str
    at_us: int
    call: int


@dataclass(frozen=True, slots=True)
class ReplyRecord:
    """One inbound message, in the order in which they came in."""

    message_id: str
    is_read: bool


CallbackKind = Literal["report", "reply"]


@dataclass(frozen=True, slots=True)
class CallbackRecord:
    """One report or reply that is posted, in the order of making; moments are wall clock, 0: not yet.

    `to` and `status` are a report's, in the vendor's letters. `due_at_us` is when it was to be told first, `posts` in
    how many requests it was, `taken` how many of these were answered with 200.
    """

    index: int
    kind: CallbackKind
    account: str
    message_id: str
    to: str
    status: str
    is_early: bool
    due_at_us: int
    posts: int
    taken: int
    first_at_us: int
    taken_at_us: int


@dataclass(frozen=True, slots=True)
class CallbackSummary:
    """Counts over all accounts: different reports and replies, and those of them that were taken at least once.

    `taken_again` counts those taken that had been taken before, `given_up` what ran out of tries, `waiting` what is
    still to be posted.
    """

    reports: int
    reports_taken: int
    replies: int
    replies_taken: int
    taken_again: int
    requests: int
    requests_refused: int
    given_up: int
    waiting: int


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call, in the order of arrival.

    `at_us` is the moment it was counted (wall clock at the start, monotonic from then on, so that differences
    are exact), `account` empty when the key is nobody's. `result` is the API's code, or a fault's kind, or
    `outage_KIND`, `broken_off` (the client left before the request was whole), `open` (not decided yet).
    `http_status` is 0 when none was answered; `recipients` counts the accepted ones.
    """

    index: int
    account: str
    operation: str
    at_us: int
    result: str
    http_status: int
    recipients: int
