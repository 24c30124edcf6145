"""Every call and every accepted recipient, and the questions asked about them.

Kept in columns of plain numbers, since a million recipients as objects would cost a gigabyte and long
collector pauses, in which the simulator would misjudge arrivals. About 24 bytes a call, and 120 a recipient
with its entry for finding duplicates; each different content is kept once.
"""

import secrets
from array import array
from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus
from typing import NamedTuple

from loadtest.simulator.limit import SECOND_US, LimitUse, WorstSecond
from loadtest.simulator.records import Accepted, CallRecord, Operation, Summary, Tally

CALLS_MAX = 5_000_000
RECIPIENTS_MAX = 5_000_000
PAGE_MAX = 500
"""Entries told at a time, so that telling them does not hold up the calls."""
TALLIES_MAX = 100

_TOO_MANY_REQUESTS = int(HTTPStatus.TOO_MANY_REQUESTS)
OPEN = "open"
NO_CALL = -1
_NUMBER_BITS = 50  # a phone number has at most 15 digits
_LOW_BITS = (1 << 40) - 1


class Content(NamedTuple):
    """What, besides the recipient, makes two messages the same."""

    account: str
    text: str
    subject: str
    picture_sha256: bytes


class _Tally:
    """One account's running counts; the account without a name holds the calls of nobody."""

    __slots__ = (
        "accepted_calls",
        "admissions",
        "admitted_calls",
        "arrivals",
        "calls",
        "duplicates",
        "first_at_us",
        "last_at_us",
        "recipients",
        "results",
        "throttled_calls",
        "use",
    )

    def __init__(self, at_us: int) -> None:
        self.calls = 0
        self.admitted_calls = 0
        self.accepted_calls = 0
        self.throttled_calls = 0
        self.recipients = 0
        self.duplicates = 0
        self.results: Counter[str] = Counter()
        self.first_at_us = at_us
        self.last_at_us = at_us
        self.arrivals = WorstSecond()
        self.admissions = WorstSecond()
        self.use: LimitUse | None = None

    def count(self, result: str, http_status: int, recipients: int, by: int) -> None:
        """Add a call's outcome (`by` = 1), or take it back (-1)."""
        self.results[result] += by
        self.accepted_calls += by if recipients else 0
        self.throttled_calls += by if http_status == _TOO_MANY_REQUESTS else 0


class _Names:
    """Strings as small numbers."""

    __slots__ = ("_numbers", "names")

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self.names: list[str] = []

    def number(self, name: str) -> int:
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self.names)
            self.names.append(name)
        return number


class _Columns:
    __slots__ = (
        "accepted_at_us",
        "accepted_call",
        "accepted_content",
        "accepted_number",
        "call_account",
        "call_at_us",
        "call_operation",
        "call_recipients",
        "call_result",
        "call_status",
    )

    def __init__(self) -> None:
        self.call_account = array("i")
        self.call_operation = array("b")
        self.call_at_us = array("q")
        self.call_result = array("h")
        self.call_status = array("h")
        self.call_recipients = array("h")
        self.accepted_number = array("q")
        self.accepted_content = array("i")
        self.accepted_call = array("i")
        self.accepted_at_us = array("q")


class Ledger:
    """The record of one run, until `reset`. All moments are microseconds of one steady clock."""

    def __init__(self) -> None:
        run = secrets.token_hex(8).upper()
        self._run = f"{run[:8]}-{run[8:12]}-{run[12:]}"
        self._calls_before = 0
        self._accepted_before = 0
        self._clear()

    def _clear(self) -> None:
        self._columns = _Columns()
        self._names = _Names()
        self._contents: dict[Content, int] = {}
        self._content_list: list[Content] = []
        self._seen: set[int] = set()
        self._tallies: dict[str, _Tally] = {}

    def reset(self) -> None:
        """Forget everything. Calls still running are not told any more; message ids are never given again."""
        self._calls_before += len(self._columns.call_at_us)
        self._accepted_before += len(self._columns.accepted_number)
        self._clear()

    @property
    def is_full(self) -> bool:
        """Whether a further call could not be recorded."""
        calls, accepted = len(self._columns.call_at_us), len(self._columns.accepted_number)
        return calls >= CALLS_MAX or accepted >= RECIPIENTS_MAX

    # Writing

    def open_call(self, account: str, rate_per_s: int | None, operation: Operation, at_us: int) -> int:
        """Record an arrival (of nobody, when `account` is empty); the handle is for the other methods.

        `rate_per_s` is what the account is permitted at this moment, None when it has no limit.
        """
        columns, number = self._columns, self._names.number
        columns.call_account.append(number(account))
        columns.call_operation.append(number(operation))
        columns.call_at_us.append(at_us)
        columns.call_result.append(number(OPEN))
        columns.call_status.append(0)
        columns.call_recipients.append(0)
        tally = self._tallies.get(account)
        if tally is None:
            tally = self._tallies[account] = _Tally(at_us)
            tally.use = None if rate_per_s is None else LimitUse(rate_per_s)
        tally.calls += 1
        tally.last_at_us = at_us
        tally.count(OPEN, 0, 0, 1)
        if account:
            tally.arrivals.observe(at_us)
        return self._calls_before + len(columns.call_at_us) - 1

    def admitted(self, account: str, at_us: int) -> None:
        """Count a call that the limit let through; it was opened before."""
        tally = self._tallies[account]
        tally.admitted_calls += 1
        tally.admissions.observe(at_us)
        if tally.use is not None:
            tally.use.admit(at_us)

    def rate_changed(self, account: str, rate_per_s: int, at_us: int) -> None:
        """From now on the account is permitted so much."""
        if (tally := self._tallies.get(account)) is None:
            return
        if tally.use is None:
            tally.use = LimitUse(rate_per_s)
        else:
            tally.use.set_rate(rate_per_s, at_us)

    def close_call(self, handle: int, result: str, http_status: int, recipients: int) -> None:
        """Record what became of the call. Told again, the later word stands."""
        index = handle - self._calls_before
        if index < 0:
            return
        columns, names = self._columns, self._names
        tally = self._tallies[names.names[columns.call_account[index]]]
        before = names.names[columns.call_result[index]]
        tally.count(before, columns.call_status[index], columns.call_recipients[index], -1)
        tally.count(result, http_status, recipients, 1)
        columns.call_result[index] = names.number(result)
        columns.call_status[index] = http_status
        columns.call_recipients[index] = recipients

    def is_open(self, handle: int) -> bool:
        """Whether nothing has been said yet about what became of the call."""
        index = handle - self._calls_before
        return index >= 0 and self._names.names[self._columns.call_result[index]] == OPEN

    def accept(self, handle: int, content: Content, numbers: Sequence[int], at_us: int) -> list[str]:
        """Record accepted recipients; the message ids, one for each, in order."""
        content_id = self._contents.get(content)
        if content_id is None:
            content_id = self._contents[content] = len(self._content_list)
            self._content_list.append(content)
        columns, seen, count = self._columns, self._seen, len(numbers)
        first = self._accepted_before + len(columns.accepted_number)
        columns.accepted_number.extend(numbers)
        columns.accepted_content.extend([content_id] * count)
        columns.accepted_call.extend([max(NO_CALL, handle - self._calls_before)] * count)
        columns.accepted_at_us.extend([at_us] * count)
        seen_before = len(seen)
        seen.update([content_id << _NUMBER_BITS | number for number in numbers])
        if tally := self._tallies.get(content.account):
            tally.duplicates += count - (len(seen) - seen_before)
            tally.recipients += count
        message_id = self._message_id
        return [message_id(number) for number in range(first, first + count)]

    # Asking

    def summary(self, account: str | None = None) -> Summary:
        """Answer over one account, or over all of them and the calls of nobody."""
        tallies = [tally for key, tally in self._tallies.items() if account in (None, key)]
        results = sum((tally.results for tally in tallies), Counter())
        first_at_us = min((tally.first_at_us for tally in tallies), default=0)
        last_at_us = max((tally.last_at_us for tally in tallies), default=0)
        return Summary(
            calls=sum(tally.calls for tally in tallies),
            accepted_calls=sum(tally.accepted_calls for tally in tallies),
            throttled_calls=sum(tally.throttled_calls for tally in tallies),
            recipients_accepted=sum(tally.recipients for tally in tallies),
            duplicates=sum(tally.duplicates for tally in tallies),
            worst_rolling_second=max((tally.arrivals.worst for tally in tallies), default=0),
            worst_rolling_second_admitted=max((tally.admissions.worst for tally in tallies), default=0),
            share_of_limit=_share([tally.use for tally in tallies if tally.use is not None]),
            calls_by_result=dict(sorted(results.items())),
            span_s=(last_at_us - first_at_us) / SECOND_US,
        )

    def tallies(self, now_us: int) -> list[Tally]:
        """Each account's counts, in the order of their first calls, at most TALLIES_MAX; not the calls of nobody."""
        named = [(account, tally) for account, tally in self._tallies.items() if account]
        return [
            Tally(
                account=account,
                calls=tally.calls,
                throttled_calls=tally.throttled_calls,
                admitted_calls=tally.admitted_calls,
                recipients_accepted=tally.recipients,
                duplicates=tally.duplicates,
                worst_second_lately=tally.arrivals.lately(now_us),
                worst_second_lately_admitted=tally.admissions.lately(now_us),
            )
            for account, tally in named[:TALLIES_MAX]
        ]

    def accepted(self, since: int = 0) -> list[Accepted]:
        """Accepted recipients from index `since` on, at most PAGE_MAX of them."""
        columns = self._columns
        stop = min(since + PAGE_MAX, len(columns.accepted_number))
        return [self._accepted(index) for index in range(since, stop)]

    def calls(self, since: int = 0) -> list[CallRecord]:
        """Calls from index `since` on, at most PAGE_MAX of them."""
        columns, names = self._columns, self._names.names
        return [
            CallRecord(
                index=index,
                account=names[columns.call_account[index]],
                operation=names[columns.call_operation[index]],
                at_us=columns.call_at_us[index],
                result=names[columns.call_result[index]],
                http_status=columns.call_status[index],
                recipients=columns.call_recipients[index],
            )
            for index in range(since, min(since + PAGE_MAX, len(columns.call_at_us)))
        ]

    def _accepted(self, index: int) -> Accepted:
        columns = self._columns
        content = self._content_list[columns.accepted_content[index]]
        return Accepted(
            index=index,
            account=content.account,
            to=f"+{columns.accepted_number[index]}",
            text=content.text,
            subject=content.subject,
            picture_sha256=content.picture_sha256.hex(),
            message_id=self._message_id(self._accepted_before + index),
            at_us=columns.accepted_at_us[index],
            call=columns.accepted_call[index],
        )

    def _message_id(self, number: int) -> str:
        return f"{self._run}-{number >> 40:04X}-{number & _LOW_BITS:010X}"


def _share(uses: Sequence[LimitUse]) -> float | None:
    counted = [use for use in uses if use.permitted_micro]
    permitted_micro = sum(use.permitted_micro for use in counted)
    return sum(use.admitted for use in counted) * SECOND_US / permitted_micro if permitted_micro else None
